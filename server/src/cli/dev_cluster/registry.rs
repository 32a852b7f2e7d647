//! Where commands find a running local cluster: one small file per cluster in the user's state
//! directory, holding the cluster's directory. Only a hint: whether nodes run is asked of the
//! processes, and a file that leads nowhere is ignored.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
};

use super::{plan::Cluster, process};
use crate::cli::{exit::Failure, output::note};

/// Clusters looked at.
const ENTRIES_MAX: usize = 1000;

/// The user's state directory for this program.
fn state_dir() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(base.join("quintet"))
}

fn entries_dir() -> Option<PathBuf> {
    Some(state_dir()?.join("dev"))
}

/// Where a cluster lives for which no directory is named.
pub(crate) fn default_dir() -> Result<PathBuf, Failure> {
    let dir = state_dir().ok_or_else(|| {
        Failure::usage("neither XDG_STATE_HOME nor HOME is set: name a directory with --dir")
    })?;
    Ok(dir.join("dev-cluster"))
}

/// The file of a cluster, named by a hash (FNV-1a) of its directory.
fn entry(cluster: &Cluster) -> Option<PathBuf> {
    let dir = cluster.dir().as_os_str().as_bytes();
    let hash = dir.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    Some(entries_dir()?.join(format!("{hash:016x}")))
}

/// Notes a cluster. A failure costs convenience only, and is told.
pub(crate) fn add(cluster: &Cluster) {
    let Some(path) = entry(cluster) else { return };
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(&path, cluster.dir().as_os_str().as_bytes())
    };
    if let Err(error) = write() {
        note(format!("other commands will need --node: cannot write {}: {error}", path.display()));
    }
}

/// Forgets a cluster.
pub(crate) fn remove(cluster: &Cluster) {
    if let Some(path) = entry(cluster) {
        // Not there, or not to be removed: it only leads to a cluster that does not run.
        drop(fs::remove_file(path));
    }
}

/// The local cluster that runs.
pub(crate) fn find_running() -> Result<Cluster, Failure> {
    let mut found: Vec<_> =
        noted().into_iter().filter(|cluster| !process::running(cluster).is_empty()).collect();
    match (found.pop(), found.is_empty()) {
        (Some(cluster), true) => Ok(cluster),
        (None, _) => Err(Failure::usage(
            "no cluster to talk to: name a node with --node HOST:PORT or in QUINTET_NODES, or \
             start a local cluster with `quintet dev`",
        )),
        (Some(last), false) => {
            found.push(last);
            let clusters: Vec<_> = found.iter().map(describe).collect();
            Err(Failure::usage(format!(
                "several local clusters run; choose one: {}",
                clusters.join(" or ")
            )))
        }
    }
}

/// Process ids of the running local cluster that one of these client addresses belongs to; none where there
/// is no such cluster.
pub(crate) fn pids_of(addresses: &[String]) -> Vec<u32> {
    match find_running() {
        Ok(cluster) if cluster.client_addresses().iter().any(|a| addresses.contains(a)) => {
            process::running(&cluster).into_iter().map(|running| running.pid).collect()
        }
        _ => Vec::new(),
    }
}

fn describe(cluster: &Cluster) -> String {
    let addresses = cluster.client_addresses();
    let first = addresses.first().map(String::as_str).unwrap_or_default();
    format!("--node {first} ({})", cluster.dir().display())
}

fn noted() -> Vec<Cluster> {
    let Some(entries) = entries_dir().and_then(|dir| fs::read_dir(dir).ok()) else {
        return Vec::new();
    };
    let dirs = entries.flatten().take(ENTRIES_MAX).filter_map(|entry| fs::read(entry.path()).ok());
    dirs.filter_map(|dir| Cluster::open(&PathBuf::from(OsString::from_vec(dir))).ok()).collect()
}
