//! The stored formats, all of them: one byte of format version, then bincode 2.
//!
//! Nothing else encodes what is stored, so that bincode can be replaced here. The golden tests at
//! the end hold the bytes of every version that ever was; a change of a stored type that breaks
//! them needs a new version byte and a decoder for the old one.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::engine::Error;
use crate::{
    ids::{Generation, NodeId, RangeId, ReplicaId, TimeDomain},
    time::Timestamp,
};

/// The format version that this build writes.
const FORMAT: u8 = 1;
/// Room for what a record has beside keys and values.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// Names one request for ever (design, section 6).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct RequestId {
    /// Number of the room that the client attached to first.
    pub origin_room: u16,
    /// 128 random bits, new for each client process.
    pub client: u128,
    /// Rises by one with each request of the client.
    pub sequence: u64,
}

impl RequestId {
    /// Length of [`RequestId::to_bytes`].
    pub const BYTES: usize = 26;
    /// How many of them name the client, and are alike in all its ids.
    pub const CLIENT_BYTES: usize = 18;

    /// Bytes that keep the order of the fields.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        let (room, rest) = out.split_at_mut(2);
        let (client, sequence) = rest.split_at_mut(16);
        room.copy_from_slice(&self.origin_room.to_be_bytes());
        client.copy_from_slice(&self.client.to_be_bytes());
        sequence.copy_from_slice(&self.sequence.to_be_bytes());
        out
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{:032x}/{}", self.origin_room, self.client, self.sequence)
    }
}

/// A transaction: the request and which attempt of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TxnId {
    /// The request that the transaction answers.
    pub request: RequestId,
    /// Which attempt.
    pub attempt: u32,
}

/// A version of a key, in [`super::Family::Data`] under `enc(key) ++ !ts`.
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
    /// So many keys are gone.
    pub keys: u32,
    /// Those of which the newest version was this or an older one.
    pub moment: Timestamp,
    /// The stored key at which the next page begins; none where the span is done.
    pub next: Option<Vec<u8>>,
}

impl Outcome {
    /// Whether the request changed nothing because its condition did not hold.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Outcome::Conflict(_) | Outcome::NotANumber)
    }
}

/// What is remembered of a request, in [`super::Family::Dedup`] under `enc(anchor) ++ request id`.
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

/// A Raft log position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Term of the leader that proposed the entry.
    pub term: u64,
    /// Index of the entry.
    pub index: u64,
}

/// The voters and learners of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// One set of voters, or two while a joint change is under way.
    pub configs: Vec<Vec<ReplicaId>>,
    /// Every replica and the node that holds it.
    pub replicas: Vec<(ReplicaId, NodeId)>,
}

/// A Raft log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRecord<'a> {
    /// Where it stands.
    pub position: Position,
    /// What it says.
    #[serde(borrow)]
    pub payload: PayloadRecord<'a>,
}

/// What a log entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PayloadRecord<'a> {
    /// Nothing: a leader's first entry.
    Blank,
    /// A replicated command, encoded by itself.
    Command(#[serde(borrow, with = "serde_bytes")] &'a [u8]),
    /// A change of membership.
    Membership(Membership),
}

/// A vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteRecord {
    /// In which term.
    pub term: u64,
    /// For whom.
    pub replica: ReplicaId,
    /// Whether that replica is known to have won.
    pub committed: bool,
}

/// What a range's replica has applied; written in the same batch as what it applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedRecord {
    /// The last applied entry.
    pub applied: Option<Position>,
    /// The last applied membership and where it stood.
    pub membership: Membership,
    /// Position of that membership's entry.
    pub membership_at: Option<Position>,
    /// The newest version that the range holds.
    pub newest: Timestamp,
    /// The range's time, `newest` or above: no write of the range has, or will ever have, a version
    /// at or below it that is not applied yet.
    pub time: Timestamp,
    /// Requests with an earlier first attempt are refused.
    pub dedup_threshold: Timestamp,
    /// Reads of earlier moments are refused; `time` or below.
    pub gc_threshold: Timestamp,
    /// Where those timestamps come from.
    pub time_domain: TimeDomain,
}

/// A range's descriptor: derived from the membership as it is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Which range.
    pub range: RangeId,
    /// First stored key, inclusive.
    pub start: Vec<u8>,
    /// End of its stored keys, exclusive; empty is the end of the key space.
    pub end: Vec<u8>,
    /// Raised by split, merge and replica change.
    pub generation: Generation,
    /// Every replica and the node that holds it.
    pub replicas: Vec<(ReplicaId, NodeId)>,
    /// The next replica id; ids below it are never given again.
    pub next_replica: ReplicaId,
}

