//! An item on its way through a writer: a key and a value that were accepted and have no outcome yet.

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{deadline::Deadline, error::Error, types::Version};

/// From `write` to its outcome.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    /// Permits of `memory` that it holds.
    pub(super) memory: u32,
    /// From its first try on.
    pub(super) deadline: Option<Deadline>,
    /// To the caller that waits for this item by itself, if one does.
    pub(super) tell: Option<oneshot::Sender<Result<Version, Error>>>,
}

impl Item {
    /// Of key and value.
    pub(super) fn bytes(&self) -> usize {
        self.key.len().saturating_add(self.value.len())
    }

    /// Tells the caller that waits for this item, if one does and is still there.
    pub(super) fn tell(&mut self, outcome: impl FnOnce() -> Result<Version, Error>) {
        if let Some(tell) = self.tell.take() {
            drop(tell.send(outcome()));
        }
    }
}
