//! Newtypes for the numbers that name things, so that one cannot be taken for another.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// A node, named by its configuration. It keeps its id for ever, also where it loses its disk.
    NodeId,
    "n"
);
id!(
    /// A range. 1 is the system range.
    RangeId,
    "r"
);
id!(
    /// A replica of a range, from a counter in its range, never reused
    /// (`docs/decisions/2026-11-29-replica-ids-are-used-once.md`). It is the Raft node id
    /// within the range's group.
    ReplicaId,
    "p"
);
id!(
    /// A version of a range descriptor, raised by split, merge and replica change.
    Generation,
    "g"
);

/// A keyspace: every stored key begins with one (4 bytes, big endian).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct KeyspaceId(pub u32);

impl KeyspaceId {
    /// Node registry, descriptors' index, settings. Closed to clients.
    pub const SYSTEM: KeyspaceId = KeyspaceId(0);
    /// Where requests go that name no keyspace.
    pub const DEFAULT: KeyspaceId = KeyspaceId(1);
    /// The Redis protocol's keys.
    pub const REDIS: KeyspaceId = KeyspaceId(2);

    /// Its name, as requests say it; none of a keyspace that there is not.
    pub fn name(self) -> Option<&'static str> {
        match self {
            KeyspaceId::SYSTEM => Some("system"),
            KeyspaceId::DEFAULT => Some("default"),
            KeyspaceId::REDIS => Some("redis"),
            _ => None,
        }
    }
}

/// Where a keyspace's timestamps come from. There is one so far, 0; stored and wire formats carry
/// it all the same.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct TimeDomain(pub u32);

/// The system range.
pub const SYSTEM_RANGE: RangeId = RangeId(1);

/// Names one request for ever, across its attempts and whoever repeats it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct RequestId {
    /// Number of the room that the client attached to first.
    pub origin_room: u16,
    /// 128 random bits, new for each client process.
    pub client: u128,
    /// Rises by one with each request of the client.
    pub sequence: u64,
}

impl RequestId {
    /// Length of [`RequestId::to_bytes`].
    pub const BYTES: usize = 26;
    /// How many of them name the client, and are alike in all its ids.
    pub const CLIENT_BYTES: usize = 18;

    /// Bytes that keep the order of the fields.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        let (room, rest) = out.split_at_mut(2);
        let (client, sequence) = rest.split_at_mut(16);
        room.copy_from_slice(&self.origin_room.to_be_bytes());
        client.copy_from_slice(&self.client.to_be_bytes());
        sequence.copy_from_slice(&self.sequence.to_be_bytes());
        out
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:032x}/{}", self.origin_room, self.client, self.sequence)
    }
}
