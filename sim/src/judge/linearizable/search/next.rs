//! What may come next in a configuration, and which operations of unknown outcome are worth trying there: those
//! alone whose effect something that follows depends on.

use super::{
    Choice, Frame, Search,
    model::{Demand, Effect, State},
    steps::{Class, Step},
};

impl Search<'_> {
    pub(super) fn list_choices(&mut self, frame: &mut Frame, limit: u64) {
        if let Some(Step { op, demand }) = self.steps.get(frame.pos)
            && !demand.only_looks()
            && self.ops[*op].invoke_index < limit
            && !(frame.owed && demand.ignores_state())
            && demand.apply(frame.state, &self.values).is_some()
        {
            frame.choices.push(Choice::Next);
        }
        for class in 0..self.classes.len() {
            if self.is_available(class, 0, limit)
                && let Some(after) = self.classes[class].effect.apply(frame.state, &mut self.values)
                && self.is_wanted(class, frame, after, limit)
            {
                frame.choices.push(Choice::Unknown(class));
            }
        }
    }

    /// Has the class an operation left that has begun, when `more` others are taken first?
    fn is_available(&self, class: usize, more: usize, limit: u64) -> bool {
        let ops = &self.classes[class].ops;
        ops.get(self.used[class] + more).is_some_and(|op| self.ops[*op].invoke_index < limit)
    }

    /// Does anything that can follow depend on `after`, the state that `class` would leave?
    fn is_wanted(&self, class: usize, frame: &Frame, after: State, limit: u64) -> bool {
        let next = self.steps.get(frame.pos).map(|step| step.demand);
        if next.is_some_and(|next| !next.leaves_room(after)) {
            return false;
        }
        if after.value.is_none() && self.absence_waits(frame, limit) {
            return true;
        }
        let Some(next) = next else {
            return self.condition_follows(class, None, after, frame, limit);
        };
        if next.ignores_state() {
            return self.condition_follows(class, None, after, frame, limit);
        }
        if next.apply(after, &self.values).is_some() {
            // What is left as it is may matter later.
            if !next.settles() && self.is_last_chance(class, frame.pos) {
                return true;
            }
            // Without the unknown operation it would be the same, if that is possible at all.
            return next.apply(frame.state, &self.values).is_none()
                || self.condition_follows(class, Some(next), after, frame, limit);
        }
        self.sum_follows(class, next, after, frame.pos, limit)
            || self.condition_follows(class, Some(next), after, frame, limit)
    }

    /// Whether what a class does can't be done behind a step just as well: its condition can't hold any more there, or
    /// there is no room.
    fn is_last_chance(&self, class: usize, pos: usize) -> bool {
        matches!(
            self.classes[class].effect,
            Effect::Cas { .. } | Effect::Delete { expected: Some(_) }
        ) || !self.has_room_behind(pos)
    }

    /// Whether everything of unknown outcome may come between a step and the next that depends on what is there.
    fn has_room_behind(&self, pos: usize) -> bool {
        let (Some(step), Some(next)) = (self.steps.get(pos), self.steps.get(pos + 1)) else {
            return true;
        };
        let (version, _) = step.demand.order();
        next.demand.ignores_state() || next.demand.order().0 > version + self.unknown
    }

    fn absence_waits(&self, frame: &Frame, limit: u64) -> bool {
        self.absences[frame.absences_from..]
            .iter()
            .take_while(|op| self.ops[**op].invoke_index < limit)
            .any(|op| !self.done[*op])
    }

    /// Can unknown increments lead from `after` to what `next`, the step at `pos`, demands?
    fn sum_follows(
        &self,
        class: usize,
        next: Demand,
        after: State,
        pos: usize,
        limit: u64,
    ) -> bool {
        let Some(target) = next.number_before(&self.values) else {
            // Any number will do to a condition on a version that nobody else saw, and to what leaves the value as it
            // is: which one that is may matter later.
            let takes_any = match next.expected() {
                Some(expected) => expected > after.version,
                None => {
                    let filled = State { version: after.version.saturating_add(1), ..after };
                    !next.settles() && next.leaves_room(filled) && self.is_last_chance(class, pos)
                }
            };
            return after.value.is_none()
                && takes_any
                && (0..self.classes.len()).any(|other| {
                    matches!(self.classes[other].effect, Effect::Increment(_))
                        && self.is_available(other, 0, limit)
                });
        };
        let Some(number) = self.values.number_of(after.value) else { return false };
        let (mut least, mut most, mut left_any) = (0i128, 0i128, false);
        for (other, Class { effect, ops }) in self.classes.iter().enumerate() {
            let Effect::Increment(delta) = *effect else { continue };
            let left = &ops[self.used[other] + usize::from(other == class)..];
            let left = left.iter().take_while(|op| self.ops[**op].invoke_index < limit).count();
            let sum = i128::from(delta) * left as i128;
            left_any |= left > 0;
            least += sum.min(0);
            most += sum.max(0);
        }
        let missing = i128::from(target) - i128::from(number);
        left_any && (least..=most).contains(&missing)
    }

    /// Can an unknown operation with a condition follow on `after`, and would its effect be wanted?
    fn condition_follows(
        &self,
        class: usize,
        next: Option<Demand>,
        after: State,
        frame: &Frame,
        limit: u64,
    ) -> bool {
        self.classes.iter().enumerate().any(|(other, Class { effect, .. })| {
            if !self.is_available(other, usize::from(other == class), limit) {
                return false;
            }
            match *effect {
                Effect::Cas { expected, value } => {
                    after.meets(expected)
                        && next.is_some_and(|next| next.may_depend_on(value, &self.values))
                }
                Effect::Delete { expected: Some(expected) } => {
                    after.value.is_some()
                        && after.meets(expected)
                        && (next.is_some_and(|next| next.may_depend_on_absence())
                            || self.absence_waits(frame, limit))
                }
                _ => false,
            }
        })
    }
}
