//! `quintet start`: runs a node until it is told to stop, or fails.
//!
//! SIGTERM, SIGINT and SIGHUP stop the node in order, leaders moved away first. Flags, environment and file become
//! one configuration in the library (`config.rs`), so that `quintet config print` can show it. The process ends
//! without the destructors of RocksDB's statics ([`end`]); nothing that is stored depends on them.

use std::{io::Write, path::PathBuf, time::Duration};

use quintet_server::{
    config::{Config, Loaded},
    node::Node,
    seams::Seams,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;

use super::exit::{Exit, Failure};

/// From SIGTERM to the end of the process, leaders moved away included.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// Flags of `start`; the same for `config print`.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// TOML file with the node's settings; `quintet config print` shows one
    #[arg(long, value_name = "FILE", env = "QUINTET_CONFIG")]
    config: Option<PathBuf>,
    /// node.id: from 1, never reused
    #[arg(long, value_name = "N")]
    node_id: Option<String>,
    /// node.data_dir: everything that the node stores
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// node.locality: city=NAME,room=NAME
    #[arg(long)]
    locality: Option<String>,
    /// listen.client: where clients connect
    #[arg(long, value_name = "IP:PORT")]
    listen_client: Option<String>,
    /// listen.internal: where other nodes connect
    #[arg(long, value_name = "IP:PORT")]
    listen_internal: Option<String>,
    /// listen.http: where monitoring connects, or off
    #[arg(long, value_name = "IP:PORT")]
    listen_http: Option<String>,
    /// advertise.client, where it differs from what the node listens on
    #[arg(long, value_name = "HOST:PORT")]
    advertise_client: Option<String>,
    /// advertise.internal, where it differs from what the node listens on
    #[arg(long, value_name = "HOST:PORT")]
    advertise_internal: Option<String>,
    /// advertise.http, where it differs from what the node listens on
    #[arg(long, value_name = "HOST:PORT")]
    advertise_http: Option<String>,
    /// Internal address of another node; repeatable, replaces the file's seeds
    #[arg(long, value_name = "HOST:PORT")]
    seed: Vec<String>,
    /// worker_threads: 0 chooses by the machine
    #[arg(long, value_name = "N")]
    worker_threads: Option<String>,
    /// Any setting, as in raft.heartbeat_ms=50; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl Args {
    /// Puts the configuration together from file, environment and these flags.
    pub(crate) fn load(self) -> Result<Loaded, Failure> {
        let named = [
            ("node.id", self.node_id),
            ("node.data_dir", self.data_dir),
            ("node.locality", self.locality),
            ("listen.client", self.listen_client),
            ("listen.internal", self.listen_internal),
            ("listen.http", self.listen_http),
            ("advertise.client", self.advertise_client),
            ("advertise.internal", self.advertise_internal),
            ("advertise.http", self.advertise_http),
            ("seeds", (!self.seed.is_empty()).then(|| self.seed.join(","))),
            ("worker_threads", self.worker_threads),
        ];
        let named = named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let flags: Vec<_> = self.set.into_iter().chain(named).collect();
        // Variables that are not UTF-8 are none of ours, unless their name says so.
        let environment = std::env::vars_os().map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        });
        Config::load(self.config.as_deref(), environment, &flags)
            .map_err(|error| Failure::new(Exit::Usage, "configuration", error.to_string()))
    }
}

/// Runs the node.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let loaded = args.load()?;
    init_log()?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if cfg!(feature = "bench-own-clock") && std::env::var_os("OWN_CLOCK_IS_MEASURED").is_none() {
        return Err(Failure::usage(
            "this build takes timestamps of its own clock, and loses writes: it is for script/bench-rounds alone",
        ));
    }
    let config = loaded.config;
    keep_files_private();
    quintet_server::ops::allocator::keep_freed_memory();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.worker_threads())
        .thread_name("node")
        .enable_all()
        .build()
        .map_err(|error| Failure::internal(format!("cannot start a runtime: {error}")))?;
    let result = runtime.block_on(run_node(config));
    // The node has stopped, orderly or not; nothing left may hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Ends the process of a node, at once. An ordinary end runs the destructors of RocksDB's statics while its
/// threads still use them: "pthread lock: Invalid argument", and the process dies by SIGABRT instead of with
/// its exit code. Nothing that is stored rests on an orderly end.
pub(super) fn end(exit: Exit) -> ! {
    std::io::stdout().flush().ok();
    // SAFETY: it returns to nobody; what was written to standard error is not buffered.
    unsafe { libc::_exit(i32::from(exit as u8)) }
}

async fn run_node(config: Config) -> Result<(), Failure> {
    // From here on a signal waits until the node can obey it.
    let fault = |error| Failure::internal(format!("cannot listen for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(fault)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fault)?;
    // Where whoever started the node has it ignored, as `nohup` does, it stays so.
    let mut hang_up = match is_ignored(libc::SIGHUP) {
        true => None,
        false => Some(signal(SignalKind::hangup()).map_err(fault)?),
    };

    let refused = |error: String| Failure::new(Exit::Refused, "start", error);
    let seams = Seams::production(&config);
    let node = Node::start(config, seams).await.map_err(|error| refused(error.to_string()))?;
    let addresses = node.addresses();
    info!(
        client = %addresses.client,
        internal = %addresses.internal,
        http = addresses.http.map(tracing::field::display),
        "the node has started"
    );
    let signal = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = received(&mut hang_up) => "SIGHUP",
        reason = node.stopped() => {
            return Err(Failure::new(Exit::Refused, "node_failed", reason));
        }
    };
    info!(signal, "stopping: leaders move away first");
    node.shutdown(SHUTDOWN_DEADLINE).await;
    info!("the node has stopped");
    Ok(())
}

/// What the node creates from now on is its user's alone: directories 0700, files 0600.
fn keep_files_private() {
    // SAFETY: `umask` takes and returns an integer; no other thread runs yet.
    unsafe { libc::umask(0o077) };
}

/// Waits for a signal that is listened for.
async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether this process ignores a signal.
fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: zeroes are a valid `sigaction`, and the call writes nothing else than this one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Logs to standard error what `QUINTET_LOG` says, by default `info`.
fn init_log() -> Result<(), Failure> {
    let directives = std::env::var("QUINTET_LOG").unwrap_or_default();
    let directives = if directives.is_empty() { "info,openraft=error" } else { &directives };
    let filter = EnvFilter::try_new(directives).map_err(|error| {
        Failure::usage(format!(
            "QUINTET_LOG={directives:?}: {error}; write a level, as in debug, or parts of the \
             program with theirs, as in info,quintet_server::range=debug"
        ))
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_nohup_ignores_is_told_from_others() {
        // Nobody sends it here.
        let signal = libc::SIGUSR2;
        assert!(!is_ignored(signal));
        // SAFETY: sets how this process takes a signal, and takes no memory of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
        assert!(is_ignored(signal));
    }
}
