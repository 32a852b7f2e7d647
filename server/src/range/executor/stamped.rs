//! Stamped: all requests of an entry get their timestamps, here and nowhere else.
//!
//! Behind latching, so that a timestamp is above those of all earlier writes of its keys: these are applied. Ahead of
//! evaluation, because what a request means is decided at its timestamp: by then a key may have expired. One place for
//! a whole entry, so that whoever gives the time is asked once for it, and may take a while to answer: the requests
//! hold their latches meanwhile, and nothing has been read for them yet but what is remembered of them.
//!
//! # Invariants
//!
//! * Timestamps of an entry rise in the order of its requests, so versions of a group do (asserted where they are
//!   applied, `command/write.rs`).

use super::entry::Asked;
use crate::time::Hlc;

/// Gives those that are to be evaluated their timestamps, which rise in the order of the requests, and are above all
/// that this node has given or seen.
pub(super) fn stamp(asked: &mut [Asked], hlc: &Hlc) {
    for one in asked.iter_mut().filter(|one| one.answer.is_none()) {
        one.at = hlc.now();
    }
}
