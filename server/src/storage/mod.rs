//! What is on disk: the engine trait and its implementations, key encoding, stored formats.

pub mod engine;
pub mod memory;
#[cfg(not(madsim))]
pub mod rocks;

pub use engine::{Batch, Direction, Durability, Engine, Error, Family, Reader};
