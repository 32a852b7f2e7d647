//! What the library has to know of an operation beside what every one of them has (`quintet_proto`'s `Op`): where
//! it goes, how much it counts as, and which answer belongs to it. What a server would refuse is in `checks.rs`.

use quintet_proto::v1::session_request::Op;

use crate::{pending::Answer, routes::Place};

/// Bytes of an item of a batch beside its key and value, roughly.
const ITEM_OVERHEAD_BYTES: usize = 12;

/// Bytes of its keys and values, roughly.
pub(crate) fn bytes(op: &Op) -> usize {
    op.content_bytes() + op.items() * ITEM_OVERHEAD_BYTES
}

/// Where it begins: decides which node it goes to.
pub(crate) fn place(op: &Op) -> Place<'_> {
    match op {
        Op::Scan(scan) if scan.reverse => Place::Below(&scan.end),
        op => Place::Key(op.key()),
    }
}

/// Whether the node that the client is attached to may answer it, whoever leads the range.
pub(crate) fn is_for_any_replica(op: &Op) -> bool {
    match op {
        op if op.is_from_follower() => true,
        Op::Get(get) => get.at > 0 || get.stale_ms > 0,
        Op::Watch(_) | Op::Timestamp(_) => true,
        _ => false,
    }
}

/// Whether an answer is of its kind. Has to be remembered for a new kind: it refuses until it is.
pub(crate) fn is_answered_by(op: &Op, answer: &Answer) -> bool {
    matches!(
        (op, answer),
        (Op::Get(_), Answer::Get(_))
            | (Op::Put(_), Answer::Put(_))
            | (Op::Delete(_), Answer::Delete(_))
            | (Op::Increment(_), Answer::Increment(_))
            | (Op::Expire(_), Answer::Expire(_))
            | (Op::PutMany(_), Answer::PutMany(_))
            | (Op::Scan(_), Answer::Scan(_))
            | (Op::DeleteRange(_), Answer::DeleteRange(_))
            | (Op::History(_), Answer::History(_))
            | (Op::Watch(_), Answer::Watch(_))
            | (Op::Timestamp(_), Answer::Timestamp(_))
    )
}
