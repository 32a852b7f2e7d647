//! What every operation has, whatever it asks: its context, where it begins, its size.
//!
//! The one place that names all kinds of operations to get at these. Whoever adds a kind adds it here, and
//! the compiler leads there: no match below has a catch-all.

use crate::v1::{RequestContext, session_request::Op};

impl Op {
    /// What the caller said of itself and of its copies of the request; none where it said nothing.
    #[inline]
    pub fn context(&self) -> Option<&RequestContext> {
        let context = match self {
            Op::Get(get) => &get.context,
            Op::Put(put) => &put.context,
            Op::Delete(delete) => &delete.context,
            Op::Increment(increment) => &increment.context,
            Op::Expire(expire) => &expire.context,
            Op::PutMany(many) => &many.context,
            Op::Scan(scan) => &scan.context,
            Op::DeleteRange(delete) => &delete.context,
            Op::History(history) => &history.context,
            Op::Watch(watch) => &watch.context,
            Op::Timestamp(asked) => &asked.context,
        };
        context.as_ref()
    }

    /// The same, to be filled in; there is one from now on.
    #[inline]
    pub fn context_mut(&mut self) -> &mut RequestContext {
        let context = match self {
            Op::Get(get) => &mut get.context,
            Op::Put(put) => &mut put.context,
            Op::Delete(delete) => &mut delete.context,
            Op::Increment(increment) => &mut increment.context,
            Op::Expire(expire) => &mut expire.context,
            Op::PutMany(many) => &mut many.context,
            Op::Scan(scan) => &mut scan.context,
            Op::DeleteRange(delete) => &mut delete.context,
            Op::History(history) => &mut history.context,
            Op::Watch(watch) => &mut watch.context,
            Op::Timestamp(asked) => &mut asked.context,
        };
        context.get_or_insert_default()
    }

    /// The key that it is about; of several keys the first, of a span where it begins. A timestamp is about none.
    #[inline]
    pub fn key(&self) -> &[u8] {
        match self {
            Op::Get(get) => &get.key,
            Op::Put(put) => &put.key,
            Op::Delete(delete) => &delete.key,
            Op::Increment(increment) => &increment.key,
            Op::Expire(expire) => &expire.key,
            Op::PutMany(many) => many.items.first().map_or(&[], |item| &item.key),
            Op::Scan(scan) => &scan.start,
            Op::DeleteRange(delete) => &delete.start,
            Op::History(history) => &history.key,
            Op::Watch(watch) if watch.key.is_empty() => &watch.start,
            Op::Watch(watch) => &watch.key,
            Op::Timestamp(_) => &[],
        }
    }

    /// Whether its caller wants it served by the replica of the node that is asked, whoever leads.
    #[inline]
    pub fn is_from_follower(&self) -> bool {
        match self {
            Op::Get(get) => get.from_follower,
            Op::Scan(scan) => scan.from_follower,
            _ => false,
        }
    }

    /// Its caller does not want that any more.
    #[inline]
    pub fn leave_to_leader(&mut self) {
        let wants = match self {
            Op::Get(get) => &mut get.from_follower,
            Op::Scan(scan) => &mut scan.from_follower,
            _ => return,
        };
        *wants = false;
    }

    /// Whether it may change something. Writes carry a request id; reads need none.
    #[inline]
    pub fn is_write(&self) -> bool {
        match self {
            Op::Get(_) | Op::Scan(_) | Op::History(_) | Op::Watch(_) | Op::Timestamp(_) => false,
            Op::Put(_)
            | Op::Delete(_)
            | Op::Increment(_)
            | Op::Expire(_)
            | Op::PutMany(_)
            | Op::DeleteRange(_) => true,
        }
    }

    /// Whether it is a write of which an earlier copy was sent.
    #[inline]
    pub fn is_repetition(&self) -> bool {
        self.is_write() && self.context().is_some_and(|context| context.attempt > 0)
    }

    /// How many items it has: those of a batch of puts, none of any other kind.
    #[inline]
    pub fn items(&self) -> usize {
        match self {
            Op::PutMany(many) => many.items.len(),
            Op::Get(_)
            | Op::Put(_)
            | Op::Delete(_)
            | Op::Increment(_)
            | Op::Expire(_)
            | Op::Scan(_)
            | Op::DeleteRange(_)
            | Op::History(_)
            | Op::Watch(_)
            | Op::Timestamp(_) => 0,
        }
    }

    /// Bytes of keys, bounds and values.
    #[inline]
    pub fn content_bytes(&self) -> usize {
        match self {
            Op::Get(get) => get.key.len(),
            Op::Put(put) => put.key.len() + put.value.len(),
            Op::Delete(delete) => delete.key.len(),
            Op::Increment(increment) => increment.key.len(),
            Op::Expire(expire) => expire.key.len(),
            Op::PutMany(many) => {
                many.items.iter().map(|item| item.key.len() + item.value.len()).sum()
            }
            Op::Scan(scan) => scan.start.len() + scan.end.len() + scan.prefix.len(),
            Op::DeleteRange(delete) => delete.start.len() + delete.end.len() + delete.prefix.len(),
            Op::History(history) => history.key.len(),
            Op::Watch(watch) => {
                let bounds = watch.start.len() + watch.end.len() + watch.prefix.len();
                watch.key.len() + bounds + watch.after_key.len()
            }
            Op::Timestamp(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::v1;

    #[test]
    fn every_kind_says_where_it_begins_and_whether_it_writes() {
        let key = Bytes::from("key");
        let item = v1::PutManyItem { key: key.clone(), value: Bytes::from("value") };
        let kinds = [
            (Op::Get(v1::GetRequest { key: key.clone(), ..Default::default() }), false, 3),
            (Op::Put(v1::PutRequest { key: key.clone(), ..Default::default() }), true, 3),
            (Op::Delete(v1::DeleteRequest { key: key.clone(), ..Default::default() }), true, 3),
            (
                Op::Increment(v1::IncrementRequest { key: key.clone(), ..Default::default() }),
                true,
                3,
            ),
            (Op::Expire(v1::ExpireRequest { key: key.clone(), ..Default::default() }), true, 3),
            (Op::PutMany(v1::PutManyRequest { items: vec![item], ..Default::default() }), true, 8),
            (Op::Scan(v1::ScanRequest { start: key.clone(), ..Default::default() }), false, 3),
            (Op::History(v1::HistoryRequest { key: key.clone(), ..Default::default() }), false, 3),
            (Op::Watch(v1::WatchRequest { key: key.clone(), ..Default::default() }), false, 3),
            (Op::Watch(v1::WatchRequest { start: key.clone(), ..Default::default() }), false, 3),
            (Op::DeleteRange(v1::DeleteRangeRequest { start: key, ..Default::default() }), true, 3),
        ];
        let timestamp = Op::Timestamp(v1::TimestampRequest::default());
        assert_eq!((timestamp.key(), timestamp.is_write()), (&b""[..], false));
        for (mut op, writes, bytes) in kinds {
            assert_eq!((op.key(), op.is_write(), op.content_bytes()), (&b"key"[..], writes, bytes));
            assert!(op.context().is_none() && !op.is_repetition(), "{op:?}");
            op.context_mut().attempt = 1;
            assert_eq!(op.context().map(|context| context.attempt), Some(1), "{op:?}");
            assert_eq!(op.is_repetition(), writes, "{op:?}");
        }
    }
}
