//! Evaluated: what a request means on the state of its keys at its timestamp, and whether it has to go into the log
//! for that.
//!
//! # Invariants
//!
//! * A refusal is answered only from a state that was confirmed afterwards (`reads/`), or from an applied entry. It is
//!   stored, so that neither a delayed first attempt nor a repetition acts afterwards; but for that of a first attempt
//!   whose caller ignores it once it has sent a later one (`refusal_not_remembered`).
//! * A refusal that rests on what another request of the entry does is proposed too: applying it is what makes it true.
//!   One that rests on an expiry is not: the timestamp is published, and whoever asks later asks at a later one.

use super::{
    checked,
    entry::{Asked, Pending},
    latched::Draft,
    latches::Latches,
    removal::{self, Page},
};
use crate::{
    planted::{self, Bug},
    range::{
        answer::answer,
        command::{evaluate::evaluate as evaluate_on, outcome::changes_nothing},
        dedup,
        held::Current,
        request::{OpResult, Write},
        state::RangeState,
    },
    storage::engine::Error,
    time::Timestamp,
};

/// Evaluates what is latched and stamped. Every request of it goes into the draft, is answered, is handed to `confirm`
/// with its answer, waits behind a key, or is returned, to be gathered again: its entry was full before its turn, or it
/// need not wait any more.
pub(super) fn evaluate(
    state: &RangeState,
    latches: &mut Latches<Write>,
    asked: impl Iterator<Item = Asked>,
    draft: &mut Draft,
    mut confirm: impl FnMut(Write, OpResult),
) -> Result<Vec<Write>, Error> {
    let (mut left, mut again) = (Vec::new(), Vec::new());
    for mut asked in asked {
        if let Some(answer) = asked.answer.take() {
            asked.write.reply.send(*answer);
            continue;
        }
        if !draft.entry.has_room_beside(0, 0) {
            left.extend(asked.write.keys().cloned());
            again.push(asked.write);
            continue;
        }
        if let Some(refused) = checked::by_its_time(&asked.write, asked.at) {
            // A page has no keys yet.
            let keys = asked.write.keys().filter(|_| asked.write.kind.range().is_none());
            left.extend(keys.cloned());
            asked.write.reply.send(Err(refused));
            continue;
        }
        if let Some(range) = asked.write.kind.range().cloned() {
            match removal::evaluate(state, latches, asked, &range)? {
                Page::Goes(removal) => draft.entry.set_removal(removal),
                Page::Empty(write, result) => confirm(write, result),
                Page::Waits(key, write) => {
                    if let Err(write) = latches.wait(&key, write) {
                        again.push(write);
                    }
                }
            }
            continue;
        }
        let mut slot = draft.slot(&asked.write.key);
        let before = slot.as_ref().and_then(|slot| slot.left());
        match evaluate_one(state, asked, before)? {
            Evaluated::Refused(write, result) => {
                left.push(write.key.clone());
                confirm(write, result);
            }
            Evaluated::Goes(pending, after) => match slot.take() {
                Some(slot) => slot.add(pending, after),
                None => draft.entry.add_batch(pending),
            },
        }
    }
    for key in left {
        if draft.is_left(&key) {
            again.extend(latches.release(&key));
        }
    }
    Ok(again)
}

/// What evaluation made of a request.
enum Evaluated {
    /// It goes into the entry; what its key holds afterwards.
    Goes(Pending, Current),
    /// It changes nothing, and need not be remembered: its answer, once the leadership is confirmed.
    Refused(Write, OpResult),
}

/// A request on one key, or a batch. `left` is what requests of the same entry leave of the key.
fn evaluate_one(
    state: &RangeState,
    asked: Asked,
    left: Option<&Current>,
) -> Result<Evaluated, Error> {
    let Asked { write, at, .. } = asked;
    let current = match left {
        Some(left) => left.clone(),
        // What is there does not matter.
        None if write.kind.is_unconditional() => Current(None),
        None => Current::read(&**state.engine(), &write.key)?,
    };
    let current = current.seen_at(at);
    let (effect, outcome) = evaluate_on(&current, &write.kind, at);
    // The careless hands: "a refusal is a refusal".
    let rests_on_applied = left.is_none() || planted::active(Bug::RefusalByUncommitted);
    let forgets = dedup::may_forget_refusal(&write) || planted::active(Bug::RefusalNotStored);
    if changes_nothing(&outcome) && rests_on_applied && forgets {
        let result = answer(&write.kind, outcome, Timestamp::ZERO, current.0.as_ref(), || at);
        return Ok(Evaluated::Refused(write, result));
    }
    let after = current.after(&effect, at);
    Ok(Evaluated::Goes(Pending { write, at, effect, outcome, refused_by: current }, after))
}
