//! Wall clocks that jump by hours, as libfaketime lets them (Debian's `faketime`): the monotonic clock goes on.
//!
//! The library reads the offset from a file, so a test changes the clock of a process that runs. The simulation has
//! such faults too (`clock-leaps`); here is what only real processes show: the lines in the log, metrics, `status`,
//! and that cluster time that is ahead is survived.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use quintet_client::{Client, PutOptions};
use tokio::time::Instant;

use crate::support::{
    client, command::quintet, data_range, http, node, node::Node, status, wait_for,
};

/// For a node to notice.
const NOTICED_TIMEOUT: Duration = Duration::from_secs(20);
const TTL: Duration = Duration::from_secs(3);
/// By how much a key may go early or late: what cluster time may be ahead of clocks, and machines that are busy.
const INEXACT: Duration = Duration::from_secs(3);
const TWO_HOURS_MS: i64 = 7_200_000;

/// A node's wall clock, set by a file.
struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    fn of(dir: &Path, node: u64) -> Clock {
        let known = ["x86_64", "aarch64"];
        let path =
            |arch| PathBuf::from(format!("/usr/lib/{arch}-linux-gnu/faketime/libfaketime.so.1"));
        let library = known.into_iter().map(path).find(|path| path.exists());
        let library = library.expect("libfaketime: install the Debian package faketime");
        let clock = Clock { file: dir.join(format!("clock-{node}")), library };
        clock.set("+0");
        clock
    }

    /// By an offset, as in `+2h`.
    fn set(&self, offset: &str) {
        // Renamed into place: a node must not read half of it.
        let new = self.file.with_extension("new");
        fs::write(&new, offset).expect("written");
        fs::rename(&new, &self.file).expect("renamed");
    }

    async fn start(&self, config: &Path) -> Node {
        let environment = [
            ("LD_PRELOAD", self.library.as_os_str()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.as_os_str()),
            ("FAKETIME_NO_CACHE", "1".as_ref()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".as_ref()),
        ];
        Node::start_in(config, &environment).await
    }
}

/// Puts a key that expires; it must go at its time, and not come back while leaders change.
async fn expires_at_its_time(client: &Client, key: &'static str) {
    let asked = Instant::now();
    client.put_with(key, "v", PutOptions::new().ttl(TTL)).await.expect("put");
    let put = Instant::now();
    assert!(client.get(key).await.expect("read").is_some(), "{key} expired at once");
    wait_for("the key expires", TTL + 2 * INEXACT, async || {
        match client.get(key).await.expect("read") {
            None => Ok(()),
            Some(found) => Err(format!("{key} is there after {:?}: {found:?}", put.elapsed())),
        }
    })
    .await;
    assert!(asked.elapsed() + INEXACT >= TTL, "{key} was gone after {:?}", asked.elapsed());
    assert!(put.elapsed() <= TTL + INEXACT, "{key} was there for {:?}", put.elapsed());
}

/// Regression: the leader's clock jumped by two hours for some seconds, and for two hours no key expired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_does_not_stand_still_after_a_clock_jumped() {
    let temp = tempfile::tempdir().expect("a directory");
    let (mut nodes, mut seeds) = (Vec::new(), Vec::new());
    let wild = Clock::of(temp.path(), 1);
    for id in [1, 3, 5] {
        let config = node::configure(temp.path(), id, &seeds);
        let node = if id == 1 { wild.start(&config).await } else { Node::start(&config).await };
        seeds.push(node.internal.clone());
        nodes.push(node);
    }
    let init = ["cluster", "init", "--nodes", "3", "--initial-ranges", "1", "--node"];
    quintet(temp.path(), &[&init[..], &[&nodes[0].client]].concat()).await.done();
    let addresses: Vec<_> = nodes.iter().map(|node| node.client.clone()).collect();
    let client = client(&addresses).await;
    let leader = async || {
        let status = status(&addresses[1]).await?;
        Ok::<_, String>((data_range(&status)?.leader_node, status))
    };
    wait_for("node 1 leads", NOTICED_TIMEOUT, async || match leader().await? {
        (1, _) => Ok(()),
        (other, _) => Err(format!("{other} leads")),
    })
    .await;
    expires_at_its_time(&client, "before").await;

    wild.set("+2h");
    expires_at_its_time(&client, "meanwhile").await;
    wait_for("node 1 says why, and leads still", NOTICED_TIMEOUT, async || {
        let (leader, status) = leader().await?;
        let wrong_by_ms = |id| {
            let node = status.nodes.iter().find(|node| node.id == id);
            node.map_or(0, |node| node.clock_wrong_by_ms)
        };
        let known = (TWO_HOURS_MS - 60_000..TWO_HOURS_MS + 60_000).contains(&wrong_by_ms(1));
        let said = nodes[0].log().contains(" ahead of cluster time, which does not follow it");
        match known && said && leader == 1 && wrong_by_ms(3) == 0 {
            true => Ok(()),
            false => Err(format!("led by {leader}, said: {said}, {:?}", status.nodes)),
        }
    })
    .await;
    let wrong_by = http::figure(&nodes[0].http, "quintet_clock_wrong_by_seconds").await;
    assert!((7_100.0..7_300.0).contains(&wrong_by), "{wrong_by}");
    let text = quintet(temp.path(), &["status", "--node", &addresses[1]]).await.done();
    let line = text.lines().find(|line| line.starts_with("the clock of node 1 is wrong, "));
    assert!(
        line.is_some_and(|line| line.contains(" ahead of cluster time: it is not followed")),
        "{text}"
    );

    wild.set("+0");
    wait_for("node 1 is right again", NOTICED_TIMEOUT, async || {
        match nodes[0].log().contains("this machine's clock is right again") {
            true => Ok(()),
            false => Err(nodes[0].log()),
        }
    })
    .await;
    expires_at_its_time(&client, "afterwards").await;
    for node in &nodes[1..] {
        assert!(!node.log().contains("clock"), "nobody complains of the clocks of others");
    }
}

/// A node alone that was started with a wrong clock has nobody to ask. Cluster time does not fall when the clock is
/// set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_cluster_time_is_ahead_the_right_clocks_say_so() {
    let temp = tempfile::tempdir().expect("a directory");
    let config = node::configure(temp.path(), 1, &[]);
    let clock = Clock::of(temp.path(), 1);
    clock.set("+2h");
    let node = clock.start(&config).await;
    let init = ["cluster", "init", "--nodes", "1", "--initial-ranges", "1", "--node", &node.client];
    quintet(temp.path(), &init).await.done();
    let first = client(std::slice::from_ref(&node.client)).await.put("k", "v").await.expect("put");
    node.kill().await;

    let node = Node::start(&config).await;
    let second = client(std::slice::from_ref(&node.client)).await.put("k", "w").await.expect("put");
    assert!(second > first, "versions rise: {first:?}, then {second:?}");
    wait_for("the node says that its clock is behind", NOTICED_TIMEOUT, async || {
        let log = node.log();
        let said = log.lines().any(|line| line.contains("clock is 1h 59m behind cluster time"));
        if said { Ok(()) } else { Err(log) }
    })
    .await;
    wait_for("the status says it too", NOTICED_TIMEOUT, async || {
        let text = quintet(temp.path(), &["status", "--node", &node.client]).await.done();
        match text.contains("the clock of node 1 is wrong, 1h 59m behind cluster time") {
            true => Ok(()),
            false => Err(text),
        }
    })
    .await;
    let wrong_by = http::figure(&node.http, "quintet_clock_wrong_by_seconds").await;
    assert!((-7_300.0..-7_000.0).contains(&wrong_by), "{wrong_by}");
}
