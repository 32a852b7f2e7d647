//! Ten thousand connections that say nothing, on each gRPC port: they cost a node next to nothing, keep
//! no client out, and have to go. Part of `hostile.rs`, whose cluster they use.

use std::time::Duration;

use futures::stream::pending;
use quintet_proto::{internal::v1::peer_client::PeerClient, v1::kv_client::KvClient};
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::support::{client, cluster::Cluster, process};

const CONNECTIONS: usize = 10_000;
/// Open files of a node beyond what it had, with all of them there: its bound for strangers, and some.
const FILES_MAX: usize = 700;
/// What all of them may cost a node in memory.
const BYTES_MAX: u64 = 32 << 20;
/// A node's patience with strangers, and then some.
const GONE_TIMEOUT: Duration = Duration::from_secs(20);

/// How many connections this process can hold: of the hard limit of open files, less its own.
fn connections_max() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls take a pointer to a live `rlimit` and touch nothing else of ours.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX).saturating_sub(1_000)
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").count()
}

pub(crate) async fn ten_thousand_connections_that_say_nothing(cluster: &Cluster) {
    let many = CONNECTIONS.min(connections_max());
    if many < CONNECTIONS {
        eprintln!("only {many} connections: the system allows this process no more open files");
    }
    let (node, pid) = (2, cluster.pid(2));
    let at = usize::try_from(node).expect("small") - 1;
    let (bytes, files) = (process::resident_bytes(pid), open_files(pid));
    for address in [&cluster.clients[at], &cluster.internals[at]] {
        let mut silent = Vec::with_capacity(many);
        for n in 0..many {
            let connecting = TcpStream::connect(address);
            let connected = timeout(Duration::from_secs(5), connecting).await;
            silent.push(connected.expect("in time").unwrap_or_else(|why| panic!("{n}: {why}")));
            if n % (many / 4) == many / 8 {
                serves(&cluster.clients[at]).await;
            }
        }
        serves(&cluster.clients[at]).await;
        let more = open_files(pid).saturating_sub(files);
        assert!(more <= FILES_MAX, "{more} more open files");
        let grown = process::resident_bytes(pid).saturating_sub(bytes);
        assert!(grown <= BYTES_MAX, "{} KiB for {many} connections", grown >> 10);
        drop(silent);
    }
    // Whoever stays is sent away: connections, sessions and links.
    let gone = timeout(GONE_TIMEOUT, async {
        tokio::join!(
            ended(&cluster.clients[at]),
            ended(&cluster.internals[at]),
            session_ended(&cluster.clients[at]),
            link_ended(&cluster.internals[at]),
        )
    });
    gone.await.expect("silence has its end");
    serves(&cluster.clients[at]).await;
}

/// A client that comes now is served, and soon.
async fn serves(address: &String) {
    let began = Instant::now();
    let client = client(std::slice::from_ref(address)).await;
    client.put("beside", "silence").await.expect("written");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// Returns once a connection that says nothing is closed; what the node says first is no matter.
async fn ended(address: &str) {
    let mut silent = TcpStream::connect(address).await.expect("connected");
    let mut said = Vec::new();
    drop(silent.read_to_end(&mut said).await);
}

async fn session_ended(address: &str) {
    let mut kv = KvClient::connect(format!("http://{address}")).await.expect("a node");
    let mut answers = kv.session(pending()).await.expect("a session").into_inner();
    while let Ok(Some(_)) = answers.message().await {}
}

async fn link_ended(address: &str) {
    let mut peer = PeerClient::connect(format!("http://{address}")).await.expect("a node");
    let mut answers = peer.link(pending()).await.expect("a link").into_inner();
    while let Ok(Some(_)) = answers.message().await {}
}
