//! The value that passes the stages: what one log entry asks, and the record of it.
//!
//! A request is [`Asked`] until it is evaluated and [`Pending`] from then on. Bounds of an entry are here, so that
//! every stage counts alike: writes ([`ENTRY_OPERATIONS_MAX`]) and bytes, which are exact only once all is
//! evaluated.

use bytes::Bytes;

use crate::{
    ids::TimeDomain,
    range::{
        command::outcome::Applied,
        expiry::expiry,
        held::Current,
        request::{OpResult, Reply, Write, WriteKind},
    },
    size::Size,
    storage::{
        Batch, Family,
        format::{
            self, codec,
            command::{
                BatchItem, Command, Effect, Operation, PutBatch, RemoveCommand, WriteCommand,
            },
            request::{Outcome, Removed},
            version::VersionRecord,
        },
        keys,
    },
    time::Timestamp,
};

/// Writes after which an entry takes no more requests. A batch counts with all its items.
pub(super) const ENTRY_OPERATIONS_MAX: Size = Size::new("entry-operations", 4_096, 2);
/// Bytes after which an entry takes no more requests.
const ENTRY_BYTES_MAX: usize = 1 << 20;

/// A request whose keys are latched, or that has an answer.
pub(super) struct Asked {
    pub(super) write: Write,
    /// Its answer, where it is not to be evaluated.
    pub(super) answer: Option<Box<OpResult>>,
    /// Its timestamp, once it is stamped.
    pub(super) at: Timestamp,
}

impl Asked {
    pub(super) fn new(write: Write, answer: Option<OpResult>) -> Asked {
        Asked { write, answer: answer.map(Box::new), at: Timestamp::ZERO }
    }

    /// Gives its caller the answer that it has.
    pub(super) fn send_answer(self) {
        if let Some(answer) = self.answer {
            self.write.reply.send(*answer);
        }
    }

    /// Writes that it adds to an entry.
    pub(super) fn writes(&self) -> usize {
        self.write.kind.many().map_or(1, |many| many.items.len())
    }

    /// Bytes that it takes in an entry, roughly and as far as they are known before it is evaluated.
    pub(super) fn bytes(&self) -> usize {
        let value = match &self.write.kind {
            WriteKind::Put { value, .. } => value.len(),
            _ => 0,
        };
        bytes(&self.write, value)
    }
}

/// One evaluated request.
pub(super) struct Pending {
    pub(super) write: Write,
    pub(super) at: Timestamp,
    /// What it does to its key; a batch or a page of a deletion has none of its own.
    pub(super) effect: Effect,
    pub(super) outcome: Outcome,
    /// The state that a refusal rests on.
    pub(super) refused_by: Current,
}

impl Pending {
    /// Bytes that it takes in an entry, roughly.
    fn bytes(&self) -> usize {
        let value = match &self.effect {
            Effect::Put { value, .. } => value.len(),
            Effect::Nothing | Effect::Delete => 0,
        };
        bytes(&self.write, value)
    }

    fn record(&self) -> Operation<'_> {
        Operation {
            request: self.write.request,
            first_attempt: self.write.first_attempt,
            hash: self.write.hash,
            at: self.at,
            effect: self.effect.borrowed(),
            outcome: self.outcome.clone(),
        }
    }

    fn record_of_batch(&self) -> PutBatch<'_> {
        let many = self.write.kind.many();
        let items = many.map_or(&[][..], |many| &many.items).iter();
        PutBatch {
            request: self.write.request,
            first_attempt: self.write.first_attempt,
            hash: self.write.hash,
            at: self.at,
            expires_at: expiry(self.at, many.and_then(|many| many.ttl)),
            items: items.map(|(key, value)| BatchItem { key, value }).collect(),
        }
    }
}

/// Bytes that a request takes in an entry, roughly: a batch all that it names, any other one its key and a value of
/// `value` bytes.
fn bytes(write: &Write, value: usize) -> usize {
    let named = match write.kind.many() {
        Some(many) => many.items.iter().map(|(key, value)| key.len() + value.len() + 8).sum(),
        None => write.key.len() + value,
    };
    named + 64
}

/// Requests on one key, in the order in which they take effect.
pub(super) struct KeyGroup {
    pub(super) key: Bytes,
    pub(super) members: Vec<Pending>,
    /// The key's state after the members.
    pub(super) after: Current,
}

impl KeyGroup {
    fn record(&self) -> format::command::Group<'_> {
        format::command::Group {
            key: &self.key,
            operations: self.members.iter().map(Pending::record).collect(),
        }
    }
}

/// A page of a deletion: alone in its entry.
pub(super) struct Removal {
    pub(super) pending: Pending,
    /// `enc(key)` of what goes; latched.
    pub(super) keys: Vec<Bytes>,
}

