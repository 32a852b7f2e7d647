//! What a command came to when it was applied, and which requests came to nothing.

use serde::{Deserialize, Serialize};

use crate::{ids::ReplicaId, storage::format::request::Outcome};

/// What became of a command when it was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// It was no write.
    Done,
    /// Nothing was done: another leader's entry
    /// (`docs/decisions/2026-11-29-evaluated-once-under-one-term.md`).
    ReEvaluate,
    /// One flag a group, then one a batch: whether it was applied. What was not left no trace.
    Groups(Vec<bool>),
    /// The replica id that was reserved.
    Replica(ReplicaId),
}

/// Whether a request that ends so changes nothing but what is remembered of it: it is refused, or finds nothing to
/// do.
pub fn changes_nothing(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Conflict(_)
        | Outcome::NotANumber
        | Outcome::NothingToDelete
        | Outcome::NoSuchKey => true,
        Outcome::Removed(removed) => removed.keys == 0,
        Outcome::Written | Outcome::Number(_) => false,
    }
}
