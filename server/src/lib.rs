//! A Quintet node.

pub mod ids;
pub mod storage;
