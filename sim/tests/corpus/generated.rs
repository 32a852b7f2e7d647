//! Executions of a real register, with overlap and with answers lost: right ones hold, and what
//! has been tampered with is judged as the exhaustive checker judges it.

use proptest::prelude::*;
use quintet_sim::history::{Call, History, Op, OpOutcome, Record, Reply};
use quintet_sim::judge::{Verdict, counter, linearizable};

use super::exhaustive;

/// How one operation of a generated execution goes.
#[derive(Clone, Debug)]
struct Plan {
    process: u64,
    key: u64,
    kind: u8,
    /// How long after the last one of its process it is asked, takes effect, and is answered.
    waits: [u64; 3],
    /// 0: answered. 1: took effect, the answer is lost. 2: never took effect, likewise. 3: failed.
    fate: u8,
    /// How far back the version that a condition names lies.
    guess: usize,
    number: i64,
}

fn plan(processes: u64, keys: u64, kinds: &'static [u8]) -> impl Strategy<Value = Plan> {
    let fate = prop_oneof![16 => Just(0u8), 1 => Just(1), 1 => Just(2), 1 => Just(3)];
    let waits = [0..20u64, 0..40u64, 0..40u64];
    (0..processes, 0..keys, proptest::sample::select(kinds), waits, fate, 0..3usize, -3..4i64)
        .prop_map(|(process, key, kind, waits, fate, guess, number)| Plan {
            process,
            key,
            kind,
            waits,
            fate,
            guess,
            number,
        })
}

const ALL: &[u8] = &[0, 0, 0, 1, 1, 2, 3, 4, 5, 6];
const COUNTING: &[u8] = &[0, 5, 5];

#[derive(Default)]
struct Register {
    version: u64,
    value: Option<String>,
    versions: Vec<u64>,
}

impl Register {
    fn current(&self) -> Option<Record> {
        let value = self.value.clone()?;
        Some(Record { version: self.version, value })
    }

    fn put(&mut self, value: Option<String>) -> u64 {
        // Some are right behind each other, as those of one block are.
        self.version += if self.versions.len().is_multiple_of(3) { 2 } else { 1 };
        self.versions.push(self.version);
        self.value = value;
        self.version
    }

    fn guess(&self, back: usize) -> u64 {
        match self.current() {
            Some(record) if back > 0 => record.version,
            _ => self.versions.iter().rev().nth(back).copied().unwrap_or(0),
        }
    }

    fn apply(&mut self, call: &Call) -> OpOutcome {
        let now = self.current().map_or(0, |r| r.version);
        match call {
            Call::Cas { expected, .. } | Call::Delete { expected: Some(expected) }
                if now != *expected =>
            {
                OpOutcome::Refused(self.current())
            }
            Call::Write { value, .. } | Call::Insert { value } | Call::Cas { value, .. } => {
                OpOutcome::Ok(Reply::Written { version: self.put(Some(value.clone())) })
            }
            Call::Delete { .. } if self.value.is_none() => {
                OpOutcome::Ok(Reply::Deleted { version: 0 })
            }
            Call::Delete { .. } => OpOutcome::Ok(Reply::Deleted { version: self.put(None) }),
            Call::Expire { .. } => match self.value.clone() {
                None => OpOutcome::Ok(Reply::Expired { version: 0 }),
                held => OpOutcome::Ok(Reply::Expired { version: self.put(held) }),
            },
            Call::Increment { delta } => {
                let before = self.value.as_deref().unwrap_or("0").parse::<i64>();
                match before {
                    Err(_) => OpOutcome::Failed,
                    Ok(number) => {
                        let number = number + delta;
                        let version = self.put(Some(number.to_string()));
                        OpOutcome::Ok(Reply::Incremented { number, version })
                    }
                }
            }
            Call::Read
            | Call::Scan
            | Call::ReadAll
            | Call::Page(_)
            | Call::List
            | Call::Append { .. }
            | Call::Sweep
            | Call::Watch(_)
            | Call::Timestamp => OpOutcome::Ok(Reply::Read(self.current())),
        }
    }
}

