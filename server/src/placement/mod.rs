//! Where replicas and leaders belong: localities now, placement policies and the allocator on top.

pub mod locality;
