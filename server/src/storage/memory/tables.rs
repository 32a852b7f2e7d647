//! All families' records at one moment. A clone is a version of its own and costs nothing at first: the
//! tree is shared, and copied node by node where one of the two changes. So a read snapshot and a flush
//! in flight are clones. The durable state behind a log is none: it would be one at every sync, and each
//! write after it would copy.

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};

use super::{
    super::engine::{Direction, Error, Family, Visit},
    record::{WrittenChange, family_number},
};

#[derive(Clone, Default)]
pub(super) struct Tables {
    families: [OrdMap<Bytes, Bytes>; Family::ALL.len()],
    /// Of all keys and values.
    pub(super) bytes: u64,
    /// Records whose bytes are damaged where they are stored: reading one is an error, as a wrong
    /// checksum is. One that is written anew is whole again.
    damaged: OrdSet<(u8, Bytes)>,
}

/// A record as it was when its bytes were damaged.
#[derive(Clone)]
pub(super) struct Damage {
    pub(super) family: Family,
    pub(super) key: Bytes,
    pub(super) value: Bytes,
}

impl Tables {
    pub(super) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.check(family, key)?;
        Ok(self.table(family).and_then(|table| table.get(key)).map(|value| value.to_vec()))
    }

    /// What is damaged can't be read.
    fn check(&self, family: Family, key: &[u8]) -> Result<(), Error> {
        if self.damaged.is_empty()
            || !self.damaged.contains(&(family_number(family), Bytes::copy_from_slice(key)))
        {
            return Ok(());
        }
        let name = family.name();
        Err(Error::Corrupt(format!("the checksum of record {key:x?} of family {name} is wrong")))
    }

    /// The bytes of a record are damaged, if they are the very same here: what was written anew since,
    /// were it with the same value, stands somewhere else.
    pub(super) fn damage(&mut self, damage: &Damage) {
        let Damage { family, key, value } = damage;
        let here = self.table(*family).and_then(|table| table.get(key));
        // Both hold on to their bytes, so no other ones can stand in that place.
        if here.is_some_and(|here| here == value && here.as_ptr() == value.as_ptr()) {
            self.damaged.insert((family_number(*family), key.clone()));
        }
    }

    /// How many records a family has.
    pub(super) fn records(&self, family: Family) -> usize {
        self.table(family).map_or(0, OrdMap::len)
    }

    /// The record at a place in the order of a family's keys.
    pub(super) fn record(&self, family: Family, place: usize) -> Option<Damage> {
        let (key, value) = self.table(family)?.iter().nth(place)?;
        Some(Damage { family, key: key.clone(), value: value.clone() })
    }

    pub(super) fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), Error> {
        let Some(range) = self.range(family, start, end) else { return Ok(()) };
        let mut visit_one = |(key, value): (&Bytes, &Bytes)| match self.check(family, key) {
            Ok(()) => visit(key, value).map_break(Ok),
            Err(damaged) => ControlFlow::Break(Err(damaged)),
        };
        let ended: ControlFlow<Result<(), Error>> = match direction {
            Direction::Forward => range.into_iter().try_for_each(&mut visit_one),
            Direction::Reverse => range.into_iter().rev().try_for_each(&mut visit_one),
        };
        ended.break_value().unwrap_or(Ok(()))
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
        self.mend(family, &key);
        let Some(table) = self.families.get_mut(usize::from(family_number(family))) else { return };
        let removed = table.insert(key, value).map_or(0, |old| key_bytes + old.len());
        self.bytes = self.bytes + added as u64 - removed as u64;
    }

    fn delete(&mut self, family: Family, key: &[u8]) {
        self.mend(family, key);
        let Some(table) = self.families.get_mut(usize::from(family_number(family))) else { return };
        if let Some(old) = table.remove(key) {
            self.bytes -= (key.len() + old.len()) as u64;
        }
    }

    fn mend(&mut self, family: Family, key: &[u8]) {
        if !self.damaged.is_empty() {
            self.damaged.remove(&(family_number(family), Bytes::copy_from_slice(key)));
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
