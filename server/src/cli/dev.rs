//! `quintet dev`: a local cluster of real processes below one directory.
//!
//! ```text
//! DIR/cluster.toml       localities and ports, chosen once      plan.rs
//! DIR/lock               held while nodes are started or stopped
//! DIR/node-N/node.toml   configuration; written where missing, so that it may be edited
//! DIR/node-N/pid         process id; trusted only if that process works in DIR/node-N    process.rs
//! DIR/node-N/log         standard output and error, appended
//! DIR/node-N/data        what the node stores
//! STATE/quintet/dev/*    directories of clusters, where other commands look    registry.rs
//! ```
//!
//! The nodes are processes of their own, in process groups of their own: Ctrl-C reaches only this
//! command, which then stops them in order, and `--detach` is merely not waiting. So `dev` on a
//! directory of which some nodes still run starts the others, and that is how a killed node comes
//! back.
//!
//! # On a crash
//!
//! Where this command dies, the nodes go on. The next one finds them, starts those that are missing, and
//! forms the cluster if nobody has: whether it is formed is asked of the nodes, each time.

mod plan;
mod process;
mod registry;

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Child,
    time::Duration,
};

use anyhow::Context;
use quintet_client::v1::{InitClusterRequest, StatusResponse};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

pub(crate) use self::{plan::Cluster, registry::find_running};
use super::{
    connect,
    exit::{Exit, Failure},
    note,
    output::Output,
    split_points,
};

/// Time for a cluster to come up; on a slow machine with cold disks it is a matter of seconds.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for one question during the start.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two questions.
const ASK_PAUSE: Duration = Duration::from_millis(50);
/// How long a node may take to say that it belongs to the cluster, when others do already.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Lines of a dead node's log that are shown.
const LOG_TAIL_LINES: usize = 15;

