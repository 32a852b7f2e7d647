//! What goes into calls and comes out of them: keys, values, versions, options, limits.
//!
//! They are types of the library's own, not those of the wire, so that the schema can grow without changing
//! what callers compile against; what callers only read is `#[non_exhaustive]` for the same reason. This is the
//! one place where either becomes the other (errors aside: `error.rs`).
//!
//! Bytes that a caller keeps are detached from the frame in which they came ([`detach`]), or ten of them would
//! keep 256 KiB alive.

use std::{fmt, time::Duration};

use bytes::Bytes;
use quintet_proto::v1;

/// Version of a key: the timestamp of the write that made its value. Versions of a key rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(
    /// The number as the wire has it: 52 bits of microseconds since 2020-01-01 UTC, then 12 bits
    /// of logical counter.
    pub u64,
);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value and its version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Versioned {
    /// The value.
    pub value: Bytes,
    /// The version of the write that made it.
    pub version: Version,
    /// The cluster's time from which on the key is absent; `None`: it does not expire.
    /// [`Client::ttl`](crate::Client::ttl) tells how long that is from now.
    pub expires_at: Option<Version>,
}

impl Versioned {
    /// `None` where the state says that the key is absent.
    pub(crate) fn from_wire(state: Option<v1::KeyState>) -> Option<Self> {
        let state = state.filter(|state| state.version != 0)?;
        let expires_at = expiry(state.expires_at);
        Some(Self { value: detach(state.value), version: Version(state.version), expires_at })
    }
}

/// What a read of a state shows that may be a little old.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Shown {
    /// The value, or `None` where the key was absent.
    pub found: Option<Versioned>,
    /// The moment that it shows; `None`: the newest state, from the leader.
    pub at: Option<Version>,
    /// How old that is at most; zero where it is the newest state.
    pub stale: Duration,
}

/// A version of a key that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct VersionKept {
    /// When it was written.
    pub version: Version,
    /// The value, or `None` where the key was removed.
    pub value: Option<Bytes>,
    /// The cluster's time from which on the key is absent; `None`: it does not expire.
    pub expires_at: Option<Version>,
    /// The request that wrote it: `ROOM/CLIENT/SEQUENCE`.
    pub request: String,
}

impl VersionKept {
    pub(crate) fn from_wire(version: v1::KeyVersion) -> Self {
        let id = version.request_id.unwrap_or_default();
        let client: String = id.client.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            version: Version(version.version),
            value: (!version.removed).then(|| detach(version.value)),
            expires_at: expiry(version.expires_at),
            request: format!("{}/{client}/{}", id.origin_room, id.sequence),
        }
    }
}

/// When a key expires, where the wire has 0 for never.
pub(crate) fn expiry(expires_at: u64) -> Option<Version> {
    (expires_at != 0).then_some(Version(expires_at))
}

/// How long a key will be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ttl {
    /// What was left when the leader answered, rounded up to milliseconds.
    Left(Duration),
    /// It does not expire.
    Forever,
}

/// Options of a put: a condition, and a time to live.
///
/// ```
/// use std::time::Duration;
/// use quintet_client::{Condition, PutOptions};
///
/// let session = PutOptions::new().ttl(Duration::from_secs(1_800));
/// let lock = PutOptions::new().ttl(Duration::from_secs(10)).condition(Condition::Absent);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct PutOptions {
    pub(crate) condition: Option<Condition>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) keep_ttl: bool,
}

impl PutOptions {
    /// No condition, no expiry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes only if this holds.
    pub fn condition(mut self, condition: Condition) -> Self {
        self.condition = Some(condition);
        self
    }

    /// Time to live: the key expires this long after the write. At least 1 ms (less is rounded up), at most
    /// 100 years.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self.keep_ttl = false;
        self
    }

    /// Keeps the expiry that the key has. A key without one, or an absent one, then stays for ever. Without
    /// `keep_ttl` and [`ttl`](Self::ttl) a put removes the expiry. Replaces a `ttl` that was set before.
    ///
    /// ```
    /// use quintet_client::{Condition, PutOptions, Version};
    ///
    /// let renamed = PutOptions::new().condition(Condition::Version(Version(7))).keep_ttl();
    /// ```
    pub fn keep_ttl(mut self) -> Self {
        self.ttl = None;
        self.keep_ttl = true;
        self
    }
}

/// A key with its value and version, from a scan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Record {
    /// The key.
    pub key: Bytes,
    /// The value; empty in a scan of keys only.
    pub value: Bytes,
    /// The version of the write that made the value.
    pub version: Version,
    /// The cluster's time from which on the key is absent; `None`: it does not expire.
    pub expires_at: Option<Version>,
}

