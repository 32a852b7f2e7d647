//! From requests on the wire to requests on a range.
//!
//! Every request has a caller, checked in one place, [`checked`]; until there are users that is
//! [`Caller::Anonymous`](super::limits::Caller).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use quintet_proto::v1::{self, session_request::Op};

use super::{
    context::{self, Context},
    decoded::{Decoded, DecodedRead, DecodedWrite},
    hash::hash,
    limits::{
        Caller, authorize, check_condition, check_deleted_span, check_key, check_length,
        check_stored_key, check_ttl, check_value, stored_span,
    },
};
use crate::{
    config::{Limits, PUT_MANY_BYTES_MAX, PUT_MANY_ITEMS_MAX},
    error::OpError,
    peer::{ClusterIdentity, Peers},
    planted::{self, Bug},
    range::request::{
        Changes, Condition, DeleteRange, Lifetime, PutMany, ReadKind, Scan, WriteKind,
    },
    seams::Random,
    size::Size,
    storage::{Direction, changes::Position, keys, mvcc::PageLimit},
    time::{Timestamp, local::Instant, oracle::handle::Oracle},
};

/// Versions of a key in one answer.
const HISTORY_VERSIONS_MAX: usize = 1_000;
/// Versions of a page of a feed.
const CHANGES_MAX: Size = Size::new("watch-page-changes", 1_000, 1);
/// Versions that one page of a scan steps over.
const PAGE_VERSIONS_MAX: Size = Size::new("page-versions", 50_000, 500);

/// Decodes requests by what a node accepts.
pub(crate) struct Decoder {
    limits: Limits,
    oracle: Arc<Oracle>,
    peers: Arc<Peers>,
    random: Random,
}

impl Decoder {
    /// Decodes by these limits, cluster time, and the cluster that the node belongs to by then.
    pub(crate) fn new(
        limits: Limits,
        oracle: Arc<Oracle>,
        peers: Arc<Peers>,
        random: Random,
    ) -> Decoder {
        Decoder { limits, oracle, peers, random }
    }

    /// Names a write that its caller has not named.
    ///
    /// # Errors
    /// As [`context::name`].
    pub(crate) fn name(&self, context: &mut v1::RequestContext) -> Result<(), OpError> {
        context::name(context, self.oracle.now(), &self.random)
    }

    /// Decodes and checks a request. What its caller left out, its id and the time of the first attempt, is
    /// filled in, in the request too: it may be forwarded.
    pub(crate) fn decode(&self, request: &mut v1::SessionRequest) -> Result<Decoded, OpError> {
        decode(request, &self.limits, self.oracle.now(), &self.peers.identity(), &self.random)
    }

    /// Checks what a request of no range says of itself; until when its caller waits.
    pub(crate) fn until(&self, request: &mut v1::SessionRequest) -> Result<Instant, OpError> {
        let identity = self.peers.identity();
        let (_, context) = checked(request, self.oracle.now(), &identity, &self.random)?;
        Ok(context.deadline)
    }
}

/// What is asked, and what it says of itself, where its caller may ask it.
fn checked<'a>(
    request: &'a mut v1::SessionRequest,
    now: Timestamp,
    identity: &ClusterIdentity,
    random: &Random,
) -> Result<(&'a mut Op, Context), OpError> {
    let op = request.op.as_mut().ok_or_else(|| OpError::invalid("the request asks nothing"))?;
    let context = Context::of(op, now, identity, random)?;
    authorize(Caller::Anonymous, context.keyspace)?;
    Ok((op, context))
}

