//! Random numbers that belong to one thing alone.
//!
//! The generator of a run is shared by everything in it: a draw less in one place moves all that
//! come after. What must not move when something else is left out, such as when faults strike and
//! whom, draws from dice of its own. That is what lets a failing run be made smaller.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// Dice for the `number`-th thing of a run.
    pub fn new(seed: u64, number: u64) -> Dice {
        let mut dice = Dice { state: seed };
        let mixed = dice.roll() ^ number.wrapping_mul(0xD1B5_4A32_D192_ED03);
        Dice { state: mixed }
    }

    /// 64 random bits.
    pub fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `[least, most]`.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        let spread = most.saturating_sub(least);
        least + if spread == u64::MAX { self.roll() } else { self.roll() % (spread + 1) }
    }

    /// A number in `[least, most]`.
    pub fn real(&mut self, least: f64, most: f64) -> f64 {
        let share = self.roll() as f64 / u64::MAX as f64;
        least + (most - least) * share
    }

    /// A duration between two numbers of seconds.
    pub fn seconds(&mut self, least: f64, most: f64) -> Duration {
        Duration::from_secs_f64(self.real(least, most))
    }

    /// One time in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.roll().is_multiple_of(times.max(1))
    }

    /// One of them; none of none.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        let most = (of.len() as u64).checked_sub(1)?;
        of.get(usize::try_from(self.between(0, most)).unwrap_or(0)).cloned()
    }

    /// All of them in another order.
    pub fn shuffled<T: Clone>(&mut self, of: &[T]) -> Vec<T> {
        let mut left = of.to_vec();
        let mut out = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let most = left.len() as u64 - 1;
            out.push(left.swap_remove(usize::try_from(self.between(0, most)).unwrap_or(0)));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sequence_comes_out() {
        // The first outputs of the reference implementation for seed 1234567.
        let mut dice = Dice { state: 1_234_567 };
        let rolled = [dice.roll(), dice.roll(), dice.roll()];
        assert_eq!(
            rolled,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn bounds_hold_and_every_number_comes() {
        let mut dice = Dice::new(7, 0);
        let mut seen = [false; 4];
        for _ in 0..200 {
            seen[usize::try_from(dice.between(3, 6)).unwrap() - 3] = true;
            assert!((0.5..=2.0).contains(&dice.real(0.5, 2.0)));
        }
        assert_eq!(seen, [true; 4]);
        assert_eq!(dice.between(5, 5), 5);
        assert_eq!(dice.pick::<u8>(&[]), None);
        let mut all = dice.shuffled(&[1, 2, 3, 4]);
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3, 4]);
    }

    #[test]
    fn things_do_not_share_dice() {
        assert_ne!(Dice::new(1, 1).roll(), Dice::new(1, 2).roll());
        assert_ne!(Dice::new(1, 1).roll(), Dice::new(2, 1).roll());
        assert_eq!(Dice::new(3, 4).roll(), Dice::new(3, 4).roll());
    }
}