impl Descriptor {
    /// Whether a stored key lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && (self.end.is_empty() || key < &self.end[..])
    }

    /// Whether the range has a part of `[start, end)`; an empty `end` is the end of the key space.
    pub fn overlaps(&self, start: &[u8], end: &[u8]) -> bool {
        let begins_before = |start: &[u8], end: &[u8]| end.is_empty() || start < end;
        begins_before(&self.start, end) && begins_before(start, &self.end)
    }

    /// Whether the range has all of `[start, end)`; an empty `end` is the end of the key space.
    pub fn covers(&self, start: &[u8], end: &[u8]) -> bool {
        let ends = self.end.is_empty() || (!end.is_empty() && end <= &self.end[..]);
        &self.start[..] <= start && ends
    }
}

/// What a raft snapshot is of: the state of a range at one applied position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHead {
    /// Names it for ever: a transfer resumes only where this is equal.
    pub id: u128,
    /// Applied position, membership, thresholds.
    pub applied: AppliedRecord,
    /// The descriptor at that position.
    pub descriptor: Descriptor,
}

/// A record of a range in a raft snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentRecord<'a> {
    /// The family, as [`super::Family::ALL`] numbers them from 0.
    pub family: u8,
    /// Its key.
    #[serde(borrow, with = "serde_bytes")]
    pub key: &'a [u8],
    /// Its value.
    #[serde(borrow, with = "serde_bytes")]
    pub value: &'a [u8],
}

/// A chunk of a raft snapshot: on the wire, and in [`super::Family::Staged`] while it is received.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRecord<'a> {
    /// In the order of families and keys.
    #[serde(borrow)]
    pub records: Vec<ContentRecord<'a>>,
}

/// How far a raft snapshot has been received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedRecord {
    /// Of what.
    pub head: SnapshotHead,
    /// Chunks below it are there.
    pub chunks: u64,
    /// Over their checksums.
    pub checksum: u64,
}

/// The commit point of an installation: while it is there the replica's state is this raft snapshot,
/// whatever else is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallRecord {
    /// What is installed.
    pub head: SnapshotHead,
    /// How many chunks were staged.
    pub chunks: u64,
    /// Spans that are cleared before: the replica's old one and the new one.
    pub clear: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A replicated command (design, section 6), as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command<'a> {
    /// Results of evaluated requests.
    Write(#[serde(borrow)] WriteCommand<'a>),
    /// Moves the dedup threshold: requests with an earlier first attempt are refused from here on.
    MoveDedupThreshold {
        /// Term of the leader that proposed it.
        evaluated_under: u64,
        /// The new threshold; a lower one changes nothing.
        threshold: Timestamp,
    },
    /// Moves the range's time: a write at or below it is evaluated again from here on.
    AdvanceTime {
        /// Term of the leader that proposed it.
        evaluated_under: u64,
        /// The new time; a lower one changes nothing.
        to: Timestamp,
    },
    /// Moves the gc threshold, and the range's time where it is below: what nobody sees at the
    /// threshold or later may be removed from here on, and reads of earlier moments are refused.
    MoveGcThreshold {
        /// Term of the leader that proposed it.
        evaluated_under: u64,
        /// The new threshold; a lower one changes nothing.
        threshold: Timestamp,
    },
    /// Reserves the next replica id of the range, for whoever proposed it: nobody else is given it, now
    /// or later.
    ReserveReplica {
        /// Term of the leader that proposed it.
        evaluated_under: u64,
    },
    /// A page of a deletion.
    Remove(#[serde(borrow)] RemoveCommand<'a>),
}

/// Results of requests, evaluated by the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteCommand<'a> {
    /// Term of the leader that evaluated: an entry of another term does nothing.
    pub evaluated_under: u64,
    /// Where the timestamps come from.
    pub time_domain: TimeDomain,
    /// One group a key. A group is applied whole or refused whole.
    pub groups: Vec<Group>,
    /// Requests on several keys each, none of them a key of a group or of another batch. A batch is
    /// applied whole or refused whole.
    #[serde(borrow)]
    pub batches: Vec<PutBatch<'a>>,
}

/// One request that writes several keys, whatever they held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutBatch<'a> {
    /// The request; its anchor is the first key.
    pub request: RequestId,
    /// Cluster time of its first attempt.
    pub first_attempt: Timestamp,
    /// Hash of the request.
    pub hash: u64,
    /// Timestamp of all its writes.
    pub at: Timestamp,
    /// From then on the keys are absent.
    pub expires_at: Option<Timestamp>,
    /// What it writes; keys rise.
    #[serde(borrow)]
    pub items: Vec<BatchItem<'a>>,
}

/// One key of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchItem<'a> {
    /// `enc(key)`.
    #[serde(borrow, with = "serde_bytes")]
    pub key: &'a [u8],
    /// The value.
    #[serde(borrow, with = "serde_bytes")]
    pub value: &'a [u8],
}

