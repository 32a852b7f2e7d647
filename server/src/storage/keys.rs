//! How keys are stored.
//!
//! `enc(key)` keeps order and can be followed by anything: the keyspace id as it is (4 bytes, big
//! endian), the user's key with 0x00 written as 0x00 0xFF, then 0x00 0x01. A version's
//! timestamp follows inverted, big endian, so that the newest version of a key comes first. Why so:
//! `docs/decisions/2026-11-29-stored-keys.md`.

use bytes::Bytes;

use crate::{
    ids::{KeyspaceId, RangeId, RequestId},
    time::Timestamp,
};

const ESCAPE: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xFF;
const TERMINATOR: u8 = 0x01;
/// Bytes that `enc(key)` has more than a key without zeros, and some.
pub const ENCODED_MORE_BYTES: usize = 8;

/// `enc(key)`: the stored form of a user's key in a keyspace.
pub fn encode(keyspace: KeyspaceId, key: &[u8]) -> Bytes {
    let mut out = encode_open(keyspace, key);
    out.extend_from_slice(&[ESCAPE, TERMINATOR]);
    Bytes::from(out)
}

/// The stored form of a prefix: a lower bound of every key that begins with it.
pub fn encode_open(keyspace: KeyspaceId, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + ENCODED_MORE_BYTES);
    append_open(keyspace, key, &mut out);
    out
}

/// Appends `enc(key)`.
pub fn append(keyspace: KeyspaceId, key: &[u8], out: &mut Vec<u8>) {
    append_open(keyspace, key, out);
    out.extend_from_slice(&[ESCAPE, TERMINATOR]);
}

fn append_open(keyspace: KeyspaceId, key: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&keyspace.0.to_be_bytes());
    let mut rest = key;
    while let Some(zero) = rest.iter().position(|&byte| byte == ESCAPE) {
        let (plain, tail) = rest.split_at(zero);
        out.extend_from_slice(plain);
        out.extend_from_slice(&[ESCAPE, ESCAPED_ZERO]);
        rest = tail.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// Splits a stored key into keyspace, user's key and what follows `enc(key)`. `None` if the bytes
/// are no such key.
pub fn decode(stored: &[u8]) -> Option<(KeyspaceId, Vec<u8>, &[u8])> {
    let (keyspace, mut rest) = stored.split_first_chunk::<4>()?;
    let mut key = Vec::with_capacity(rest.len());
    loop {
        let zero = rest.iter().position(|&byte| byte == ESCAPE)?;
        let (plain, tail) = rest.split_at(zero);
        key.extend_from_slice(plain);
        match tail {
            [ESCAPE, ESCAPED_ZERO, after @ ..] => {
                key.push(ESCAPE);
                rest = after;
            }
            [ESCAPE, TERMINATOR, after @ ..] => {
                return Some((KeyspaceId(u32::from_be_bytes(*keyspace)), key, after));
            }
            _ => return None,
        }
    }
}

/// The first key of a keyspace, as stored; the end of one is the start of the next.
pub fn keyspace_start(keyspace: KeyspaceId) -> Vec<u8> {
    keyspace.0.to_be_bytes().to_vec()
}

/// The smallest byte string above every one that begins with `prefix`; empty if there is none.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    end
}

/// `enc(key) ++ !ts`: where a version of a key is stored.
pub fn version(encoded: &[u8], at: Timestamp) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded.len() + 8);
    out.extend_from_slice(encoded);
    out.extend_from_slice(&(!at.0).to_be_bytes());
    out
}

/// Above every version of `enc(key)`, and below those of every later key.
pub fn version_end(encoded: &[u8]) -> Vec<u8> {
    let mut end = Vec::with_capacity(encoded.len() + 9);
    end.extend_from_slice(encoded);
    end.extend_from_slice(&[0xFF; 9]);
    end
}

/// Splits what [`version`] made.
pub fn split_version(stored: &[u8]) -> Option<(&[u8], Timestamp)> {
    let (encoded, inverted) = stored.split_last_chunk::<8>()?;
    Some((encoded, Timestamp(!u64::from_be_bytes(*inverted))))
}

/// `request id ++ anchor`: where a request is remembered in [`crate::storage::Family::Dedup`].
///
/// The request comes first: ids of a client follow one another, so their records do too, in memtables
/// and tables, while anchors are as scattered as the clients' keys. Splits and merges of ranges need
/// nothing of it, for a record is found by its whole key.
pub fn dedup(anchor: &[u8], request: RequestId) -> Vec<u8> {
    let mut out = Vec::with_capacity(RequestId::BYTES + anchor.len());
    out.extend_from_slice(&request.to_bytes());
    out.extend_from_slice(anchor);
    out
}

