//! The parts of a feed, one per range, and their changes in one order. Pure.
//!
//! Each part is asked page by page, and has *come* to a position: what it holds is all that there is up to there. A
//! change goes out once every part has come as far: none that is asked later can bring an earlier one.
//!
//! ```text
//!   part       has come to                       goes out: what is at or below the least of them
//!   a … f      ──── x ─ x ───────────┤
//!   f … p      ── x ─────────┤       .           x x x
//!   p …        ────────── x ─┼─ x ───┤                     waits: x
//! ```
//!
//! # Invariants
//!
//! * Changes go out in the order of (version, key), none twice, none before one that is still to come.
//! * A part holds one page at most: it is asked again when that has gone out, or was set down for want of room. What is
//!   known of a part whose page was set down is that nothing comes before that page: so all parts get on, one after the
//!   other, however little room there is.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use quintet_proto::v1;

use crate::{
    api::budget::Budget,
    error::OpError,
    planted::{self, Bug},
    request::weight,
    storage::changes::Position,
    time::Timestamp,
};

/// Ranges that one watch follows at most.
pub(super) const PARTS_MAX: usize = 1_024;

/// The parts of a span, where they are not too many.
pub(super) fn bounded<T>(spans: impl Iterator<Item = T>) -> Result<Vec<T>, OpError> {
    let spans: Vec<_> = spans.take(PARTS_MAX + 1).collect();
    if spans.len() > PARTS_MAX { Err(too_many()) } else { Ok(spans) }
}

/// What is told of a span that has too many.
pub(super) fn too_many() -> OpError {
    OpError::invalid(format!(
        "the span has keys of more than {PARTS_MAX} ranges; watch it in parts"
    ))
}

/// A part of the span that lies in one range, unless ranges have changed.
pub(super) struct Part {
    /// User keys, the end exclusive; empty is open.
    pub(super) start: Bytes,
    pub(super) end: Bytes,
    /// The same as stored.
    pub(super) stored: (Vec<u8>, Vec<u8>),
    /// How far it has come, by user keys.
    pub(super) seen: Position,
    /// What of it has gone out.
    gone: Position,
    held: VecDeque<v1::Change>,
    /// Of what is held.
    budget: Option<Arc<Budget>>,
}

/// What a page leaves of a part to be asked by itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rest {
    Nothing,
    /// From this user key on, by the position that was asked for.
    From(Bytes),
    /// The page is of no key of the part: it makes no sense.
    All,
}

impl Part {
    pub(super) fn new(
        (start, end): (Bytes, Bytes),
        stored: (Vec<u8>, Vec<u8>),
        seen: Position,
    ) -> Part {
        let (gone, held) = (seen.clone(), VecDeque::new());
        Part { start, end, stored, seen, gone, held, budget: None }
    }

    /// Whether it may be asked for a page.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Nothing is there up to a closed moment. Whether that is further than it had come.
    pub(super) fn comes_to(&mut self, resolved: Timestamp) -> bool {
        let seen = Position::behind(resolved);
        let is_further = seen.is_above(&self.seen);
        if is_further {
            self.seen = seen;
        }
        is_further
    }

    /// Takes a page that was asked for at the position it has come to.
    pub(super) fn take(&mut self, page: v1::WatchResponse, budget: Arc<Budget>) -> Rest {
        let rest = match &page.upto {
            upto if upto.is_empty() || (!self.end.is_empty() && *upto >= self.end) => Rest::Nothing,
            upto if *upto <= self.start => return Rest::All,
            upto => Rest::From(upto.clone()),
        };
        if let Rest::From(upto) = &rest {
            self.end = upto.clone();
        }
        let seen = position(&page);
        self.gone = self.seen.clone();
        if seen.is_above(&self.seen) {
            self.seen = seen;
        }
        self.held = page.changes.into();
        self.budget = Some(budget).filter(|_| !self.held.is_empty());
        rest
    }

    fn pop(&mut self) -> Option<v1::Change> {
        let change = self.held.pop_front();
        if let Some((at, key)) = change.as_ref().map(place) {
            self.gone = Position { at: Timestamp(at), key: Some(key.clone()) };
        }
        if self.held.is_empty() {
            self.budget = None;
        }
        change
    }

