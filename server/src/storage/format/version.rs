//! A version of a key: what was written, or that the key was removed. Reading versions is [`crate::storage::mvcc`].

use serde::{Deserialize, Serialize};

use super::txn::TxnId;
use crate::time::Timestamp;

/// A version of a key, in [`crate::storage::Family::Data`] under `enc(key) ++ !ts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord<'a> {
    /// The value, or none where the version is a removal.
    #[serde(borrow, with = "serde_bytes")]
    pub value: Option<&'a [u8]>,
    /// The transaction that wrote it.
    pub txn: Option<TxnId>,
    /// From then on the key is absent.
    pub expires_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RequestId;
    use crate::storage::format::golden::holds_borrowed;

    #[test]
    fn format_1() {
        let expires_at = Some(Timestamp(300));
        let version = VersionRecord { value: Some(b"v"), txn: None, expires_at };
        holds_borrowed(&version, "010101760001fb2c01");
    }

    #[test]
    fn removals_and_transactions() {
        let removal = VersionRecord { value: None, txn: None, expires_at: None };
        holds_borrowed(&removal, "01000000");
        let request = RequestId { origin_room: 3, client: 0x0102_0304, sequence: 9 };
        let txn = Some(TxnId { request, attempt: 2 });
        let empty = VersionRecord { value: Some(b""), txn, expires_at: None };
        // An empty value; room, client, sequence and attempt; no expiry.
        holds_borrowed(&empty, "0101000103fc04030201090200");
    }
}
