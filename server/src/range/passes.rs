//! Whose turn it is to pass over a range for feeds (`changes.rs`), and whether somebody does.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::time::local::Instant;

/// A pass that has made no step for this long is not said to be under way.
const STEP_TIME_MAX: Duration = Duration::from_secs(5);

/// The passes over a range.
#[derive(Default)]
pub(super) struct Passes {
    /// Held by who makes one.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The last step of the one that is under way.
    stepped: Mutex<Option<Instant>>,
}

/// Whose turn it is.
pub(super) struct Turn {
    _turn: OwnedMutexGuard<()>,
}

impl Passes {
    /// Waits until nobody else makes one.
    pub(super) async fn turn(&self) -> Turn {
        Turn { _turn: self.turn.clone().lock_owned().await }
    }

    /// A pass makes a step.
    pub(super) fn step(&self) {
        *self.stepped.lock() = Some(Instant::now());
    }

    /// It is over.
    pub(super) fn end(&self, turn: Turn) {
        *self.stepped.lock() = None;
        drop(turn);
    }

    /// Whether one gets on.
    pub(super) fn is_under_way(&self) -> bool {
        self.stepped.lock().is_some_and(|at| at.elapsed() < STEP_TIME_MAX)
    }
}
