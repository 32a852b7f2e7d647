//! Evaluated: what a request means on the state of its keys at its timestamp, and whether it has to go into the log
//! for that.
//!
//! # Invariants
//!
//! * A refusal is answered only from a state that was confirmed afterwards (`reads/`), or from an applied entry. It is
//!   stored, so that neither a delayed first attempt nor a repetition acts afterwards; but for that of a first attempt
//!   whose caller ignores it once it has sent a later one (`refusal_not_remembered`).
//! * A refusal that rests on what another request of the entry does, or on an expiry that the range's time has not
//!   passed, is proposed too: applying it is what makes it true.

use super::entry::{Asked, Pending};
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

/// What evaluation made of a request.
pub(super) enum Evaluated {
    /// It goes into the entry; what its key holds afterwards.
    Goes(Pending, Current),
    /// It changes nothing, and need not be remembered: its answer, once the leadership is confirmed.
    Refused(Write, OpResult),
}

/// A request on one key, or a batch. `left` is what requests of the same entry leave of the key.
pub(super) fn evaluate(
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
    let (current, is_news) = current.seen_at(state.time(), at);
    let (effect, outcome) = evaluate_on(&current, &write.kind, at);
    // The careless hands: "a refusal is a refusal".
    let rests_on_applied = left.is_none() || planted::active(Bug::RefusalByUncommitted);
    let forgets = dedup::may_forget_refusal(&write) || planted::active(Bug::RefusalNotStored);
    if changes_nothing(&outcome) && rests_on_applied && forgets && !is_news {
        let result = answer(&write.kind, outcome, Timestamp::ZERO, current.0.as_ref(), || at);
        return Ok(Evaluated::Refused(write, result));
    }
    let after = current.after(&effect, at);
    Ok(Evaluated::Goes(Pending { write, at, effect, outcome, refused_by: current }, after))
}
