//! The register: what is in a key, what an operation does to it, and what an answer demands of it.
//!
//! An operation with an answer is a [`Demand`]: it fits a state or not, and leaves another. One of unknown outcome is
//! an [`Effect`]: it may be taken or left. Versions that nobody knows yet are lower bounds ([`State::exact`]).

use std::collections::HashMap;

use crate::history::{Call, Op, OpOutcome, Reply, Version};

/// A value, as a number that is quick to compare.
pub(super) type ValueId = u32;

/// All values met, numbered. Looked up by value only: the order of the map never shows.
pub(super) struct Values {
    ids: HashMap<String, ValueId>,
    texts: Vec<String>,
    numbers: Vec<Option<i64>>,
}

impl Default for Values {
    fn default() -> Values {
        Values { ids: HashMap::new(), texts: vec!["(something)".to_string()], numbers: vec![None] }
    }
}

impl Values {
    /// Stands for every value that nobody can tell from another; equal to none that was seen.
    pub(super) const ANY: ValueId = 0;

    fn id(&mut self, text: &str) -> ValueId {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = self.texts.len() as ValueId;
        self.ids.insert(text.to_string(), id);
        self.texts.push(text.to_string());
        self.numbers.push(text.parse().ok());
        id
    }

    pub(super) fn text(&self, id: ValueId) -> &str {
        &self.texts[id as usize]
    }

    /// What an increment would add to: absence counts as 0.
    pub(super) fn number_of(&self, value: Option<ValueId>) -> Option<i64> {
        value.map_or(Some(0), |id| self.numbers[id as usize])
    }
}

/// Sorts answers: by version, a write before those that saw it.
pub(super) type Order = (Version, bool);

/// What is in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// Version of the last write or delete, or the least that it can be.
    pub(super) version: Version,
    /// Is the version known, or that of an unknown operation that nobody has seen yet?
    pub(super) exact: bool,
    /// `None`: absent.
    pub(super) value: Option<ValueId>,
}

impl State {
    /// Nothing was ever written.
    pub(super) const EMPTY: State = State { version: 0, exact: true, value: None };

    /// Can the key have version `expected` (0: be absent)?
    pub(super) fn meets(self, expected: Version) -> bool {
        match self.value {
            None => expected == 0,
            Some(_) if self.exact => expected == self.version,
            Some(_) => expected >= self.version,
        }
    }

    /// The state, now that `expected` is known to be its version.
    fn pinned(self, expected: Version) -> State {
        if expected == 0 { self } else { State { version: expected, exact: true, ..self } }
    }

    /// The state after a write that was acknowledged with `version`.
    fn written(self, version: Version, value: Option<ValueId>) -> Option<State> {
        // Where the version is only a lower bound, the true one may be just that.
        (version > self.version).then_some(State { version, exact: true, value })
    }

    /// The state after a write whose version nobody was told.
    fn written_unknown(self, value: Option<ValueId>) -> Option<State> {
        Some(State { version: self.version.checked_add(1)?, exact: false, value })
    }
}

/// What an answer that carries a version demands of the state before it, and does to it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Demand {
    /// The key is exactly this. Reads and refusals.
    See { version: Version, value: ValueId },
    /// Any state; leaves this.
    Put { version: Version, value: ValueId },
    /// The expected version; leaves this.
    Cas { version: Version, expected: Version, value: ValueId },
    /// Present, at the expected version if one is given; leaves it absent.
    Delete { version: Version, expected: Option<Version> },
    /// Present; leaves the same value, which is this one where somebody saw it at that version.
    Keep { version: Version, value: Option<ValueId> },
    /// The number `before`; leaves `value`.
    Increment { version: Version, before: Option<i64>, value: ValueId },
}

impl Demand {
    /// `None`: the answer carries no version.
    pub(super) fn of(op: &Op, values: &mut Values) -> Option<Demand> {
        if let Some(record) = op.observation() {
            let record = record.as_ref()?;
            return Some(Demand::See { version: record.version, value: values.id(&record.value) });
        }
        let version = op.version_made()?;
        Some(match (&op.call, &op.outcome) {
            (Call::Write { value, .. } | Call::Insert { value }, _) => {
                Demand::Put { version, value: values.id(value) }
            }
            (Call::Cas { expected, value, .. }, _) => {
                Demand::Cas { version, expected: *expected, value: values.id(value) }
            }
            (Call::Delete { expected }, _) => Demand::Delete { version, expected: *expected },
            (Call::Expire { .. }, _) => Demand::Keep { version, value: None },
            (Call::Increment { delta }, OpOutcome::Ok(Reply::Incremented { number, .. })) => {
                let value = values.id(&number.to_string());
                Demand::Increment { version, before: number.checked_sub(*delta), value }
            }
            _ => return None,
        })
    }

    pub(super) fn order(self) -> Order {
        match self {
            Demand::See { version, .. } => (version, true),
            Demand::Put { version, .. }
            | Demand::Cas { version, .. }
            | Demand::Delete { version, .. }
            | Demand::Keep { version, .. }
            | Demand::Increment { version, .. } => (version, false),
        }
    }

    /// Whether the state after it follows from it alone.
    pub(super) fn settles(self) -> bool {
        !matches!(self, Demand::Keep { value: None, .. })
    }

    pub(super) fn only_looks(self) -> bool {
        matches!(self, Demand::See { .. })
    }

    pub(super) fn ignores_state(self) -> bool {
        matches!(self, Demand::Put { .. })
    }