    /// Lets its page go: it stands before the first change of that.
    fn set_down(&mut self) {
        let Some((at, _)) = self.held.front().map(place) else { return };
        let before = Position::behind(Timestamp(at.saturating_sub(1)));
        self.seen = if before.is_above(&self.gone) { before } else { self.gone.clone() };
        self.held.clear();
        self.budget = None;
    }
}

/// Where a feed stands behind a page, or behind a message of a watch.
fn position(page: &v1::WatchResponse) -> Position {
    let last = page.changes.last().map(place);
    match last {
        Some((at, key)) if at > page.resolved => {
            Position { at: Timestamp(at), key: Some(key.clone()) }
        }
        _ => Position::behind(Timestamp(page.resolved)),
    }
}

/// The place of a change in the order of all.
fn place(change: &v1::Change) -> (u64, &Bytes) {
    (change.version.as_ref().map_or(0, |version| version.version), &change.key)
}

/// The parts of a feed, in the order of their keys. There is one at least.
pub(super) struct Parts(pub(super) Vec<Part>);

/// What goes out together.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Batch {
    pub(super) changes: Vec<v1::Change>,
    pub(super) bytes: usize,
    /// There is more that may go out now.
    pub(super) is_full: bool,
}

impl Parts {
    /// How far all of them have come.
    pub(super) fn seen(&self) -> Position {
        let each = self.0.iter().map(|part| &part.seen);
        // The careless hand: "the others have nothing".
        let is_careless = planted::active(Bug::FeedIgnoresLaggingRange);
        let least = each.reduce(|one, other| match one.is_above(other) == is_careless {
            true => one,
            false => other,
        });
        least.cloned().unwrap_or(Position::behind(Timestamp::ZERO))
    }

    /// The first changes that are held, each with the index of its part.
    fn fronts(&self) -> impl Iterator<Item = ((u64, &Bytes), usize)> {
        let fronts = self.0.iter().enumerate();
        fronts.filter_map(|(index, part)| Some((place(part.held.front()?), index)))
    }

    /// Lets the page go whose turn is last, to be asked for again; whether there was one.
    pub(super) fn set_down(&mut self) -> bool {
        let last = self.fronts().max().map(|(_, index)| index);
        last.and_then(|index| self.0.get_mut(index)).map(Part::set_down).is_some()
    }