/// What happens at one moment: an operation is asked, takes effect or is answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Answer,
    Effect,
    Ask,
}

/// Runs the plans against real registers.
fn execute(plans: &[Plan], read_at_end: bool) -> Vec<Op> {
    let mut free_at = std::collections::BTreeMap::<u64, u64>::new();
    let mut moments = Vec::new();
    let mut end = 0;
    for (index, plan) in plans.iter().enumerate() {
        let at = free_at.entry(plan.process).or_default();
        for (wait, phase) in plan.waits.iter().zip([Phase::Ask, Phase::Effect, Phase::Answer]) {
            *at += wait + 1;
            // The effect of a lost answer may come late.
            let late =
                if phase == Phase::Effect && plan.fate == 1 { plan.waits[0] * 10 } else { 0 };
            moments.push((*at + late, phase, index));
        }
        end = end.max(*at);
    }
    moments.sort();
    let keys = plans.iter().map(|p| p.key).max().map_or(0, |k| k + 1);
    let mut registers: Vec<Register> = (0..keys).map(|_| Register::default()).collect();
    let mut calls: Vec<Option<Call>> = vec![None; plans.len()];
    let mut outcomes: Vec<Option<OpOutcome>> = vec![None; plans.len()];
    // A process whose answer is lost goes on under a new number.
    let mut lives = std::collections::BTreeMap::<u64, u64>::new();
    let mut history = History::new();
    for (time, phase, index) in moments {
        let plan = &plans[index];
        let register = &mut registers[plan.key as usize];
        let process = plan.process + 1_000 * lives.get(&plan.process).copied().unwrap_or(0);
        match phase {
            Phase::Ask => {
                let call = make_call(plan, index, register);
                history.invoke(process, time, &format!("k{}", plan.key), &call);
                calls[index] = Some(call);
            }
            Phase::Effect if plan.fate < 2 => {
                let call = calls[index].as_ref().expect("asked before");
                outcomes[index] = Some(register.apply(call));
            }
            Phase::Effect => {}
            Phase::Answer => {
                let outcome = match plan.fate {
                    0 => outcomes[index].clone().expect("took effect before"),
                    3 => OpOutcome::Failed,
                    _ => OpOutcome::Unknown,
                };
                if outcome == OpOutcome::Unknown {
                    *lives.entry(plan.process).or_default() += 1;
                }
                history.complete(process, time, &outcome);
            }
        }
    }
    for key in 0..if read_at_end { keys } else { 0 } {
        let time = end + 10_000 + key;
        history.invoke(999_999, time, &format!("k{key}"), &Call::Read);
        let outcome = registers[key as usize].apply(&Call::Read);
        history.complete(999_999, time, &outcome);
    }
    history.operations()
}

fn make_call(plan: &Plan, index: usize, register: &Register) -> Call {
    // Some values are numbers, so that increments may follow on writes.
    let value = if plan.number == 3 { index.to_string() } else { format!("v{index}") };
    match plan.kind {
        0 => Call::Read,
        1 => Call::Write { value, ttl_ms: None },
        2 => {
            Call::Cas { expected: register.guess(plan.guess), value, ttl_ms: None, keep_ttl: false }
        }
        3 => Call::Delete { expected: None },
        4 => Call::Delete { expected: Some(register.guess(plan.guess).max(1)) },
        5 => Call::Increment { delta: plan.number },
        _ => Call::Expire { ttl_ms: None },
    }
}

