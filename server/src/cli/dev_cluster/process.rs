//! Processes of a local cluster: starting, recognising and stopping them.
//!
//! A process id in a file may by now be somebody else's process. It counts only where that process works
//! in the node's own directory. The system follows that directory when it is renamed, and a copy of it has
//! another; a node stores by names that begin there, so that it never writes into what has taken its
//! directory's name since.

use std::{
    fs::{self, File},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use tokio::time::Instant;

use super::plan::{Cluster, DATA_DIR, write_atomically};
use crate::cli::{exit::Failure, output::note};

/// From SIGTERM to SIGKILL.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// For the system to show a new process, or to end one after SIGKILL.
const SYSTEM_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks whether a process is still there.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// A node whose process runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Running {
    pub(crate) id: u64,
    pub(crate) pid: u32,
}

/// A node that this command started.
pub(crate) struct Started {
    pub(crate) id: u64,
    pub(crate) child: Child,
}

/// The nodes of a cluster that run.
pub(crate) fn running(cluster: &Cluster) -> Vec<Running> {
    let nodes = cluster.nodes().iter();
    nodes.filter_map(|node| Some(Running { id: node.id, pid: pid_of(cluster, node.id)? })).collect()
}

fn noted_pid(cluster: &Cluster, id: u64) -> Option<u32> {
    fs::read_to_string(cluster.pid_path(id)).ok()?.trim().parse().ok()
}

fn pid_of(cluster: &Cluster, id: u64) -> Option<u32> {
    let pid = noted_pid(cluster, id)?;
    // The command line of a process that has ended, but was not collected yet, is empty.
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut arguments = command.split(|byte| *byte == 0);
    let names = |wanted: &[u8]| arguments.any(|argument| argument == wanted);
    is_node(&fs::read_link(format!("/proc/{pid}/cwd")).ok()?, names, cluster, id).then_some(pid)
}

/// Whether a process is a node, by the directory that it works in and by what its command line names.
fn is_node(
    works_in: &Path,
    mut names: impl FnMut(&[u8]) -> bool,
    cluster: &Cluster,
    id: u64,
) -> bool {
    let name = format!("node-{id}");
    // A directory that is gone has a name that ends with ` (deleted)`.
    let in_some_node =
        works_in.file_name().is_some_and(|own| own.as_bytes().starts_with(name.as_bytes()));
    match in_some_node {
        true => works_in == cluster.node_dir(id) && names(b"start"),
        // An earlier `dev` started it where it was itself.
        false => names(cluster.config_path(id).as_os_str().as_bytes()),
    }
}

/// Whether the process under a noted id is being ended: it has no memory and no command line any
/// more, but one of its threads (say, one that waits for the disk) is not gone, and with it the
/// process's files and their locks.
fn is_ending(pid: u32) -> bool {
    let no_command = fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.is_empty());
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let mut stats =
        threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    no_command && stats.any(|stat| holds_files(&stat))
}

/// Whether a thread with this line in `/proc` may still hold files: zombies and the dead do not.
fn holds_files(stat: &str) -> bool {
    // The state stands behind the name, which may itself hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X', 'x']))
}

/// Waits for killed nodes to let go of their ports and data directories. Refuses where somebody else has
/// one of their ports: most likely the nodes of which this directory is a copy, and they would answer in the
/// place of these.
pub(crate) async fn wait_for_room(cluster: &Cluster, ids: &[u64]) -> Result<(), Failure> {
    for node in cluster.nodes().iter().filter(|node| ids.contains(&node.id)) {
        if let Some(before) = noted_pid(cluster, node.id) {
            // A node that finds its directory in use after this says so.
            wait_until(SYSTEM_TIMEOUT, || !is_ending(before)).await;
        }
        if let Some(taken) = node.taken() {
            return Err(Failure::usage(format!(
                "{taken} of node {} is in use by another program: if {} is a copy of the directory of a \
                 cluster that runs, end that one first",
                node.id,
                cluster.dir().display()
            )));
        }
    }
    Ok(())
}

