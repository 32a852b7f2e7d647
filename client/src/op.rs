//! What the library has to know of an operation, whichever it is: whether it writes, where its context is,
//! where its keys begin, how large it is, and which answer belongs to it.
//!
//! The wire has one message per operation and no common part, so that each question is a match over all of
//! them. All these matches are here, without a wildcard: a new operation does not compile before each of them
//! has an arm for it (only [`is_answered_by`] has to be remembered, and refuses until it is). What a server
//! would refuse is in `checks.rs`.

use quintet_proto::v1::{self, session_request::Op};

use crate::{pending::Answer, routes::Place};

/// Bytes of an item of a batch beside its key and value, roughly.
const ITEM_OVERHEAD_BYTES: usize = 12;

/// Whether it can change something, so that it needs an id and its outcome may be unknown.
pub(crate) fn is_write(op: &Op) -> bool {
    match op {
        Op::Get(_) | Op::Scan(_) => false,
        Op::Put(_)
        | Op::Delete(_)
        | Op::Increment(_)
        | Op::Expire(_)
        | Op::PutMany(_)
        | Op::DeleteRange(_) => true,
    }
}

/// Bytes of its keys and values, roughly.
pub(crate) fn bytes(op: &Op) -> usize {
    let item = |item: &v1::PutManyItem| item.key.len() + item.value.len() + ITEM_OVERHEAD_BYTES;
    match op {
        Op::Get(get) => get.key.len(),
        Op::Put(put) => put.key.len() + put.value.len(),
        Op::Delete(delete) => delete.key.len(),
        Op::Increment(increment) => increment.key.len(),
        Op::Expire(expire) => expire.key.len(),
        Op::PutMany(many) => many.items.iter().map(item).sum(),
        Op::Scan(scan) => scan.start.len() + scan.end.len(),
        Op::DeleteRange(delete) => delete.start.len() + delete.end.len(),
    }
}

/// Where it begins: decides which node it goes to.
pub(crate) fn place(op: &Op) -> Place<'_> {
    match op {
        Op::Get(get) => Place::Key(&get.key),
        Op::Put(put) => Place::Key(&put.key),
        Op::Delete(delete) => Place::Key(&delete.key),
        Op::Increment(increment) => Place::Key(&increment.key),
        Op::Expire(expire) => Place::Key(&expire.key),
        Op::PutMany(many) => Place::Key(many.items.first().map_or(&[], |item| &item.key)),
        Op::Scan(scan) if scan.reverse => Place::Below(&scan.end),
        Op::Scan(scan) => Place::Key(&scan.start),
        Op::DeleteRange(delete) => Place::Key(&delete.start),
    }
}

/// Its context, if it has one yet.
pub(crate) fn context(op: &Op) -> Option<&v1::RequestContext> {
    match op {
        Op::Get(get) => get.context.as_ref(),
        Op::Put(put) => put.context.as_ref(),
        Op::Delete(delete) => delete.context.as_ref(),
        Op::Increment(increment) => increment.context.as_ref(),
        Op::Expire(expire) => expire.context.as_ref(),
        Op::PutMany(many) => many.context.as_ref(),
        Op::Scan(scan) => scan.context.as_ref(),
        Op::DeleteRange(delete) => delete.context.as_ref(),
    }
}

/// Its context, to be filled in; an empty one where it had none.
pub(crate) fn context_mut(op: &mut Op) -> &mut v1::RequestContext {
    let slot = match op {
        Op::Get(get) => &mut get.context,
        Op::Put(put) => &mut put.context,
        Op::Delete(delete) => &mut delete.context,
        Op::Increment(increment) => &mut increment.context,
        Op::Expire(expire) => &mut expire.context,
        Op::PutMany(many) => &mut many.context,
        Op::Scan(scan) => &mut scan.context,
        Op::DeleteRange(delete) => &mut delete.context,
    };
    slot.get_or_insert_default()
}

/// Whether an answer is of its kind.
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
    )
}
