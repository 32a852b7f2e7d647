//! The search for an order, for one key. The idea is in the header of the parent module.
//!
//! ```text
//! steps.rs    what stands in one fixed order, and what of unknown outcome may come in between
//! model.rs    the register: what an operation does to it, and what an answer demands of it
//! here        depth first, a configuration after the other
//! next.rs     what may come next in a configuration
//! failed.rs   configurations from which there is no way on
//! report.rs   where the search got stuck, for people
//! ```

use super::limits::Limits;
use crate::{
    history::{Op, OpOutcome, Reply},
    judge::verdict::Violation,
};

mod failed;
mod model;
mod next;
mod report;
mod steps;

use self::{
    failed::Failed,
    model::{Demand, State, Values},
    steps::{Class, Step, classes, tell_what_is_kept},
};

/// What the search found.
pub(super) enum Found {
    /// There is an order.
    Order,
    /// There is none; where it got stuck.
    Exhausted(Violation),
    /// It was too much work to say.
    GaveUp {
        /// Steps spent.
        steps: u64,
    },
}

/// What can be done next in a configuration.
#[derive(Clone, Copy)]
enum Choice {
    /// The next step in version order.
    Next,
    /// The earliest operation of this class that is left takes effect.
    Unknown(usize),
}

/// A configuration on the path, and what is left to try from it.
struct Frame {
    pos: usize,
    state: State,
    /// The last thing put in was an unknown operation, and nothing has depended on it yet.
    owed: bool,
    /// Completed operations put in when this configuration was entered.
    placed: Vec<usize>,
    /// Start of the undone part of `by_complete` and of `absences`.
    complete_from: usize,
    absences_from: usize,
    choices: Vec<Choice>,
    choice_next: usize,
    memo: Vec<u32>,
}

/// The furthest that the search came, for the report.
struct Furthest {
    done: usize,
    stuck: usize,
    state: State,
    pos: usize,
}

struct Search<'a> {
    ops: &'a [&'a Op],
    values: Values,
    /// By version, a write before those that saw it.
    steps: Vec<Step>,
    /// Observations of absence, by invocation.
    absences: Vec<usize>,
    classes: Vec<Class>,
    /// How many operations are of unknown outcome.
    unknown: u64,
    /// Every operation that must be put in, by completion.
    by_complete: Vec<usize>,
    done: Vec<bool>,
    done_count: usize,
    used: Vec<usize>,
    furthest: Option<Furthest>,
}

/// How many steps before the stuck place such an examination begins.
const NEAR: [usize; 4] = [1, 4, 16, 64];

/// Looks for an order of `ops`, all of one key and in the order in which they began.
///
/// Where there is none, everything that was left open before the stuck place would have to be tried
/// to be sure. Mostly the reason lies near by, and that can be shown: after each step in version
/// order the state is known, whatever came before. So the search may begin at such a step, with
/// every unknown operation still to be had and without any earlier observation of absence. If even
/// so there is no order, there is none at all.
pub(super) fn search(ops: &[&Op], limits: Limits) -> Found {
    let steps_max = limits.steps_max_per_key;
    let steps_first = steps_max.min(limits.patience_steps);
    let mut whole = Search::new(ops);
    let found = whole.run(State::EMPTY, steps_first);
    if !matches!(found, Found::GaveUp { .. }) {
        return found;
    }
    let stuck_pos = whole.furthest.as_ref().map_or(0, |furthest| furthest.pos);
    for near in NEAR.into_iter().filter(|near| *near < stuck_pos) {
        let mut part = Search::new(ops);
        let state = part.begin_at(stuck_pos - near);
        if let Found::Exhausted(stuck) = part.run(state, steps_first) {
            return Found::Exhausted(stuck);
        }
    }
    Search::new(ops).run(State::EMPTY, steps_max)
}

