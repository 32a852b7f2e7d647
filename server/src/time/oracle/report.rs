//! What the members' physical clocks say, and the median of it.
//!
//! A proposer's own clock may be wrong by any amount. So it proposes no more than [`AHEAD`] above the median of all
//! members' clocks: one wild clock of five moves no time, whether five servers are up or three. Every answer of a
//! server carries its clock; between answers it is carried on by the proposer's monotonic clock. Nothing that must be
//! right rests on any of this: only how close timestamps are to what clocks on walls show.
//!
//! The first few answers say little: where a proposer has just begun, or was not used for a while, those that are near
//! answer first, and all clocks of a city may be wrong alike. Reports are *settled* once all members are heard, or
//! those that are not have had [`HEARD_WITHIN`] for it. Before that a median carries time nowhere ([`Proposer`]). And
//! what was heard counts for [`REPORT_LASTS`] only: a clock that was wrong a while ago and another that is wrong now
//! would else be two wrong ones of three.
//!
//! [`Proposer`]: super::proposer::Proposer

use std::{collections::BTreeMap, time::Duration};

use super::{AHEAD, Block, Config, HEARD_WITHIN, REPORT_LASTS, ServerId};

/// The latest reports of the members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reports {
    /// Physical clock, and when it was heard: on the proposer's monotonic clock.
    heard: BTreeMap<ServerId, (Block, Duration)>,
    /// Since when a majority of the members is heard of lately; before that its first ones were, or the members were
    /// others.
    since: Duration,
}

impl Reports {
    /// A member says what its physical clock shows.
    pub fn hear(&mut self, member: ServerId, physical: Block, config: &Config, now: Duration) {
        let valid = self.heard.values().filter(|(_, at)| is_valid(*at, now)).count();
        if valid < config.majority() {
            self.since = now;
        }
        self.heard.insert(member, (physical, now));
    }

    /// Forgets who is no member.
    pub fn keep(&mut self, config: &Config, now: Duration) {
        self.heard.retain(|member, _| config.members.contains(member));
        self.since = now;
    }

    /// Whether all members were heard, or those that were not had time for it.
    pub fn are_settled(&self, config: &Config, now: Duration) -> bool {
        now.saturating_sub(self.since) >= HEARD_WITHIN
            || config.members.iter().all(|member| self.of(*member, now).is_some())
    }

    /// What a member's clock shows now, where it was heard lately.
    pub fn of(&self, member: ServerId, now: Duration) -> Option<Block> {
        let (physical, at) = self.heard.get(&member)?;
        is_valid(*at, now).then(|| physical.plus(now.saturating_sub(*at)))
    }

    /// The median of the members' clocks, the lower one of two; none where less than a majority was heard lately.
    pub fn median(&self, config: &Config, now: Duration) -> Option<Block> {
        let mut shown: Vec<_> =
            config.members.iter().filter_map(|member| self.of(*member, now)).collect();
        if shown.len() < config.majority() {
            return None;
        }
        shown.sort_unstable();
        shown.get((shown.len() - 1) / 2).copied()
    }

    /// The block that physical clocks speak for: the proposer's own, as far as the median bears it out. Not below that
    /// either: where the one proposer that there is has a clock that is slow, time would hardly move.
    pub fn supported(&self, own: Block, config: &Config, now: Duration) -> Option<Block> {
        self.median(config, now).map(|median| own.clamp(median, median.plus(AHEAD)))
    }
}

