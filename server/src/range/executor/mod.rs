//! The leader's write path of one range, in stages over one value: what one log entry asks.
//!
//! ```text
//!   gathered.rs    what came while proposals were under way, or before the node's next turn
//!      |
//!   latched.rs     who has its keys to itself goes on, who has not waits          latches.rs  the latches
//!      |  checked.rs   what was done, or need not be begun, is answered
//!   stamped.rs     all get their timestamps
//!      |
//!   evaluated.rs   what each means at its timestamp                               removal.rs  pages of deletions
//!      |
//!   proposed.rs    the entry is in the log                                        entry.rs    the value
//!      |
//!   applied.rs     latches are released, callers are told; what was refused is gathered again
//! ```
//!
//! One task a replica (`task.rs`) takes requests along. A request on one key, a batch of puts
//! ([`PutMany`](super::request::PutMany)) and a page of a deletion pass the same stages. Requests that arrive while
//! proposals are under way go into one log entry together, and requests on one key run back to back under one latch:
//! one entry, N results. A batch is one request on several keys of the range: one id, one timestamp, one record in
//! dedup, under its first key, the anchor.
//!
//! # Invariants
//!
//! * A key is in at most one proposal in flight (`latched.rs`, `latches.rs`).
//! * A proposal is tied to the term that it was evaluated in (`proposed.rs`, and apply).
//! * A leader evaluates only what it has applied all of its log for (`task.rs`).
//! * What was done is answered as done, whatever would refuse the request now (`checked.rs`).
//! * A refusal is answered only from a state that was confirmed afterwards, or from an applied entry
//!   (`evaluated.rs`).
//! * A write's timestamp comes from a round that begins after the write has its keys (`stamped.rs`), and its keys are
//!   guarded from then until it is applied (`range/guards.rs`).
//! * Whether a key has expired is decided by the timestamp of the write (`evaluated.rs`, `range/expiry.rs`).
//! * A request whose proposal was handed to Raft is answered with a result or as ambiguous, never as failed
//!   (`applied.rs`).
//!
//! # On a crash
//!
//! Everything here is lost. A caller that got no answer asks again under the same id, and the next leader knows by it
//! what was done (`range/dedup.rs`).

mod applied;
mod checked;
mod entry;
mod evaluated;
mod gathered;
mod latched;
mod latches;
mod proposed;
mod removal;
#[cfg(all(test, not(madsim)))]
mod scripts;
mod stamped;
pub(super) mod task;
