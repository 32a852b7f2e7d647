//! What a run will be, worked out before it begins: which fault strikes when, for how long, with
//! which dice.
//!
//! A strike is named by its number. Since each has dice of its own, leaving some out changes nothing
//! about the others: so a failing run can be made smaller, strike by strike, and said again in a
//! command line ([`Reduced`]).

use std::{collections::BTreeSet, fmt, time::Duration};

use crate::{
    dice::Dice,
    scenario::{Fault, Scenario},
};

/// More strikes than this are not planned for one run: what came later is left out.
pub const STRIKES_MAX: usize = 100_000;

/// One occurrence of a fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Strike {
    /// Its number in the run, from 1, in the order of time.
    pub number: u64,
    /// Which of the scenario's faults, from 0.
    pub position: usize,
    /// The fault.
    pub fault: Fault,
    /// When, from the beginning of the work.
    pub at: Duration,
    /// For how long; zero for what happens at once.
    pub lasts: Duration,
    /// Seed of its own dice.
    pub seed: u64,
}

/// What of a scenario is left out of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reduced {
    /// Strikes that do not happen.
    pub without: BTreeSet<u64>,
    /// Only this number of clients.
    pub clients: Option<u64>,
    /// Each client stops after this number of operations.
    pub operations: Option<u64>,
    /// Work and faults end after this number of seconds.
    pub duration_s: Option<u64>,
}

impl Reduced {
    /// The scenario with fewer clients and less time.
    pub fn of(&self, scenario: &Scenario) -> Scenario {
        let mut scenario = scenario.clone();
        if let Some(clients) = self.clients {
            scenario.workload.clients = scenario.workload.clients.min(clients.max(1));
        }
        if let Some(duration_s) = self.duration_s {
            scenario.duration_s = scenario.duration_s.min(duration_s.max(1));
        }
        scenario
    }

    /// Whether nothing is left out.
    pub fn is_whole(&self) -> bool {
        *self == Reduced::default()
    }
}

/// As options of the command line, each with a blank before it; nothing where nothing is left out.
impl fmt::Display for Reduced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.without.is_empty() {
            write!(f, " --without {}", numbers(&self.without))?;
        }
        let counts = [
            ("clients", self.clients),
            ("operations", self.operations),
            ("duration-s", self.duration_s),
        ];
        for (name, count) in counts {
            if let Some(count) = count {
                write!(f, " --{name} {count}")?;
            }
        }
        Ok(())
    }
}

/// Numbers as people write them: `1-3,7`.
pub fn numbers(of: &BTreeSet<u64>) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in of {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => runs.push((*number, *number)),
        }
    }
    let told = runs.into_iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        _ => format!("{first}-{last}"),
    });
    told.collect::<Vec<_>>().join(",")
}

/// Reads what [`numbers`] writes.
pub fn parse_numbers(text: &str) -> Result<BTreeSet<u64>, String> {
    let number = |text: &str| {
        let parsed = text.trim().parse::<u64>();
        parsed.map_err(|_| format!("{text:?} is no number: write them as 1-3,7"))
    };
    let mut found = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last || last > STRIKES_MAX as u64 {
            return Err(format!("{part:?} must rise, and not above {STRIKES_MAX}"));
        }
        found.extend(first..=last);
    }
    Ok(found)
}

/// The strikes of a seed that are left in a run.
pub fn strikes_left(scenario: &Scenario, seed: u64, reduced: &Reduced) -> Vec<Strike> {
    let mut left = strikes(&reduced.of(scenario), seed);
    left.retain(|strike| !reduced.without.contains(&strike.number));
    left
}

