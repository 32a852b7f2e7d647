//! The points of the server's code at which a node may be killed, by name.

// The server's own list, which is nothing but data: this crate has the server only where it simulates.
#[path = "../../../server/src/failpoint/points.rs"]
mod list;

pub use list::ALL;

/// All names.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// Whether there is a point of that name.
pub fn is_known(name: &str) -> bool {
    names().any(|known| known == name)
}