/// Whether what was heard at a moment counts still.
fn is_valid(at: Duration, now: Duration) -> bool {
    now.saturating_sub(at) <= REPORT_LASTS
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000;
    const NOW: u64 = 10 * HOUR;

    fn config(members: u64) -> Config {
        Config { members: (1..=members).map(ServerId).collect(), ..Config::default() }
    }

    fn median(clocks: &[u64]) -> Option<u64> {
        let mut reports = Reports::default();
        for (id, clock) in (1..).zip(clocks) {
            reports.hear(ServerId(id), Block(*clock), &config(5), Duration::ZERO);
        }
        reports.median(&config(5), Duration::ZERO).map(|block| block.0)
    }

    #[test]
    fn one_wild_clock_of_five_moves_no_median() {
        for wild in [NOW - HOUR, NOW + HOUR, 0, u64::MAX >> 12] {
            assert_eq!(median(&[NOW, NOW, wild, NOW, NOW]), Some(NOW));
            assert_eq!(median(&[NOW, wild, NOW, NOW]), Some(NOW));
            assert_eq!(median(&[wild, NOW, NOW]), Some(NOW));
        }
        assert_eq!(median(&[NOW - HOUR, NOW, NOW + HOUR]), Some(NOW), "one ahead and one behind");
        assert_eq!(median(&[NOW, NOW]), None, "no majority");
    }

    #[test]
    fn reports_are_carried_on_and_go_out_of_date() {
        let mut reports = Reports::default();
        for id in 1..=3 {
            reports.hear(ServerId(id), Block(NOW), &config(5), Duration::from_secs(1));
        }
        let at = |seconds| Duration::from_secs(seconds);
        assert_eq!(reports.median(&config(5), at(3)), Some(Block(NOW + 2_000_000)));
        assert_eq!(reports.median(&config(5), at(4)), None);
        let own = Block(NOW + HOUR);
        assert_eq!(reports.supported(own, &config(5), at(1)), Some(Block(NOW + 250_000)));
        assert_eq!(reports.supported(Block(NOW - HOUR), &config(5), at(1)), Some(Block(NOW)));
        reports.keep(&Config { members: [ServerId(3)].into(), ..Config::default() }, at(1));
        assert_eq!(reports.of(ServerId(1), at(1)), None);
    }

    /// Carried time hours ahead (simulation, clock-leaps, seed 43).
    #[test]
    fn clocks_that_were_wrong_one_after_the_other_are_no_majority() {
        let (mut reports, five) = (Reports::default(), config(5));
        let at = |seconds| Duration::from_secs(seconds);
        for (id, clock, second) in [(3, NOW, 0), (4, NOW, 0), (1, NOW + HOUR, 9)] {
            reports.hear(ServerId(id), Block(clock), &five, at(second));
        }
        // The proposer was cut off; its own clock is wrong now, the first one's is right again and was not heard since.
        let own = NOW + 5 * HOUR;
        reports.hear(ServerId(2), Block(own), &five, at(18));
        reports.hear(ServerId(5), Block(NOW + 18_000_000), &five, at(18));
        assert_eq!(reports.median(&five, at(18)), None, "two say nothing");
        assert_eq!(reports.supported(Block(own), &five, at(18)), None);
        reports.hear(ServerId(3), Block(NOW + 18_000_001), &five, at(18));
        assert_eq!(reports.median(&five, at(18)), Some(Block(NOW + 18_000_001)));
        assert!(!reports.are_settled(&five, at(18)));
    }

    #[test]
    fn reports_are_settled_once_all_are_heard_or_had_time_for_it() {
        let (mut reports, five) = (Reports::default(), config(5));
        let ms = Duration::from_millis;
        for id in 1..=4 {
            reports.hear(ServerId(id), Block(NOW), &five, ms(1_000));
        }
        assert!(!reports.are_settled(&five, ms(1_000)));
        assert!(!reports.are_settled(&five, ms(1_499)));
        assert!(reports.are_settled(&five, ms(1_500)), "the fifth can't be heard");
        reports.hear(ServerId(5), Block(NOW), &five, ms(1_010));
        assert!(reports.are_settled(&five, ms(1_010)));
        // Nobody was heard for long: it begins anew, once there is a majority again.
        for id in 1..=3 {
            reports.hear(ServerId(id), Block(NOW), &five, ms(30_000 + id * 100));
        }
        assert!(!reports.are_settled(&five, ms(30_799)));
        assert!(reports.are_settled(&five, ms(30_800)));
        // And where two are heard of still, and were all the time.
        for id in [4, 5] {
            reports.hear(ServerId(id), Block(NOW), &five, ms(41_500));
        }
        reports.hear(ServerId(1), Block(NOW), &five, ms(42_000));
        assert!(!reports.are_settled(&five, ms(42_100)), "the three were lost meanwhile");
        reports.keep(&config(4), ms(43_000));
        assert!(!reports.are_settled(&config(4), ms(43_400)), "others are members now");
        assert!(reports.are_settled(&config(4), ms(43_500)));
    }
}