/// All strikes of a seed, in the order of time.
pub fn strikes(scenario: &Scenario, seed: u64) -> Vec<Strike> {
    let mut all = Vec::new();
    for (position, fault) in scenario.faults.iter().enumerate() {
        let mut dice = Dice::new(seed, position as u64);
        let end = Duration::from_secs(scenario.duration_s);
        let (down_min, down_max) = fault.down_s();
        let mut now = Duration::ZERO;
        let mut given = fault.at_s.iter();
        while all.len() < STRIKES_MAX {
            let at = match (fault.every_s(), given.next()) {
                (Some((least, most)), _) => now + dice.seconds(least, most),
                (None, Some(at)) => Duration::from_secs_f64(*at),
                (None, None) => break,
            };
            if at >= end {
                break;
            }
            let (lasts, seed) = (dice.seconds(down_min, down_max), dice.roll());
            now = at + lasts;
            all.push(Strike { number: 0, position, fault: fault.clone(), at, lasts, seed });
        }
    }
    all.sort_by_key(|strike| (strike.at, strike.position));
    for (number, strike) in (1..).zip(&mut all) {
        strike.number = number;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(faults: &str) -> Scenario {
        let text = format!(
            "name = \"p\"\ndescription = \"d\"\nduration_s = 30\n[workload]\nclients = 2\nkeys = 1\n\
             mix = {{ get = 1 }}\nthink_time_ms_max = 1\noperation_timeout_ms = 100\n{faults}"
        );
        Scenario::parse(&text).unwrap()
    }

    const KILLS: &str = "[[faults]]\nkind = \"node-kill\"\nevery_s_min = 1\nevery_s_max = 3\n\
                         down_s_min = 0.5\ndown_s_max = 2\n";
    const LOSS: &str = "[[faults]]\nkind = \"room-loss\"\nat_s = [4, 20.5]\ndown_s_min = 3\n\
                        down_s_max = 3\n";

    #[test]
    fn a_seed_always_plans_the_same() {
        let scenario = scenario(&format!("{KILLS}{LOSS}"));
        let planned = strikes(&scenario, 7);
        assert_eq!(planned, strikes(&scenario, 7));
        assert_ne!(planned, strikes(&scenario, 8));
        assert!(planned.windows(2).all(|pair| pair[0].at <= pair[1].at));
        let numbers: Vec<u64> = planned.iter().map(|strike| strike.number).collect();
        assert_eq!(numbers, (1..=planned.len() as u64).collect::<Vec<_>>());
        let kills: Vec<_> = planned.iter().filter(|strike| strike.position == 0).collect();
        for pair in kills.windows(2) {
            let pause = pair[1].at - (pair[0].at + pair[0].lasts);
            assert!((1.0..=3.0).contains(&pause.as_secs_f64()), "{pause:?}");
        }
        assert!(kills.len() >= 6);
    }

    #[test]
    fn given_moments_are_kept() {
        let planned = strikes(&scenario(LOSS), 1);
        let at: Vec<_> = planned.iter().map(|strike| strike.at.as_secs_f64()).collect();
        assert_eq!(at, [4.0, 20.5]);
        assert!(planned.iter().all(|strike| strike.lasts == Duration::from_secs(3)));
    }

    #[test]
    fn one_fault_does_not_move_another() {
        let both = strikes(&scenario(&format!("{KILLS}{LOSS}")), 3);
        let one = strikes(&scenario(KILLS), 3);
        let kills = both.iter().filter(|strike| strike.position == 0);
        let same = kills.zip(&one).all(|(a, b)| (a.at, a.lasts, a.seed) == (b.at, b.lasts, b.seed));
        assert!(same);
    }

    #[test]
    fn a_shorter_run_has_the_same_strikes_as_far_as_it_goes() {
        let whole = scenario(KILLS);
        let reduced = Reduced { duration_s: Some(10), clients: Some(1), ..Reduced::default() };
        let shorter = reduced.of(&whole);
        assert_eq!((shorter.duration_s, shorter.workload.clients), (10, 1));
        let (long, short) = (strikes(&whole, 5), strikes(&shorter, 5));
        assert!(short.len() < long.len());
        assert_eq!(short[..], long[..short.len()]);
    }
    #[test]
    fn what_is_left_out_is_said_as_options() {
        assert_eq!(Reduced::default().to_string(), "");
        let without = parse_numbers("3,1-2, 7,9-10").unwrap();
        assert_eq!(numbers(&without), "1-3,7,9-10");
        let reduced = Reduced { without, clients: Some(2), operations: None, duration_s: Some(9) };
        assert_eq!(reduced.to_string(), " --without 1-3,7,9-10 --clients 2 --duration-s 9");
        for wrong in ["", "a", "3-1", "1-", "1-99999999"] {
            assert!(parse_numbers(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_left_out_does_not_happen() {
        let scenario = scenario(KILLS);
        let without = BTreeSet::from([1, 3]);
        let reduced = Reduced { without, duration_s: Some(15), ..Reduced::default() };
        let whole = strikes(&scenario, 5);
        let left = strikes_left(&scenario, 5, &reduced);
        let wanted = whole.iter().filter(|strike| {
            ![1, 3].contains(&strike.number) && strike.at < Duration::from_secs(15)
        });
        assert_eq!(left, wanted.cloned().collect::<Vec<_>>());
        assert!(left.len() >= 2);
    }
}
