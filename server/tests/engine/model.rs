//! What an engine has to do: a sorted map, and all the states that it has gone through since the
//! last crash.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

use quintet_server::storage::{Batch, Direction, Family, Reader, engine::Change};

/// All records of all families at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    records: BTreeMap<(Family, Vec<u8>), Arc<[u8]>>,
}

/// Keys and values as a scan yields them.
pub(crate) type Records = Vec<(Vec<u8>, Vec<u8>)>;

impl State {
    /// The state with a batch applied.
    pub(crate) fn after(&self, batch: &Batch) -> State {
        let mut next = self.clone();
        for change in &batch.changes {
            match change {
                Change::Put { family, key, value } => {
                    next.records.insert((*family, key.clone()), value[..].into());
                }
                Change::Delete { family, key } => {
                    next.records.remove(&(*family, key.clone()));
                }
                Change::DeleteRange { family, start, end } => {
                    next.records.retain(|(of, key), _| of != family || key < start || key >= end);
                }
            }
        }
        next
    }

    /// What [`Reader::get`] has to say.
    pub(crate) fn get(&self, family: Family, key: &[u8]) -> Option<Vec<u8>> {
        self.records.get(&(family, key.to_vec())).map(|value| value.to_vec())
    }

    /// What [`Reader::scan`] has to say, up to `limit` records.
    pub(crate) fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Records {
        let is_within =
            |of: Family, key: &[u8]| of == family && key >= start && (end.is_empty() || key < end);
        let mut found: Records = self
            .records
            .iter()
            .filter(|((of, key), _)| is_within(*of, key))
            .map(|((_, key), value)| (key.clone(), value.to_vec()))
            .collect();
        if direction == Direction::Reverse {
            found.reverse();
        }
        found.truncate(limit);
        found
    }

    /// Whether a reader shows exactly this.
    pub(crate) fn is_shown_by(&self, reader: &dyn Reader) -> bool {
        Family::ALL.into_iter().all(|family| {
            let all = scan(reader, family, b"", b"", Direction::Forward, usize::MAX);
            all == self.scan(family, b"", b"", Direction::Forward, usize::MAX)
        })
    }
}

/// What a reader's scan yields, up to `limit` records.
pub(crate) fn scan(
    reader: &dyn Reader,
    family: Family,
    start: &[u8],
    end: &[u8],
    direction: Direction,
    limit: usize,
) -> Records {
    let mut found = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        found.push((key.to_vec(), value.to_vec()));
        if found.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    reader.scan(family, start, end, direction, &mut visit).unwrap();
    found
}

/// The states since the last crash.
pub(crate) struct Model {
    /// One more than batches; never empty.
    states: Vec<State>,
    /// The first state that a crash may come back to.
    synced: usize,
}

impl Model {
    pub(crate) fn new() -> Self {
        Model { states: vec![State::default()], synced: 0 }
    }

    /// What readers have to see.
    pub(crate) fn now(&self) -> &State {
        self.states.last().unwrap()
    }

    pub(crate) fn write(&mut self, batch: &Batch) {
        self.states.push(self.now().after(batch));
    }

    /// Everything written up to now is durable.
    pub(crate) fn sync(&mut self) {
        self.synced = self.states.len() - 1;
    }

    /// A crash may leave any of these.
    pub(crate) fn possible(&self) -> &[State] {
        &self.states[self.synced..]
    }

    /// After a crash and a new opening: what is there must be a possible state, whole. From here on
    /// it is what there is, durable.
    pub(crate) fn recover(&mut self, reader: &dyn Reader) {
        let Some(state) = self.possible().iter().rev().find(|state| state.is_shown_by(reader))
        else {
            let shown: Vec<_> = Family::ALL
                .into_iter()
                .map(|family| scan(reader, family, b"", b"", Direction::Forward, usize::MAX))
                .collect();
            panic!(
                "recovered none of {} possible states\n{shown:?}\nbut\n{:?}",
                self.possible().len(),
                self.possible()
            );
        };
        *self = Model { states: vec![state.clone()], synced: 0 };
    }
}
