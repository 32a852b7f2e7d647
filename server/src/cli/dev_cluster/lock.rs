//! Keeps two commands from starting or stopping nodes of one directory at the same time.

use std::fs::File;

use anyhow::Context;

use super::plan::Cluster;
use crate::cli::exit::Failure;

/// Locks the directory for as long as the file is open; the system lets go of it where the process dies.
pub(crate) fn lock(cluster: &Cluster) -> Result<File, Failure> {
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
