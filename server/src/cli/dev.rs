//! `quintet dev`: a local cluster of real processes below one directory; `dev_cluster.rs` shows the directory.
//!
//! The nodes are processes of their own, in process groups of their own: Ctrl-C reaches only this
//! command, which then stops them in order (`dev/watch.rs`), and `--detach` is merely not waiting. So `dev`
//! on a directory of which some nodes still run starts the others (`dev/bring_up.rs`), and that is how a
//! killed node comes back.
//!
//! # On a crash
//!
//! Where this command dies, the nodes go on. The next one finds them, starts those that are missing, and
//! forms the cluster if nobody has: whether it is formed is asked of the nodes, each time.

mod bring_up;
mod watch;

use std::path::PathBuf;

use self::{
    bring_up::bring_up,
    watch::{Interrupts, watch},
};
use super::{
    dev_cluster::{
        lock::lock,
        plan::{Cluster, NODES_DEFAULT},
        process, registry,
    },
    exit::Failure,
    output::{Output, program},
    split_points,
};

/// Flags of `dev`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Directory of the cluster, whose data is kept from one start to the next. By default one in
    /// the user's state directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Return once the cluster runs; `quintet dev stop` ends it
    #[arg(long)]
    detach: bool,
    /// First of consecutive ports for a new cluster, three per node; 0 takes free ones
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    base_port: u16,
    /// Nodes of a new cluster: 1, 3 or 5; by default 5
    #[arg(long, value_name = "N", value_parser = nodes)]
    nodes: Option<u64>,
    /// Put 1 ms between rooms and 30 ms between cities, there and back, on the links between nodes. Kept for the
    /// next start, until `--wan=off`; takes a cluster that is stopped, or new. Clients are not delayed
    #[arg(
        long,
        value_name = "on|off",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "on",
        hide_possible_values = true
    )]
    wan: Option<Switch>,
    #[command(flatten)]
    ranges: split_points::Args,
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
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
    let nodes = u32::try_from(args.nodes.unwrap_or(NODES_DEFAULT)).unwrap_or(u32::MAX);
    // Looked at before anything is started: a file that can't be read is found out at once.
    let request = args.ranges.request_for_bench(nodes)?;
    let dir = args.dir.map_or_else(registry::default_dir, Ok)?;
    let cluster = Cluster::open_or_create(&dir, args.base_port, args.nodes)?;
    let lock = lock(&cluster)?;
    // Whoever had the lock before may have changed it.
    let mut cluster = Cluster::open(cluster.dir())?;
    let running = process::running(&cluster);
    if let Some(wan) = args.wan {
        cluster.set_wan(wan == Switch::On, !running.is_empty())?;
    }
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
    if let Some(wan) = cluster.wan() {
        out.line(format!(
            "links between its nodes take {} ms there and back from room to room, {} ms from city to city; clients \
             reach every node at once",
            wan.rooms_rtt_ms, wan.cities_rtt_ms
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

async fn stop(dir: Option<PathBuf>) -> Result<(), Failure> {
    let cluster = match dir {
        Some(dir) => Cluster::open(&dir)?,
        None => registry::find_running()?,
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
