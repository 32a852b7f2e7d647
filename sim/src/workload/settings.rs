//! What a scenario tells the workloads: the section `[workload]` of its file, of which each workload asks for what is
//! its own.
//!
//! Nobody has a list of what there is: a field that nobody asks for, and an operation of the mix that no workload
//! has, is an error ([`Settings::end`]). So what a workload can be told is said where it is used, with its default.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::client::Caller;

/// Something in the section that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Path of the field in the file, such as `workload.mix.get`.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

/// Relative weights of the operations, by name; 0, the default, means never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mix(BTreeMap<String, u32>);

impl Mix {
    /// The weight of an operation.
    pub fn weight(&self, operation: &str) -> u64 {
        self.0.get(operation).copied().unwrap_or(0).into()
    }

    /// All weights together.
    pub fn total(&self) -> u64 {
        self.0.values().map(|weight| u64::from(*weight)).sum()
    }
}

/// The section of a scenario, as it is asked for one field after the other.
pub(super) struct Settings<'a> {
    table: &'a Table,
    mix: Mix,
    operations: BTreeSet<&'static str>,
    fields: BTreeSet<&'static str>,
    wrong: Vec<Wrong>,
}

impl Settings<'_> {
    /// Nothing asked for yet but the mix.
    pub(super) fn new(table: &Table) -> Settings<'_> {
        let (operations, fields, wrong) = (BTreeSet::new(), BTreeSet::from(["mix"]), Vec::new());
        let mut settings = Settings { table, mix: Mix::default(), operations, fields, wrong };
        match table.get("mix") {
            Some(Value::Table(mix)) => {
                for (operation, weight) in mix {
                    let field = format!("mix.{operation}");
                    let weight = weight.as_integer().and_then(|it| u32::try_from(it).ok());
                    settings.ensure(weight.is_some(), &field, || {
                        format!("must be a weight, a whole number from 0 to {}", u32::MAX)
                    });
                    settings.mix.0.insert(operation.clone(), weight.unwrap_or(0));
                }
                let total = settings.mix.total();
                settings.ensure(total > 0, "mix", || "needs a weight above 0".to_owned());
            }
            _ => settings.ensure(false, "mix", || "must be there: weights by name".to_owned()),
        }
        settings
    }

    /// All weights.
    pub(super) fn mix(&self) -> &Mix {
        &self.mix
    }

    /// Notes what is wrong with a field, unless something holds.
    pub(super) fn ensure(&mut self, holds: bool, field: &str, reason: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(Wrong { field: format!("workload.{field}"), reason: reason() });
        }
    }

    /// A number, where it is given.
    fn number(&mut self, field: &'static str) -> Option<u64> {
        self.fields.insert(field);
        let value = self.table.get(field)?;
        let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
        let says = || "must be a whole number, not below 0".to_owned();
        self.ensure(number.is_some(), field, says);
        number
    }

    /// A number, or what it is where it is left out.
    pub(super) fn number_or(&mut self, field: &'static str, default: u64) -> u64 {
        self.number(field).unwrap_or(default)
    }

    /// A number that must be given.
    pub(super) fn required(&mut self, field: &'static str) -> u64 {
        self.ensure(self.table.contains_key(field), field, || "must be there".to_owned());
        self.number_or(field, 0)
    }

    /// How many registers there are, and as many counters, lists and, unless told, keys that expire. Fewer keys, more
    /// contention.
    pub(super) fn keys(&mut self) -> u64 {
        let keys = self.required("keys");
        self.ensure(keys > 0, "keys", || "must be at least 1".to_owned());
        keys
    }

    /// The weight of an operation.
    pub(super) fn weight(&mut self, operation: &'static str) -> u64 {
        self.operations.insert(operation);
        self.mix.weight(operation)
    }

    /// The weights of a workload's operations, in the order in which a draw falls on them.
    pub(super) fn weights<T, const N: usize>(
        &mut self,
        operations: [(&'static str, T); N],
    ) -> Weights<T> {
        let weigh = |(name, operation)| (operation, self.weight(name));
        Weights(operations.into_iter().map(weigh).collect())
    }

    /// What is wrong with all that was asked for; what nobody asked for comes first, since a name that is misspelt
    /// is missing as well.
    pub(super) fn end(self) -> Result<(), Wrong> {
        let known = |names: &BTreeSet<&str>| {
            names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        if let Some(name) = self.table.keys().find(|name| !self.fields.contains(&***name)) {
            let reason = format!("unknown field `{name}`, expected one of {}", known(&self.fields));
            return Err(Wrong { field: format!("workload.{name}"), reason });
        }
        if let Some(name) = self.mix.0.keys().find(|name| !self.operations.contains(&***name)) {
            let reason =
                format!("unknown operation `{name}`, expected one of {}", known(&self.operations));
            return Err(Wrong { field: format!("workload.mix.{name}"), reason });
        }
        self.wrong.into_iter().next().map_or(Ok(()), Err)
    }
}

/// Operations with their weights. The order belongs to what a seed means.
pub(super) struct Weights<T>(Vec<(T, u64)>);

impl<T: Copy> Weights<T> {
    /// All weights together.
    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|(_, weight)| weight).sum()
    }

    /// The operation that a number below the total falls on.
    pub(super) fn at(&self, fall: u64) -> T {
        let mut left = fall;
        let hit = self.0.iter().find(|(_, weight)| {
            let hit = left < *weight;
            left = left.saturating_sub(*weight);
            hit
        });
        hit.expect("below the total").0
    }

    /// The operation that a draw falls on.
    pub(super) fn draw(&self, caller: &Caller) -> T {
        self.at(caller.random() % self.total())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_falls_on_operations_by_their_weights() {
        let table: Table = "keys = 1\nmix = { a = 2, c = 1 }".parse().unwrap();
        let mut settings = Settings::new(&table);
        let weights = settings.weights([("a", 'a'), ("b", 'b'), ("c", 'c')]);
        assert_eq!((weights.total(), settings.mix().total()), (3, 3));
        assert_eq!([0, 1, 2].map(|fall| weights.at(fall)), ['a', 'a', 'c']);
        assert_eq!(settings.keys(), 1);
        assert_eq!(settings.end(), Ok(()));
    }

    #[test]
    fn what_nobody_asked_for_is_said_before_what_is_missing() {
        let says = |text: &str| {
            let table: Table = text.parse().unwrap();
            let mut settings = Settings::new(&table);
            settings.weight("get");
            settings.keys();
            let Wrong { field, reason } = settings.end().unwrap_err();
            format!("{field}: {reason}")
        };
        let unknown = "workload.kyes: unknown field `kyes`, expected one of `keys`, `mix`";
        assert_eq!(says("kyes = 1\nmix = { get = 1 }"), unknown);
        let unknown = "workload.mix.gte: unknown operation `gte`, expected one of `get`";
        assert_eq!(says("keys = 1\nmix = { gte = 1 }"), unknown);
        assert_eq!(says("mix = { get = 1 }"), "workload.keys: must be there");
        assert_eq!(says("keys = 1\nmix = { get = 0 }"), "workload.mix: needs a weight above 0");
        let weight = "workload.mix.get: must be a weight, a whole number from 0 to 4294967295";
        assert_eq!(says("keys = 1\nmix = { get = -1 }"), weight);
        let number = "workload.keys: must be a whole number, not below 0";
        assert_eq!(says("keys = \"x\"\nmix = { get = 1 }"), number);
    }
}