/// The result of an increment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incremented {
    /// The number after it.
    pub value: i64,
    /// The version of the write.
    pub version: Version,
}

/// When a write may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The key must not exist.
    Absent,
    /// The key must exist with exactly this version. `Version(0)` is that of an absent key, and the same
    /// as [`Absent`](Self::Absent).
    Version(Version),
}

impl From<Condition> for v1::Condition {
    fn from(condition: Condition) -> Self {
        let kind = match condition {
            Condition::Absent => v1::condition::Kind::Absent(true),
            Condition::Version(version) => v1::condition::Kind::Version(version.0),
        };
        Self { kind: Some(kind) }
    }
}

/// What a server accepts; the client enforces the same numbers before it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Longest key, in bytes.
    pub key_bytes_max: usize,
    /// Longest value, in bytes.
    pub value_bytes_max: usize,
    /// Most items of a batch.
    pub batch_items_max: usize,
    /// Most operations in flight on one session; over it calls wait.
    pub session_in_flight_max: usize,
    /// The longest time after which a key may be told to expire.
    pub ttl_max: Duration,
    /// Most items that the batch writer puts into one request; 0: the server takes no such requests.
    pub put_many_items_max: usize,
    /// Most bytes of their keys and values.
    pub put_many_bytes_max: usize,
    /// Most keys that one page of a deletion removes; 0: the server takes no such requests.
    pub delete_range_keys_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            key_bytes_max: 8 << 10,
            value_bytes_max: 1 << 20,
            batch_items_max: 1_000,
            session_in_flight_max: 1_024,
            ttl_max: Duration::from_secs(100 * 365 * 24 * 3_600),
            put_many_items_max: 0,
            put_many_bytes_max: 0,
            delete_range_keys_max: 0,
        }
    }
}

impl Limits {
    /// A number that the server leaves at 0 keeps its default.
    pub(crate) fn from_wire(limits: Option<v1::Limits>) -> Self {
        let limits = limits.unwrap_or_default();
        let default = Self::default();
        let or = |number: u32, default: usize| match number {
            0 => default,
            number => number as usize,
        };
        Self {
            key_bytes_max: or(limits.key_bytes_max, default.key_bytes_max),
            value_bytes_max: or(limits.value_bytes_max, default.value_bytes_max),
            batch_items_max: or(limits.batch_items_max, default.batch_items_max),
            session_in_flight_max: or(limits.session_in_flight_max, default.session_in_flight_max),
            ttl_max: match limits.ttl_ms_max {
                0 => default.ttl_max,
                ms => Duration::from_millis(ms),
            },
            put_many_items_max: limits.put_many_items_max as usize,
            put_many_bytes_max: limits.put_many_bytes_max as usize,
            delete_range_keys_max: limits.delete_range_keys_max as usize,
        }
    }
}

/// The cluster that a client is attached to, as the node in use introduced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterInfo {
    /// Id of the cluster; empty before `cluster init`.
    pub cluster_id: String,
    /// Incarnation of the cluster: 1 at birth, raised by a recovery; 0 before `cluster init`.
    pub incarnation: u64,
    /// Id of the node in use.
    pub node_id: u64,
    /// Number of that node's room.
    pub room: u32,
    /// Client address of that node, as the client dialled it.
    pub address: String,
    /// What that node accepts.
    pub limits: Limits,
}

/// What can be a key or a value: text and bytes, owned or borrowed.
///
/// Owned values are taken over without a copy.
pub trait IntoBytes {
    /// The bytes.
    fn into_bytes(self) -> Bytes;
}

macro_rules! into_bytes {
    ($($owned:ty),*; $($borrowed:ty),*) => {
        $(impl IntoBytes for $owned {
            fn into_bytes(self) -> Bytes {
                Bytes::from(self)
            }
        })*
        $(impl IntoBytes for $borrowed {
            fn into_bytes(self) -> Bytes {
                let bytes: &[u8] = self.as_ref();
                Bytes::copy_from_slice(bytes)
            }
        })*
    };
}

into_bytes!(Bytes, String, Vec<u8>; &str, &String, &[u8], &Vec<u8>);

impl IntoBytes for &Bytes {
    fn into_bytes(self) -> Bytes {
        self.clone()
    }
}

impl<const N: usize> IntoBytes for [u8; N] {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self)
    }
}

impl<const N: usize> IntoBytes for &[u8; N] {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

/// Gives short bytes an allocation of their own, because what was decoded shares that of the whole
/// frame: a caller who keeps ten bytes must not keep 256 KiB alive.
pub(crate) fn detach(bytes: Bytes) -> Bytes {
    const COPIED_BYTES_MAX: usize = 4 << 10;
    if bytes.len() <= COPIED_BYTES_MAX { Bytes::copy_from_slice(&bytes) } else { bytes }
}