impl<'a> Search<'a> {
    fn new(ops: &'a [&'a Op]) -> Search<'a> {
        let mut values = Values::default();
        let mut steps = Vec::new();
        let mut absences = Vec::new();
        let mut by_complete = Vec::new();
        for (index, op) in ops.iter().enumerate() {
            let absent = matches!(op.observation(), Some(None))
                || matches!(
                    op.outcome,
                    OpOutcome::Ok(Reply::Deleted { version: 0 } | Reply::Expired { version: 0 })
                );
            if absent {
                absences.push(index);
            } else if let Some(demand) = Demand::of(op, &mut values) {
                steps.push(Step { op: index, demand });
            } else {
                continue;
            }
            by_complete.push(index);
        }
        steps.sort_by_key(|step| step.demand.order());
        tell_what_is_kept(&mut steps);
        by_complete.sort_by_key(|index| ops[*index].complete_index);
        let demands: Vec<Demand> = steps.iter().map(|step| step.demand).collect();
        let classes = classes(ops, &demands, &mut values);
        let (done, used) = (vec![false; ops.len()], vec![0; classes.len()]);
        let unknown = classes.iter().map(|class| class.ops.len() as u64).sum();
        Search {
            ops,
            values,
            steps,
            absences,
            classes,
            unknown,
            by_complete,
            done,
            done_count: 0,
            used,
            furthest: None,
        }
    }

    /// Leaves out what comes before `steps[pos]`, or before the last step up to there behind which the
    /// state is known, and what might; `pos` is above 0. Returns the state there.
    fn begin_at(&mut self, pos: usize) -> State {
        let settled = self.steps[..pos].iter().rposition(|step| step.demand.settles());
        let Some(pos) = settled.map(|at| at + 1) else { return State::EMPTY };
        let last = &self.steps[pos - 1];
        let state = last.demand.state_after();
        let over = self.ops[last.op].complete_index;
        self.steps.drain(..pos);
        self.absences.retain(|op| Some(self.ops[*op].invoke_index) > over);
        let mut kept = vec![false; self.ops.len()];
        for op in self.steps.iter().map(|step| &step.op).chain(&self.absences) {
            kept[*op] = true;
        }
        self.by_complete.retain(|op| kept[*op]);
        state
    }

    /// The search itself, from `state` on.
    fn run(&mut self, state: State, steps_max: u64) -> Found {
        let mut failed = Failed::default();
        let mut path: Vec<Frame> = Vec::new();
        let mut steps = 0;
        let mut enter = Some((0, state, false));
        loop {
            if let Some((pos, state, owed)) = enter.take() {
                steps += 1;
                if steps > steps_max {
                    return Found::GaveUp { steps: steps_max };
                }
                let from = path.last().map_or((0, 0), |f| (f.complete_from, f.absences_from));
                match self.enter(pos, state, owed, from) {
                    None => return Found::Order,
                    Some(mut frame) => {
                        if failed.covers(&frame.memo, &self.used) {
                            frame.choices.clear();
                        }
                        path.push(frame);
                    }
                }
            }
            let Some(frame) = path.last_mut() else {
                return Found::Exhausted(self.report());
            };
            if let Some(choice) = frame.choices.get(frame.choice_next).copied() {
                frame.choice_next += 1;
                let (pos, state) = (frame.pos, frame.state);
                enter = Some(self.take(choice, pos, state));
            } else {
                let frame = path.pop().expect("just looked at");
                self.leave(&frame);
                failed.insert(frame.memo, &self.used);
                if let Some(parent) = path.last() {
                    let choice = parent.choices[parent.choice_next - 1];
                    self.take_back(choice, parent.pos);
                }
            }
        }
    }

    /// Puts in everything that only looks and fits, then lists what may come next. `None`: all is
    /// in, and an order has been found.
    fn enter(
        &mut self,
        pos: usize,
        state: State,
        owed: bool,
        from: (usize, usize),
    ) -> Option<Frame> {
        let mut frame = Frame {
            pos,
            state,
            owed,
            placed: Vec::new(),
            complete_from: from.0,
            absences_from: from.1,
            choices: Vec::new(),
            choice_next: 0,
            memo: Vec::new(),
        };
        let limit = loop {
            while self.by_complete.get(frame.complete_from).is_some_and(|op| self.done[*op]) {
                frame.complete_from += 1;
            }
            let limit = self.limit(frame.complete_from)?;
            if !self.look(&mut frame, limit) {
                break limit;
            }
        };
        if self.furthest.as_ref().is_none_or(|f| f.done < self.done_count) {
            let stuck = self.by_complete[frame.complete_from];
            let (done, state, pos) = (self.done_count, frame.state, frame.pos);
            self.furthest = Some(Furthest { done, stuck, state, pos });
        }
        while self.absences.get(frame.absences_from).is_some_and(|op| self.done[*op]) {
            frame.absences_from += 1;
        }
        self.list_choices(&mut frame, limit);
        frame.memo = self.memo(&frame, limit);
        Some(frame)
    }

    /// Only what began before the first completion still to come may be put in next.
    fn limit(&self, complete_from: usize) -> Option<u64> {
        self.ops[*self.by_complete.get(complete_from)?].complete_index
    }

    /// Puts in what only looks and fits now; was there anything?
    fn look(&mut self, frame: &mut Frame, limit: u64) -> bool {
        let before = frame.placed.len();
        if frame.state.value.is_none() {
            for position in frame.absences_from..self.absences.len() {
                let op = self.absences[position];
                if self.ops[op].invoke_index >= limit {
                    break;
                }
                if !self.done[op] {
                    self.place(frame, op);
                }
            }
        }
        while let Some(Step { op, demand }) = self.steps.get(frame.pos)
            && demand.only_looks()
            && self.ops[*op].invoke_index < limit
            && let Some(state) = demand.apply(frame.state, &self.values)
        {
            let op = *op;
            frame.state = state;
            frame.pos += 1;
            self.place(frame, op);
        }
        frame.placed.len() > before
    }

    fn place(&mut self, frame: &mut Frame, op: usize) {
        assert!(!self.done[op], "operation {op} put in twice");
        self.done[op] = true;
        self.done_count += 1;
        frame.owed = false;
        frame.placed.push(op);
    }

    fn leave(&mut self, frame: &Frame) {
        for op in &frame.placed {
            self.done[*op] = false;
            self.done_count -= 1;
        }
    }

    fn take(&mut self, choice: Choice, pos: usize, state: State) -> (usize, State, bool) {
        match choice {
            Choice::Next => {
                let Step { op, demand } = self.steps[pos];
                self.done[op] = true;
                self.done_count += 1;
                let state = demand.apply(state, &self.values).expect("was possible when listed");
                (pos + 1, state, false)
            }
            Choice::Unknown(class) => {
                let effect = self.classes[class].effect;
                self.used[class] += 1;
                let state =
                    effect.apply(state, &mut self.values).expect("was possible when listed");
                (pos, state, true)
            }
        }
    }

    fn take_back(&mut self, choice: Choice, pos: usize) {
        match choice {
            Choice::Next => {
                self.done[self.steps[pos].op] = false;
                self.done_count -= 1;
            }
            Choice::Unknown(class) => self.used[class] -= 1,
        }
    }

    /// Everything that decides what can follow, but for which unknown operations are left.
    fn memo(&self, frame: &Frame, limit: u64) -> Vec<u32> {
        let version = frame.state.version;
        let flags = u32::from(frame.state.exact) | u32::from(frame.owed) << 1;
        let value = frame.state.value.unwrap_or(u32::MAX);
        let mut memo = vec![
            frame.pos as u32,
            (version >> 32) as u32,
            version as u32,
            flags,
            value,
            frame.absences_from as u32,
        ];
        let waiting = self.absences[frame.absences_from..].iter().enumerate();
        let begun = waiting.take_while(|(_, op)| self.ops[**op].invoke_index < limit);
        memo.extend(begun.filter(|(_, op)| self.done[**op]).map(|(at, _)| at as u32));
        memo
    }
}
