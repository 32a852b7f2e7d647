//! A request in domain types: decoded and checked, and without the way back of its answer.
//!
//! The router works on this type: which place decides the range, what the range must cover, and how it is handed to
//! the replica. The way back is added last ([`Decoded::submit`]), so that a request can be routed again after a
//! correction. [`Request`] keeps the message as it came beside it: another node gets that one, and does not depend on
//! what this node has understood of it.
//!
//! Only `decode.rs` makes these, after all checks: a [`Decoded`] is within the limits and its bounds are in order.

use std::time::Duration;

use bytes::Bytes;
use quintet_proto::v1;

use super::place::Place;
use crate::{
    ids::{KeyspaceId, RequestId},
    range::{
        replica::Replica,
        request::{Answer, Changes, OpResult, Read, ReadKind, Reply, Scan, Write, WriteKind},
    },
    storage::{Direction, format::descriptor::Descriptor},
    time::{Timestamp, local::Instant},
};

/// A request as it came, and what it asks. What came is what another node is sent.
pub(crate) struct Request {
    /// As it came; what it had left out is filled in.
    pub(crate) wire: v1::SessionRequest,
    /// What it asks.
    pub(crate) decoded: Decoded,
}

/// A request that is ready for its range, but for the way back.
pub(crate) enum Decoded {
    /// A change.
    Write(DecodedWrite),
    /// A read.
    Read(DecodedRead),
}

/// A [`Write`] without its reply.
pub(crate) struct DecodedWrite {
    pub(super) key: Bytes,
    pub(super) kind: WriteKind,
    pub(super) request: RequestId,
    pub(super) first_attempt: Timestamp,
    pub(super) later_attempt: bool,
    pub(super) refusal_not_remembered: bool,
    pub(super) hash: u64,
    pub(super) deadline: Instant,
}

/// A [`Read`] without its reply.
pub(crate) struct DecodedRead {
    pub(super) keyspace: KeyspaceId,
    pub(crate) kind: ReadKind,
    /// How old the answer may be; none: it is the newest state, or that of the moment that is named.
    pub(super) stale: Option<Duration>,
    /// The asked node's replica had better serve it, whoever leads.
    pub(super) from_follower: bool,
    pub(super) deadline: Instant,
}

