//! Gc thresholds of a range: how far back reads of each key reach, and how that moves.
//!
//! Retention is set for prefixes of keys, so a range has a threshold for all its keys and others for spans of them. The
//! leader proposes where they should be; what is held by somebody who reads a moment keeps them from going there:
//!
//! ```text
//!   keys       a ........ sessions/ ........ sessions0 ........ z
//!   threshold  | 40       | 95                | 40
//!   proposed   | 50       | 105               | 50              a hold at 100, until 200; now 150
//!   then       | 50       | 100               | 50
//! ```
//!
//! A span stays when its setting is gone, until the range's own threshold has passed its: what lies between the two may
//! be removed already, and a read of it must be refused.
//!
//! # Invariants
//!
//! * No key's threshold ever falls, whatever is proposed, in whichever order.
//! * None rises above the moment of a hold that counts. A hold counts until cluster time, as commands say it, has
//!   reached its end: no replica's clock has a part in it.
//! * Spans and holds are bounded ([`SPANS_MAX`], [`HOLDS_MAX`]).

use super::{
    format::gc::{GcHold, GcPrefix, GcSpan, GcThresholds},
    keys::prefix_end,
};
use crate::{
    planted::{self, Bug},
    time::Timestamp,
};

/// Spans of a range: twice what settings can make, for those that outlive theirs.
const SPANS_MAX: usize = 256;
/// Holders of a range: nodes, and those of their processes that ended lately.
const HOLDS_MAX: usize = 64;

impl GcThresholds {
    /// Reads of a key at earlier moments are refused.
    pub fn of(&self, key: &[u8]) -> Timestamp {
        let after = self.spans.partition_point(|span| span.start.as_slice() <= key);
        let before = after.checked_sub(1).and_then(|at| self.spans.get(at));
        let span = before.filter(|span| span.end.is_empty() || key < span.end.as_slice());
        span.map_or(self.threshold, |span| span.threshold)
    }

    /// Reads of `[start, end)`, where an empty end is none, at earlier moments are refused.
    pub fn over(&self, start: &[u8], end: &[u8]) -> Timestamp {
        let is_end = |key: &[u8]| key.is_empty() || (!end.is_empty() && key >= end);
        let overlaps = |span: &&GcSpan| {
            (end.is_empty() || span.start.as_slice() < end)
                && (span.end.is_empty() || start < span.end.as_slice())
        };
        let (mut highest, mut from, mut ends) = (Timestamp::ZERO, start, false);
        for span in self.spans.iter().filter(overlaps) {
            if from < span.start.as_slice() {
                highest = highest.max(self.threshold);
            }
            highest = highest.max(span.threshold);
            (from, ends) = (&span.end, is_end(&span.end));
        }
        if ends { highest } else { highest.max(self.threshold) }
    }

    /// Moves thresholds up to what retention says at `now`: of all keys, and of those with longer and longer prefixes.
    /// Holds that have ended by then are forgotten.
    pub(crate) fn advance(&mut self, now: Timestamp, threshold: Timestamp, prefixes: &[GcPrefix]) {
        self.holds.retain(|hold| hold.until > now);
        // The careless hand: "who reads for a minute has given up".
        let holds = self.holds.iter().filter(|_| !planted::active(Bug::GcBelowHold));
        let held = holds.map(|hold| hold.at).min().unwrap_or(Timestamp::MAX);
        let wanted = threshold.min(held);
        let spans = self.moved(wanted, prefixes, held);
        self.spans = if spans.len() <= SPANS_MAX {
            spans
        } else {
            // There is no room for all: what is to be kept for a shorter time is kept as long as the rest. Where that
            // is too much still, so is what is to be kept for longer, and spans go as the rest reaches them.
            let longer = prefixes.iter().filter(|of| of.threshold < threshold);
            let spans = self.moved(wanted, &longer.cloned().collect::<Vec<_>>(), held);
            if spans.len() <= SPANS_MAX { spans } else { self.moved(wanted, &[], held) }
        };
        self.threshold = self.threshold.max(wanted);
    }

