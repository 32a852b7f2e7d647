//! What the last passes over a range for feeds have found: those who catch up share them. Pure, but for the time.
//!
//! A pass brings many pages' worth of versions behind a position (`changes.rs`). Several are kept, so that feeds at
//! different places do not take each other's away.
//!
//! # Invariants
//!
//! * Bounded: [`PASSES_MAX`], in the room of all lists of the node; without room what is kept of a pass is its first
//!   [`KEPT_MIN`] versions, for who keeps nothing passes over the range again and comes no further.
//! * One that nobody has asked for goes.

use std::time::Duration;

use super::room::{Room, bytes_of};
use crate::{
    storage::changes::{Found, Position, Written},
    time::local::Instant,
};

/// What nobody has asked for in this time is dropped.
pub(super) const ASKED_WITHIN: Duration = Duration::from_secs(10);
/// Passes of a range that are kept.
const PASSES_MAX: usize = 4;
/// Versions of a pass that are kept without room.
const KEPT_MIN: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct CaughtUp(Vec<Pass>);

/// What a pass over a span has found behind a position.
#[derive(Debug)]
struct Pass {
    span: (Vec<u8>, Vec<u8>),
    after: Position,
    found: Found,
    /// Of the room.
    bytes: usize,
    used: Instant,
}

impl CaughtUp {
    /// What is behind a position, `most` versions at most; none where no pass can tell.
    pub(super) fn find(
        &mut self,
        span: (&[u8], &[u8]),
        after: &Position,
        most: usize,
    ) -> Option<Found> {
        let pass = self.0.iter_mut().find(|pass| {
            let is_of_it = (&pass.span.0[..], &pass.span.1[..]) == span;
            is_of_it && !pass.after.is_above(after) && pass.found.upto.is_above(after)
        })?;
        pass.used = Instant::now();
        let Found { versions, upto } = &pass.found;
        let first = versions.partition_point(|version| version.at <= after.floor());
        let behind = versions.iter().skip(first);
        let wanted = behind.filter(|version| after.is_before(version.at, &version.key));
        Some(cut(wanted, most, upto.clone()))
    }

    /// Keeps a pass, in the place of the one that was asked for least lately where there are too many.
    pub(super) fn keep(
        &mut self,
        room: &Room,
        (start, end): (&[u8], &[u8]),
        after: Position,
        mut found: Found,
    ) {
        while self.0.len() >= PASSES_MAX {
            self.drop_oldest(room);
        }
        let mut bytes = bytes_of(&found.versions);
        while !room.fits(bytes) && !self.0.is_empty() {
            self.drop_oldest(room);
        }
        if !room.fits(bytes) {
            found = cut(found.versions.iter(), KEPT_MIN, found.upto.clone());
            bytes = bytes_of(&found.versions);
        }
        room.take(bytes);
        let span = (start.to_vec(), end.to_vec());
        self.0.push(Pass { span, after, found, bytes, used: Instant::now() });
    }

    fn drop_oldest(&mut self, room: &Room) {
        let oldest = self.0.iter().enumerate().min_by_key(|(_, pass)| pass.used);
        if let Some(place) = oldest.map(|(place, _)| place) {
            room.give_back(self.0.remove(place).bytes);
        }
    }

    /// Drops those that nobody has asked for in a while.
    pub(super) fn drop_unasked(&mut self, room: &Room) {
        self.0.retain(|pass| {
            let stays = pass.used.elapsed() < ASKED_WITHIN;
            if !stays {
                room.give_back(pass.bytes);
            }
            stays
        });
    }

    /// Drops all.
    pub(super) fn clear(&mut self, room: &Room) {
        self.0.drain(..).for_each(|pass| room.give_back(pass.bytes));
    }
}

