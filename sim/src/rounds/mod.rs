//! The timestamp oracle by itself: its machines under all that networks, disks and clocks do.
//!
//! A whole cluster takes a second to simulate and decides its blocks over links that keep their order. Here the
//! machines of `server/src/time/oracle/` are one value ([`world::World`]), a step of it takes a microsecond, and any
//! message may be late, lost or doubled. Two things drive it:
//!
//! ```text
//!   schedule.rs   random schedules by seed: long ones, of all faults at once     quintet-sim rounds
//!   model.rs      every schedule within bounds, with few faults                  quintet-sim model
//! ```
//!
//! Both look at O1, O2 and O3 after each step; what they are is said in the server's module.

pub mod model;
pub mod schedule;
pub mod world;
