//! Applied: latches are released, and callers are told what became of their requests.
//!
//! # Invariants
//!
//! * A request whose proposal was handed to Raft is answered with a result or as ambiguous, never as failed.
//! * What apply refused left no trace: it is evaluated again, ahead of what came later.
//! * A proposal of an earlier leadership releases nothing: its latches died with that, and others may hold them.

use super::{
    entry::{Entry, Pending},
    gathered::Gathered,
    latches::Latches,
};
use crate::{
    error::OpError,
    planted::{self, Bug},
    range::{answer::answer, command::outcome::Applied, request::Write},
    time::Timestamp,
};

/// Ends a proposal: answers what it asked, and releases its latches where they are `held` still. Who waited behind them
/// is gathered again, and so is what apply refused; how many that are. `now` is cluster time.
pub(super) fn finish(
    (entry, applied): (Entry, Option<Applied>),
    mut held: Option<&mut Latches<Write>>,
    gathered: &mut Gathered,
    now: impl Fn() -> Timestamp,
) -> u64 {
    let Entry { groups, batches, removal, .. } = entry;
    let mut again = Vec::new();
    let mut flags = match applied {
        Some(Applied::Groups(flags)) => flags.into_iter().map(Some).collect::<Vec<_>>(),
        Some(Applied::ReEvaluate | Applied::Done | Applied::Replica(_)) => {
            vec![Some(false); groups.len() + batches.len() + 1]
        }
        None => vec![None; groups.len() + batches.len() + 1],
    };
    let of_batches = flags.split_off(groups.len().min(flags.len()));
    let mut release = |key: &[u8]| {
        if let Some(latches) = &mut held {
            gathered.extend(latches.release(key));
        }
    };
    if let Some(removal) = removal {
        removal.keys.iter().for_each(|key| release(key));
        let flag = of_batches.first().copied().flatten();
        again.extend(settle(&now, removal.pending, flag));
    }
    for (batch, flag) in batches.into_iter().zip(of_batches) {
        // The careless hand: "a request has one key".
        let keys = if planted::active(Bug::BatchReleasesAnchor) { 1 } else { usize::MAX };
        batch.write.keys().take(keys).for_each(|key| release(key));
        again.extend(settle(&now, batch, flag));
    }
    for (group, flag) in groups.into_iter().zip(flags) {
        release(&group.key);
        again.extend(group.members.into_iter().filter_map(|member| settle(&now, member, flag)));
    }
    let count = again.len() as u64;
    gathered.return_to_front(again);
    count
}

/// Answers a request by the flag of its part of the entry, or gives it back to be evaluated again.
fn settle(now: impl Fn() -> Timestamp, pending: Pending, flag: Option<bool>) -> Option<Write> {
    let Pending { write, at, outcome, refused_by, .. } = pending;
    match flag {
        Some(true) => {
            write.reply.send(answer(&write.kind, outcome, at, refused_by.0.as_ref(), now));
            None
        }
        Some(false) => Some(write),
        None => {
            write.reply.send(Err(OpError::ambiguous(
                "leadership changed while the request was under way; ask again with the same id",
            )));
            None
        }
    }
}