/// Flags of `dev`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Directory of the cluster; a second time it goes on with the data. By default one in the
    /// user's state directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Return once the cluster runs; `quintet dev stop` ends it
    #[arg(long)]
    detach: bool,
    /// First of consecutive ports for a new cluster, three a node; 0 takes free ones
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    base_port: u16,
    /// Nodes of a new cluster: 1, 3 or 5; by default 5
    #[arg(long, value_name = "N", value_parser = nodes)]
    nodes: Option<u64>,
    #[command(flatten)]
    ranges: split_points::Args,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Stop the nodes of a cluster; its data stays
    Stop {
        /// Directory of the cluster; by default the one that runs
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

fn nodes(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(n @ (1 | 3 | 5)) => Ok(n),
        _ => Err("a cluster has 1, 3 or 5 nodes".to_owned()),
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    if let Some(Command::Stop { dir }) = args.command {
        return stop(dir).await;
    }
    let mut interrupts = Interrupts::new()?;
    let nodes = u32::try_from(args.nodes.unwrap_or(plan::NODES_DEFAULT)).unwrap_or(u32::MAX);
    // Looked at before anything is started: a file that can't be read is found out at once.
    let request = args.ranges.request_for_bench(nodes)?;
    let dir = args.dir.map_or_else(registry::default_dir, Ok)?;
    let cluster = Cluster::open_or_create(&dir, args.base_port, args.nodes)?;
    let lock = lock(&cluster)?;
    let running = process::running(&cluster);
    let all_run = running.len() == cluster.nodes().len();
    let mut started = Vec::new();
    let up = tokio::select! {
        up = bring_up(&cluster, &running, &mut started, request) => up,
        () = interrupts.next() => Err(Failure::unavailable("interrupted before the cluster was up")),
    };
    if let Err(failure) = up {
        // What was started by this command ends with it; what ran before goes on.
        process::stop(&cluster, |id| running.iter().all(|before| before.id != id)).await?;
        return Err(failure);
    }
    registry::add(&cluster);
    if all_run && !args.detach {
        return Err(Failure::usage(format!(
            "the cluster in {} runs already: clients reach it at {}; end it with `{} dev stop \
             --dir {}`",
            cluster.dir().display(),
            cluster.client_addresses().join(","),
            program(),
            cluster.dir().display()
        )));
    }
    drop(lock);
    greet(&cluster, args.detach)?;
    if args.detach {
        return Ok(());
    }
    watch(&cluster, started, &mut interrupts).await
}

/// A node that this command started.
struct Started {
    id: u64,
    child: Child,
}

/// Starts the nodes that do not run and waits until the cluster can serve, or one of them ends.
async fn bring_up(
    cluster: &Cluster,
    running: &[process::Running],
    started: &mut Vec<Started>,
    request: InitClusterRequest,
) -> Result<(), Failure> {
    let ids = cluster.nodes().iter().map(|node| node.id);
    let missing: Vec<_> = ids.filter(|id| running.iter().all(|node| node.id != *id)).collect();
    process::wait_for_room(cluster, &missing).await?;
    for id in missing {
        started.push(Started { id, child: process::spawn(cluster, id).await? });
    }
    tokio::select! {
        formed = form(cluster, request) => formed,
        failure = first_death(cluster, started) => Err(failure),
    }
}

/// Waits until every node answers, forms the cluster if there is none, waits until it can serve.
async fn form(cluster: &Cluster, request: InitClusterRequest) -> Result<(), Failure> {
    let deadline = Instant::now() + START_TIMEOUT;
    let mut formed = false;
    for node in cluster.nodes() {
        formed |= ask(cluster, node, deadline, "answers", |_| true).await?.initialized;
    }
    if !formed {
        let client = connect::connect(cluster.client_addresses(), START_TIMEOUT).await?;
        let nodes = u32::try_from(cluster.nodes().len()).unwrap_or(u32::MAX);
        client.form_cluster(InitClusterRequest { nodes, ..request }).await?;
    }
    for node in cluster.nodes() {
        // Only a node that answers, and says no, is outside; one that does not answer may belong.
        let patience = Instant::now() + JOIN_TIMEOUT;
        let settled =
            |status: &StatusResponse| status.initialized || (formed && Instant::now() >= patience);
        let status = ask(cluster, node, deadline, "belongs to the cluster", settled).await?;
        if !status.initialized {
            // The others have all that was acknowledged and serve: they must not end for this one.
            note(outside(cluster, node));
            continue;
        }
        let status = ask(cluster, node, deadline, "knows the leaders of all ranges", |status| {
            let led = status.ranges.iter().all(|range| range.leader_node != 0);
            status.replacing || (!status.ranges.is_empty() && led)
        })
        .await?;
        if status.replacing {
            note(format!(
                "node {} lost its disk, and its replacement is not done: `quintet replace {}` goes on with it",
                node.id, node.id
            ));
        }
    }
    Ok(())
}

/// What is said of a node that a formed cluster does not know any more.
fn outside(cluster: &Cluster, node: &plan::Node) -> String {
    format!(
        "node {} belongs to no cluster while the others do: its data directory below {} was \
         emptied or replaced. It takes part in nothing until it is taken back: `quintet replace {}`",
        node.id,
        cluster.dir().display(),
        node.id
    )
}

/// Ends when one of these nodes ends.
async fn first_death(cluster: &Cluster, started: &mut [Started]) -> Failure {
    loop {
        if let Some(failure) = started.iter_mut().find_map(|node| died(cluster, node)) {
            return failure;
        }
        tokio::time::sleep(ASK_PAUSE).await;
    }
}

/// Asks a node until `good` holds of its status.
async fn ask(
    cluster: &Cluster,
    node: &plan::Node,
    deadline: Instant,
    wanted: &str,
    good: impl Fn(&StatusResponse) -> bool,
) -> Result<StatusResponse, Failure> {
    loop {
        let reason = match status_of(node.client.to_string()).await {
            Ok(status) if good(&status) => return Ok(status),
            Ok(_) => "it answers, but is not that far".to_owned(),
            Err(failure) => failure.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(Failure::unavailable(format!(
                "there is no sign in time that node {} {wanted} ({reason}); its log is {}",
                node.id,
                cluster.log_path(node.id).display()
            )));
        }
        tokio::time::sleep(ASK_PAUSE).await;
    }
}

async fn status_of(address: String) -> Result<StatusResponse, Failure> {
    let client = connect::connect(vec![address], ASK_TIMEOUT).await?;
    Ok(client.status().await?)
}

/// The failure that a node's end during the start is, with the end of its log.
fn died(cluster: &Cluster, node: &mut Started) -> Option<Failure> {
    let status = node.child.try_wait().ok().flatten()?;
    let path = cluster.log_path(node.id);
    let log = std::fs::read(&path).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<_> = log.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(LOG_TAIL_LINES)) {
        note(format!("node {}: {line}", node.id));
    }
    let last = lines.iter().rev().find_map(|line| line.strip_prefix("error: "));
    Some(Failure::new(
        Exit::Internal,
        "node_failed",
        format!(
            "node {} ended at once ({status}): {}; its log is {}",
            node.id,
            last.unwrap_or("the end of its log is above"),
            path.display()
        ),
    ))
}

