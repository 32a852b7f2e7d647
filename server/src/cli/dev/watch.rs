//! `dev` in the foreground: waits for the signal that ends it, and tells of nodes that end before.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{
    dev_cluster::{
        lock::lock,
        plan::Cluster,
        process::{self, Started},
        registry,
    },
    exit::Failure,
    output::{note, program},
};

/// Waits for Ctrl-C, telling of nodes that end, then stops all nodes.
pub(super) async fn watch(
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

/// Whatever asks this command to end.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Interrupts {
    pub(super) fn new() -> Result<Interrupts, Failure> {
        Ok(Interrupts {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) {
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
