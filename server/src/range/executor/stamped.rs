//! Stamped: the requests of a round get their timestamps, here and nowhere else.
//!
//! Behind latching, so that a timestamp is above those of all earlier writes of its keys: these are applied, or stand
//! before it in the entry. Ahead of evaluation, because what a request means is decided at its timestamp: by then a
//! key may have expired.
//!
//! The clock is asked once a round, for as many timestamps as there are requests. An entry takes another round where
//! requests of the one before needed no place in it (`latched.rs`). Whoever gives the time may take a while to
//! answer: the requests hold their latches meanwhile, and nothing has been read for them yet but what is remembered
//! of them.
//!
//! # Invariants
//!
//! * Timestamps of an entry rise in the order of its requests, so versions of a group do (asserted where they are
//!   applied, `command/write.rs`).

use super::entry::Asked;
use crate::time::{Hlc, Timestamp};

/// Gives those that are to be evaluated their timestamps, which rise in the order of the requests, and are above all
/// that this node has given or seen.
pub(super) fn stamp(asked: &mut [Asked], hlc: &Hlc) {
    let is_evaluated = |one: &&mut Asked| one.answer.is_none();
    let count = asked.iter_mut().filter(is_evaluated).count() as u64;
    if count == 0 {
        return;
    }
    let first = hlc.take(count);
    for (one, ahead) in asked.iter_mut().filter(is_evaluated).zip(0..count) {
        one.at = Timestamp(first.0.saturating_add(ahead));
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::{
        error::OpError,
        range::request::{Condition, Write, WriteKind},
        seams::SystemClock,
    };

    #[test]
    fn timestamps_rise_and_whoever_has_an_answer_gets_none() {
        let hlc = Hlc::new(Arc::new(SystemClock));
        let ahead = hlc.now().saturating_add(std::time::Duration::from_secs(10));
        hlc.observe(ahead);
        let one = |is_answered: bool| {
            let delete = WriteKind::Delete { condition: Condition::Always };
            let write = Write::of_test(1, Bytes::from_static(b"k"), delete);
            Asked::new(write, is_answered.then(|| Err(OpError::deadline())))
        };
        let mut asked = [one(true), one(false), one(false), one(true), one(false)];
        stamp(&mut asked, &hlc);
        let given = asked.map(|one| one.at.0.saturating_sub(ahead.0));
        assert_eq!(given, [0, 1, 2, 0, 3]);
        assert_eq!(hlc.now().0, ahead.0 + 4, "no more are taken than were given");
    }
}
