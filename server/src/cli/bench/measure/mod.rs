//! How a load is measured: the same code on both sides of the comparison with etcd.
//!
//! Two programs compile this folder, so that what they do and count cannot drift apart: `quintet bench`, and
//! `etcd-load` in `benches/`, which includes it by its path (a `mod.rs`, since a file that is included so
//! looks for its modules beside itself). It is neither a crate nor a part of one that both could use: the
//! library of `benches` would have the server depend on its own benchmarks, and users of the client library
//! have no use for it. Hence its rules, which the build of each side checks:
//!
//! - It names nothing of Quintet and nothing of etcd. What is loaded is a [`System`](closed_loop::System).
//! - Both programs use every item of it. What only one of them prints or needs is in that program.

pub(crate) mod closed_loop;
pub(crate) mod cpu;
pub(crate) mod keys;
pub(crate) mod latency;
pub(crate) mod records;