/// Prints where the cluster is and what to do with it.
fn greet(cluster: &Cluster, detached: bool) -> Result<(), Failure> {
    let (program, dir) = (program(), cluster.dir().display());
    let mut out = Output::new();
    out.line(format!("a cluster of {} nodes runs in {dir}", cluster.nodes().len()))?;
    for node in cluster.nodes() {
        out.line(format!(
            "  node {}  {}  clients {}  http://{}",
            node.id, node.locality, node.client, node.http
        ))?;
    }
    out.line("next:")?;
    out.line(format!("  {program} kv put hello world"))?;
    out.line(format!("  {program} kv get hello"))?;
    out.line(format!("  {program} status"))?;
    match detached {
        true => out.line(format!("  {program} dev stop --dir {dir}"))?,
        false => out.line("Ctrl-C stops it; its data stays")?,
    }
    out.flush()
}

/// Waits for Ctrl-C, telling of nodes that end, then stops all nodes.
async fn watch(
    cluster: &Cluster,
    mut started: Vec<Started>,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let mut child_ended = listen(SignalKind::child())?;
    loop {
        started.retain_mut(|node| {
            let Ok(Some(status)) = node.child.try_wait() else { return true };
            note(format!(
                "node {} has ended ({status}); `{} dev --detach --dir {}` brings it back",
                node.id,
                program(),
                cluster.dir().display()
            ));
            false
        });
        if started.is_empty() && process::running(cluster).is_empty() {
            note("all nodes have ended");
            return Ok(());
        }
        tokio::select! {
            _ = child_ended.recv() => {}
            () = interrupts.next() => break,
        }
    }
    note("stopping all nodes (10 s at most)");
    let _lock = lock(cluster)?;
    process::stop(cluster, |_| true).await?;
    for node in &mut started {
        // They have ended; collects what the system keeps of them.
        drop(node.child.wait());
    }
    registry::remove(cluster);
    Ok(())
}

async fn stop(dir: Option<PathBuf>) -> Result<(), Failure> {
    let cluster = match dir {
        Some(dir) => Cluster::open(&dir)?,
        None => find_running()?,
    };
    let _lock = lock(&cluster)?;
    let stopped = process::stop(&cluster, |_| true).await?;
    registry::remove(&cluster);
    let mut out = Output::new();
    out.line(match stopped {
        0 => format!("no node of {} was running", cluster.dir().display()),
        1 => "stopped 1 node".to_owned(),
        n => format!("stopped {n} nodes"),
    })?;
    out.flush()
}

/// Keeps a second command from starting or stopping nodes of the directory meanwhile.
fn lock(cluster: &Cluster) -> Result<File, Failure> {
    let path = cluster.dir().join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Failure::usage(format!(
            "another `quintet dev` is starting or stopping the cluster in {}; wait for it",
            cluster.dir().display()
        ))),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(Failure::internal(format!("cannot lock {}: {error}", path.display())))
        }
    }
}

/// Client addresses and process ids of the running `dev` cluster that one of these addresses
/// belongs to.
pub(crate) fn pids_of(addresses: &[String]) -> Vec<u32> {
    match find_running() {
        Ok(cluster) if cluster.client_addresses().iter().any(|a| addresses.contains(a)) => {
            process::running(&cluster).into_iter().map(|running| running.pid).collect()
        }
        _ => Vec::new(),
    }
}

/// How the user called this program, for commands to copy.
fn program() -> String {
    std::env::args_os()
        .next()
        .map_or_else(|| "quintet".to_owned(), |name| Path::new(&name).display().to_string())
}

/// Whatever asks this command to end.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Interrupts {
    fn new() -> Result<Interrupts, Failure> {
        Ok(Interrupts {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::internal(format!("cannot listen for signals: {error}")))
}
