//! The clients: each asks one operation after the other, and what it asks and is told is recorded in the history of
//! the run. What they ask for is chosen by workloads (`sim/src/workload/`).
//!
//! The same clients serve the simulation and real processes. What differs, the time of the history and
//! where randomness comes from, is handed in as [`Seams`]; the order of draws belongs to what a seed means.
//!
//! ```text
//! seams.rs      time and randomness
//! recording.rs  what all clients of a run share: the history, and numbers that nobody had
//! caller.rs     one client: one operation or a batch at a time, and what it has seen
//! walk.rs       a scan that goes page by page, in every way
//! past.rs       reads of the past
//! watch.rs      feeds that are followed
//! library.rs    asks through the client library
//! unary/        asks by raw gRPC calls, as a client that is no library of ours
//! ```
//!
//! Invariants, checked by [`History::push`](crate::history::History::push): a process asks one thing at a time, and
//! after an outcome that nobody knows its client goes on as another process.

mod caller;
mod library;
mod past;
mod recording;
mod seams;
pub mod unary;
mod walk;
mod watch;

pub use self::{
    caller::{Caller, Window},
    library::Back,
    recording::Recording,
    seams::Seams,
    walk::Walk,
    watch::Follow,
};
