//! The last things that went wrong with a replica, for an operator who asks: `quintet debug range`.
//!
//! Not a log: the same thing again raises a count and its time. What an operator does not have to know
//! (a vote that somebody else won, a request that was sent on) is not noted.
//!
//! # Bounds
//!
//! [`FAULTS_MAX`] things a replica, the one that was seen least lately goes; [`WHY_BYTES_MAX`] of text
//! each. A replica that nothing has happened to has nothing. Nothing of it is on disk: a restart forgets
//! it.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;

use crate::{
    ids::ReplicaId,
    time::{Timestamp, oracle::handle::Oracle},
};

/// Different things that are remembered.
pub const FAULTS_MAX: usize = 16;
/// Bytes of text that are kept of each.
pub const WHY_BYTES_MAX: usize = 240;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Sending log entries, or a heartbeat, to another replica.
    Append,
    /// Asking another replica for its vote.
    Vote,
    /// Handing leadership over.
    Transfer,
    /// Sending a raft snapshot.
    SendSnapshot,
    /// Receiving a raft snapshot.
    ReceiveSnapshot,
    /// Taking up leadership.
    Lead,
    /// Getting a proposal into the log and applied.
    Propose,
    /// Applying what was proposed.
    Apply,
    /// Confirming leadership for reads.
    Confirm,
    /// Truncating the log.
    Truncate,
    /// Reading or writing the disk.
    Store,
}

impl Doing {
    /// Its name for operators; stable.
    pub fn name(self) -> &'static str {
        match self {
            Doing::Append => "append",
            Doing::Vote => "vote",
            Doing::Transfer => "transfer",
            Doing::SendSnapshot => "send_snapshot",
            Doing::ReceiveSnapshot => "receive_snapshot",
            Doing::Lead => "lead",
            Doing::Propose => "propose",
            Doing::Apply => "apply",
            Doing::Confirm => "confirm",
            Doing::Truncate => "truncate",
            Doing::Store => "store",
        }
    }
}

/// Something that went wrong, once or again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// While what was done.
    pub doing: Doing,
    /// With which other replica, if it needed one.
    pub peer: Option<ReplicaId>,
    /// In words.
    pub why: String,
    /// By the node's wall clock, when it was seen first.
    pub first: Timestamp,
    /// When it was seen last.
    pub last: Timestamp,
    /// How often.
    pub count: u64,
}

/// What is remembered of one replica.
#[derive(Debug)]
pub struct Faults {
    oracle: Arc<Oracle>,
    /// The one seen last at the end.
    seen: Mutex<VecDeque<Fault>>,
}

impl Faults {
    /// Nothing has happened.
    pub fn new(oracle: Arc<Oracle>) -> Faults {
        Faults { oracle, seen: Mutex::default() }
    }

    /// Something went wrong.
    pub fn note(&self, doing: Doing, peer: Option<ReplicaId>, why: &str) {
        let why = beginning(why);
        let now = Timestamp::from_us(self.oracle.physical().0);
        let mut seen = self.seen.lock();
        let same = |fault: &Fault| fault.doing == doing && fault.peer == peer && fault.why == why;
        let known = seen.iter().position(same).and_then(|at| seen.remove(at));
        let fault = match known {
            Some(known) => Fault { last: now, count: known.count.saturating_add(1), ..known },
            None => {
                while seen.len() >= FAULTS_MAX {
                    seen.pop_front();
                }
                Fault { doing, peer, why: why.to_owned(), first: now, last: now, count: 1 }
            }
        };
        seen.push_back(fault);
    }

    /// What is remembered, the one seen last first.
    pub fn seen(&self) -> Vec<Fault> {
        self.seen.lock().iter().rev().cloned().collect()
    }
}

/// As much of a text as is kept.
fn beginning(text: &str) -> &str {
    let mut end = text.len().min(WHY_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;
    use crate::seams::SystemClock;

    fn faults() -> Faults {
        Faults::new(Oracle::new(Arc::new(SystemClock)).0)
    }

    #[test]
    fn the_same_again_is_counted_and_comes_first() {
        let faults = faults();
        for _ in 0..3 {
            faults.note(Doing::Append, Some(ReplicaId(2)), "the link is down");
            faults.note(Doing::Append, Some(ReplicaId(3)), "the link is down");
        }
        faults.note(Doing::Append, Some(ReplicaId(2)), "the link is down");
        let seen = faults.seen();
        let told: Vec<_> = seen.iter().map(|fault| (fault.peer, fault.count)).collect();
        assert_eq!(told, [(Some(ReplicaId(2)), 4), (Some(ReplicaId(3)), 3)]);
        assert!(seen.iter().all(|fault| fault.first <= fault.last && fault.first.0 > 0));
    }

    #[test]
    fn count_and_bytes_are_bounded() {
        let faults = faults();
        for n in 0..10 * FAULTS_MAX {
            faults.note(Doing::Propose, None, &format!("{n} {}", "ä".repeat(1 << 16)));
        }
        let seen = faults.seen();
        assert_eq!(seen.len(), FAULTS_MAX);
        assert!(seen[0].why.starts_with(&format!("{} ", 10 * FAULTS_MAX - 1)), "{}", seen[0].why);
        assert!(seen.iter().all(|fault| fault.why.capacity() <= WHY_BYTES_MAX));
    }
}
