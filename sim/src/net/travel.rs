//! How long a frame travels on a link.
//!
//! A frame leaves once those before it have left (bandwidth), travels for a drawn time (latency), and
//! where it is lost is sent again, each time after twice the pause (as TCP does: Paxson and others,
//! "Computing TCP's Retransmission Timer", RFC 6298).

use crate::dice::Dice;

/// What madsim takes by itself for a frame, in microseconds: its timers know nothing shorter. It is
/// part of the latency that is drawn, so a link is never faster than this.
pub const MADSIM_US: u64 = 1_000;
/// The shortest pause before a lost frame is sent again, in microseconds.
pub const RETRANSMIT_US_MIN: u64 = 200_000;
/// The longest pause before what a cut held back is sent again, in microseconds.
pub const AFTER_CUT_US_MAX: u64 = 2_000_000;
/// How many times in a row a frame is lost at most.
const LOSSES_MAX: u32 = 5;

/// How a link is at the moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Least time one way, in microseconds.
    pub latency_us_min: u64,
    /// Most time one way.
    pub latency_us_max: u64,
    /// How many times slower than that.
    pub slower: u64,
    /// Bits a microsecond (which is megabits a second).
    pub bandwidth: u64,
    /// Share of frames that are lost.
    pub loss: f64,
    /// Share of lost frames at which the stream breaks.
    pub breaks: f64,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives at this moment, or behind what is ahead of it.
    Arrives(u64),
    /// How many times it was lost.
    Late {
        /// When it arrives.
        at_us: u64,
        /// How often it was lost.
        losses: u32,
    },
    /// It does not arrive: the stream breaks, which is known at this moment.
    Breaks(u64),
}

impl Link {
    /// A time one way, beyond what madsim takes.
    pub fn latency_us(&self, dice: &mut Dice) -> u64 {
        let drawn = dice.between(self.latency_us_min, self.latency_us_max);
        drawn.saturating_mul(self.slower).saturating_sub(MADSIM_US)
    }

    /// What becomes of a frame of `bytes` that is sent now; `free_us` is when the link has sent
    /// all that it was given before.
    pub fn travel(&self, dice: &mut Dice, now_us: u64, free_us: &mut u64, bytes: usize) -> Fate {
        let takes = (bytes as u64).saturating_mul(8) / self.bandwidth.max(1);
        *free_us = now_us.max(*free_us).saturating_add(takes);
        let at_us = free_us.saturating_add(self.latency_us(dice));
        let mut losses = 0;
        while self.loss > 0.0 && losses < LOSSES_MAX && dice.real(0.0, 1.0) < self.loss {
            losses += 1;
        }
        if losses == 0 {
            return Fate::Arrives(at_us);
        }
        let late = at_us.saturating_add(self.pause_us() * ((1 << losses) - 1));
        if dice.real(0.0, 1.0) < self.breaks {
            return Fate::Breaks(late);
        }
        Fate::Late { at_us: late, losses }
    }

    /// The first pause before a lost frame is sent again.
    fn pause_us(&self) -> u64 {
        let round_trip = self.latency_us_max.saturating_mul(self.slower).saturating_mul(2);
        RETRANSMIT_US_MIN.max(round_trip.saturating_mul(2))
    }
}

/// The pause, after a cut of some length was mended, before what it held is sent again: whoever was cut
/// off for long has long pauses by then.
pub fn pause_after_cut_us(dice: &mut Dice, cut_us: u64) -> u64 {
    dice.between(0, cut_us.min(AFTER_CUT_US_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Link = Link {
        latency_us_min: 12_000,
        latency_us_max: 20_000,
        slower: 1,
        bandwidth: 100,
        loss: 0.0,
        breaks: 0.0,
    };

    fn travel(link: &Link, dice: &mut Dice) -> Fate {
        link.travel(dice, 0, &mut 0, 0)
    }

    #[test]
    fn latency_is_within_its_bounds_less_what_madsim_takes() {
        let mut dice = Dice::new(1, 1);
        for _ in 0..500 {
            assert!((11_000..=19_000).contains(&LINK.latency_us(&mut dice)));
        }
        let near = Link { latency_us_min: 100, latency_us_max: 400, ..LINK };
        assert_eq!(near.latency_us(&mut dice), 0);
        let slow = Link { slower: 10, ..LINK };
        assert!((119_000..=199_000).contains(&slow.latency_us(&mut dice)));
    }

    #[test]
    fn frames_queue_up_behind_each_other_for_bandwidth() {
        let link = Link { latency_us_min: 1_000, latency_us_max: 1_000, ..LINK };
        let (mut dice, mut free) = (Dice::new(1, 1), 0);
        // 12,500 bytes are 100,000 bits: a millisecond at 100 bits a microsecond.
        let mut send = |now| link.travel(&mut dice, now, &mut free, 12_500);
        assert_eq!(send(0), Fate::Arrives(1_000));
        assert_eq!(send(0), Fate::Arrives(2_000));
        assert_eq!(send(500), Fate::Arrives(3_000));
        assert_eq!(send(10_000), Fate::Arrives(11_000));
    }

    #[test]
    fn a_lost_frame_comes_late_and_each_further_loss_costs_twice_as_much() {
        let link = Link { loss: 0.5, ..LINK };
        let mut dice = Dice::new(3, 1);
        let mut seen = [0; 6];
        for _ in 0..2_000 {
            let (at, losses) = match travel(&link, &mut dice) {
                Fate::Arrives(at) => (at, 0),
                Fate::Late { at_us, losses } => (at_us, losses),
                Fate::Breaks(_) => panic!("nothing breaks here"),
            };
            let least = 200_000 * ((1 << losses) - 1) + 11_000;
            assert!((least..=least + 8_000).contains(&at), "{losses}: {at}");
            seen[losses as usize] += 1;
        }
        assert!(seen.iter().all(|times| *times > 0), "{seen:?}");
        assert!((900..1_100).contains(&seen[0]), "{seen:?}");
        // On a long way a round trip counts.
        let far = Link { slower: 20, loss: 1.0, ..LINK };
        let Fate::Late { at_us, .. } = travel(&far, &mut dice) else { panic!("it is lost") };
        assert!(at_us >= 31 * 4 * 400_000);
    }

    #[test]
    fn a_share_of_lost_frames_breaks_the_stream() {
        let link = Link { loss: 0.2, breaks: 0.25, ..LINK };
        let mut dice = Dice::new(5, 1);
        let fates: Vec<_> = (0..4_000).map(|_| travel(&link, &mut dice)).collect();
        let broke = fates.iter().filter(|fate| matches!(fate, Fate::Breaks(_))).count();
        assert!((150..250).contains(&broke), "{broke}");
    }

    #[test]
    fn the_pause_after_a_cut_grows_with_it_and_is_bounded() {
        let mut dice = Dice::new(7, 1);
        let mut most = |cut| (0..500).map(|_| pause_after_cut_us(&mut dice, cut)).max();
        assert_eq!(most(0), Some(0));
        assert!((45_000..=50_000).contains(&most(50_000).unwrap()));
        assert!((1_900_000..=2_000_000).contains(&most(60_000_000).unwrap()));
    }
}