/// Changes one answer; which, and how, is drawn.
fn tamper(ops: &mut [Op], which: usize, how: usize) {
    let versions: Vec<u64> = ops.iter().filter_map(Op::version_made).chain([0, 3]).collect();
    let values: Vec<String> = ops
        .iter()
        .filter_map(|op| match &op.call {
            Call::Write { value, .. } | Call::Cas { value, .. } => Some(value.clone()),
            _ => None,
        })
        .chain(["never".into(), "1".into()])
        .collect();
    let version = versions[how % versions.len()];
    let record = |how: usize| {
        let value = values[how / 7 % values.len()].clone();
        (!how.is_multiple_of(3)).then_some(Record { version, value })
    };
    let answered: Vec<usize> = (0..ops.len())
        .filter(|at| matches!(ops[*at].outcome, OpOutcome::Ok(_) | OpOutcome::Refused(_)))
        .collect();
    let Some(at) = answered.get(which % answered.len().max(1)) else { return };
    let op = &mut ops[*at];
    match &mut op.outcome {
        OpOutcome::Ok(Reply::Read(seen)) | OpOutcome::Refused(seen) if how.is_multiple_of(2) => {
            match seen {
                Some(seen) => seen.version = version,
                None => *seen = record(how),
            }
        }
        OpOutcome::Ok(Reply::Read(seen)) | OpOutcome::Refused(seen) => *seen = record(how),
        OpOutcome::Ok(Reply::Incremented { number, .. }) if how.is_multiple_of(2) => *number += 1,
        OpOutcome::Ok(
            Reply::Written { version: made }
            | Reply::Deleted { version: made }
            | Reply::Expired { version: made }
            | Reply::Incremented { version: made, .. },
        ) => *made = version,
        _ => {}
    }
}

