//! Linearizability by trying every order: slow, and too plain to be wrong in the same way as the
//! judge. Good for about eight operations a key.
//!
//! Versions of unknown operations are not reasoned about: each is tried with every version that
//! anybody mentions, and with the least that is left.

use quintet_sim::history::{Call, Op, OpOutcome, Reply};
use std::collections::BTreeSet;

/// Version of the last change, and the value.
type State = (u64, Option<String>);

pub(super) fn is_linearizable(ops: &[Op]) -> bool {
    let keys: BTreeSet<&str> = ops.iter().map(|op| op.key.as_str()).collect();
    keys.iter().all(|key| {
        let ops: Vec<&Op> = ops.iter().filter(|op| op.key == *key).collect();
        let mut versions = BTreeSet::new();
        for op in &ops {
            versions.extend(op.version_made());
            if let OpOutcome::Ok(Reply::Read(Some(r))) | OpOutcome::Refused(Some(r)) = &op.outcome {
                versions.insert(r.version);
            }
            if let Call::Cas { expected, .. } | Call::Delete { expected: Some(expected) } = op.call
            {
                versions.insert(expected);
            }
        }
        explore(&ops, &versions, &mut vec![false; ops.len()], &(0, None))
    })
}

fn explore(ops: &[&Op], versions: &BTreeSet<u64>, done: &mut Vec<bool>, state: &State) -> bool {
    let must = |op: &Op| matches!(op.outcome, OpOutcome::Ok(_) | OpOutcome::Refused(_));
    if ops.iter().zip(done.iter()).all(|(op, done)| *done || !must(op)) {
        return true;
    }
    for (next, op) in ops.iter().enumerate() {
        let left = |at: usize| !done[at] && must(ops[at]);
        if done[next]
            || op.outcome == OpOutcome::Failed
            || (0..ops.len()).any(|at| left(at) && ops[at].precedes(op))
        {
            continue;
        }
        let after = match &op.outcome {
            OpOutcome::Unknown => unknown(op, versions, state),
            _ => known(op, state).into_iter().collect(),
        };
        done[next] = true;
        for state in after {
            if explore(ops, versions, done, &state) {
                return true;
            }
        }
        done[next] = false;
    }
    false
}

fn condition(op: &Op) -> Option<u64> {
    match op.call {
        Call::Cas { expected, .. } => Some(expected),
        Call::Delete { expected } => expected,
        _ => None,
    }
}

fn visible(state: &State) -> u64 {
    if state.1.is_some() { state.0 } else { 0 }
}

fn result(op: &Op, state: &State) -> Option<Option<String>> {
    if condition(op).is_some_and(|expected| expected != visible(state)) {
        return None;
    }
    Some(match &op.call {
        Call::Write { value, .. } | Call::Insert { value } | Call::Cas { value, .. } => {
            Some(value.clone())
        }
        Call::Delete { .. } => None,
        Call::Increment { delta } => {
            let before: i64 = state.1.as_deref().unwrap_or("0").parse().ok()?;
            Some(before.checked_add(*delta)?.to_string())
        }
        Call::Expire { .. } => Some(state.1.clone()?),
        Call::Read
        | Call::Scan
        | Call::ReadAll
        | Call::Page(_)
        | Call::List
        | Call::Append { .. }
        | Call::Sweep
        | Call::Watch(_)
        | Call::Timestamp => state.1.clone(),
    })
}

fn known(op: &Op, state: &State) -> Option<State> {
    match &op.outcome {
        OpOutcome::Ok(Reply::Read(record)) | OpOutcome::Refused(record) => {
            let version = record.as_ref().map_or(0, |r| r.version);
            let value = record.as_ref().map(|r| &r.value);
            let refused = matches!(op.outcome, OpOutcome::Refused(_));
            // A refusal must be one: a condition, and not met.
            let fits = !refused || condition(op).is_some_and(|e| e != visible(state));
            let valid = record.as_ref().is_none_or(|r| r.version > 0);
            (fits && valid && version == visible(state) && value == state.1.as_ref())
                .then(|| state.clone())
        }
        OpOutcome::Ok(Reply::Deleted { version: 0 }) => {
            (state.1.is_none() && condition(op).unwrap_or(0) == 0).then(|| state.clone())
        }
        OpOutcome::Ok(Reply::Expired { version: 0 }) => state.1.is_none().then(|| state.clone()),
        _ => {
            let version = op.version_made()?;
            let deletes = matches!(op.call, Call::Delete { .. });
            let value = result(op, state)?;
            if let OpOutcome::Ok(Reply::Incremented { number, .. }) = &op.outcome
                && value.as_deref() != Some(number.to_string().as_str())
            {
                return None;
            }
            (version > state.0 && !(deletes && state.1.is_none())).then_some((version, value))
        }
    }
}

fn unknown(op: &Op, versions: &BTreeSet<u64>, state: &State) -> Vec<State> {
    if !op.call.is_mutation() || (matches!(op.call, Call::Delete { .. }) && state.1.is_none()) {
        return Vec::new();
    }
    let Some(value) = result(op, state) else { return Vec::new() };
    let mentioned = versions.iter().copied().filter(|v| *v > state.0);
    mentioned.chain([state.0 + 1]).map(|version| (version, value.clone())).collect()
}