    /// Takes what may go out, in order, up to these bounds, but one change at least.
    pub(super) fn take(&mut self, (most, bytes_max): (usize, usize)) -> Batch {
        let seen = self.seen();
        let mut batch = Batch::default();
        loop {
            let Some(((at, key), part)) = self.fronts().min() else { return batch };
            let is_due = !seen.is_before(Timestamp(at), key);
            if !is_due {
                return batch;
            }
            if batch.changes.len() >= most || batch.bytes >= bytes_max {
                batch.is_full = true;
                return batch;
            }
            let Some(change) = self.0.get_mut(part).and_then(Part::pop) else { return batch };
            batch.bytes += weight::of_change(&change);
            batch.changes.push(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Limits, ops::metrics::Metrics, router::admission::Admission};

    fn budget() -> Arc<Budget> {
        let admission = Admission::new(&Limits::default(), Arc::new(Metrics::new()));
        Budget::new(admission, None)
    }

    fn part(start: &'static str, end: &'static str, at: u64) -> Part {
        let seen = Position::behind(Timestamp(at));
        Part::new((start.into(), end.into()), Default::default(), seen)
    }

    fn page(
        changes: &[(&'static str, u64)],
        resolved: u64,
        upto: &'static str,
    ) -> v1::WatchResponse {
        let changes = changes.iter().map(|(key, at)| v1::Change {
            key: Bytes::from(*key),
            version: Some(v1::KeyVersion { version: *at, ..v1::KeyVersion::default() }),
        });
        let (changes, upto) = (changes.collect(), upto.into());
        v1::WatchResponse { changes, resolved, upto, ..v1::WatchResponse::default() }
    }

    fn taken(parts: &mut Parts, most: usize) -> (Vec<(String, u64)>, bool) {
        let batch = parts.take((most, usize::MAX));
        let name = |change: &v1::Change| String::from_utf8_lossy(&change.key).into_owned();
        let changes = batch.changes.iter().map(|change| (name(change), place(change).0));
        (changes.collect(), batch.is_full)
    }

    fn named(changes: &[(&str, u64)]) -> Vec<(String, u64)> {
        changes.iter().map(|(key, at)| ((*key).to_owned(), *at)).collect()
    }

    #[test]
    fn a_change_goes_out_once_every_part_has_come_as_far() {
        let mut parts = Parts(vec![part("a", "m", 10), part("m", "", 10)]);
        assert_eq!(parts.0[0].take(page(&[("b", 11), ("a", 14)], 20, ""), budget()), Rest::Nothing);
        assert_eq!(taken(&mut parts, 9), (vec![], false), "the other may bring something before");
        // Cut off within a timestamp: what is behind the last key is still to come.
        assert_eq!(parts.0[1].take(page(&[("m", 11), ("n", 14)], 13, ""), budget()), Rest::Nothing);
        assert_eq!(parts.seen(), Position { at: Timestamp(14), key: Some("n".into()) });
        assert_eq!(taken(&mut parts, 3), (named(&[("b", 11), ("m", 11), ("a", 14)]), true));
        assert_eq!(taken(&mut parts, 3), (named(&[("n", 14)]), false));
        parts.0[1].comes_to(Timestamp(12));
        assert_eq!(parts.seen().at, Timestamp(14), "nothing goes back");
        parts.0[1].comes_to(Timestamp(25));
        assert_eq!(parts.seen(), Position::behind(Timestamp(20)));
    }

    #[test]
    fn of_a_timestamp_what_is_behind_the_last_key_waits() {
        let mut parts = Parts(vec![part("a", "m", 10), part("m", "", 10)]);
        parts.0[0].take(page(&[("b", 14)], 13, ""), budget());
        parts.0[1].take(page(&[("n", 14)], 20, ""), budget());
        assert_eq!(taken(&mut parts, 9), (named(&[("b", 14)]), false), "c may have 14 too");
        parts.0[0].take(page(&[("c", 14)], 20, ""), budget());
        assert_eq!(taken(&mut parts, 9), (named(&[("c", 14), ("n", 14)]), false));
    }

    #[test]
    fn without_room_parts_get_on_one_after_the_other() {
        let mut parts = Parts(vec![part("a", "m", 10), part("m", "", 10)]);
        parts.0[0].take(page(&[("b", 14), ("c", 17)], 20, ""), budget());
        parts.0[1].take(page(&[("n", 15), ("m", 18)], 19, ""), budget());
        assert!(parts.set_down());
        assert_eq!(parts.seen(), Position::behind(Timestamp(14)), "n at 15 is still to come");
        assert_eq!(taken(&mut parts, 9), (named(&[("b", 14)]), false));
        assert!(parts.set_down() && !parts.set_down());
        let behind = |at| Position::behind(Timestamp(at));
        assert_eq!((&parts.0[0].seen, &parts.0[1].seen), (&behind(16), &behind(14)));
        parts.0[1].take(page(&[("n", 15), ("m", 18)], 19, ""), budget());
        assert_eq!(taken(&mut parts, 9), (named(&[("n", 15)]), false));
        // What has gone out of a timestamp does not come again.
        parts.0[0].take(page(&[("c", 17), ("d", 17)], 20, ""), budget());
        assert_eq!(taken(&mut parts, 1), (named(&[("c", 17)]), true));
        assert!(parts.set_down() && parts.set_down());
        assert_eq!(parts.0[0].seen, Position { at: Timestamp(17), key: Some("c".into()) });
        assert_eq!(parts.0[1].seen, behind(17));
    }

    #[test]
    fn a_span_has_a_bounded_number_of_parts() {
        assert_eq!(bounded(0..PARTS_MAX).map(|parts| parts.len()), Ok(PARTS_MAX));
        let refused = bounded(0..=PARTS_MAX).expect_err("one too many");
        assert_eq!(refused.code, quintet_proto::v1::Code::InvalidArgument);
    }

    #[test]
    fn a_page_of_less_than_the_part_leaves_a_rest() {
        let took = |upto| {
            let mut part = part("c", "m", 10);
            let rest = part.take(page(&[], 20, upto), budget());
            (rest, part.end, part.seen.at.0)
        };
        assert_eq!(took(""), (Rest::Nothing, "m".into(), 20));
        assert_eq!(took("m"), (Rest::Nothing, "m".into(), 20));
        assert_eq!(took("z"), (Rest::Nothing, "m".into(), 20));
        assert_eq!(took("f"), (Rest::From("f".into()), "f".into(), 20));
        assert_eq!(took("c"), (Rest::All, "m".into(), 10), "of nothing: it comes no further");
    }
}
