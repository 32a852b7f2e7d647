use super::*;

/// Fails where it keeps certain strikes, is long enough, and has enough clients and operations.
struct Fake {
    needed: BTreeSet<u64>,
    second_of: u64,
    clients_min: u64,
    operations_min: u64,
    /// Runs that it does before its time is over.
    left: u64,
    asked: Vec<Reduced>,
}

const STRIKES: u64 = 40;
const CLIENTS: u64 = 8;
const OPERATIONS: u64 = 500;
const DURATION_S: u64 = 60;

impl Fake {
    fn new(needed: &[u64]) -> Fake {
        Fake {
            needed: needed.iter().copied().collect(),
            second_of: 20,
            clients_min: 2,
            operations_min: 30,
            left: u64::MAX,
            asked: Vec::new(),
        }
    }

    /// One strike a second; the failure shows a second after the last that it needs.
    fn run(&self, reduced: &Reduced) -> Option<Failed> {
        let duration = reduced.duration_s.unwrap_or(DURATION_S);
        let strikes: BTreeSet<u64> =
            (1..=STRIKES.min(duration)).filter(|n| !reduced.without.contains(n)).collect();
        let clients = reduced.clients.unwrap_or(CLIENTS);
        let operations = reduced.operations.unwrap_or(OPERATIONS);
        let fails = self.needed.is_subset(&strikes)
            && duration > self.second_of
            && clients >= self.clients_min
            && operations >= self.operations_min;
        let (duration_s, shown_s) = (duration, self.second_of + 1);
        fails.then_some(Failed { strikes, duration_s, shown_s, clients, operations })
    }
}

impl Oracle for Fake {
    fn first(&mut self, candidates: &[Reduced]) -> Result<Option<(usize, Failed)>, OutOfTime> {
        for (position, candidate) in candidates.iter().enumerate() {
            self.left = self.left.checked_sub(1).ok_or(OutOfTime)?;
            self.asked.push(candidate.clone());
            assert!(self.asked.len() < 1_000, "it never ends");
            if let Some(failed) = self.run(candidate) {
                return Ok(Some((position, failed)));
            }
        }
        Ok(None)
    }
}

fn shrunk(fake: &mut Fake) -> Shrunk {
    let whole = Reduced::default();
    let failed = fake.run(&whole).expect("the whole run fails");
    shrink(whole, failed, fake)
}

#[test]
fn what_is_needed_is_left() {
    for needed in [&[7][..], &[3, 17], &[1, 9, 20], &[]] {
        let mut fake = Fake::new(needed);
        let shrunk = shrunk(&mut fake);
        assert!(shrunk.is_done);
        assert_eq!(shrunk.failed.strikes, fake.needed);
        assert_eq!(shrunk.reduced.duration_s, Some(21));
        assert_eq!(shrunk.reduced.clients, Some(2));
        assert!((30..60).contains(&shrunk.failed.operations), "{}", shrunk.failed.operations);
        assert!(fake.asked.len() < 150, "{} runs", fake.asked.len());
    }
}

#[test]
fn a_run_that_needs_everything_stays_whole() {
    let all: Vec<u64> = (1..=STRIKES).collect();
    let mut fake = Fake::new(&all);
    fake.second_of = DURATION_S - 1;
    fake.clients_min = CLIENTS;
    fake.operations_min = OPERATIONS;
    let shrunk = shrunk(&mut fake);
    assert!(shrunk.is_done);
    assert_eq!(shrunk.failed.strikes.len() as u64, STRIKES);
    assert_eq!(shrunk.failed.clients, CLIENTS);
    assert_eq!(
        shrunk.reduced,
        Reduced { operations: shrunk.reduced.operations, ..Reduced::default() }
    );
}

#[test]
fn the_best_so_far_is_kept_where_time_is_over() {
    let mut fake = Fake::new(&[3, 17]);
    fake.left = 12;
    let shrunk = shrunk(&mut fake);
    assert!(!shrunk.is_done);
    assert!(fake.run(&shrunk.reduced).is_some());
    assert_ne!(shrunk.reduced, Reduced::default());
}

#[test]
fn the_same_is_asked_in_the_same_order() {
    let (mut first, mut second) = (Fake::new(&[5, 6]), Fake::new(&[5, 6]));
    assert_eq!(shrunk(&mut first), shrunk(&mut second));
    assert_eq!(first.asked, second.asked);
}

#[test]
fn numbers_below_one() {
    assert_eq!(smaller(1), Vec::<u64>::new());
    assert_eq!(smaller(2), [1]);
    assert_eq!(smaller(8), [1, 2, 3, 4, 6, 7]);
}
