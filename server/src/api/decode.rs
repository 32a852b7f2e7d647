//! From requests on the wire to requests on a range: limits, keyspaces, identity, request ids.

use std::time::Duration;

use bytes::Bytes;
use quintet_proto::v1::{self, Code, session_request::Op};
use xxhash_rust::xxh3::Xxh3Default as Xxh3;

use crate::{
    error::OpError,
    ids::KeyspaceId,
    peer::ClusterIdentity,
    range::request::{
        Condition, DeleteRange, Lifetime, PutMany, Read, ReadKind, Reply, Scan, Write, WriteKind,
    },
    router::routes::Place,
    size::Size,
    storage::{
        Direction,
        codec::{Descriptor, RequestId},
        keys,
        mvcc::PageLimit,
    },
    time::{AHEAD_MAX, Hlc, Timestamp, local::Instant},
};

pub use crate::config::{
    KEY_BYTES_MAX, Limits, PUT_MANY_BYTES_MAX, PUT_MANY_ITEMS_MAX, TTL_MS_MAX,
};

/// How long a request may take where its caller does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// How long it may take at all.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Versions that one page of a scan steps over.
const PAGE_VERSIONS_MAX: Size = Size::new("page-versions", 50_000, 500);

/// Who asks. There are no users yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Anybody.
    Anonymous,
}

/// A request that is ready for its range, but for the way back.
pub enum Decoded {
    /// A change.
    Write(DecodedWrite),
    /// A read.
    Read(DecodedRead),
}

/// A [`Write`] without its reply.
pub struct DecodedWrite {
    key: Bytes,
    kind: WriteKind,
    request: RequestId,
    first_attempt: Timestamp,
    later_attempt: bool,
    refusal_not_remembered: bool,
    hash: u64,
    deadline: Instant,
}

/// A [`Read`] without its reply.
pub struct DecodedRead {
    keyspace: KeyspaceId,
    kind: ReadKind,
    deadline: Instant,
}

impl Decoded {
    /// Where it begins: this decides the range.
    pub fn place(&self) -> Place<'_> {
        match self {
            Decoded::Write(write) => Place::Key(&write.key),
            Decoded::Read(read) => match &read.kind {
                ReadKind::Get(key) => Place::Key(key),
                ReadKind::Scan(Scan { end, direction: Direction::Reverse, .. }) => {
                    Place::Below(end)
                }
                ReadKind::Scan(Scan { start, .. }) => Place::Key(start),
                ReadKind::Confirm { .. } => Place::Key(&[]),
            },
        }
    }

    /// The stored keys, from the first to below the second, of a scan that begins.
    pub fn first_page_span(&self) -> Option<(&[u8], &[u8])> {
        match self {
            Decoded::Read(DecodedRead {
                kind: ReadKind::Scan(Scan { start, end, at: None, .. }),
                ..
            }) => Some((start, end)),
            _ => None,
        }
    }

    /// Whether a range can serve it: holds its key, or what it scans. A later page of a scan only
    /// has to begin there; it ends with the range at the latest.
    pub fn lies_in(&self, range: &Descriptor) -> bool {
        if let Some((start, end)) = self.first_page_span() {
            return range.covers(start, end);
        }
        match self.place() {
            Place::Key(key) => range.contains(key),
            Place::Below(end) => {
                let above = end.is_empty() || range.start.as_slice() < end;
                above && (range.end.is_empty() || (!end.is_empty() && end <= range.end.as_slice()))
            }
        }
    }

    /// Whether it asks for something that a range may hold.
    pub fn overlaps(&self, range: &Descriptor) -> bool {
        match self {
            Decoded::Read(DecodedRead {
                kind: ReadKind::Scan(Scan { start, end, .. }), ..
            }) => range.overlaps(start, end),
            _ => self.lies_in(range),
        }
    }

    /// The keyspace of a read.
    pub fn keyspace(&self) -> Option<KeyspaceId> {
        match self {
            Decoded::Read(read) => Some(read.keyspace),
            Decoded::Write(_) => None,
        }
    }

    /// Not begun after this.
    pub fn deadline(&self) -> Instant {
        match self {
            Decoded::Write(write) => write.deadline,
            Decoded::Read(read) => read.deadline,
        }
    }
}

