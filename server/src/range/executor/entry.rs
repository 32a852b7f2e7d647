//! What one log entry asks, as the executor gathers it, and the record of it.

use std::collections::HashMap;

use bytes::Bytes;

use crate::{
    ids::TimeDomain,
    range::{
        command::outcome::Applied,
        expiry::expiry,
        held::Current,
        request::{Reply, Write},
    },
    size::Size,
    storage::{
        Batch, Family,
        format::{
            codec,
            command::{
                BatchItem, Command, Effect, Group, Operation, PutBatch, RemoveCommand, WriteCommand,
            },
            request::{Outcome, Removed},
            version::VersionRecord,
        },
        keys,
    },
    time::Timestamp,
};

/// Writes after which an entry takes no more requests. A batch counts with all its items.
pub(super) const ENTRY_OPERATIONS_MAX: Size = Size::new("entry-operations", 1_024, 2);
/// Bytes after which an entry takes no more requests.
const ENTRY_BYTES_MAX: usize = 1 << 20;

/// One request of a proposal in flight.
pub(super) struct Pending {
    pub(super) write: Write,
    pub(super) effect: Effect,
    pub(super) outcome: Outcome,
    pub(super) at: Timestamp,
    /// The state that a refusal rests on.
    pub(super) refused_by: Current,
}

impl Pending {
    /// Bytes that it takes in an entry, roughly.
    pub(super) fn size(&self) -> usize {
        let value = match &self.effect {
            Effect::Put { value, .. } => value.len(),
            Effect::Nothing | Effect::Delete => 0,
        };
        self.write.key.len() + value + 64
    }

    pub(super) fn record(&self) -> Operation {
        Operation {
            request: self.write.request,
            first_attempt: self.write.first_attempt,
            hash: self.write.hash,
            at: self.at,
            effect: self.effect.clone(),
            outcome: self.outcome.clone(),
        }
    }
}

pub(super) struct PendingGroup {
    pub(super) key: Bytes,
    pub(super) members: Vec<Pending>,
    /// The key's state after the members.
    pub(super) after: Current,
}

/// A request on several keys in a proposal in flight.
pub(super) struct PendingBatch {
    pub(super) write: Write,
    pub(super) at: Timestamp,
}

impl PendingBatch {
    pub(super) fn items(&self) -> &[(Bytes, Bytes)] {
        self.write.kind.many().map_or(&[], |many| &many.items)
    }

    /// Bytes that it takes in an entry, roughly.
    pub(super) fn size(&self) -> usize {
        self.items().iter().map(|(key, value)| key.len() + value.len() + 8).sum::<usize>() + 64
    }

    pub(super) fn record(&self) -> PutBatch<'_> {
        let ttl = self.write.kind.many().and_then(|many| many.ttl);
        let items = self.items().iter().map(|(key, value)| BatchItem { key, value });
        PutBatch {
            request: self.write.request,
            first_attempt: self.write.first_attempt,
            hash: self.write.hash,
            at: self.at,
            expires_at: expiry(self.at, ttl),
            items: items.collect(),
        }
    }
}

/// A page of a deletion in a proposal in flight: alone in its entry.
pub(super) struct PendingRemoval {
    pub(super) write: Write,
    pub(super) at: Timestamp,
    /// `enc(key)`; latched.
    pub(super) keys: Vec<Bytes>,
    pub(super) removed: Removed,
}

/// What one entry asks.
#[derive(Default)]
pub(super) struct Evaluated {
    pub(super) groups: Vec<PendingGroup>,
    pub(super) batches: Vec<PendingBatch>,
    /// Then there is nothing else.
    pub(super) removal: Option<PendingRemoval>,
    /// Writes, of all items of batches too, and their bytes in the entry, roughly.
    pub(super) writes: usize,
    pub(super) bytes: usize,
}

impl Evaluated {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.batches.is_empty() && self.removal.is_none()
    }

    pub(super) fn is_full(&self) -> bool {
        self.writes >= ENTRY_OPERATIONS_MAX.get()
            || self.bytes >= ENTRY_BYTES_MAX
            || self.removal.is_some()
    }

    pub(super) fn requests(&self) -> usize {
        let members = self.groups.iter().map(|group| group.members.len()).sum::<usize>();
        members + self.batches.len() + usize::from(self.removal.is_some())
    }

    /// What the log is told, as evaluated in a term.
    pub(super) fn command(&self, term: u64, time_domain: TimeDomain) -> Command<'_> {
        let Some(PendingRemoval { write, at, keys, removed }) = &self.removal else {
            return Command::Write(WriteCommand {
                evaluated_under: term,
                time_domain,
                groups: self.groups.iter().map(PendingGroup::record).collect(),
                batches: self.batches.iter().map(PendingBatch::record).collect(),
            });
        };
        Command::Remove(RemoveCommand {
            evaluated_under: term,
            time_domain,
            request: write.request,
            first_attempt: write.first_attempt,
            hash: write.hash,
            at: *at,
            start: &write.key,
            keys: keys.iter().map(|key| serde_bytes::Bytes::new(key)).collect(),
            removed: removed.clone(),
        })
    }

    /// Every request, to answer it.
    pub(super) fn replies(&mut self) -> impl Iterator<Item = &mut Reply> {
        let groups = self.groups.iter_mut().flat_map(|group| group.members.iter_mut());
        let batches = self.batches.iter_mut().map(|batch| &mut batch.write.reply);
        let removal = self.removal.iter_mut().map(|removal| &mut removal.write.reply);
        groups.map(|member| &mut member.write.reply).chain(batches).chain(removal)
    }

    /// What it leaves of its groups. Only with [`Bug::UncommittedReadable`].
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

    /// That all of it was done. Only with [`Bug::AcknowledgedBeforeCommit`].
    pub(super) fn accepted(&self) -> Applied {
        let removals = usize::from(self.removal.is_some());
        Applied::Groups(vec![true; self.groups.len() + self.batches.len() + removals])
    }

    /// Takes in a request on one key, and what its key holds afterwards.
    pub(super) fn add(
        &mut self,
        evaluated: Option<(Pending, Current)>,
        by_key: &mut HashMap<Bytes, usize>,
    ) {
        let Some((pending, after)) = evaluated else { return };
        self.writes += 1;
        self.bytes += pending.size();
        let key = pending.write.key.clone();
        let slot = *by_key.entry(key.clone()).or_insert(self.groups.len());
        match self.groups.get_mut(slot) {
            Some(group) => {
                group.after = after;
                group.members.push(pending);
            }
            None => self.groups.push(PendingGroup { key, members: vec![pending], after }),
        }
    }
}

impl PendingGroup {
    pub(super) fn holds(&self, write: &Write) -> bool {
        self.members.iter().any(|member| member.write.request == write.request)
    }

    pub(super) fn record(&self) -> Group {
        Group {
            key: self.key.clone(),
            operations: self.members.iter().map(Pending::record).collect(),
        }
    }
}
