//! Where a watch stands, and what has arrived beyond. Pure.
//!
//! # Invariants
//!
//! * The position is behind what the caller was handed last, and never goes back: what it is asked for again from there
//!   has nothing that the caller has, and all that he has not.
//! * `Resolved` rises from item to item.

use std::collections::VecDeque;

use bytes::Bytes;
use quintet_proto::v1;

use super::{Change, WatchPosition, Watched};
use crate::types::{Version, VersionKept, detach};

/// The moment that comes before all: on the wire 0 is now.
const BEGINNING: Version = Version(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// `None`: it begins when the first node is asked.
    position: Option<WatchPosition>,
    /// What was told last of how far it has come.
    resolved: Version,
    /// Arrived and not yet taken.
    arrived: VecDeque<Watched>,
}

impl Standing {
    /// At a position that was kept, or is a moment.
    pub(super) fn at(position: &WatchPosition) -> Self {
        let mut position = position.clone();
        position.version = position.version.max(BEGINNING);
        // Of a version of which a key is named others may be still to come.
        let resolved = match position.key {
            None => position.version,
            Some(_) => Version(position.version.0 - 1),
        };
        Self { position: Some(position), resolved, arrived: VecDeque::new() }
    }

    /// Behind the last item that was handed over.
    pub(super) fn position(&self) -> Option<&WatchPosition> {
        self.position.as_ref()
    }

    /// From where a node is asked, as the wire has it.
    pub(super) fn asks_after(&self) -> (u64, Bytes) {
        match &self.position {
            Some(at) => (at.version.0, at.key.clone().unwrap_or_default()),
            None => (0, Bytes::new()),
        }
    }

    /// A message has arrived.
    pub(super) fn take(&mut self, message: v1::WatchResponse) {
        for change in message.changes {
            let written = VersionKept::from_wire(change.version.unwrap_or_default());
            self.arrived.push_back(Watched::Change(Change { key: detach(change.key), written }));
        }
        self.arrived.push_back(Watched::Resolved(Version(message.resolved)));
    }

    /// The next of what has arrived; it stands behind it from now on.
    pub(super) fn hand_over(&mut self) -> Option<Watched> {
        loop {
            let item = self.arrived.pop_front()?;
            let stands = match &item {
                Watched::Change(change) => {
                    WatchPosition::new(change.written.version, Some(change.key.clone()))
                }
                // A full message is complete up to before its last version only.
                Watched::Resolved(resolved)
                    if self.position.as_ref().is_some_and(|at| at.version > *resolved) =>
                {
                    continue;
                }
                Watched::Resolved(resolved) => WatchPosition::new(*resolved, None),
            };
            let is_first = self.position.is_none();
            self.position = Some(stands);
            match item {
                Watched::Resolved(resolved) if resolved <= self.resolved && !is_first => {}
                Watched::Resolved(resolved) => {
                    self.resolved = resolved;
                    return Some(item);
                }
                Watched::Change(_) => return Some(item),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(changes: &[(u64, &'static str)], resolved: u64) -> v1::WatchResponse {
        let changes = changes.iter().map(|(version, key)| v1::Change {
            key: Bytes::from(*key),
            version: Some(v1::KeyVersion { version: *version, ..v1::KeyVersion::default() }),
        });
        v1::WatchResponse { changes: changes.collect(), resolved, ..v1::WatchResponse::default() }
    }

    fn position(version: u64, key: Option<&'static str>) -> WatchPosition {
        WatchPosition::new(Version(version), key.map(Bytes::from))
    }

    /// All that is handed over: versions of changes with their keys, and what is resolved.
    fn handed(standing: &mut Standing) -> Vec<(u64, Option<String>)> {
        let name = |item| match item {
            Watched::Change(change) => {
                let key = String::from_utf8_lossy(&change.key).into_owned();
                (change.written.version.0, Some(key))
            }
            Watched::Resolved(resolved) => (resolved.0, None),
        };
        std::iter::from_fn(|| standing.hand_over().map(name)).collect()
    }

    fn change(version: u64, key: &str) -> (u64, Option<String>) {
        (version, Some(key.to_owned()))
    }

    #[test]
    fn it_stands_behind_what_was_handed_over() {
        let mut standing = Standing::default();
        assert_eq!((standing.asks_after(), standing.position()), ((0, Bytes::new()), None));
        standing.take(message(&[], 5));
        assert_eq!(handed(&mut standing), [(5, None)], "where it begins");
        // A full message: of 7 more is to come.
        standing.take(message(&[(6, "b"), (7, "a")], 6));
        assert_eq!(standing.asks_after(), (5, Bytes::new()), "nothing of it was taken");
        assert!(standing.hand_over().is_some());
        assert_eq!(standing.asks_after(), (6, Bytes::from("b")));
        assert_eq!(handed(&mut standing), [change(7, "a")]);
        assert_eq!(standing.position(), Some(&position(7, Some("a"))));
        standing.take(message(&[(7, "c")], 9));
        assert_eq!(handed(&mut standing), [change(7, "c"), (9, None)]);
        assert_eq!(standing.position(), Some(&position(9, None)));
    }

    #[test]
    fn a_stream_that_is_opened_anew_repeats_nothing() {
        let mut standing = Standing::at(&position(7, Some("a")));
        assert_eq!(standing.asks_after(), (7, Bytes::from("a")));
        // A node tells first where it begins: below the version of which the rest is to come.
        standing.take(message(&[], 6));
        assert_eq!(handed(&mut standing), []);
        assert_eq!(standing.position(), Some(&position(7, Some("a"))), "it does not go back");
        standing.take(message(&[], 7));
        assert_eq!(handed(&mut standing), [(7, None)], "no other key had that version");
        standing.take(message(&[], 7));
        assert_eq!(handed(&mut standing), []);
        let mut standing = Standing::at(&position(7, None));
        standing.take(message(&[], 7));
        assert_eq!(handed(&mut standing), [], "its caller has said so");
    }

    #[test]
    fn after_nothing_is_from_the_beginning() {
        assert_eq!(Standing::at(&position(0, None)).asks_after(), (1, Bytes::new()));
        assert_eq!(Standing::at(&position(0, Some("a"))).resolved, Version(0));
    }
}
