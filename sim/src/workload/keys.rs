//! The names of keys. Some workloads read or remove what others write, so all of them are here. Where ranges begin is
//! said in these names, too (`split_points` of a scenario).

/// The registers, keys that are overwritten and removed, begin so.
pub(super) const REGISTER_PREFIX: &str = "key/";

/// The counters begin so.
pub(super) const COUNTER_PREFIX: &str = "counter/";

/// The keys of the acknowledged set begin so.
pub(super) const INSERT_PREFIX: &str = "set/";

/// The keys that expire begin so.
pub(super) const TTL_PREFIX: &str = "ttl/";

/// The numbers that expire begin so.
pub(super) const TTL_SUM_PREFIX: &str = "ttl/sum/";

/// The lists begin so.
pub(super) const LIST_PREFIX: &str = "list/";
