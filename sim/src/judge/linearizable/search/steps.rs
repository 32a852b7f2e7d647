//! What a history is to the search: steps in one fixed order, by version, and classes of operations of unknown
//! outcome, any of which may take effect between two steps.

use super::model::{Demand, Effect, Values};
use crate::history::{Op, OpOutcome};

/// An operation that made or saw a version. All of them stand in one fixed order.
pub(super) struct Step {
    pub(super) op: usize,
    pub(super) demand: Demand,
}

/// Unknown operations that ask the same: they differ only in when they began.
pub(super) struct Class {
    pub(super) effect: Effect,
    /// Their operations, earliest first.
    pub(super) ops: Vec<usize>,
}

/// What leaves the value as it was leaves the one that somebody saw at its version.
pub(super) fn tell_what_is_kept(steps: &mut [Step]) {
    let seen = steps.windows(2).map(|pair| match (pair[0].demand, pair[1].demand) {
        (Demand::Keep { version, .. }, Demand::See { version: seen, value }) if seen == version => {
            Some(value)
        }
        _ => None,
    });
    let seen: Vec<_> = seen.collect();
    for (step, seen) in steps.iter_mut().zip(seen) {
        if let Demand::Keep { value, .. } = &mut step.demand {
            *value = seen;
        }
    }
}

/// Sorts the operations of unknown outcome into classes that ask the same.
pub(super) fn classes(ops: &[&Op], demands: &[Demand], values: &mut Values) -> Vec<Class> {
    let mut classes: Vec<Class> = Vec::new();
    for (index, op) in ops.iter().enumerate() {
        if op.outcome != OpOutcome::Unknown {
            continue;
        }
        let Some(mut effect) = Effect::of(&op.call, values) else { continue };
        // A value that nobody can tell from another might as well be that other.
        if let Effect::Put(value) = effect
            && !demands.iter().any(|demand| demand.tells_apart(value, values))
        {
            effect = Effect::Put(Values::ANY);
        }
        match classes.iter_mut().find(|class| class.effect == effect) {
            Some(class) => class.ops.push(index),
            None => classes.push(Class { effect, ops: vec![index] }),
        }
    }
    classes
}