fn decode(
    request: &mut v1::SessionRequest,
    limits: &Limits,
    now: Timestamp,
    identity: &ClusterIdentity,
    random: &Random,
) -> Result<Decoded, OpError> {
    let (op, context) = checked(request, now, identity, random)?;
    match op {
        Op::Get(get) => {
            let key = check_stored_key(&get.key, context.keyspace)?;
            let Context { keyspace, deadline, .. } = context;
            let (kind, stale) = match (get.at, get.stale_ms) {
                (0, stale_ms) => (ReadKind::Get(key), staleness(stale_ms)),
                (at, 0) => (ReadKind::GetAt(key, Timestamp(at)), None),
                (_, _) => return Err(two_moments()),
            };
            let from_follower = get.from_follower;
            Ok(Decoded::Read(DecodedRead { keyspace, kind, stale, from_follower, deadline }))
        }
        Op::History(history) => {
            let key = check_stored_key(&history.key, context.keyspace)?;
            let Context { keyspace, deadline, .. } = context;
            let before = if history.before == 0 { u64::MAX } else { history.before };
            let limit = match usize::try_from(history.limit).unwrap_or(usize::MAX) {
                0 => HISTORY_VERSIONS_MAX,
                limit => limit.min(HISTORY_VERSIONS_MAX),
            };
            let kind = ReadKind::History(key, Timestamp(before), limit);
            let (stale, from_follower) = (None, false);
            Ok(Decoded::Read(DecodedRead { keyspace, kind, stale, from_follower, deadline }))
        }
        Op::Scan(scan) => decode_scan(scan, &context, limits),
        Op::Watch(watch) => decode_watch(watch, &context),
        // Where it comes from it is answered: `router/timestamp.rs`.
        Op::Timestamp(_) => Err(OpError::invalid("a timestamp is of no range")),
        Op::Put(put) => {
            check_value(&put.value, limits)?;
            let condition = check_condition(put.condition.as_ref())?;
            let life = match (check_ttl(put.ttl_ms)?, put.keep_ttl) {
                (None, false) => Lifetime::Forever,
                (Some(ttl), false) => Lifetime::For(ttl),
                (None, true) => Lifetime::AsBefore,
                (Some(_), true) => {
                    return Err(OpError::invalid(
                        "the put has a ttl and keeps the one before: leave 'ttl_ms' or 'keep_ttl' out",
                    ));
                }
            };
            let kind = WriteKind::Put { value: put.value.clone(), condition, life };
            write(context, &put.key, kind, limits)
        }
        Op::Delete(delete) => {
            let condition = check_condition(delete.condition.as_ref())?;
            let key = check_stored_key(&delete.key, context.keyspace)?;
            Ok(named_write(context, key, WriteKind::Delete { condition }))
        }
        Op::Increment(increment) => {
            let ttl = check_ttl(increment.ttl_ms)?;
            let kind = WriteKind::Increment { delta: increment.delta, ttl };
            write(context, &increment.key, kind, limits)
        }
        Op::Expire(expire) => {
            let condition = check_condition(expire.condition.as_ref())?;
            if condition == Condition::Absent {
                return Err(OpError::invalid(
                    "a key that is absent (version 0) has no expiry: set the condition 'version' or none",
                ));
            }
            let kind = WriteKind::Expire { ttl: check_ttl(expire.ttl_ms)?, condition };
            let key = check_stored_key(&expire.key, context.keyspace)?;
            Ok(named_write(context, key, kind))
        }
        Op::PutMany(many) => put_many(context, many, limits),
        Op::DeleteRange(delete) => delete_range(context, delete),
    }
}

fn write(
    context: Context,
    key: &[u8],
    kind: WriteKind,
    limits: &Limits,
) -> Result<Decoded, OpError> {
    let key = check_key(key, context.keyspace, limits)?;
    Ok(named_write(context, key, kind))
}

fn named_write(context: Context, key: Bytes, kind: WriteKind) -> Decoded {
    let hash = hash(&key, &kind);
    Decoded::Write(DecodedWrite {
        key,
        kind,
        request: context.request,
        first_attempt: context.first_attempt,
        later_attempt: context.later_attempt,
        refusal_not_remembered: context.refusal_not_remembered,
        hash,
        deadline: context.deadline,
    })
}

