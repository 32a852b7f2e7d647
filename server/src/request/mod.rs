//! The language that doors, router and ranges speak: requests and answers, on the wire and in domain types.
//!
//! ```text
//!   decode.rs    a request on the wire -> decoded.rs     context.rs  what it says of itself, its id, its deadline
//!                                                        limits.rs   what it may ask     hash.rs  what it asks
//!   place.rs     where it begins: this decides its range
//!   answer.rs    what it is answered, by this node or another one
//!   settle.rs    what the answer to a repetition says
//!   encode.rs    the answer on the wire
//!   weight.rs    how many bytes it counts as, while it waits
//! ```
//!
//! It lies below the router and above `range/`: a range takes [`Write`](crate::range::request::Write) and
//! [`Read`](crate::range::request::Read), and knows nothing of the wire.

pub(crate) mod answer;
pub(crate) mod context;
pub(crate) mod decode;
pub(crate) mod decoded;
pub(crate) mod encode;
mod hash;
pub(crate) mod limits;
pub(crate) mod place;
pub(crate) mod settle;
pub(crate) mod weight;