/// What one entry asks.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) groups: Vec<KeyGroup>,
    pub(super) batches: Vec<Pending>,
    /// Then there is nothing else.
    pub(super) removal: Option<Removal>,
    /// Writes, of all items of batches too, and their bytes in the entry, roughly.
    writes: usize,
    bytes: usize,
}

impl Entry {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.batches.is_empty() && self.removal.is_none()
    }

    /// Whether more may come, beside writes and bytes that are on their way.
    pub(super) fn has_room_beside(&self, writes: usize, bytes: usize) -> bool {
        self.writes + writes < ENTRY_OPERATIONS_MAX.get()
            && self.bytes + bytes < ENTRY_BYTES_MAX
            && self.removal.is_none()
    }

    /// Keys of its requests.
    pub(super) fn keys(&self) -> Vec<Bytes> {
        let groups = self.groups.iter().map(|group| &group.key);
        let batches = self.batches.iter().flat_map(|batch| batch.write.keys());
        let removal = self.removal.iter().flat_map(|removal| &removal.keys);
        groups.chain(batches).chain(removal).cloned().collect()
    }

    pub(super) fn requests(&self) -> usize {
        let members = self.groups.iter().map(|group| group.members.len()).sum::<usize>();
        members + self.batches.len() + usize::from(self.removal.is_some())
    }

    /// A request on one key: into a group that is there, or a new one, which `slot` is told then.
    pub(super) fn add(&mut self, slot: &mut Option<usize>, pending: Pending, after: Current) {
        self.writes += 1;
        self.bytes += pending.bytes();
        let at = *slot.get_or_insert(self.groups.len());
        match self.groups.get_mut(at) {
            Some(group) => {
                group.after = after;
                group.members.push(pending);
            }
            None => {
                let key = pending.write.key.clone();
                self.groups.push(KeyGroup { key, members: vec![pending], after });
            }
        }
    }

    pub(super) fn add_batch(&mut self, pending: Pending) {
        self.writes += pending.write.kind.many().map_or(0, |many| many.items.len());
        self.bytes += pending.bytes();
        self.batches.push(pending);
    }

    pub(super) fn set_removal(&mut self, removal: Removal) {
        self.writes += removal.keys.len();
        self.bytes += removal.keys.iter().map(|key| key.len() + 8).sum::<usize>();
        self.removal = Some(removal);
    }

    /// What the log is told, encoded, as evaluated in a term.
    pub(super) fn encode(&self, term: u64, time_domain: TimeDomain) -> Bytes {
        Bytes::from(codec::encode_sized(&self.command(term, time_domain), self.bytes))
    }

    fn command(&self, term: u64, time_domain: TimeDomain) -> Command<'_> {
        let Some(Removal { pending, keys }) = &self.removal else {
            return Command::Write(WriteCommand {
                evaluated_under: term,
                time_domain,
                groups: self.groups.iter().map(KeyGroup::record).collect(),
                batches: self.batches.iter().map(Pending::record_of_batch).collect(),
            });
        };
        Command::Remove(RemoveCommand {
            evaluated_under: term,
            time_domain,
            request: pending.write.request,
            first_attempt: pending.write.first_attempt,
            hash: pending.write.hash,
            at: pending.at,
            start: &pending.write.key,
            keys: keys.iter().map(|key| serde_bytes::Bytes::new(key)).collect(),
            removed: match &pending.outcome {
                Outcome::Removed(removed) => removed.clone(),
                _ => Removed::default(),
            },
        })
    }

    /// Every request, to answer it.
    pub(super) fn replies(&mut self) -> impl Iterator<Item = &mut Reply> {
        let members = self.groups.iter_mut().flat_map(|group| group.members.iter_mut());
        let removal = self.removal.iter_mut().map(|removal| &mut removal.pending);
        let all = members.chain(self.batches.iter_mut()).chain(removal);
        all.map(|pending| &mut pending.write.reply)
    }

    /// What it leaves of its groups. Only with [`Bug::UncommittedReadable`](crate::planted::Bug).
    pub(super) fn versions(&self) -> Batch {
        let mut batch = Batch::new();
        for (group, pending) in
            self.groups.iter().flat_map(|group| group.members.iter().map(move |one| (group, one)))
        {
            let (value, expires_at) = match &pending.effect {
                Effect::Put { value, expires_at } => (Some(&value[..]), *expires_at),
                Effect::Delete => (None, None),
                Effect::Nothing => continue,
            };
            let version = VersionRecord { value, txn: None, expires_at };
            let key = keys::version(&group.key, pending.at);
            batch.put(Family::Data, key, codec::encode(&version));
        }
        batch
    }

    /// That all of it was done. Only with [`Bug::AcknowledgedBeforeCommit`](crate::planted::Bug).
    pub(super) fn accepted(&self) -> Applied {
        let removals = usize::from(self.removal.is_some());
        Applied::Groups(vec![true; self.groups.len() + self.batches.len() + removals])
    }
}
