//! The conformance suite of the storage engines: both are put through the same histories and
//! crashes, with a write-ahead log and without.
//!
//! * `model`: what an engine has to do, as a `BTreeMap` and its past states.
//! * `histories`: random histories against the model (proptest), for each engine and durability.
//! * `subject`: the engines, and what a crash is for each of them.
//! * `power`: stands between RocksDB and the disk; knows what was synced, and can make it fail.
//! * `damage`: bytes that go bad on the disk, of the log and of the tables.
//! * `failing`: syncs that fail, disks that are full, directories in use.
//! * `space`: room that removed records took, and that comes back.
#![cfg(not(madsim))]

mod damage;
mod failing;
mod histories;
mod model;
mod power;
mod space;
mod subject;