    /// The state afterwards, or `None` if the answer does not fit `state`.
    pub(super) fn apply(self, state: State, values: &Values) -> Option<State> {
        match self {
            Demand::See { version, value } => {
                (version > 0 && state.value == Some(value) && state.meets(version))
                    .then(|| state.pinned(version))
            }
            Demand::Put { version, value } => state.written(version, Some(value)),
            Demand::Cas { version, expected, value } => state
                .meets(expected)
                .then(|| state.pinned(expected))
                .and_then(|state| state.written(version, Some(value))),
            Demand::Delete { version, expected } => {
                state.value?;
                let state = match expected {
                    None => state,
                    Some(expected) if state.meets(expected) => state.pinned(expected),
                    Some(_) => return None,
                };
                state.written(version, None)
            }
            Demand::Keep { version, value } => {
                let held = state.value.filter(|held| value.is_none_or(|seen| seen == *held))?;
                state.written(version, Some(held))
            }
            Demand::Increment { version, before, value } => {
                let number = values.number_of(state.value)?;
                (before == Some(number)).then(|| state.written(version, Some(value))).flatten()
            }
        }
    }

    /// The state after it, whatever came before, where it settles that.
    pub(super) fn state_after(self) -> State {
        let (version, value) = match self {
            Demand::See { version, value }
            | Demand::Put { version, value }
            | Demand::Cas { version, value, .. }
            | Demand::Increment { version, value, .. } => (version, Some(value)),
            Demand::Keep { version, value } => (version, value),
            Demand::Delete { version, .. } => (version, None),
        };
        State { version, exact: true, value }
    }

    /// The version that must be there before.
    pub(super) fn expected(self) -> Option<Version> {
        match self {
            Demand::Cas { expected, .. } => Some(expected),
            Demand::Delete { expected, .. } => expected,
            _ => None,
        }
    }

    /// Can this still follow on `state`, as far as versions go?
    pub(super) fn leaves_room(self, state: State) -> bool {
        let (version, looks) = self.order();
        if looks { state.version <= version } else { state.version < version }
    }

    /// The number that must be there before, if it is one that matters.
    pub(super) fn number_before(self, values: &Values) -> Option<i64> {
        match self {
            Demand::See { value, .. } => values.number_of(Some(value)),
            Demand::Keep { value: Some(value), .. } => values.number_of(Some(value)),
            Demand::Increment { before, .. } => before,
            _ => None,
        }
    }

    /// Might it need `value` to be there, or something that is made from it?
    pub(super) fn may_depend_on(self, value: ValueId, values: &Values) -> bool {
        match self {
            Demand::Put { .. } => false,
            Demand::Cas { .. } | Demand::Delete { .. } | Demand::Keep { value: None, .. } => true,
            Demand::See { value: seen, .. } | Demand::Keep { value: Some(seen), .. } => {
                seen == value
                    || values.number_of(Some(value)).is_some()
                        && values.number_of(Some(seen)).is_some()
            }
            Demand::Increment { .. } => values.number_of(Some(value)).is_some(),
        }
    }

    /// Might it need the key to be absent?
    pub(super) fn may_depend_on_absence(self) -> bool {
        match self {
            Demand::Cas { expected, .. } => expected == 0,
            Demand::Increment { .. } | Demand::See { .. } | Demand::Keep { .. } => true,
            Demand::Put { .. } | Demand::Delete { .. } => false,
        }
    }

    /// Does the answer differ between `value` and a value that is nobody's?
    pub(super) fn tells_apart(self, value: ValueId, values: &Values) -> bool {
        !matches!(self, Demand::Cas { .. } | Demand::Delete { .. })
            && self.may_depend_on(value, values)
    }
}

/// What an operation of unknown outcome does, if it takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Put(ValueId),
    Cas { expected: Version, value: ValueId },
    Delete { expected: Option<Version> },
    Keep,
    Increment(i64),
}

impl Effect {
    /// `None`: it has none.
    pub(super) fn of(call: &Call, values: &mut Values) -> Option<Effect> {
        Some(match call {
            Call::Read | Call::Scan | Call::ReadAll | Call::Page(_) | Call::List => return None,
            Call::Append { .. } | Call::Sweep | Call::Watch(_) | Call::Timestamp => return None,
            Call::Write { value, .. } | Call::Insert { value } => Effect::Put(values.id(value)),
            Call::Cas { expected, value, .. } => {
                Effect::Cas { expected: *expected, value: values.id(value) }
            }
            Call::Delete { expected } => Effect::Delete { expected: *expected },
            Call::Expire { .. } => Effect::Keep,
            Call::Increment { delta } => Effect::Increment(*delta),
        })
    }

    /// The state after it, or `None` if it has no effect on `state`.
    pub(super) fn apply(self, state: State, values: &mut Values) -> Option<State> {
        match self {
            Effect::Put(value) => state.written_unknown(Some(value)),
            Effect::Cas { expected, value } => {
                if !state.meets(expected) {
                    return None;
                }
                state.pinned(expected).written_unknown(Some(value))
            }
            Effect::Delete { expected } => {
                state.value?;
                match expected {
                    None => state.written_unknown(None),
                    Some(expected) if state.meets(expected) => {
                        state.pinned(expected).written_unknown(None)
                    }
                    Some(_) => None,
                }
            }
            Effect::Keep => state.written_unknown(Some(state.value?)),
            Effect::Increment(delta) => {
                let number = values.number_of(state.value)?.checked_add(delta)?;
                let value = values.id(&number.to_string());
                state.written_unknown(Some(value))
            }
        }
    }
}
