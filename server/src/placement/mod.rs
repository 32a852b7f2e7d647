//! Where replicas and leaders belong: localities and the default placement policy.

pub mod disk;
pub mod handover;
pub mod initial;
pub mod locality;
pub mod policy;

#[cfg(test)]
mod tests;
