//! A Quintet node.

pub mod config;
pub mod ids;
pub mod ops;
pub mod placement;
pub mod storage;
