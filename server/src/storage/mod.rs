//! What is on disk: the engine trait and its implementations, key encoding, stored formats.

pub mod changes;
#[cfg(not(madsim))]
pub mod directory;
pub mod disk;
pub mod engine;
pub mod format;
pub mod gc;
pub mod gc_thresholds;
pub mod keys;
pub mod life;
pub mod memory;
pub mod mvcc;
#[cfg(not(madsim))]
pub mod rocks;
pub mod watched;

pub use engine::{Batch, Direction, Durability, Engine, Error, Family, FreeSpace, Reader};
