//! What the clients do.

use serde::Deserialize;

use super::{CLIENTS_MAX, ScenarioError, ensure, range};

/// What the clients do.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Clients, each doing one operation after the other.
    pub clients: u64,
    /// Further clients that make unary calls, which do the same.
    #[serde(default)]
    pub unary_clients: u64,
    /// Keys that get, put, cas and delete share. Fewer keys, more contention. Increments go to as
    /// many counters of their own; inserts make a new key each.
    pub keys: u64,
    /// How often each operation is chosen.
    pub mix: Mix,
    /// A client waits up to this long between two operations, in milliseconds.
    pub think_time_ms_max: u64,
    /// Deadline of an operation, in milliseconds; after it the outcome is unknown.
    pub operation_timeout_ms: u64,
    /// Least time after which a key expires that is told to, in milliseconds.
    #[serde(default = "ttl_ms_min")]
    pub ttl_ms_min: u64,
    /// Most time. Short ones are drawn more often.
    #[serde(default = "ttl_ms_max")]
    pub ttl_ms_max: u64,
    /// Keys that expire, and as many numbers that do where `add_ttl` is in the mix. Default: `keys`. Many
    /// are left alone for longer than versions are kept.
    #[serde(default)]
    pub ttl_keys: Option<u64>,
    /// A `read_all` waits up to this long before it takes the next key, in milliseconds.
    #[serde(default)]
    pub read_all_pause_ms_max: u64,
    /// Whoever scans page by page waits up to this long before the next page, in milliseconds.
    #[serde(default)]
    pub page_pause_ms_max: u64,
}

fn ttl_ms_min() -> u64 {
    50
}

fn ttl_ms_max() -> u64 {
    8_000
}

/// Relative weights of the operations; 0, the default, means never.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// Read a key.
    pub get: u32,
    /// Write a key unconditionally.
    pub put: u32,
    /// Write a key on the version last seen, or on absence.
    pub cas: u32,
    /// Remove a key.
    pub delete: u32,
    /// Add to a counter.
    pub increment: u32,
    /// Put a key that nobody else writes: the acknowledged set.
    pub insert: u32,
    /// Read all keys of the acknowledged set, over all ranges that hold some.
    pub scan: u32,
    /// Put a key that expires; these keys are others than those of `put`.
    pub put_ttl: u32,
    /// Put such a key on the version last seen, or on absence.
    pub cas_ttl: u32,
    /// Read such a key.
    pub get_ttl: u32,
    /// Give such a key another expiry.
    pub expire_ttl: u32,
    /// Let such a key stay for ever.
    pub persist_ttl: u32,
    /// Add to a number that expires, where it was told to.
    pub add_ttl: u32,
    /// Remove such a key on the version last seen.
    pub delete_ttl: u32,
    /// Write several keys at once, by the client library's batch writer: those of `put`, new ones of
    /// `insert` where that is in the mix, and those of `put_ttl` where something that expires is.
    pub batch: u32,
    /// Append to a list of numbers: a read and a compare-and-set; as many lists as `keys`.
    pub append: u32,
    /// Read such a list.
    pub list: u32,
    /// Read all keys of `put` as of one moment, over all ranges that hold some.
    pub read_all: u32,
    /// Scan keys of any of these kinds page by page: forwards or backwards, with or without a limit, keys
    /// only or not, each page at the version of the first or at the newest.
    pub pages: u32,
    /// Remove all keys of `put` that were there at one moment, or those that begin like one of them.
    pub sweep: u32,
}

/// What a client chooses by the weights of a mix, one operation at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// See [`Mix::get`].
    Get,
    /// See [`Mix::put`].
    Put,
    /// See [`Mix::cas`].
    Cas,
    /// See [`Mix::delete`].
    Delete,
    /// See [`Mix::increment`].
    Increment,
    /// Something on a key that expires: see [`ExpiringChoice`].
    Expiring,
    /// See [`Mix::scan`].
    Scan,
    /// See [`Mix::append`].
    Append,
    /// See [`Mix::list`].
    List,
    /// See [`Mix::read_all`].
    ReadAll,
    /// See [`Mix::pages`].
    Pages,
    /// See [`Mix::insert`].
    Insert,
    /// See [`Mix::sweep`].
    Sweep,
}