/// An outcome that is forgotten leaves a history that still holds.
fn forget(op: &mut Op) {
    op.outcome = OpOutcome::Unknown;
    (op.complete_ns, op.complete_index) = (None, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn executions_of_a_register_hold(
        plans in prop::collection::vec(plan(6, 3, ALL), 1..200),
        forgotten in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        patience in 1..60u64,
    ) {
        let mut ops = execute(&plans, false);
        for index in forgotten {
            forget(index.get_mut(&mut ops));
        }
        prop_assert_eq!(linearizable::check(&ops), Verdict::Holds);
        let limits = linearizable::Limits { patience_steps: patience, ..Default::default() };
        prop_assert_eq!(linearizable::check_within(&ops, limits), Verdict::Holds);
    }

    #[test]
    fn executions_of_counters_hold(plans in prop::collection::vec(plan(6, 2, COUNTING), 1..150)) {
        let ops = execute(&plans, true);
        if ops.iter().any(|op| op.call.is_mutation()) {
            prop_assert_eq!(counter::check(&ops), Verdict::Holds);
        }
        prop_assert_eq!(linearizable::check(&ops), Verdict::Holds);
    }

    /// A read that tells of what nobody wrote, or of nothing where something must be, or of the
    /// version before an acknowledged one, is found in an execution of any length.
    #[test]
    fn a_false_read_is_found(
        plans in prop::collection::vec(plan(5, 1, &[0, 0, 1, 1, 2]), 5..100),
        which in any::<prop::sample::Index>(),
        how in 0..3,
    ) {
        let mut ops = execute(&plans, true);
        let reads: Vec<usize> = (0..ops.len())
            .filter(|at| {
                let over = ops.iter().filter(|o| o.version_made().is_some() && o.precedes(&ops[*at]));
                matches!(ops[*at].outcome, OpOutcome::Ok(Reply::Read(Some(_)))) && over.count() > 0
            })
            .collect();
        prop_assume!(!reads.is_empty());
        let at = *which.get(&reads);
        let older = ops.iter().filter(|o| o.precedes(&ops[at])).filter_map(Op::version_made).max();
        let older = older.expect("filtered for it");
        let OpOutcome::Ok(Reply::Read(seen)) = &mut ops[at].outcome else { unreachable!() };
        match (how, seen) {
            (0, seen) => *seen = None,
            (1, Some(seen)) => seen.value = "never".to_string(),
            (_, Some(seen)) => seen.version = older - 1,
            (_, None) => unreachable!(),
        }
        let verdict = linearizable::check(&ops);
        prop_assert!(matches!(verdict, Verdict::Violation(_)), "{verdict:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    /// On small histories, tampered with or not, the judge and the plain checker agree.
    #[test]
    fn agrees_with_the_exhaustive_checker(
        plans in prop::collection::vec(plan(4, 1, ALL), 1..9),
        tampered in prop::collection::vec((0..100usize, 0..1_000usize), 0..3),
        forgotten in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let mut ops = execute(&plans, false);
        for (which, how) in tampered {
            tamper(&mut ops, which, how);
        }
        for index in forgotten {
            forget(index.get_mut(&mut ops));
        }
        let holds = exhaustive::is_linearizable(&ops);
        let verdict = linearizable::check(&ops);
        let text: Vec<String> = ops.iter().map(Op::to_string).collect();
        prop_assert_eq!(verdict.holds(), holds, "{:?}\n{}", &verdict, text.join("\n"));
        // Impatience changes how it is found out, never what.
        let limits = linearizable::Limits { patience_steps: 1, ..Default::default() };
        prop_assert_eq!(linearizable::check_within(&ops, limits).holds(), holds);
        prop_assert!(!matches!(verdict, Verdict::Undecided(_)));
    }
}

/// The size of a long run: it must not need guessing, and one false answer anywhere is found.
#[test]
fn twenty_thousand_operations_are_judged() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = prop::collection::vec(plan(12, 10, ALL), 20_000);
    let plans = strategy.new_tree(&mut runner).unwrap().current();
    let mut ops = execute(&plans, false);
    let unknown = ops.iter().filter(|op| op.outcome == OpOutcome::Unknown).count();
    assert!((500..2_500).contains(&unknown), "{unknown} unknown");
    assert_eq!(linearizable::check(&ops), Verdict::Holds);
    // A read that finds nothing right after its process wrote and nobody has deleted since.
    let reads: Vec<usize> = (0..ops.len())
        .filter(|at| {
            let read = &ops[*at];
            let before = ops[..*at].iter().rev().find(|op| op.key == read.key && op.precedes(read));
            matches!(read.outcome, OpOutcome::Ok(Reply::Read(Some(_))))
                && before.is_some_and(|op| matches!(op.call, Call::Write { .. }))
                && !ops.iter().any(|op| {
                    matches!(op.call, Call::Delete { .. })
                        && op.key == read.key
                        && op.overlaps(read)
                        && (op.outcome != OpOutcome::Unknown || op.invoke_index > read.invoke_index)
                })
        })
        .collect();
    assert!(reads.len() > 50, "{} reads to choose from", reads.len());
    for at in reads.iter().skip(reads.len() / 20).step_by(reads.len() / 4) {
        let seen = ops[*at].outcome.clone();
        let OpOutcome::Ok(Reply::Read(Some(record))) = &mut ops[*at].outcome else {
            unreachable!()
        };
        record.version -= 1;
        let verdict = linearizable::check(&ops);
        assert!(matches!(verdict, Verdict::Violation(_)), "{verdict:?}");
        ops[*at].outcome = OpOutcome::Ok(Reply::Read(None));
        let verdict = linearizable::check(&ops);
        assert!(!matches!(verdict, Verdict::Undecided(_)), "{verdict:?}");
        ops[*at].outcome = seen;
    }
    assert_eq!(linearizable::check(&ops), Verdict::Holds);
}

/// A search without end is given up, and says so.
#[test]
fn a_search_that_takes_too_long_is_undecided() {
    let plans: Vec<Plan> = (0..20)
        .map(|i| Plan {
            process: i,
            key: 0,
            kind: 1,
            waits: [0, 5, 5],
            fate: 0,
            guess: 0,
            number: 0,
        })
        .collect();
    let ops = execute(&plans, false);
    let limits = linearizable::Limits { steps_max_per_key: 5, ..Default::default() };
    assert!(matches!(linearizable::check_within(&ops, limits), Verdict::Undecided(_)));
}