    /// The spans after thresholds have moved, without those that say what the range's own says.
    fn moved(&self, threshold: Timestamp, prefixes: &[GcPrefix], held: Timestamp) -> Vec<GcSpan> {
        let all = self.threshold.max(threshold);
        let mut bounds: Vec<Vec<u8>> = Vec::new();
        let mut is_open = false;
        let ends =
            prefixes.iter().map(|prefix| (prefix.prefix.clone(), prefix_end(&prefix.prefix)));
        let stand = self.spans.iter().map(|span| (span.start.clone(), span.end.clone()));
        for (start, end) in ends.chain(stand) {
            bounds.push(start);
            is_open |= end.is_empty();
            bounds.extend(Some(end).filter(|end| !end.is_empty()));
        }
        bounds.sort_unstable();
        bounds.dedup();
        let mut spans: Vec<GcSpan> = Vec::new();
        for (at, start) in bounds.iter().enumerate() {
            let end = bounds.get(at + 1).cloned().unwrap_or_default();
            if end.is_empty() && !is_open {
                continue;
            }
            let longest = prefixes.iter().filter(|of| start.starts_with(&of.prefix));
            let wanted = longest.max_by_key(|of| of.prefix.len());
            let wanted = wanted.map_or(threshold, |of| of.threshold.min(held));
            let becomes = self.of(start).max(wanted);
            if becomes == all {
                continue;
            }
            match spans.last_mut() {
                Some(last) if last.end == *start && last.threshold == becomes => last.end = end,
                _ => spans.push(GcSpan { start: start.clone(), end, threshold: becomes }),
            }
        }
        spans
    }

