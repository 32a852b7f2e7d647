//! All families' records at one moment. A clone is a version of its own and costs nothing at first: the
//! tree is shared, and copied node by node where one of the two changes. So a read snapshot and a flush
//! in flight are clones. The durable state behind a log is none: it would be one at every sync, and each
//! write after it would copy.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use imbl::OrdMap;

use super::{
    super::engine::{Direction, Family, Visit},
    record::{WrittenChange, family_number},
};

#[derive(Clone, Default)]
pub(super) struct Tables {
    families: [OrdMap<Bytes, Bytes>; Family::ALL.len()],
    /// Of all keys and values.
    pub(super) bytes: u64,
}

impl Tables {
    pub(super) fn get(&self, family: Family, key: &[u8]) -> Option<Vec<u8>> {
        self.table(family)?.get(key).map(|value| value.to_vec())
    }

    pub(super) fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visit<'_>,
    ) {
        let Some(range) = self.range(family, start, end) else { return };
        let mut visit_one = |(key, value): (&Bytes, &Bytes)| visit(key, value);
        let _ended: ControlFlow<()> = match direction {
            Direction::Forward => range.into_iter().try_for_each(&mut visit_one),
            Direction::Reverse => range.into_iter().rev().try_for_each(&mut visit_one),
        };
    }

    pub(super) fn apply(&mut self, batch: &[WrittenChange]) {
        for change in batch {
            match change {
                WrittenChange::Put { family, key, value } => {
                    self.put(*family, key.clone(), value.clone());
                }
                WrittenChange::Delete { family, key } => self.delete(*family, key),
                WrittenChange::DeleteRange { family, start, end } if start < end => {
                    let removed: Vec<Bytes> = self
                        .range(*family, start, end)
                        .map(|range| range.map(|(key, _)| key.clone()).collect())
                        .unwrap_or_default();
                    removed.iter().for_each(|key| self.delete(*family, key));
                }
                WrittenChange::DeleteRange { .. } => {}
            }
        }
    }

    fn put(&mut self, family: Family, key: Bytes, value: Bytes) {
        let (key_bytes, added) = (key.len(), key.len() + value.len());
        let Some(table) = self.families.get_mut(usize::from(family_number(family))) else { return };
        let removed = table.insert(key, value).map_or(0, |old| key_bytes + old.len());
        self.bytes = self.bytes + added as u64 - removed as u64;
    }

    fn delete(&mut self, family: Family, key: &[u8]) {
        let Some(table) = self.families.get_mut(usize::from(family_number(family))) else { return };
        if let Some(old) = table.remove(key) {
            self.bytes -= (key.len() + old.len()) as u64;
        }
    }

    fn table(&self, family: Family) -> Option<&OrdMap<Bytes, Bytes>> {
        self.families.get(usize::from(family_number(family)))
    }

    /// The records with `start <= key < end`; `None` where the bounds cross.
    fn range(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
    ) -> Option<impl DoubleEndedIterator<Item = (&Bytes, &Bytes)>> {
        if !end.is_empty() && start >= end {
            return None;
        }
        let upper = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
        Some(self.table(family)?.range::<_, [u8]>((Bound::Included(start), upper)))
    }
}
