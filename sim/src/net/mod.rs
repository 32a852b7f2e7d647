//! The network of a simulation: how long frames travel, what is lost, who reaches whom.
//!
//! madsim's own network has one latency for all, and whoever is cut off there tries again at times of
//! its own. So it only carries frames, in about a millisecond, and everything else is done here, at the
//! answering end of each stream (the seam `Wire` of the server), in both directions:
//!
//! ```text
//!   dialler --- madsim, 1 ms ---> | line: delay, loss, cut | ---> server     frames to the server
//!   dialler <-- madsim, 1 ms ---- | line: delay, loss, cut | <--- server     frames to the dialler
//! ```
//!
//! Within a direction of a stream order and uniqueness hold, as in TCP:
//! - a frame arrives after a time drawn from its link's bounds, and never before the one ahead of it;
//! - frames of all streams between two machines share the link's bandwidth;
//! - a lost frame is sent again after a while, and all that is behind it waits;
//! - now and then the stream breaks at a lost frame instead: a beginning of what was under way arrives
//!   in each direction, nothing behind it, and both ends learn that it broke;
//! - while a direction is cut its frames are held; once it is mended they are sent again after a pause.
//!
//! **Duplicates and reordering** arise between streams, as they do in reality. A dialler that gives a
//! stream up and dials again says the same on another one, while what it had said on the first is still
//! held: the server gets both, the older words perhaps last. For that the line to the server outlives
//! the dialler's end of the stream, as a kernel's buffers do, and the server learns of the end only
//! behind the last frame. Streams that never came to be are different: as long as either direction is
//! cut no connection is made, and whoever gave up waiting has said nothing.
//!
//! A killed machine takes its lines with it. **Unary calls** on keys, and the pages of unary scans, are shaped
//! at the client's end, where they are made ([`calls`]). What is not shaped: calls that form, drain or look
//! at a cluster, and the answer that a stream was accepted, which says nothing.
//!
//! [`line`], [`travel`] and [`map`] are pure; [`Net`], [`shaper`] and [`calls`] make streams and calls of them.

pub mod line;
pub mod map;
pub mod travel;

#[cfg(madsim)]
mod calls;
#[cfg(madsim)]
mod links;
#[cfg(madsim)]
mod shaper;

#[cfg(madsim)]
pub use self::{calls::Calls, links::Net, shaper::Shaper};
