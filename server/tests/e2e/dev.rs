//! `quintet dev`: directories that are copied, moved and renamed; a start that was cut short.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

use crate::support::{
    command::{Outcome, command, quintet},
    process, wait_for,
};

/// Directories of clusters, of which some may run; their nodes are killed when it is dropped.
struct Directories(tempfile::TempDir);

impl Directories {
    fn new() -> Directories {
        Directories(tempfile::tempdir().expect("a directory"))
    }

    /// The real path: nodes are known by it.
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().expect("a directory").join(name)
    }

    async fn quintet(&self, arguments: &[&str]) -> Outcome {
        quintet(&self.path("state"), arguments).await
    }

    async fn dev(&self, name: &str) -> Outcome {
        let dir = self.path(name);
        let dir = dir.to_str().expect("UTF-8");
        self.quintet(&["dev", "--detach", "--nodes", "1", "--dir", dir]).await
    }

    async fn stop(&self, name: &str) -> String {
        let dir = self.path(name);
        self.quintet(&["dev", "stop", "--dir", dir.to_str().expect("UTF-8")]).await.done()
    }

    /// A value of the one cluster that runs.
    async fn get(&self, key: &str) -> String {
        self.quintet(&["kv", "get", key]).await.done()
    }

    async fn copy(&self, from: &str, to: &str) {
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(self.path(from)).arg(self.path(to));
        assert!(copy.status().await.expect("cp").success());
    }

    fn pids(&self, name: &str) -> Vec<u32> {
        let Ok(nodes) = fs::read_dir(self.path(name)) else { return Vec::new() };
        let noted = nodes.flatten().map(|node| node.path().join("pid"));
        let noted = noted.filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
        noted.filter(|pid| works_below(*pid, self.0.path())).collect()
    }
}

fn works_below(pid: u32, dir: &Path) -> bool {
    let dir = dir.canonicalize().expect("a directory");
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|works_in| works_in.starts_with(dir))
}

impl Drop for Directories {
    fn drop(&mut self) {
        for processes in fs::read_dir("/proc").expect("processes").flatten() {
            let pid = processes.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(pid) = pid.filter(|pid| works_below(*pid, self.0.path())) {
                process::signal(pid, libc::SIGKILL);
            }
        }
    }
}

#[tokio::test]
async fn a_copied_moved_or_renamed_directory_has_its_own_data() {
    let dirs = Directories::new();
    dirs.dev("first").await.done();
    dirs.quintet(&["kv", "put", "k", "of the first"]).await.done();

    // A copy of one that runs would be answered by its nodes.
    dirs.copy("first", "early").await;
    let line = dirs.dev("early").await.refused(2);
    assert!(line.contains("is in use by another program") && line.contains("copy"), "{line}");
    assert_eq!(dirs.get("k").await, "of the first");
    dirs.stop("first").await;

    dirs.copy("first", "copy").await;
    dirs.dev("copy").await.done();
    assert_eq!(dirs.get("k").await, "of the first");
    dirs.quintet(&["kv", "put", "k", "of the copy"]).await.done();
    dirs.stop("copy").await;
    dirs.dev("first").await.done();
    assert_eq!(dirs.get("k").await, "of the first", "the original was left alone");
    dirs.stop("first").await;

    fs::create_dir(dirs.path("below")).expect("created");
    fs::rename(dirs.path("first"), dirs.path("below/moved")).expect("moved");
    dirs.dev("below/moved").await.done();
    assert_eq!(dirs.get("k").await, "of the first");
    assert!(!dirs.path("first").exists(), "nothing is made at the old place");

    // Also while it runs.
    fs::rename(dirs.path("below/moved"), dirs.path("renamed")).expect("renamed");
    dirs.dev("renamed").await.done();
    dirs.quintet(&["kv", "put", "k", "of the renamed"]).await.done();
    assert_eq!(dirs.stop("renamed").await, "stopped 1 node\n");
    dirs.dev("renamed").await.done();
    assert_eq!(dirs.get("k").await, "of the renamed");
    dirs.stop("renamed").await;
}

#[tokio::test]
async fn a_dev_that_was_killed_while_it_formed_the_cluster_is_gone_on_with() {
    let dirs = Directories::new();
    let dir = dirs.path("c");
    let arguments = ["dev", "--nodes", "3", "--dir", dir.to_str().expect("UTF-8")];
    let mut dev = command(&dirs.path("state"), &arguments);
    let mut dev = dev.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    wait_for("all nodes are started", Duration::from_secs(30), async || {
        let pids = dirs.pids("c");
        if pids.len() == 3 { Ok(()) } else { Err(pids) }
    })
    .await;
    dev.kill().await.expect("killed");

    let detached = [&arguments[..], &["--detach"]].concat();
    dirs.quintet(&detached).await.done();
    dirs.quintet(&["kv", "put", "k", "v"]).await.done();
    assert_eq!(dirs.get("k").await, "v");
    // That it runs, and that it was formed, is no news any more.
    dirs.quintet(&detached).await.done();
    let line = dirs.quintet(&arguments).await.refused(2);
    assert!(line.contains("runs already"), "{line}");
    dirs.stop("c").await;
}