/// The anchor of what [`dedup`] made; it says to which range the record belongs.
pub fn dedup_anchor(stored: &[u8]) -> Option<&[u8]> {
    stored.get(RequestId::BYTES..)
}

/// The part of what [`dedup`] made that all requests of a client share.
pub fn dedup_client(stored: &[u8]) -> Option<&[u8]> {
    stored.get(..RequestId::CLIENT_BYTES)
}

/// Where a record of a range is stored in [`crate::storage::Family::Meta`].
pub fn range_meta(range: RangeId, what: MetaKind) -> Vec<u8> {
    let mut out = range.0.to_be_bytes().to_vec();
    out.push(what as u8);
    out
}

/// The records of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MetaKind {
    /// Last applied log id, membership, newest version, thresholds: one record, one write.
    Applied = 1,
    /// The descriptor.
    Descriptor = 2,
    /// A raft snapshot is being installed: the marker.
    Installing = 16,
}

/// Where a chunk of a raft snapshot of a range is stored in [`crate::storage::Family::Staged`].
pub fn staged_chunk(range: RangeId, number: u64) -> Vec<u8> {
    let mut out = staged(range);
    out.push(1);
    out.extend_from_slice(&number.to_be_bytes());
    out
}

/// Where it is stored how far the chunks of a range are there; the keys of the chunks begin with it.
pub fn staged(range: RangeId) -> Vec<u8> {
    range.0.to_be_bytes().to_vec()
}

/// `enc(key)` of a key that a script names.
#[cfg(test)]
pub(crate) fn encoded(key: &str) -> Bytes {
    encode(KeyspaceId::DEFAULT, key.as_bytes())
}

/// A stored key as a script shows it.
#[cfg(test)]
pub(crate) fn shown(stored: &[u8]) -> String {
    let (_, key, _) = decode(stored).expect("a stored key");
    key.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn encoding_keeps_order_and_comes_back(
            a in proptest::collection::vec(0u8..4, 0..8),
            b in proptest::collection::vec(0u8..4, 0..8),
            tail in proptest::collection::vec(any::<u8>(), 0..9),
        ) {
            let (ea, eb) = (encode(KeyspaceId(1), &a), encode(KeyspaceId(1), &b));
            prop_assert_eq!(a.cmp(&b), ea.cmp(&eb));
            let mut stored = ea.to_vec();
            stored.extend_from_slice(&tail);
            let (keyspace, key, rest) = decode(&stored).expect("decodes");
            prop_assert_eq!(keyspace, KeyspaceId(1));
            prop_assert_eq!(key, a.clone());
            prop_assert_eq!(rest, &tail[..]);
            // No key's encoding is a prefix of another's, so what follows never mixes.
            if a != b {
                prop_assert!(!eb.starts_with(&ea));
            }
            prop_assert!(ea.starts_with(&encode_open(KeyspaceId(1), &a)));
        }
    }

    #[test]
    fn newer_versions_come_first() {
        let key = encode(KeyspaceId(1), b"k");
        assert!(version(&key, Timestamp(5)) < version(&key, Timestamp(4)));
        let stored = version(&key, Timestamp(77));
        assert_eq!(split_version(&stored), Some((&key[..], Timestamp(77))));
    }

    #[test]
    fn requests_of_a_client_stand_side_by_side() {
        let request = |client, sequence| RequestId { origin_room: 1, client, sequence };
        let key = dedup(b"anchor", request(7, 256));
        let mut expected = vec![0, 1];
        expected.extend_from_slice(&7_u128.to_be_bytes());
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 1, 0]);
        expected.extend_from_slice(b"anchor");
        assert_eq!(key, expected);
        assert_eq!(dedup_anchor(&key), Some(&b"anchor"[..]));
        assert_eq!(dedup_client(&key), Some(&expected[..18]));
        assert!(dedup(b"z", request(7, 255)) < key && key < dedup(b"a", request(7, 257)));
        assert!(key < dedup(b"a", request(8, 0)));
    }

    #[test]
    fn prefix_ends() {
        assert_eq!(prefix_end(b"ab"), b"ac");
        assert_eq!(prefix_end(&[1, 0xFF]), vec![2]);
        assert!(prefix_end(&[0xFF, 0xFF]).is_empty());
    }
}