    /// Takes a hold in, in the place of the holder's earlier one; false where there is no room. One that has ended
    /// already takes the earlier one away.
    pub(crate) fn hold(&mut self, hold: GcHold) -> bool {
        let has_room = self.holds.len() < HOLDS_MAX;
        match self.holds.iter_mut().find(|known| known.holder == hold.holder) {
            Some(known) if known.sequence < hold.sequence => *known = hold,
            Some(_) => {}
            None if hold.until == Timestamp::ZERO => {}
            None if has_room => self.holds.push(hold),
            None => return false,
        }
        self.holds.retain(|hold| hold.until > Timestamp::ZERO);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(prefix: &[u8], threshold: u64) -> GcPrefix {
        GcPrefix { prefix: prefix.to_vec(), threshold: Timestamp(threshold) }
    }

    fn hold(holder: u64, sequence: u64, at: u64, until: u64) -> GcHold {
        GcHold { holder, sequence, at: Timestamp(at), until: Timestamp(until) }
    }

    fn all(thresholds: &GcThresholds, keys: &[&[u8]]) -> Vec<u64> {
        keys.iter().map(|key| thresholds.of(key).0).collect()
    }

    #[test]
    fn each_key_goes_by_the_longest_prefix() {
        let mut gc = GcThresholds::default();
        gc.advance(Timestamp(100), Timestamp(40), &[prefix(b"s/", 90), prefix(b"s/long/", 10)]);
        let keys: [&[u8]; 5] = [b"a", b"s/", b"s/long/x", b"s/x", b"t"];
        assert_eq!(all(&gc, &keys), [40, 90, 10, 90, 40]);
        assert_eq!(gc.over(b"a", b"b"), Timestamp(40));
        assert_eq!(gc.over(b"a", b"s/"), Timestamp(40));
        assert_eq!(gc.over(b"a", b"s/0"), Timestamp(90));
        assert_eq!(gc.over(b"s0", b""), Timestamp(40));
        assert_eq!(gc.over(b"", b""), Timestamp(90));
        assert_eq!(gc.over(b"s/long/", b"s/long0"), Timestamp(10));
        assert_eq!(gc.over(b"s/long/x", b"s/long/y"), Timestamp(10));
        assert_eq!(gc.over(b"s/long/x", b"s/m"), Timestamp(90));
    }

    #[test]
    fn what_is_removed_perhaps_stays_refused_when_a_setting_goes() {
        let mut gc = GcThresholds::default();
        gc.advance(Timestamp(100), Timestamp(40), &[prefix(b"s/", 90)]);
        gc.advance(Timestamp(110), Timestamp(50), &[]);
        assert_eq!(all(&gc, &[b"a", b"s/x"]), [50, 90]);
        gc.advance(Timestamp(200), Timestamp(91), &[]);
        assert_eq!(gc.spans, []);
        assert_eq!(all(&gc, &[b"a", b"s/x"]), [91, 91]);
    }

    #[test]
    fn a_prefix_without_an_end_and_one_of_everything() {
        let mut gc = GcThresholds::default();
        gc.advance(Timestamp(100), Timestamp(40), &[prefix(b"\xff", 90)]);
        assert_eq!(all(&gc, &[b"a", b"\xff", b"\xff\xff\xff"]), [40, 90, 90]);
        gc.advance(Timestamp(100), Timestamp(41), &[prefix(b"", 95)]);
        assert_eq!(all(&gc, &[b"", b"a", b"\xff\xff"]), [95, 95, 95]);
        assert_eq!(gc.over(b"b", b"c"), Timestamp(95));
    }

    #[test]
    fn nothing_rises_above_a_hold_until_that_has_ended() {
        let mut gc = GcThresholds::default();
        assert!(gc.hold(hold(1, 1, 60, 150)));
        assert!(gc.hold(hold(2, 1, 80, 150)));
        gc.advance(Timestamp(149), Timestamp(100), &[prefix(b"s", 140)]);
        assert_eq!(all(&gc, &[b"a", b"s"]), [60, 60]);
        // The first one goes on, from later; an earlier request of it that comes late changes nothing.
        assert!(gc.hold(hold(1, 3, 90, 300)));
        assert!(gc.hold(hold(1, 2, 60, 999)));
        gc.advance(Timestamp(150), Timestamp(100), &[prefix(b"s", 140)]);
        assert_eq!(all(&gc, &[b"a", b"s"]), [90, 90]);
        // It is given up.
        assert!(gc.hold(hold(1, 4, 0, 0)));
        assert_eq!(gc.holds, []);
        gc.advance(Timestamp(151), Timestamp(100), &[prefix(b"s", 140)]);
        assert_eq!(all(&gc, &[b"a", b"s"]), [100, 140]);
    }

    #[test]
    fn holds_and_spans_are_bounded() {
        let mut gc = GcThresholds::default();
        for holder in 0..HOLDS_MAX as u64 {
            assert!(gc.hold(hold(holder, 1, 60, 150)));
        }
        assert!(!gc.hold(hold(99, 1, 60, 150)), "one too many");
        assert!(gc.hold(hold(3, 2, 61, 160)), "one that is there");
        gc.advance(Timestamp(150), Timestamp(1), &[]);
        assert!(gc.hold(hold(99, 2, 60, 170)), "the others have ended");
        let many = |from: u64| {
            (0..300_u64).map(move |n| prefix(format!("{n:03}").as_bytes(), from + n * 2))
        };
        let mut gc = GcThresholds::default();
        gc.advance(Timestamp(1_000), Timestamp(700), &many(701).collect::<Vec<_>>());
        assert_eq!((gc.spans.len(), gc.threshold), (0, Timestamp(700)), "all are kept as long");
        let mut gc = GcThresholds::default();
        let few_longer: Vec<_> = many(701).chain([prefix(b"audit/", 5)]).collect();
        gc.advance(Timestamp(1_000), Timestamp(700), &few_longer);
        assert_eq!(
            (gc.spans.len(), gc.of(b"audit/1")),
            (1, Timestamp(5)),
            "that is kept for longer"
        );
        let mut gc = GcThresholds::default();
        gc.advance(Timestamp(1_000), Timestamp(700), &many(1).collect::<Vec<_>>());
        assert_eq!(
            (gc.spans.len(), gc.threshold),
            (0, Timestamp(700)),
            "too much, whatever is left out"
        );
    }

    proptest! {
        /// No key's threshold falls, none rises above a hold, and each is what the longest prefix says where nothing
        /// stood against it.
        #[test]
        fn thresholds_only_rise(rounds in prop::collection::vec(
            (
                0_u64..200,
                prop::collection::vec(("[ab]{0,3}", 0_u64..200), 0..5),
                prop::option::of((0_u64..3, 0_u64..200, 0_u64..300)),
            ),
            1..20,
        )) {
            let mut keys = vec![String::new()];
            for at in 0..keys.len() + 40 {
                let Some(key) = keys.get(at).cloned().filter(|key| key.len() < 4) else { continue };
                keys.extend(["a", "b", "c"].map(|more| format!("{key}{more}")));
            }
            let mut gc = GcThresholds::default();
            for (round, (threshold, prefixes, held)) in rounds.into_iter().enumerate() {
                let now = Timestamp(round as u64 * 15);
                if let Some((holder, at, until)) = held {
                    gc.hold(GcHold { holder, sequence: round as u64 + 1, at: Timestamp(at), until: Timestamp(until) });
                }
                let before = gc.clone();
                let mut prefixes: Vec<_> =
                    prefixes.iter().map(|(of, at)| prefix(of.as_bytes(), *at)).collect();
                prefixes.sort_by(|a, b| a.prefix.cmp(&b.prefix));
                prefixes.dedup_by(|a, b| a.prefix == b.prefix);
                gc.advance(now, Timestamp(threshold), &prefixes);
                let counts = before.holds.iter().filter(|hold| hold.until > now);
                let held = counts.map(|hold| hold.at).min().unwrap_or(Timestamp::MAX);
                for key in &keys {
                    let of = prefixes.iter().filter(|of| key.as_bytes().starts_with(&of.prefix));
                    let wanted = of.max_by_key(|of| of.prefix.len()).map_or(Timestamp(threshold), |of| of.threshold);
                    let expected = before.of(key.as_bytes()).max(wanted.min(held));
                    prop_assert_eq!(gc.of(key.as_bytes()), expected, "{}", key);
                }
                for pair in gc.spans.windows(2) {
                    prop_assert!(pair[0].end <= pair[1].start && !pair[0].end.is_empty());
                }
            }
        }
    }
}