/// Starts a node and notes its process id. Returns once the process can be told to be the node's:
/// for an instant a new one has no command line yet, and could not be stopped.
pub(crate) async fn spawn(cluster: &Cluster, id: u64) -> Result<Started, Failure> {
    let program = std::env::current_exe().context("cannot tell this program's own path")?;
    let path = cluster.log_path(id);
    let open = || -> std::io::Result<(File, File)> {
        let log = File::options().create(true).append(true).open(&path)?;
        Ok((log.try_clone()?, log))
    };
    let (out, err) = open().with_context(|| format!("cannot write {}", path.display()))?;
    let mut command = Command::new(&program);
    command.arg("start").arg("--config").arg(cluster.config_path(id));
    command.arg("--data-dir").arg(DATA_DIR).current_dir(cluster.node_dir(id));
    if let Some(wan) = cluster.wan() {
        command.arg("--set").arg(format!("wan.rooms_rtt_ms={}", wan.rooms_rtt_ms));
        command.arg("--set").arg(format!("wan.cities_rtt_ms={}", wan.cities_rtt_ms));
    }
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    // Ctrl-C is for `dev`, which then stops the nodes.
    command.process_group(0);
    // Settings of this shell are not meant for all nodes.
    for (variable, _) in std::env::vars_os() {
        if variable.as_bytes().starts_with(b"QUINTET_") && variable != "QUINTET_LOG" {
            command.env_remove(&variable);
        }
    }
    let mut child =
        command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    write_atomically(&cluster.pid_path(id), &format!("{}\n", child.id()))?;
    let known =
        || pid_of(cluster, id).is_some() || child.try_wait().is_ok_and(|ended| ended.is_some());
    wait_until(SYSTEM_TIMEOUT, known).await;
    Ok(Started { id, child })
}

/// Stops the nodes that `chosen` names and that run: SIGTERM to all, SIGKILL to those that are
/// still there 10 s later. Returns how many there were.
pub(crate) async fn stop(
    cluster: &Cluster,
    chosen: impl Fn(u64) -> bool,
) -> Result<usize, Failure> {
    let left = || running(cluster).into_iter().filter(|node| chosen(node.id));
    let mut asked = Vec::new();
    for node in left() {
        signal(node.pid, libc::SIGTERM);
        asked.push(node);
    }
    if wait_until(STOP_TIMEOUT, || left().next().is_none()).await {
        return Ok(asked.len());
    }
    for node in left() {
        note(format!("node {} did not stop in time and is killed", node.id));
        signal(node.pid, libc::SIGKILL);
    }
    if wait_until(SYSTEM_TIMEOUT, || left().next().is_none()).await {
        return Ok(asked.len());
    }
    let names: Vec<_> = left().map(|node| format!("{} (pid {})", node.id, node.pid)).collect();
    Err(Failure::internal(format!(
        "these nodes can't be stopped: {}; are they another user's, or is a disk stuck?",
        names.join(", ")
    )))
}

/// Looks again and again whether something holds.
async fn wait_until(timeout: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    true
}