/// What a client does with a key that expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiringChoice {
    /// See [`Mix::put_ttl`].
    Put,
    /// See [`Mix::cas_ttl`].
    Cas,
    /// See [`Mix::get_ttl`].
    Get,
    /// See [`Mix::expire_ttl`].
    Expire,
    /// See [`Mix::persist_ttl`].
    Persist,
    /// See [`Mix::add_ttl`].
    Add,
    /// See [`Mix::delete_ttl`].
    Delete,
}

/// What a random number falls on, by weights; `None` where they are all 0.
fn choose<T: Copy, const N: usize>(weights: [(T, u64); N], random: u64) -> Option<T> {
    let total: u64 = weights.iter().map(|(_, weight)| weight).sum();
    let mut left = random % total.max(1);
    weights.into_iter().find_map(|(choice, weight)| {
        let hit = left < weight;
        left = left.saturating_sub(weight);
        hit.then_some(choice)
    })
}

impl Mix {
    /// All weights but that of batches. The order belongs to what a seed means.
    fn single(&self) -> [(Choice, u64); 13] {
        [
            (Choice::Get, self.get.into()),
            (Choice::Put, self.put.into()),
            (Choice::Cas, self.cas.into()),
            (Choice::Delete, self.delete.into()),
            (Choice::Increment, self.increment.into()),
            (Choice::Expiring, self.expiring()),
            (Choice::Scan, self.scan.into()),
            (Choice::Append, self.append.into()),
            (Choice::List, self.list.into()),
            (Choice::ReadAll, self.read_all.into()),
            (Choice::Pages, self.pages.into()),
            (Choice::Insert, self.insert.into()),
            (Choice::Sweep, self.sweep.into()),
        ]
    }

    /// The weights of operations, batches left out.
    fn total_single(&self) -> u64 {
        self.single().iter().map(|(_, weight)| weight).sum()
    }

    /// All weights together.
    pub fn total(&self) -> u64 {
        self.total_single() + u64::from(self.batch)
    }

    /// The operation that a random number falls on, by the weights; `None` where all are batches.
    pub fn choose_single(&self, random: u64) -> Option<Choice> {
        choose(self.single(), random)
    }

    /// The operation on a key that expires that a random number falls on; `None` where there is none.
    pub fn choose_expiring(&self, random: u64) -> Option<ExpiringChoice> {
        choose(self.each_expiring(), random)
    }

    /// The order belongs to what a seed means.
    fn each_expiring(&self) -> [(ExpiringChoice, u64); 7] {
        [
            (ExpiringChoice::Put, self.put_ttl.into()),
            (ExpiringChoice::Cas, self.cas_ttl.into()),
            (ExpiringChoice::Get, self.get_ttl.into()),
            (ExpiringChoice::Expire, self.expire_ttl.into()),
            (ExpiringChoice::Persist, self.persist_ttl.into()),
            (ExpiringChoice::Add, self.add_ttl.into()),
            (ExpiringChoice::Delete, self.delete_ttl.into()),
        ]
    }

    /// The weights of operations on keys that expire.
    pub fn expiring(&self) -> u64 {
        self.each_expiring().iter().map(|(_, weight)| weight).sum()
    }
}

impl Workload {
    /// How many keys expire; 1 at least.
    pub fn ttl_keys(&self) -> u64 {
        self.ttl_keys.unwrap_or(self.keys).max(1)
    }

    pub(super) fn validate(&self) -> Result<(), ScenarioError> {
        ensure(
            (1..=CLIENTS_MAX).contains(&self.clients),
            "workload.clients",
            format!("must be 1 to {CLIENTS_MAX}"),
        )?;
        ensure(
            self.unary_clients <= CLIENTS_MAX,
            "workload.unary_clients",
            format!("must be at most {CLIENTS_MAX}"),
        )?;
        ensure(self.keys > 0, "workload.keys", "must be at least 1")?;
        ensure(self.mix.total() > 0, "workload.mix", "needs a weight above 0")?;
        ensure(
            self.operation_timeout_ms > 0,
            "workload.operation_timeout_ms",
            "must be at least 1",
        )?;
        ensure(self.ttl_keys != Some(0), "workload.ttl_keys", "must be at least 1")?;
        ensure(self.ttl_ms_min > 0, "workload.ttl_ms_min", "must be at least 1")?;
        range("workload.ttl", self.ttl_ms_min, self.ttl_ms_max, "ms")
    }
}