/// Keys are encoded into one piece of memory: a batch is cheaper than its items.
fn put_many(
    context: Context,
    many: &v1::PutManyRequest,
    limits: &Limits,
) -> Result<Decoded, OpError> {
    let (count, most) = (many.items.len(), PUT_MANY_ITEMS_MAX as usize);
    if count > most {
        let message = format!("the batch has {count} items, {most} are allowed; split it");
        return Err(OpError::invalid(message));
    }
    let bytes: usize = many.items.iter().map(|item| item.key.len() + item.value.len()).sum();
    if bytes > PUT_MANY_BYTES_MAX as usize {
        return Err(OpError::invalid(format!(
            "the batch has {bytes} bytes of keys and values, {PUT_MANY_BYTES_MAX} are allowed; split it"
        )));
    }
    let key_bytes: usize = many.items.iter().map(|item| item.key.len()).sum();
    let mut encoded = Vec::with_capacity(key_bytes + count * keys::ENCODED_MORE_BYTES);
    let mut ends = Vec::with_capacity(count);
    let mut before: &[u8] = &[];
    for item in &many.items {
        check_length(&item.key, limits.key_bytes_max)?;
        check_value(&item.value, limits)?;
        // No key is empty: the first is above it.
        if before >= &item.key[..] {
            return Err(OpError::invalid(
                "the keys of a batch rise from item to item: sort them, and name none twice",
            ));
        }
        before = &item.key;
        keys::append(context.keyspace, &item.key, &mut encoded);
        ends.push(encoded.len());
    }
    let encoded = Bytes::from(encoded);
    let mut start = 0;
    let keys = ends.into_iter().map(|end| encoded.slice(std::mem::replace(&mut start, end)..end));
    let items: Vec<_> = keys.zip(many.items.iter().map(|item| item.value.clone())).collect();
    let Some((key, _)) = items.first().cloned() else {
        return Err(OpError::invalid("the batch has no items; put one in"));
    };
    let kind = WriteKind::PutMany(PutMany { items, ttl: check_ttl(many.ttl_ms)? });
    Ok(named_write(context, key, kind))
}

fn delete_range(context: Context, delete: &v1::DeleteRangeRequest) -> Result<Decoded, OpError> {
    check_deleted_span(delete)?;
    if delete.at == 0 {
        return Err(OpError::invalid(
            "a page of a deletion names its moment: set 'at' to that of a scan of the whole span",
        ));
    }
    let bounds = (&delete.start[..], &delete.end[..], &delete.prefix[..]);
    let (start, end) = stored_span(context.keyspace, bounds)?;
    let (end, moment) = (Bytes::from(end), Timestamp(delete.at));
    let kind = WriteKind::DeleteRange(DeleteRange { end, moment, limit: delete.limit });
    Ok(named_write(context, Bytes::from(start), kind))
}

fn decode_scan(
    scan: &v1::ScanRequest,
    context: &Context,
    limits: &Limits,
) -> Result<Decoded, OpError> {
    if scan.at > 0 && scan.stale_ms > 0 {
        return Err(two_moments());
    }
    let (keyspace, stale) = (context.keyspace, staleness(scan.stale_ms));
    let bounds = (&scan.start[..], &scan.end[..], &scan.prefix[..]);
    let (start, end) = stored_span(keyspace, bounds)?;
    let records = match usize::try_from(scan.limit).unwrap_or(usize::MAX) {
        0 => limits.scan_page_records_max as usize,
        limit => limit.min(limits.scan_page_records_max as usize),
    };
    let kind = ReadKind::Scan(Scan {
        start,
        end,
        direction: if scan.reverse { Direction::Reverse } else { Direction::Forward },
        at: Timestamp(scan.at),
        limit: PageLimit {
            records,
            bytes: limits.scan_page_bytes_max as usize,
            versions: PAGE_VERSIONS_MAX.get(),
        },
        keys_only: scan.keys_only,
    });
    let deadline = context.deadline;
    let from_follower = scan.from_follower;
    Ok(Decoded::Read(DecodedRead { keyspace, kind, stale, from_follower, deadline }))
}