/// One request that removes keys of a span, evaluated by the leader. It is applied whole or refused whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveCommand<'a> {
    /// Term of the leader that evaluated: an entry of another term does nothing.
    pub evaluated_under: u64,
    /// Where the timestamps come from.
    pub time_domain: TimeDomain,
    /// The request.
    pub request: RequestId,
    /// Cluster time of its first attempt.
    pub first_attempt: Timestamp,
    /// Hash of the request.
    pub hash: u64,
    /// Timestamp of the removals.
    pub at: Timestamp,
    /// Where the page begins, as stored, and the request's anchor.
    #[serde(borrow, with = "serde_bytes")]
    pub start: &'a [u8],
    /// `enc(key)` of what goes, rising; perhaps nothing.
    #[serde(borrow)]
    pub keys: Vec<&'a serde_bytes::Bytes>,
    /// What its caller is told.
    pub removed: Removed,
}

/// Requests on one key, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// `enc(key)`: what the requests write, and their anchor.
    pub key: Bytes,
    /// In the order in which they take effect.
    pub operations: Vec<Operation>,
}

/// One evaluated request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The request.
    pub request: RequestId,
    /// Cluster time of its first attempt.
    pub first_attempt: Timestamp,
    /// Hash of the request.
    pub hash: u64,
    /// Timestamp of the write.
    pub at: Timestamp,
    /// What it does to the key.
    pub effect: Effect,
    /// What its caller is told.
    pub outcome: Outcome,
}

/// What an operation does to its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Nothing: a refusal that must be remembered.
    Nothing,
    /// A new version.
    Put {
        /// The value.
        value: Bytes,
        /// From then on the key is absent.
        expires_at: Option<Timestamp>,
    },
    /// A version that says: absent.
    Delete,
}

/// The identity of a data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The node that owns it.
    pub node: NodeId,
    /// How often the node has started on it.
    pub boots: u64,
    /// A random number, so that it is not taken for the node's directory of before.
    pub directory: u64,
}

/// A stored address of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRecord {
    /// Which node.
    pub node: NodeId,
    /// Its locality.
    pub city: String,
    /// Its locality.
    pub room: String,
    /// `host:port` of the internal port.
    pub internal: String,
    /// `host:port` of the client port.
    pub client: String,
    /// `host:port` of the HTTP port.
    pub http: String,
    /// Which start of the node said so.
    pub epoch: u64,
    /// The node's version.
    pub version: String,
    /// [`Identity::directory`].
    pub directory: u64,
}

/// The plan of a new cluster, as every member keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Id of the cluster.
    pub cluster: String,
    /// 1 at birth, raised by a recovery.
    pub incarnation: u64,
    /// Its first nodes.
    pub nodes: Vec<NodeId>,
    /// Its first ranges.
    pub ranges: Vec<Descriptor>,
    /// On the node that made the plan: members that are not known to have taken it, each with its
    /// directory of then. None takes the plan on another one: if it lost its disk since, it must not
    /// come back as who it was.
    pub untold: Vec<(NodeId, u64)>,
}

/// A replica that a node holds beside those of its first plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// Its id.
    pub replica: ReplicaId,
    /// Its range as it was born: what the log begins from.
    pub birth: Descriptor,
}

/// Encodes a stored record.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    encode_sized(record, 0)
}

/// As [`encode`], of a record that takes about so many bytes: with room for them from the start.
pub fn encode_sized<T: Serialize>(record: &T, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + RECORD_OVERHEAD_BYTES);
    out.push(FORMAT);
    let written =
        bincode::serde::encode_into_std_write(record, &mut out, bincode::config::standard());
    // Writing to memory fails only if the type cannot be serialized at all: a programming error.
    assert!(written.is_ok(), "unencodable record: {written:?}");
    out
}

/// Decodes a stored record that owns its bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let body = check(bytes)?;
    let (record, read) = bincode::serde::decode_from_slice(body, bincode::config::standard())
        .map_err(|error| Error::Corrupt(format!("undecodable record: {error}")))?;
    complete::<T>(body, read)?;
    Ok(record)
}

/// Decodes a stored record that borrows from the bytes.
pub fn decode_borrowed<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    let body = check(bytes)?;
    let (record, read) =
        bincode::serde::borrow_decode_from_slice(body, bincode::config::standard())
            .map_err(|error| Error::Corrupt(format!("undecodable record: {error}")))?;
    complete::<T>(body, read)?;
    Ok(record)
}

fn check(bytes: &[u8]) -> Result<&[u8], Error> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => Ok(body),
        Some((version, _)) => Err(Error::Corrupt(format!(
            "record of format {version}, this build knows {FORMAT}: start a newer build"
        ))),
        None => Err(Error::Corrupt("empty record".to_owned())),
    }
}

fn complete<T>(body: &[u8], read: usize) -> Result<(), Error> {
    if read == body.len() {
        return Ok(());
    }
    let (name, left) = (std::any::type_name::<T>(), body.len() - read);
    Err(Error::Corrupt(format!("{left} bytes behind a {name}")))
}

#[cfg(test)]
#[path = "codec_golden.rs"]
mod golden;