impl Decoded {
    /// Where it begins: this decides the range.
    pub(crate) fn place(&self) -> Place<'_> {
        match self {
            Decoded::Write(write) => Place::Key(&write.key),
            Decoded::Read(read) => match &read.kind {
                ReadKind::Get(key) | ReadKind::GetAt(key, _) | ReadKind::History(key, ..) => {
                    Place::Key(key)
                }
                ReadKind::Scan(Scan { end, direction: Direction::Reverse, .. }) => {
                    Place::Below(end)
                }
                ReadKind::Scan(Scan { start, .. }) | ReadKind::Changes(Changes { start, .. }) => {
                    Place::Key(start)
                }
                ReadKind::Index(key, _) => Place::Key(key),
                ReadKind::Confirm { .. } => Place::Key(&[]),
            },
        }
    }

    /// The stored keys, from the first to below the second, of a scan that begins: it has no moment yet.
    pub(crate) fn first_page_span(&self) -> Option<(&[u8], &[u8])> {
        match self {
            Decoded::Read(DecodedRead {
                kind: ReadKind::Scan(Scan { start, end, at: Timestamp::ZERO, .. }),
                ..
            }) => Some((start, end)),
            _ => None,
        }
    }

    /// Whether a range can serve it: holds its key. A page of a scan only has to begin there; it ends with the range at
    /// the latest.
    pub(crate) fn lies_in(&self, range: &Descriptor) -> bool {
        match self.place() {
            Place::Key(key) => range.contains(key),
            Place::Below(end) => {
                let above = end.is_empty() || range.start.as_slice() < end;
                above && (range.end.is_empty() || (!end.is_empty() && end <= range.end.as_slice()))
            }
        }
    }

    /// Whether it asks for something that a range may hold.
    pub(crate) fn overlaps(&self, range: &Descriptor) -> bool {
        match self {
            Decoded::Read(DecodedRead {
                kind:
                    ReadKind::Scan(Scan { start, end, .. })
                    | ReadKind::Changes(Changes { start, end, .. }),
                ..
            }) => range.overlaps(start, end),
            _ => self.lies_in(range),
        }
    }

    /// What of a feed it asks for, where it does.
    pub(crate) fn changes(&self) -> Option<&Changes> {
        match self {
            Decoded::Read(DecodedRead { kind: ReadKind::Changes(changes), .. }) => Some(changes),
            _ => None,
        }
    }

    /// The keyspace of a read.
    pub(crate) fn keyspace(&self) -> Option<KeyspaceId> {
        match self {
            Decoded::Read(read) => Some(read.keyspace),
            Decoded::Write(_) => None,
        }
    }

    /// How old its answer may be.
    pub(crate) fn stale(&self) -> Option<Duration> {
        match self {
            Decoded::Read(read) => read.stale,
            Decoded::Write(_) => None,
        }
    }

    /// Whether its caller wants the newest state, or that of a moment, from the replica of the node that it asks.
    pub(crate) fn is_for_follower(&self) -> bool {
        self.read().is_some_and(|read| read.from_follower && read.stale.is_none())
    }

    /// It is for the leader from now on.
    pub(crate) fn goes_to_leader(&mut self) {
        if let Decoded::Read(read) = self {
            read.from_follower = false;
        }
    }

    /// The read that it is, if it is one.
    pub(crate) fn read(&self) -> Option<&DecodedRead> {
        match self {
            Decoded::Read(read) => Some(read),
            Decoded::Write(_) => None,
        }
    }

    /// Whether it asks for a moment, or for a state that may be a little old.
    pub(crate) fn is_of_the_past(&self) -> bool {
        match self {
            Decoded::Read(read) => read.stale.is_some() || read.kind.moment().is_some(),
            Decoded::Write(_) => false,
        }
    }

    /// Whether a replica can serve it by itself, as [`Decoded::serve_closed`] does.
    pub(crate) fn is_closed_at(&self, replica: &Replica) -> bool {
        let Some(DecodedRead { kind, stale, .. }) = self.read() else { return false };
        let is_here = self.lies_in(&replica.shared.state.descriptor());
        is_here
            && match (kind.moment(), stale) {
                (Some(at), _) => replica.shows(at),
                (None, Some(most)) => replica.closed_age().is_some_and(|(_, age)| age <= *most),
                (None, None) => false,
            }
    }

    /// Has a replica serve it by itself, where it names a moment that is closed there, or may be as old as what is.
    pub(crate) fn serve_closed(&self, replica: &Replica) -> Option<OpResult> {
        let Decoded::Read(DecodedRead { kind, stale, .. }) = self else { return None };
        let (key, most) = match (kind, stale) {
            (ReadKind::Get(key), Some(most)) => (key, most),
            (ReadKind::GetAt(key, at), _) => {
                return replica.read_closed(*at, || ReadKind::GetAt(key.clone(), *at));
            }
            (ReadKind::Scan(scan), _) => {
                return replica.read_closed(kind.moment()?, || ReadKind::Scan(scan.clone()));
            }
            _ => return None,
        };
        let (at, age) = replica.closed_age().filter(|(_, age)| age <= most)?;
        match replica.read_closed(at, || ReadKind::GetAt(key.clone(), at))? {
            Ok(Answer::Get { found, now, at, .. }) => {
                Some(Ok(Answer::Get { found, now, at, stale: age }))
            }
            // The caller has named no moment: the leader has the newest one.
            _ => None,
        }
    }

    /// Not begun after this.
    pub(crate) fn deadline(&self) -> Instant {
        match self {
            Decoded::Write(write) => write.deadline,
            Decoded::Read(read) => read.deadline,
        }
    }

    /// Hands it to a replica, with the way back of its answer.
    pub(crate) fn submit(self, replica: &Replica, reply: Reply) {
        match self {
            Decoded::Read(read) => replica.read(read.with_reply(reply)),
            Decoded::Write(write) => replica.write(write.with_reply(reply)),
        }
    }
}

impl DecodedWrite {
    /// The request with its way back.
    fn with_reply(self, reply: Reply) -> Write {
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
    fn with_reply(self, reply: Reply) -> Read {
        Read { kind: self.kind, deadline: self.deadline, reply }
    }
}
