//! The judge of lists against a plain search of all orders, on small executions of a real list, some of
//! them tampered with.

use proptest::prelude::*;
use quintet_sim::history::{Call, Op, OpOutcome, Reply};
use quintet_sim::judge::{Verdict, list};

/// One operation: when it is asked, takes effect and is answered (sorted), and what becomes of it.
#[derive(Clone, Debug)]
struct Plan {
    reads: bool,
    times: [u8; 3],
    /// 0: answered. 1: took effect, the answer is lost. 2: never took effect, likewise. 3: failed.
    fate: u8,
}

fn plan() -> impl Strategy<Value = Plan> {
    let fate = prop_oneof![6 => Just(0u8), 1 => Just(1), 1 => Just(2), 1 => Just(3)];
    (any::<bool>(), [0..30u8, 0..30u8, 0..30u8], fate).prop_map(|(reads, mut times, fate)| {
        times.sort_unstable();
        Plan { reads, times, fate }
    })
}

/// Runs the plans against a list and reads it at the end.
fn execute(plans: &[Plan]) -> Vec<Op> {
    let mut moments: Vec<(u8, usize, usize)> = Vec::new();
    for (op, plan) in plans.iter().enumerate() {
        moments.extend(plan.times.iter().enumerate().map(|(phase, time)| (*time, phase, op)));
    }
    moments.sort_unstable();
    let mut ops: Vec<Op> = (0..=plans.len())
        .map(|op| Op {
            process: op as u64,
            key: "l".to_owned(),
            call: match plans.get(op) {
                Some(plan) if !plan.reads => Call::Append { element: op as u64 },
                _ => Call::List,
            },
            invoke_ns: 0,
            complete_ns: None,
            invoke_index: 0,
            complete_index: None,
            outcome: OpOutcome::Unknown,
        })
        .collect();
    let mut now: Vec<u64> = Vec::new();
    for (index, (_, phase, op)) in moments.into_iter().enumerate() {
        let (plan, index) = (&plans[op], index as u64);
        match phase {
            0 => (ops[op].invoke_ns, ops[op].invoke_index) = (index, index),
            1 if plan.reads && plan.fate == 0 => {
                ops[op].outcome = OpOutcome::Ok(Reply::Listed(now.clone()));
            }
            1 if !plan.reads && plan.fate < 2 => {
                now.push(op as u64);
                if plan.fate == 0 {
                    ops[op].outcome = OpOutcome::Ok(Reply::Appended);
                }
            }
            1 => {}
            _ => {
                if plan.fate == 3 {
                    ops[op].outcome = OpOutcome::Failed;
                }
                if plan.fate == 0 || plan.fate == 3 {
                    (ops[op].complete_ns, ops[op].complete_index) = (Some(index), Some(index));
                }
            }
        }
    }
    let last = ops.last_mut().expect("the last read");
    (last.invoke_ns, last.invoke_index) = (1_000, 1_000);
    (last.complete_ns, last.complete_index) = (Some(1_001), Some(1_001));
    last.outcome = OpOutcome::Ok(Reply::Listed(now));
    ops.sort_by_key(|op| op.invoke_index);
    ops
}

/// Changes one read.
fn tamper(ops: &mut [Op], which: usize, how: usize) {
    let elements = ops.len() as u64;
    let mut reads: Vec<&mut Vec<u64>> = ops
        .iter_mut()
        .filter_map(|op| match &mut op.outcome {
            OpOutcome::Ok(Reply::Listed(seen)) => Some(seen),
            _ => None,
        })
        .collect();
    let count = reads.len();
    let seen = &mut reads[which % count];
    let (at, length) = (how / 5, seen.len());
    match how % 5 {
        0 => drop(seen.pop()),
        1 => seen.push(at as u64 % elements),
        2 => seen.insert(at % (length + 1), at as u64 / 7 % elements),
        3 if length > 1 => seen.swap(at % length, (at + 1) % length),
        _ if length > 0 => drop(seen.remove(at % length)),
        _ => {}
    }
}

/// Is there an order of all that was answered, and some of what is unknown, that explains every read?
fn is_explained(ops: &[Op], done: &mut Vec<bool>, now: &mut Vec<u64>) -> bool {
    let must = |op: &Op| matches!(op.outcome, OpOutcome::Ok(_));
    if ops.iter().zip(done.iter()).all(|(op, done)| *done || !must(op)) {
        return true;
    }
    for next in 0..ops.len() {
        let op = &ops[next];
        let waits = (0..ops.len()).any(|at| !done[at] && must(&ops[at]) && ops[at].precedes(op));
        if done[next] || waits || op.outcome == OpOutcome::Failed {
            continue;
        }
        let is_append = match (&op.call, &op.outcome) {
            (Call::Append { element }, _) => {
                now.push(*element);
                true
            }
            (_, OpOutcome::Ok(Reply::Listed(seen))) if seen == now => false,
            _ => continue,
        };
        done[next] = true;
        let explained = is_explained(ops, done, now);
        done[next] = false;
        if is_append {
            now.pop();
        }
        if explained {
            return true;
        }
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_search_of_all_orders(
        mut plans in prop::collection::vec(plan(), 1..7),
        appends in any::<prop::sample::Index>(),
        tampered in prop::collection::vec((0..100usize, 0..500usize), 0..3),
    ) {
        // A list that nobody appends to has no history.
        appends.get_mut(&mut plans).reads = false;
        let mut ops = execute(&plans);
        if tampered.is_empty() {
            prop_assert_eq!(list::check(&ops), Verdict::Holds);
        }
        for (which, how) in tampered {
            tamper(&mut ops, which, how);
        }
        let explained = is_explained(&ops, &mut vec![false; ops.len()], &mut Vec::new());
        let verdict = list::check(&ops);
        let text: Vec<String> = ops.iter().map(Op::to_string).collect();
        prop_assert_eq!(verdict.holds(), explained, "{:?}\n{}", &verdict, text.join("\n"));
        prop_assert!(!matches!(verdict, Verdict::Undecided(_)));
    }
}
