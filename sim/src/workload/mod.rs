//! What the clients do: one file per workload.
//!
//! A workload owns all that belongs to it ([`contract::Workload`]): what a scenario tells it, what has to be there
//! before the first fault, the step that one client repeats, what is read after the last fault, and which judges look
//! at the history. A scenario has several at a time: before each step a client draws one of them, by the weights of
//! the scenario's mix.
//!
//! | workload | operations of the mix | keys | judges, beside that of linearizability |
//! |---|---|---|---|
//! | [`registers`] | `get`, `put`, `cas`, `delete` | `key/N` | |
//! | [`counters`] | `increment` | `counter/N` | counter |
//! | [`expiring`] | `put_ttl`, `cas_ttl`, `get_ttl`, `expire_ttl`, `persist_ttl`, `add_ttl`, `delete_ttl` | `ttl/N`, `ttl/sum/N` | |
//! | [`scans`] | `scan` | those of inserts | moment |
//! | [`lists`] | `append`, `list` | `list/N` | list |
//! | [`read_all`] | `read_all` | registers | read all |
//! | [`pages`] | `pages` | registers, inserts, those that expire | pages |
//! | [`inserts`] | `insert` | `set/N`, a new one each | acknowledged |
//! | [`sweeps`] | `sweep` | registers | |
//! | [`past`] | `past` | registers, those that expire | pages |
//! | [`holds`] | `hold` | registers | pages |
//! | [`time_servers`] | `place_time_servers` | | |
//! | [`watches`] | `watch` | all, registers, one register, those that expire | feed |
//! | [`followers`] | `follower_get`, `follower_scan` | registers, those that expire, those of inserts | read all, moment |
//! | [`batches`] | `batch` | registers, inserts, those that expire | |
//!
//! ```text
//! contract.rs  what a workload is             settings.rs     what a scenario tells the workloads
//! registry.rs  which there are, and the draw  section.rs      the section [workload] of a scenario
//! keys.rs      the names of keys              preparation.rs  set up
//!                                             phases.rs       work, first write, last reads
//! ```
//!
//! A new workload is a file here (`mod`), a line in `registry.rs`, and a scenario. How its operations are asked is for
//! the clients (`sim/src/client/`).

mod batches;
mod contract;
mod counters;
mod expiring;
mod followers;
mod holds;
mod inserts;
mod keys;
mod lists;
mod pages;
mod past;
mod phases;
mod preparation;
mod read_all;
mod registers;
mod registry;
mod scans;
mod section;
mod settings;
mod sweeps;
mod time_servers;
mod timestamps;
mod watches;

pub use self::{
    phases::{Pace, first_write, last_reads, work},
    preparation::Preparation,
    registry::{Workloads, parse},
    section::Section,
    settings::{Mix, Wrong},
};
