//! What is remembered of a request, so that its repetition is answered and not done again.
//!
//! A [`DedupRecord`] is in [`Family::Dedup`](crate::storage::Family::Dedup), in the range of the request's
//! anchor; the outcomes are also in the commands that bring them ([`super::command`]). The request's id is
//! [`RequestId`](crate::ids::RequestId), in `ids.rs`; its golden bytes are here.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What is remembered of a request, in [`crate::storage::Family::Dedup`] under `request id ++ enc(anchor)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupRecord {
    /// Cluster time of the first attempt.
    pub first_attempt: Timestamp,
    /// Of the request, to notice an id used twice.
    pub hash: u64,
    /// Timestamp of the write.
    pub at: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a request ended; never a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The write happened, at the entry's timestamp.
    Written,
    /// A removal found nothing to remove.
    NothingToDelete,
    /// An increment happened; the sum.
    Number(i64),
    /// Refused: the condition did not hold; the version that stood, or `ZERO` for absent.
    Conflict(Timestamp),
    /// Refused: the value was not a decimal number, or the sum did not fit.
    NotANumber,
    /// A change of the expiry found no key.
    NoSuchKey,
    /// A page of a deletion.
    Removed(Removed),
}

/// What a page of a deletion did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// How many keys are gone.
    pub keys: u32,
    /// Those of which the newest version was this or an older one.
    pub moment: Timestamp,
    /// The stored key at which the next page begins; none where the span is done.
    pub next: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RequestId;
    use crate::storage::format::golden::{hex, holds};

    #[test]
    fn request_ids() {
        let request = RequestId { origin_room: 3, client: 0x0102_0304, sequence: 300 };
        holds(&request, "0103fc04030201fb2c01");
        // As it stands in keys: in one length, big endian.
        assert_eq!(
            hex(&request.to_bytes()),
            "000300000000000000000000000001020304000000000000012c"
        );
    }

    #[test]
    fn format_1() {
        holds(
            &DedupRecord {
                first_attempt: Timestamp(300),
                hash: 5,
                at: Timestamp(301),
                outcome: Outcome::Number(-1),
            },
            "01fb2c0105fb2d010201",
        );
        holds(&Outcome::NoSuchKey, "0105");
    }

    #[test]
    fn outcomes() {
        holds(&Outcome::Written, "0100");
        holds(&Outcome::NothingToDelete, "0101");
        holds(&Outcome::Number(300), "0102fb5802");
        holds(&Outcome::Conflict(Timestamp::ZERO), "010300");
        holds(&Outcome::Conflict(Timestamp(300)), "0103fb2c01");
        holds(&Outcome::NotANumber, "0104");
    }

    /// Came with `quintet 6` directories.
    #[test]
    fn deletions_of_ranges() {
        let removed = Removed { keys: 2, moment: Timestamp(300), next: Some(b"m".to_vec()) };
        holds(&Outcome::Removed(removed), "010602fb2c0101016d");
        let last = Removed { next: None, ..Removed::default() };
        holds(&Outcome::Removed(last), "0106000000");
    }
}