/// The first of some versions, and up to where these are all; `upto` where none is left out.
pub(super) fn cut<'a>(
    wanted: impl Iterator<Item = &'a Written>,
    most: usize,
    upto: Position,
) -> Found {
    let mut versions: Vec<Written> = wanted.take(most.saturating_add(1)).cloned().collect();
    let is_cut = versions.len() > most;
    versions.truncate(most);
    let last = versions.last().filter(|_| is_cut);
    let upto = last.map_or(upto, |last| Position { at: last.at, key: Some(last.key.clone()) });
    Found { versions, upto }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::time::Timestamp;

    fn earlier(pass: &mut Pass, by: Duration) {
        pass.used = pass.used.checked_sub(by).expect("an earlier moment");
    }

    const SPAN: (&[u8], &[u8]) = (b"a", b"m");

    fn position(at: u64, key: Option<&'static str>) -> Position {
        Position { at: Timestamp(at), key: key.map(Bytes::from) }
    }

    fn written(at: u64, key: &'static str) -> Written {
        Written { at: Timestamp(at), key: Bytes::from(key) }
    }

    #[test]
    fn what_a_pass_has_found_serves_the_pages_behind_it() {
        let (room, mut kept) = (Room::default(), CaughtUp::default());
        let versions = vec![written(2, "a"), written(2, "b"), written(3, "a")];
        let found = Found { versions, upto: position(3, Some("a")) };
        kept.keep(&room, SPAN, position(1, None), found);
        assert_eq!(kept.find(SPAN, &position(0, None), 9), None, "it began behind that");
        let page = |versions: &[Written], upto| Some(Found { versions: versions.to_vec(), upto });
        let first = page(&[written(2, "a"), written(2, "b")], position(2, Some("b")));
        assert_eq!(kept.find(SPAN, &position(1, None), 2), first);
        let rest = page(&[written(3, "a")], position(3, Some("a")));
        assert_eq!(kept.find(SPAN, &position(2, Some("b")), 2), rest);
        assert_eq!(kept.find(SPAN, &position(3, Some("a")), 2), None, "it ended there");
        let other: (&[u8], &[u8]) = (b"a", b"n");
        assert_eq!(kept.find(other, &position(1, None), 9), None, "it is of another span");
    }

    #[test]
    fn feeds_at_different_places_leave_each_other_theirs() {
        let (room, mut kept) = (Room::default(), CaughtUp::default());
        let found = |at| Found { versions: vec![written(at, "a")], upto: position(at, None) };
        let has = |kept: &mut CaughtUp, at| kept.find(SPAN, &position(at - 1, None), 9).is_some();
        let places: Vec<u64> = (0..PASSES_MAX as u64).map(|number| 10 * number + 10).collect();
        for at in &places {
            kept.keep(&room, SPAN, position(at - 1, None), found(*at));
        }
        assert!(places.iter().all(|at| has(&mut kept, *at)));
        // All but the first one were asked for since.
        earlier(&mut kept.0[0], ASKED_WITHIN / 2);
        kept.keep(&room, SPAN, position(4, None), found(5));
        assert!(has(&mut kept, 5) && !has(&mut kept, 10) && has(&mut kept, 20));
        kept.0.iter_mut().for_each(|pass| earlier(pass, ASKED_WITHIN));
        kept.drop_unasked(&room);
        assert_eq!((kept.0.len(), room.left()), (0, Room::default().left()));
    }

    #[test]
    fn without_room_the_first_versions_are_kept() {
        let (room, mut kept) = (Room::default(), CaughtUp::default());
        room.take(room.left());
        let versions: Vec<_> = (1..=1_000).map(|at| written(at, "a")).collect();
        let found = Found { versions, upto: position(1_000, None) };
        kept.keep(&room, SPAN, position(0, None), found);
        let page = kept.find(SPAN, &position(0, None), 9_999).expect("some");
        let last = KEPT_MIN as u64;
        assert_eq!((page.versions.len() as u64, page.upto), (last, position(last, Some("a"))));
    }
}
