//! Which nodes suffer what, and when. All of it is drawn from the seed before anything begins, so that a
//! seed means the same victims at the same moments, whatever the machine makes of it.
//!
//! Rounds are dealt like cards: of each ten in a row every kind has its share, in an order of the seed's.
//! So no kind is left out of a run of ten rounds or more.

use std::{fmt, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

/// Each ten rounds have these.
const DECK: [Kind; 10] = [
    Kind::One,
    Kind::One,
    Kind::Away,
    Kind::Two,
    Kind::Two,
    Kind::All,
    Kind::All,
    Kind::Again,
    Kind::Stop,
    Kind::Stop,
];
/// From the beginning of a round to its harm.
const MOMENT_MS: std::ops::RangeInclusive<u64> = 200..=2_500;
/// How long a killed node is down.
const DOWN_MS: std::ops::RangeInclusive<u64> = 50..=1_800;
/// How long a node is down that stays away: some ranges have let go of what it lacks, and send it a raft
/// snapshot.
const AWAY_MS: std::ops::RangeInclusive<u64> = 4_000..=7_000;
/// From a node's start to its second kill: some before it listens, some while it catches up.
const AGAIN_MS: std::ops::RangeInclusive<u64> = 10..=800;
/// How long a stopped node stands still: around the stall timeout of links, above all election timeouts.
const STOP_MS: std::ops::RangeInclusive<u64> = 700..=2_200;

#[derive(Clone, Copy)]
enum Kind {
    One,
    Away,
    Two,
    All,
    Again,
    Stop,
}

/// What happens to one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Victim {
    /// Which one, from 1.
    pub(super) node: u64,
    /// How long it is down, or stands still.
    pub(super) down: Duration,
}

/// What a round does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// SIGKILL to all victims at once; each is started again after a time of its own. With `again` they are
    /// killed a second time `again` after that start, and started at once.
    Kill {
        /// From a start to the second kill, if there is one.
        again: Option<Duration>,
    },
    /// SIGSTOP to all victims at once, and SIGCONT to each after a time of its own.
    Stop,
}

/// One round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// From its beginning to the harm.
    pub(super) moment: Duration,
    /// To whom; the first to come back first.
    pub(super) victims: Vec<Victim>,
    /// What.
    pub(super) harm: Harm,
}

/// The rounds of a seed.
pub(super) fn plan(seed: u64, rounds: u64, nodes: u64) -> Vec<Round> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut deck: Vec<Kind> = Vec::new();
    let round = |_| {
        if deck.is_empty() {
            deck.extend(DECK);
            deck.shuffle(&mut random);
        }
        draw(deck.pop().unwrap_or(Kind::One), nodes, &mut random)
    };
    (0..rounds).map(round).collect()
}

fn draw(kind: Kind, nodes: u64, random: &mut StdRng) -> Round {
    let mut duration = |of| Duration::from_millis(random.random_range(of));
    let moment = duration(MOMENT_MS);
    let again = matches!(kind, Kind::Again).then(|| duration(AGAIN_MS));
    let (count, down) = match kind {
        Kind::One | Kind::Again => (1, DOWN_MS),
        Kind::Away => (1, AWAY_MS),
        Kind::Two => (2, DOWN_MS),
        Kind::All => (nodes, DOWN_MS),
        Kind::Stop => (random.random_range(1..=2), STOP_MS),
    };
    let mut chosen: Vec<u64> = (1..=nodes).collect();
    chosen.shuffle(random);
    chosen.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    let mut victim =
        |node| Victim { node, down: Duration::from_millis(random.random_range(down.clone())) };
    let mut victims: Vec<_> = chosen.into_iter().map(&mut victim).collect();
    victims.sort_by_key(|victim| victim.down);
    let harm = if matches!(kind, Kind::Stop) { Harm::Stop } else { Harm::Kill { again } };
    Round { moment, victims, harm }
}

/// As the progress line has it: `kill -9 of node 2 (0.8 s), node 5 (1.2 s)`.
impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.harm {
            Harm::Kill { .. } => write!(f, "kill -9 of")?,
            Harm::Stop => write!(f, "stop of")?,
        }
        for (index, Victim { node, down }) in self.victims.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma} node {node} ({:.1} s)", down.as_secs_f64())?;
        }
        if let Harm::Kill { again: Some(again) } = self.harm {
            write!(f, ", again {:.2} s after its start", again.as_secs_f64())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_means_the_same_rounds() {
        assert_eq!(plan(7, 40, 5), plan(7, 40, 5));
        assert_ne!(plan(7, 40, 5), plan(8, 40, 5));
        assert_eq!(plan(7, 40, 5)[..20], plan(7, 20, 5), "more rounds change none before");
    }

    #[test]
    fn ten_rounds_have_every_kind() {
        for seed in 0..50 {
            for ten in plan(seed, 20, 5).chunks(10) {
                let killed = |count: usize| {
                    let kills = |round: &&Round| {
                        round.harm == Harm::Kill { again: None } && round.victims.len() == count
                    };
                    ten.iter().filter(kills).count()
                };
                assert_eq!((killed(1), killed(2), killed(5)), (3, 2, 2));
                let away = |round: &&Round| round.victims[0].down >= Duration::from_secs(4);
                assert_eq!(ten.iter().filter(away).count(), 1);
                assert_eq!(ten.iter().filter(|round| round.harm == Harm::Stop).count(), 2);
            }
        }
    }

    #[test]
    fn every_node_suffers_and_none_twice_at_once() {
        let mut seen = BTreeSet::new();
        for round in plan(1, 100, 5) {
            let nodes: BTreeSet<_> = round.victims.iter().map(|victim| victim.node).collect();
            assert_eq!(nodes.len(), round.victims.len());
            assert!(round.victims.is_sorted_by_key(|victim| victim.down));
            if nodes.len() < 5 {
                seen.extend(nodes);
            }
        }
        assert_eq!(seen, BTreeSet::from([1, 2, 3, 4, 5]));
    }
}