impl DecodedWrite {
    /// The request with its way back.
    pub fn with_reply(self, reply: Reply) -> Write {
        Write {
            key: self.key,
            kind: self.kind,
            request: self.request,
            first_attempt: self.first_attempt,
            later_attempt: self.later_attempt,
            refusal_not_remembered: self.refusal_not_remembered,
            hash: self.hash,
            deadline: self.deadline,
            reply,
        }
    }
}

impl DecodedRead {
    /// The request with its way back.
    pub fn with_reply(self, reply: Reply) -> Read {
        Read { kind: self.kind, deadline: self.deadline, reply }
    }
}

struct Context {
    keyspace: KeyspaceId,
    deadline: Instant,
    request: RequestId,
    first_attempt: Timestamp,
    later_attempt: bool,
    refusal_not_remembered: bool,
}

/// Decodes and checks a request. What the caller left out, request id and time of the first
/// attempt, is filled in, in the request too: it may be forwarded.
pub fn decode(
    request: &mut v1::SessionRequest,
    limits: &Limits,
    hlc: &Hlc,
    identity: &ClusterIdentity,
) -> Result<Decoded, OpError> {
    let op = request.op.as_mut().ok_or_else(|| OpError::invalid("the request asks nothing"))?;
    let needs_id = !matches!(op, Op::Get(_) | Op::Scan(_));
    let context = context_of(op, hlc, identity, needs_id)?;
    authorize(Caller::Anonymous, context.keyspace)?;
    match op {
        Op::Get(get) => {
            let key = check_stored_key(&get.key, context.keyspace)?;
            let Context { keyspace, deadline, .. } = context;
            Ok(Decoded::Read(DecodedRead { keyspace, kind: ReadKind::Get(key), deadline }))
        }
        Op::Scan(scan) => decode_scan(scan, &context, limits),
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

fn context_of(
    op: &mut Op,
    hlc: &Hlc,
    identity: &ClusterIdentity,
    needs_id: bool,
) -> Result<Context, OpError> {
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
    let context = slot.get_or_insert_default();
    let another = (!context.cluster_id.is_empty() && context.cluster_id != identity.cluster)
        || (context.incarnation != 0 && context.incarnation != identity.incarnation);
    if another {
        return Err(OpError::new(
            Code::WrongCluster,
            format!(
                "this is cluster {} incarnation {}, the request is for {} incarnation {}: use that \
                 cluster's addresses, or connect anew",
                identity.cluster, identity.incarnation, context.cluster_id, context.incarnation
            ),
        ));
    }
    let timeout = match context.timeout_ms {
        0 => TIMEOUT_DEFAULT,
        ms => Duration::from_millis(ms.into()).min(TIMEOUT_MAX),
    };
    let keyspace = keyspace(&context.keyspace)?;
    let (mut request, mut first_attempt) = (RequestId::default(), Timestamp::ZERO);
    if needs_id {
        let now = hlc.peek();
        if context.first_attempt_time == 0 {
            if context.attempt > 0 {
                return Err(OpError::invalid("a later attempt must name the time of the first"));
            }
            context.first_attempt_time = now.0;
        }
        first_attempt = Timestamp(context.first_attempt_time);
        if first_attempt > now.saturating_add(AHEAD_MAX) {
            return Err(OpError::invalid(
                "the time of the first attempt is more than a minute ahead of the cluster's; \
                 learn the cluster's time from its answers",
            ));
        }
        request = request_id(context, hlc)?;
    }
    Ok(Context {
        keyspace,
        deadline: Instant::now() + timeout,
        request,
        first_attempt,
        later_attempt: context.attempt > 0,
        refusal_not_remembered: context.refusal_not_remembered,
    })
}

fn request_id(context: &mut v1::RequestContext, hlc: &Hlc) -> Result<RequestId, OpError> {
    let id = context.request_id.get_or_insert_with(|| {
        let client: u128 = rand::random();
        let client = Bytes::copy_from_slice(&client.to_be_bytes());
        v1::RequestId { origin_room: 0, client, sequence: hlc.peek().0 }
    });
    let client: [u8; 16] = id.client.as_ref().try_into().map_err(|_| {
        OpError::invalid("the client part of a request id has 16 bytes; draw them at random")
    })?;
    let origin_room = u16::try_from(id.origin_room)
        .map_err(|_| OpError::invalid("the room of a request id has 16 bits"))?;
    Ok(RequestId { origin_room, client: u128::from_be_bytes(client), sequence: id.sequence })
}

/// Whether a caller may touch a keyspace. The one place for it.
fn authorize(caller: Caller, keyspace: KeyspaceId) -> Result<(), OpError> {
    match caller {
        Caller::Anonymous if keyspace == KeyspaceId::SYSTEM => {
            Err(OpError::invalid("the keyspace 'system' is not for clients; use 'default'"))
        }
        Caller::Anonymous => Ok(()),
    }
}

fn keyspace(name: &str) -> Result<KeyspaceId, OpError> {
    match name {
        "" | "default" => Ok(KeyspaceId::DEFAULT),
        "redis" => Ok(KeyspaceId::REDIS),
        "system" => Ok(KeyspaceId::SYSTEM),
        other => Err(OpError::invalid(format!(
            "there is no keyspace '{}'; use 'default'",
            other.chars().take(64).collect::<String>()
        ))),
    }
}

/// The stored form of a key in a keyspace that a client names.
pub fn stored_key(name: &str, key: &[u8]) -> Result<Bytes, OpError> {
    let keyspace = keyspace(name)?;
    authorize(Caller::Anonymous, keyspace)?;
    check_stored_key(key, keyspace)
}

fn check_key(key: &[u8], keyspace: KeyspaceId, limits: &Limits) -> Result<Bytes, OpError> {
    check_length(key, limits.key_bytes_max)?;
    Ok(keys::encode(keyspace, key))
}

/// A key that is not made by the request: it may be older than the limit, and longer.
fn check_stored_key(key: &[u8], keyspace: KeyspaceId) -> Result<Bytes, OpError> {
    check_length(key, KEY_BYTES_MAX)?;
    Ok(keys::encode(keyspace, key))
}

fn check_length(key: &[u8], most: u32) -> Result<(), OpError> {
    let most = most as usize;
    if key.is_empty() {
        return Err(OpError::invalid("the key is empty; a key has 1 byte at least"));
    }
    if key.len() > most {
        let length = key.len();
        return Err(OpError::invalid(format!(
            "the key has {length} bytes, {most} are allowed; shorten it"
        )));
    }
    Ok(())
}

fn check_value(value: &[u8], limits: &Limits) -> Result<(), OpError> {
    let (length, most) = (value.len(), limits.value_bytes_max as usize);
    if length > most {
        return Err(OpError::invalid(format!(
            "the value has {length} bytes, {most} are allowed; split it"
        )));
    }
    Ok(())
}

fn check_condition(condition: Option<&v1::Condition>) -> Result<Condition, OpError> {
    use v1::condition::Kind;
    match condition.map(|condition| &condition.kind) {
        None => Ok(Condition::Always),
        // An absent key is read as version 0.
        Some(Some(Kind::Absent(true) | Kind::Version(0))) => Ok(Condition::Absent),
        Some(Some(Kind::Version(version))) => Ok(Condition::Version(Timestamp(*version))),
        Some(Some(Kind::Absent(false)) | None) => {
            Err(OpError::invalid("the condition is of no kind: set 'absent' or 'version'"))
        }
    }
}

fn check_ttl(ttl_ms: u64) -> Result<Option<Duration>, OpError> {
    if ttl_ms > TTL_MS_MAX {
        return Err(OpError::invalid(format!(
            "a ttl of {ttl_ms} ms is too long, {TTL_MS_MAX} ms (100 years) are allowed; leave it \
             out for a key that does not expire"
        )));
    }
    Ok((ttl_ms > 0).then(|| Duration::from_millis(ttl_ms)))
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

/// Everything goes only where that is said.
pub(super) fn check_deleted_span(delete: &v1::DeleteRangeRequest) -> Result<(), OpError> {
    let is_open = delete.start.is_empty() && delete.end.is_empty() && delete.prefix.is_empty();
    match (is_open, delete.everything) {
        (true, false) => Err(OpError::invalid(
            "the deletion names no keys: set 'prefix', 'start' or 'end', or 'everything' for all keys of the \
             keyspace",
        )),
        _ => Ok(()),
    }
}

/// Of what a request asks, the same on every build: it is stored.
fn hash(key: &[u8], kind: &WriteKind) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&(key.len() as u64).to_be_bytes());
    hash.update(key);
    let condition = |hash: &mut Xxh3, condition: &Condition| match condition {
        Condition::Always => hash.update(&[0]),
        Condition::Absent => hash.update(&[1]),
        Condition::Version(version) => {
            hash.update(&[2]);
            hash.update(&version.0.to_be_bytes());
        }
    };
    let lifetime = |hash: &mut Xxh3, ttl: &Option<Duration>| {
        hash.update(&ttl.map_or(0, |ttl| ttl.as_millis()).to_be_bytes());
    };
    match kind {
        WriteKind::Put { value, condition: holds, life } => {
            // One without a life of its own is of another kind, so that stored hashes stay.
            hash.update(&[if *life == Lifetime::AsBefore { 6 } else { 1 }]);
            condition(&mut hash, holds);
            lifetime(&mut hash, &life.ttl());
            hash.update(value);
        }
        WriteKind::Delete { condition: holds } => {
            hash.update(&[2]);
            condition(&mut hash, holds);
        }
        WriteKind::Increment { delta, ttl } => {
            hash.update(&[3]);
            hash.update(&delta.to_be_bytes());
            lifetime(&mut hash, ttl);
        }
        WriteKind::Expire { ttl, condition: holds } => {
            hash.update(&[4]);
            condition(&mut hash, holds);
            lifetime(&mut hash, ttl);
        }
        WriteKind::PutMany(PutMany { items, ttl }) => {
            hash.update(&[5]);
            lifetime(&mut hash, ttl);
            for (key, value) in items {
                hash.update(&(key.len() as u64).to_be_bytes());
                hash.update(key);
                hash.update(&(value.len() as u64).to_be_bytes());
                hash.update(value);
            }
        }
        // Its moment is that of the first attempt, whatever a later one names.
        WriteKind::DeleteRange(DeleteRange { end, moment: _, limit }) => {
            hash.update(&[6]);
            hash.update(&limit.to_be_bytes());
            hash.update(end);
        }
    }
    hash.digest()
}

/// The stored keys that a start, an end and a prefix of user keys mean: from the first to below the second.
fn stored_span(
    keyspace: KeyspaceId,
    (start, end, prefix): (&[u8], &[u8], &[u8]),
) -> Result<(Vec<u8>, Vec<u8>), OpError> {
    // Of the longest key that can be stored, whatever the limit is by now: a page may go on there. A bound
    // just behind it has a byte more.
    let most = KEY_BYTES_MAX as usize + 1;
    if [start, end, prefix].iter().any(|bound| bound.len() > most) {
        return Err(OpError::invalid(format!("a bound has more than {most} bytes; shorten it")));
    }
    let space_end = keys::keyspace_start(KeyspaceId(keyspace.0 + 1));
    let (start, end) = if prefix.is_empty() {
        let bound = |key: &[u8], open: Vec<u8>| {
            if key.is_empty() { open } else { keys::encode(keyspace, key).to_vec() }
        };
        (bound(start, keys::keyspace_start(keyspace)), bound(end, space_end))
    } else {
        // The pages of a prefix narrow one bound.
        let open = keys::encode_open(keyspace, prefix);
        let (lower, upper) = (keys::encode(keyspace, start), keys::encode(keyspace, end));
        let behind = keys::prefix_end(&open);
        let from = if start.is_empty() { open } else { lower.to_vec().max(open) };
        (from, if end.is_empty() { behind } else { upper.to_vec().min(behind) })
    };
    if start > end {
        return Err(OpError::invalid("the span begins behind its end; swap them"));
    }
    Ok((start, end))
}

fn decode_scan(
    scan: &v1::ScanRequest,
    context: &Context,
    limits: &Limits,
) -> Result<Decoded, OpError> {
    let keyspace = context.keyspace;
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
        at: (scan.at > 0).then_some(Timestamp(scan.at)),
        limit: PageLimit {
            records,
            bytes: limits.scan_page_bytes_max as usize,
            versions: PAGE_VERSIONS_MAX.get(),
        },
        keys_only: scan.keys_only,
    });
    let deadline = context.deadline;
    Ok(Decoded::Read(DecodedRead { keyspace, kind, deadline }))
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::seams::SystemClock;

    fn decoded(op: Op) -> Result<Decoded, OpError> {
        let limits = Limits { key_bytes_max: 4, ..Limits::default() };
        let mut request = v1::SessionRequest { id: 1, op: Some(op) };
        let hlc = Hlc::new(Arc::new(SystemClock));
        decode(&mut request, &limits, &hlc, &ClusterIdentity::default())
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