/// A page of a feed.
fn decode_watch(watch: &v1::WatchRequest, context: &Context) -> Result<Decoded, OpError> {
    let keyspace = context.keyspace;
    let names_span = !(watch.start.is_empty() && watch.end.is_empty() && watch.prefix.is_empty());
    let (start, end) = match (watch.key.is_empty(), names_span) {
        (true, _) => stored_span(keyspace, (&watch.start[..], &watch.end[..], &watch.prefix[..]))?,
        (false, true) => {
            return Err(OpError::invalid(
                "the watch names a key and a span: leave 'key', or 'prefix', 'start' and 'end', out",
            ));
        }
        (false, false) => {
            let key = check_stored_key(&watch.key, keyspace)?;
            let end = keys::prefix_end(&key);
            (key.to_vec(), end)
        }
    };
    if watch.after == 0 {
        return Err(OpError::invalid(
            "a page of a feed names the moment that it comes after: set 'after' to that of the page before",
        ));
    }
    let key = match &watch.after_key[..] {
        // The careless hand: "a timestamp says it all".
        [] => None,
        _ if planted::active(Bug::FeedForgetsKey) => None,
        key => Some(check_stored_key(key, keyspace)?),
    };
    let limit = match usize::try_from(watch.limit).unwrap_or(usize::MAX) {
        0 => CHANGES_MAX.get(),
        limit => limit.min(CHANGES_MAX.get()),
    };
    let after = Position { at: Timestamp(watch.after), key };
    let kind = ReadKind::Changes(Changes { start, end, after, limit });
    let (stale, from_follower, deadline) = (None, false, context.deadline);
    Ok(Decoded::Read(DecodedRead { keyspace, kind, stale, from_follower, deadline }))
}

/// How old an answer may be, where it need not be the newest state.
fn staleness(stale_ms: u64) -> Option<Duration> {
    (stale_ms > 0).then(|| Duration::from_millis(stale_ms))
}

fn two_moments() -> OpError {
    OpError::invalid("the read names a moment and how old it may be: leave 'at' or 'stale_ms' out")
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;
    use crate::config::KEY_BYTES_MAX;

    fn decoded(op: Op) -> Result<Decoded, OpError> {
        let limits = Limits { key_bytes_max: 4, ..Limits::default() };
        let mut request = v1::SessionRequest { id: 1, op: Some(op) };
        let random: Random = Arc::new(|| 1);
        decode(&mut request, &limits, Timestamp(1), &ClusterIdentity::default(), &random)
    }

    /// They are longer than a limit that was lowered since.
    #[test]
    fn keys_that_are_there_are_read_and_removed_whatever_the_limit() {
        let key = |bytes| Bytes::from(vec![b'k'; bytes]);
        let most = KEY_BYTES_MAX as usize;
        let get = |key| decoded(Op::Get(v1::GetRequest { key, ..Default::default() })).is_ok();
        let delete =
            |key| decoded(Op::Delete(v1::DeleteRequest { key, ..Default::default() })).is_ok();
        let expire =
            |key| decoded(Op::Expire(v1::ExpireRequest { key, ..Default::default() })).is_ok();
        let put = |key| decoded(Op::Put(v1::PutRequest { key, ..Default::default() })).is_ok();
        let add = |key| {
            decoded(Op::Increment(v1::IncrementRequest { key, ..Default::default() })).is_ok()
        };
        for (bytes, stored, new) in
            [(4, true, true), (5, true, false), (most, true, false), (most + 1, false, false)]
        {
            let of = |takes: &dyn Fn(Bytes) -> bool| takes(key(bytes));
            assert_eq!([of(&get), of(&delete), of(&expire)], [stored; 3], "{bytes}");
            assert_eq!([of(&put), of(&add)], [new; 2], "{bytes}");
        }
        // A page goes on at a key, or just behind one.
        for (bytes, taken) in [(5, true), (most + 1, true), (most + 2, false)] {
            let bound = || key(bytes);
            for scan in [
                v1::ScanRequest { start: bound(), ..Default::default() },
                v1::ScanRequest { end: bound(), reverse: true, ..Default::default() },
                v1::ScanRequest { prefix: bound(), ..Default::default() },
            ] {
                assert_eq!(decoded(Op::Scan(scan)).is_ok(), taken, "{bytes}");
            }
        }
    }
}
