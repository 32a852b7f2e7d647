//! What to scan: which keys, in which direction, how many. Pure.
//!
//! A prefix and every kind of range become one form here, a first key and an exclusive end, so that every page
//! of a scan, in either direction, is the same request with one bound moved. An empty end is the end of the
//! keyspace; that no key can be in a range is therefore a flag of its own.

use std::ops::{Bound, RangeBounds};

use bytes::Bytes;
use quintet_proto::v1;

use crate::types::IntoBytes;

/// What to scan: which keys, in which direction, how many.
///
/// ```
/// use quintet_client::ScanOptions;
///
/// let users = ScanOptions::prefix("user/");
/// let some = ScanOptions::range("a".."m").limit(100);
/// let newest_first = ScanOptions::all().reverse().keys_only();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ScanOptions {
    pub(super) start: Bytes,
    /// Exclusive; empty is the end of the keyspace.
    pub(super) end: Bytes,
    /// No key can be in it.
    pub(super) empty: bool,
    pub(super) reverse: bool,
    pub(super) keys_only: bool,
    pub(super) limit: Option<u64>,
    pub(super) from_follower: bool,
}

impl ScanOptions {
    /// All keys of the keyspace.
    pub fn all() -> Self {
        Self {
            start: Bytes::new(),
            end: Bytes::new(),
            empty: false,
            reverse: false,
            keys_only: false,
            limit: None,
            from_follower: false,
        }
    }

    /// The keys that begin with these bytes.
    pub fn prefix(prefix: impl IntoBytes) -> Self {
        let start = prefix.into_bytes();
        Self { end: prefix_end(&start), start, ..Self::all() }
    }

    /// The keys of a range: `"a".."m"`, `"a"..="m"`, `"a"..` and so on.
    pub fn range<K: AsRef<[u8]>>(range: impl RangeBounds<K>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(key) => Bytes::copy_from_slice(key.as_ref()),
            Bound::Excluded(key) => after(key.as_ref()),
            Bound::Unbounded => Bytes::new(),
        };
        let (end, bounded) = match range.end_bound() {
            Bound::Included(key) => (after(key.as_ref()), true),
            Bound::Excluded(key) => (Bytes::copy_from_slice(key.as_ref()), true),
            Bound::Unbounded => (Bytes::new(), false),
        };
        let empty = bounded && start >= end;
        Self { start, end, empty, ..Self::all() }
    }

    /// First key and end, as the wire has them; `None`: no key can be in it.
    pub(crate) fn into_span(self) -> Option<(Bytes, Bytes)> {
        (!self.empty).then_some((self.start, self.end))
    }

    /// The largest number of records.
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// In descending order, from the end to the start.
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// Keys and versions only: values are empty.
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// By the replicas of the node that the client is attached to.
    pub(crate) fn by_follower(mut self) -> Self {
        self.from_follower = true;
        self
    }

    /// Its first key, empty where it begins with the keyspace; and its end, exclusive, empty where it goes on
    /// to the end of the keyspace. With these bounds another process can go on with a scan.
    pub fn bounds(&self) -> (&[u8], &[u8]) {
        (&self.start, &self.end)
    }

    /// The request for a page at a version, 0 for a fresh one.
    pub(super) fn request(&self, at: u64) -> v1::ScanRequest {
        v1::ScanRequest {
            context: None,
            start: self.start.clone(),
            end: self.end.clone(),
            reverse: self.reverse,
            limit: self.limit.unwrap_or(0),
            keys_only: self.keys_only,
            at,
            prefix: Bytes::new(),
            stale_ms: 0,
            from_follower: self.from_follower,
        }
    }
}

/// The first key after all keys with this prefix; empty if there is none.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    end.into()
}

/// The first key after this one.
fn after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_range() {
        assert_eq!(prefix_end(b"ab"), "ac");
        assert_eq!(prefix_end(b"a\xff\xff"), "b");
        assert_eq!(prefix_end(b"\xff\xff"), "");
        assert_eq!(prefix_end(b""), "");
    }

    #[test]
    fn bounds_of_every_kind() {
        let bounds = |options: ScanOptions| (options.start, options.end, options.empty);
        let bytes = |text: &'static str| Bytes::from(text);
        assert_eq!(bounds(ScanOptions::range("a".."b")), (bytes("a"), bytes("b"), false));
        assert_eq!(bounds(ScanOptions::range("a"..="b")), (bytes("a"), bytes("b\0"), false));
        assert_eq!(bounds(ScanOptions::range("a"..)), (bytes("a"), bytes(""), false));
        assert_eq!(bounds(ScanOptions::range::<&str>(..)), (bytes(""), bytes(""), false));
        assert!(ScanOptions::range("b".."a").empty);
        assert!(ScanOptions::range(.."").empty, "nothing is below the empty key");
    }
}
