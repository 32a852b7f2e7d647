//! Stamped: the requests of an entry get their timestamps, from one round of the oracle, here and nowhere else.
//!
//! The round begins once the requests have their keys to themselves, so its block is above the versions of all earlier
//! writes of these keys, whoever made them, and above everything that anybody was answered before. From the moment at
//! which it is asked for until the entry is applied a guard is up over the keys (`range/guards.rs`). What a request
//! means is decided afterwards, at its timestamp: by then a key may have expired.
//!
//! The round takes a trip to other nodes. Meanwhile the executor goes on: proposals end, requests gather. They do not
//! join this entry: they came after its round had begun.
//!
//! # Invariants
//!
//! * A round serves one entry of a range, and one entry is stamped at a time: timestamps rise along the log of the
//!   range (checked where they are applied, `command/write.rs`).
//! * Timestamps of an entry rise in the order of its requests, so versions of a group do (asserted there too).
//! * Where no round comes, the requests are told so; nothing was begun.

use std::pin::Pin;

use super::{entry::Asked, latched::Draft};
use crate::{
    error::OpError,
    planted::{self, Bug},
    range::guards::Raised,
    time::oracle::Block,
};

/// A round that is asked for.
pub(super) type Round = Pin<Box<dyn Future<Output = Result<Block, OpError>> + Send>>;

/// Requests that have their keys, and wait for their timestamps.
pub(super) struct Stamping {
    /// The term in which they got their keys.
    pub(super) term: u64,
    pub(super) draft: Draft,
    pub(super) asked: Vec<Asked>,
    pub(super) guard: Raised,
    pub(super) round: Round,
}

/// Gives those that are to be evaluated their timestamps.
pub(super) fn stamp(asked: &mut [Asked], block: Block) {
    let evaluated = asked.iter_mut().filter(|one| one.answer.is_none());
    for (one, number) in evaluated.zip(0..) {
        one.at = match planted::active(Bug::NaiveTimeServer) {
            true => one.write.first_attempt,
            false => block.nth(number),
        };
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        range::request::{Condition, Write, WriteKind},
        time::Timestamp,
    };

    #[test]
    fn timestamps_rise_and_whoever_has_an_answer_gets_none() {
        let one = |is_answered: bool| {
            let delete = WriteKind::Delete { condition: Condition::Always };
            let write = Write::of_test(1, Bytes::from_static(b"k"), delete);
            Asked::new(write, is_answered.then(|| Err(OpError::deadline())))
        };
        let mut asked = [one(true), one(false), one(false), one(true), one(false)];
        stamp(&mut asked, Block(7));
        let (none, nth) = (Timestamp::ZERO, |number| Block(7).nth(number));
        assert_eq!(asked.map(|one| one.at), [none, nth(0), nth(1), none, nth(2)]);
    }
}
