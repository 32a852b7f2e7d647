//! One node: a `quintet start` process of ours, its directory and its log.
//!
//! Invariant: a process that was started here is ended here, by its own process id. [`Node`] kills and
//! collects its process when it is dropped, so that holds for an error, a panic and Ctrl-C too.

use std::{
    fs::File,
    net::SocketAddr,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context;
use quintet_client::{Client, v1::StatusResponse};
use tokio::time::{Instant, sleep};

use super::setup::LOOK_PAUSE;

/// Time for one question.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// For the system to end a process after SIGKILL.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);
/// Lines of a log that are shown.
const LOG_TAIL_LINES: usize = 20;

/// Where a node stands and listens.
pub(crate) struct Place {
    pub(crate) id: u64,
    pub(crate) city: String,
    pub(crate) room: String,
    pub(crate) client: SocketAddr,
    pub(crate) internal: SocketAddr,
}

/// A node of the test.
pub(crate) struct Node {
    pub(crate) place: Place,
    program: PathBuf,
    dir: PathBuf,
    child: Option<Child>,
}

impl Node {
    /// A node that does not run yet; its directory has its `node.toml`.
    pub(crate) fn new(place: Place, program: PathBuf, dir: PathBuf) -> Node {
        Node { place, program, dir, child: None }
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Starts the process; its predecessor must be gone.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        assert!(self.child.is_none(), "node {} runs", self.place.id);
        let log = self.log_path();
        let open = || File::options().create(true).append(true).open(&log);
        let file = open().with_context(|| format!("can't write {}", log.display()))?;
        let mut command = Command::new(&self.program);
        command.arg("start").arg("--config").arg(self.dir.join("node.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        // Ctrl-C is for the test, which then ends the nodes.
        command.process_group(0);
        // Settings of this shell are not meant for the nodes.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"QUINTET_") && name != "QUINTET_LOG" {
                command.env_remove(name);
            }
        }
        let started = command.spawn();
        let program = self.program.display();
        self.child = Some(started.with_context(|| format!("can't start {program}"))?);
        Ok(())
    }

    /// Of its process, if it was started and not collected.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Sends the process a signal, if it runs.
    pub(crate) fn signal(&self, signal: libc::c_int) {
        let pid = self.child.as_ref().map(|child| libc::pid_t::try_from(child.id()));
        // It is a child that was not collected: nobody else can have its id.
        if let Some(Ok(pid @ 2..)) = pid {
            // SAFETY: `kill` takes two integers and touches no memory of ours.
            unsafe { libc::kill(pid, signal) };
        }
    }

    /// Waits until the killed process is gone, with its files and locks. `Err`: it had ended before, by
    /// itself.
    pub(crate) async fn collect_killed(&mut self) -> Result<(), String> {
        let until = Instant::now() + KILL_TIMEOUT;
        loop {
            match self.ended() {
                Some(status) if status.signal() == Some(libc::SIGKILL) => {
                    self.child = None;
                    return Ok(());
                }
                Some(status) => return Err(self.has_ended(status)),
                None if self.child.is_none() => return Ok(()),
                None if Instant::now() >= until => {
                    return Err(format!(
                        "node {} is still there {KILL_TIMEOUT:?} after SIGKILL",
                        self.place.id
                    ));
                }
                None => sleep(LOOK_PAUSE).await,
            }
        }
    }

    /// How the process ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    /// `Err` where the process ended although nobody asked it to.
    pub(crate) fn must_run(&mut self) -> Result<(), String> {
        match self.ended() {
            None => Ok(()),
            Some(status) => Err(self.has_ended(status)),
        }
    }

    fn has_ended(&self, status: ExitStatus) -> String {
        format!("node {} ended by itself ({status})\n{}", self.place.id, self.log_tail())
    }

    /// Waits until the node answers and its status is as wanted. `Err`: it ended, or was not so far in
    /// time, with the end of its log.
    pub(crate) async fn answers(
        &mut self,
        patience: Duration,
        wanted: &str,
        good: impl Fn(&StatusResponse) -> bool,
    ) -> Result<(), String> {
        let until = Instant::now() + patience;
        loop {
            self.must_run()?;
            let why = match self.status().await {
                Ok(status) if good(&status) => return Ok(()),
                Ok(status) => format!("it answers {status:?}"),
                Err(why) => why,
            };
            if Instant::now() >= until {
                return Err(format!(
                    "node {}: no sign within {patience:?} that it {wanted}: {why}\n{}",
                    self.place.id,
                    self.log_tail()
                ));
            }
            sleep(LOOK_PAUSE).await;
        }
    }

    async fn status(&self) -> Result<StatusResponse, String> {
        let nodes = [self.place.client.to_string()];
        let connecting = Client::builder().nodes(nodes).timeout(ASK_TIMEOUT).connect();
        let client = connecting.await.map_err(|error| error.to_string())?;
        client.status().await.map_err(|error| error.to_string())
    }

    /// The first line of the log that tells of a panic. A task that panics need not end the process.
    pub(crate) fn panicked(&self) -> Option<String> {
        let log = read(&self.log_path());
        let lines: Vec<_> = log.lines().collect();
        let at = lines.iter().position(|line| line.contains(" panicked at "))?;
        let shown: Vec<_> = lines.iter().skip(at).take(3).map(|line| format!("  {line}")).collect();
        Some(format!("node {} panicked\n{}", self.place.id, shown.join("\n")))
    }

    /// Raft snapshots that others have begun to send it.
    pub(crate) fn snapshots(&self) -> usize {
        read(&self.log_path()).matches("receiving a raft snapshot").count()
    }

    fn log_tail(&self) -> String {
        let path = self.log_path();
        let log = read(&path);
        let lines: Vec<_> = log.lines().collect();
        let last = lines.iter().skip(lines.len().saturating_sub(LOG_TAIL_LINES));
        let shown: Vec<_> = last.map(|line| format!("  {line}")).collect();
        format!("  the end of {}:\n{}", path.display(), shown.join("\n"))
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

impl Drop for Node {
    fn drop(&mut self) {
        // One that stands still obeys SIGKILL too.
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