/// Sends a signal; a process that has just gone, or is another user's, shows when it is waited for.
fn signal(pid: u32, signal: libc::c_int) {
    // 0 and negative numbers would mean groups of processes.
    if let Ok(pid @ 1..) = libc::pid_t::try_from(pid) {
        // SAFETY: `kill` takes two integers and touches no memory of ours.
        unsafe { libc::kill(pid, signal) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(temp: &tempfile::TempDir) -> Cluster {
        Cluster::open_or_create(&temp.path().join("c"), 0, Some(3)).expect("created")
    }

    /// A process whose command line looks like a node's; killed at the end of the test.
    struct Disguised(Child);

    impl Disguised {
        async fn new(cluster: &Cluster, id: u64) -> Disguised {
            let mut command = Command::new("sh");
            command.args(["-c", "while :; do sleep 0.05; done", "start", "--config"]);
            command.arg(cluster.config_path(id)).stdout(Stdio::null()).stderr(Stdio::null());
            let child = command.spawn().expect("started");
            fs::write(cluster.pid_path(id), format!("{}\n", child.id())).expect("written");
            assert!(wait_until(SYSTEM_TIMEOUT, || pid_of(cluster, id).is_some()).await);
            Disguised(child)
        }
    }

    impl Drop for Disguised {
        fn drop(&mut self) {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }

    #[test]
    fn another_process_under_the_noted_id_is_not_a_node() {
        let temp = tempfile::tempdir().expect("a directory");
        let cluster = cluster(&temp);
        assert_eq!(running(&cluster), []);
        // This test's own process is certainly not node 1.
        fs::write(cluster.pid_path(1), std::process::id().to_string()).expect("written");
        fs::write(cluster.pid_path(2), "no number").expect("written");
        assert_eq!(running(&cluster), []);
    }

    #[test]
    fn a_process_belongs_to_the_directory_that_it_works_in() {
        let temp = tempfile::tempdir().expect("a directory");
        let cluster = cluster(&temp);
        let (here, config) = (cluster.node_dir(1), cluster.config_path(1));
        let is_node = |works_in: &Path, named: &[&[u8]]| {
            super::is_node(works_in, |wanted| named.contains(&wanted), &cluster, 1)
        };
        // Renamed since it was started, or not: its command line has the old name.
        assert!(is_node(&here, &[b"start", b"/before/node-1/node.toml"]));
        assert!(!is_node(&here, &[b"tail"]));
        // A node of the directory that had this name before, or that this one is a copy of.
        let config = config.as_os_str().as_bytes();
        assert!(!is_node(Path::new("/other/node-1"), &[b"start", config]));
        assert!(!is_node(Path::new("/c/node-1 (deleted)"), &[b"start", config]));
        // Started by an earlier `dev`.
        assert!(is_node(Path::new("/home"), &[b"start", config]));
        assert!(!is_node(Path::new("/home"), &[b"start", b"/c/node-1/node.toml"]));
    }

    #[tokio::test]
    async fn a_zombie_holds_no_files_and_a_dying_thread_does() {
        assert!(holds_files("7 (log-writer) D 1 7 7 0"), "it waits for the disk");
        assert!(holds_files("7 (a) Z b) R 1 7 7 0"), "names may look like states");
        assert!(!holds_files("7 (quintet) Z 1 7 7 0"));
        assert!(!is_ending(std::process::id()), "it has a command line");

        let mut child = Command::new("true").spawn().expect("started");
        let pid = child.id();
        let ended = || fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.is_empty());
        assert!(wait_until(SYSTEM_TIMEOUT, || ended() && !is_ending(pid)).await);
        child.wait().expect("ended");
        assert!(!is_ending(pid), "it is gone");
    }

    #[tokio::test]
    async fn stops_only_what_it_is_asked_to() {
        let temp = tempfile::tempdir().expect("a directory");
        let cluster = cluster(&temp);
        let mut one = Disguised::new(&cluster, 1).await;
        let mut two = Disguised::new(&cluster, 2).await;
        let ids: Vec<_> = running(&cluster).into_iter().map(|node| node.id).collect();
        assert_eq!(ids, [1, 2]);

        assert_eq!(stop(&cluster, |id| id == 2).await.expect("stopped"), 1);
        two.0.wait().expect("ended");
        assert_eq!(running(&cluster), [Running { id: 1, pid: one.0.id() }]);
        assert_eq!(stop(&cluster, |_| true).await.expect("stopped"), 1);
        one.0.wait().expect("ended");
        assert_eq!(stop(&cluster, |_| true).await.expect("nothing to do"), 0);
    }
}
