//! Single nodes, started with `quintet start` on free ports.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Child;

use super::{command::program, process, wait_for};

/// Time for a node to listen.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// What `start` logs once it listens; addresses follow.
const STARTED: &str = "the node has started";

/// Localities of five nodes in the order of their ids.
pub(crate) const LOCALITIES: [&str; 5] =
    ["city=c1,room=a", "city=c1,room=a", "city=c1,room=b", "city=c1,room=b", "city=c2,room=c"];

/// A running node; killed when dropped.
pub(crate) struct Node {
    dir: PathBuf,
    child: Child,
    pub(crate) client: String,
    pub(crate) internal: String,
    pub(crate) http: String,
}

/// Writes a node's configuration, on free ports, below `dir`.
pub(crate) fn configure(dir: &Path, id: u64, seeds: &[String]) -> PathBuf {
    let dir = dir.join(format!("node-{id}"));
    fs::create_dir_all(&dir).expect("a directory");
    let path = dir.join("node.toml");
    let locality = LOCALITIES[usize::try_from(id).expect("a small id") - 1];
    let text = format!(
        "worker_threads = 1\n\
         seeds = {seeds:?}\n\
         [node]\n\
         id = {id}\n\
         data_dir = {data:?}\n\
         locality = {locality:?}\n\
         [listen]\n\
         client = \"127.0.0.1:0\"\n\
         internal = \"127.0.0.1:0\"\n\
         http = \"127.0.0.1:0\"\n\
         [storage]\n\
         block_cache_mb = 16\n",
        data = dir.join("data"),
    );
    fs::write(&path, text).expect("written");
    path
}

impl Node {
    /// Starts the node of a configuration and waits until it listens.
    pub(crate) async fn start(config: &Path) -> Node {
        Node::start_in(config, &[]).await
    }

    /// The same with some variables in its environment.
    pub(crate) async fn start_in(config: &Path, environment: &[(&str, &OsStr)]) -> Node {
        let dir = config.parent().expect("a directory").to_owned();
        let log = dir.join("log");
        let file = File::create(&log).expect("a log file");
        let mut command = program();
        command.arg("start").arg("--config").arg(config).stdout(Stdio::null()).stderr(file);
        command.envs(environment.iter().copied());
        let mut child = command.spawn().expect("started");
        let line = wait_for("the node listens", START_TIMEOUT, async || {
            let ended = child.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "ended: {ended:?}\n{}", process::tail(&log));
            let text = fs::read_to_string(&log).expect("the log");
            let line = text.lines().find(|line| line.contains(STARTED));
            line.map(str::to_owned).ok_or("no word of it in its log")
        })
        .await;
        let address = |name: &str| {
            let name = format!(" {name}=");
            let (_, rest) = line.split_once(&name).unwrap_or_else(|| panic!("{name} in {line}"));
            rest.split_whitespace().next().expect("an address").to_owned()
        };
        let (client, internal, http) = (address("client"), address("internal"), address("http"));
        Node { dir, child, client, internal, http }
    }

    /// What it has logged since it was started.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).expect("its log")
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Ends it with SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.dir.join("log");
            eprintln!("--- {}\n{}", log.display(), process::tail(&log));
        }
    }
}
