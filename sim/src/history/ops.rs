//! Operations: an invocation and its completion in one piece, typed. This is what judges read, and what clients
//! record.
//!
//! How they stand in an event is in `codec.rs`, and how people read them in `words.rs`. A new operation is a variant
//! of [`Call`], one of [`Reply`] where its answer is of a new kind, and an arm in each of the two.

use std::collections::BTreeMap;

use super::event::{
    Entry, Event, Kind, Operation, PageAsked, Paged, Record, Version, WatchAsked, WatchSeen,
};

/// What a client asked for, with arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Reads a key.
    Read,
    /// Writes a key whatever it holds.
    Write {
        /// What to write.
        value: String,
        /// After how many milliseconds it expires, if it does.
        ttl_ms: Option<u64>,
    },
    /// Writes a key that nobody else ever writes.
    Insert {
        /// What to write.
        value: String,
    },
    /// Writes if the key has this version.
    Cas {
        /// The version that the key must have; 0: it must be absent.
        expected: Version,
        /// What to write then.
        value: String,
        /// After how many milliseconds it expires, if it does.
        ttl_ms: Option<u64>,
        /// It expires when what was there did.
        keep_ttl: bool,
    },
    /// Removes a key.
    Delete {
        /// The version that the key must have, if any is demanded.
        expected: Option<Version>,
    },
    /// Adds to the number in the key; an absent key counts as 0.
    Increment {
        /// What to add.
        delta: i64,
    },
    /// Gives a key another expiry and leaves its value.
    Expire {
        /// After how many milliseconds it expires; none: it does not any more.
        ttl_ms: Option<u64>,
    },
    /// Reads all keys of the acknowledged set.
    Scan,
    /// Reads all registers as of one moment.
    ReadAll,
    /// Reads a page of a scan, the first one or a later one.
    Page(PageAsked),
    /// Appends to the list of a key: a read and a compare-and-set on it, one operation here.
    Append {
        /// What to append; nobody else ever appends it.
        element: u64,
    },
    /// Reads the list of a key.
    List,
    /// Removes all keys that begin so and were there at one moment.
    Sweep,
    /// Follows all keys that begin so for a while, from a position on.
    Watch(WatchAsked),
    /// Takes a timestamp.
    Timestamp,
}

/// The answer to something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To a read: the record, or absent.
    Read(Option<Record>),
    /// To a write, an insert or a compare-and-set.
    Written {
        /// Version of the write.
        version: Version,
    },
    /// To a delete.
    Deleted {
        /// Version of the removal; 0: there was nothing to remove.
        version: Version,
    },
    /// To a change of the expiry.
    Expired {
        /// Version of the write; 0: there was nothing that could expire.
        version: Version,
    },
    /// To an increment.
    Incremented {
        /// The number after it.
        number: i64,
        /// Version of the write.
        version: Version,
    },
    /// To a scan, or a read of all registers.
    Scanned(Vec<Entry>),
    /// To a page of a scan.
    Paged(Paged),
    /// To an append.
    Appended,
    /// To a read of a list; an absent one is empty.
    Listed(Vec<u64>),
    /// To a deletion of a prefix.
    Swept {
        /// Its moment: what was written up to this version is gone.
        at: Version,
        /// How many keys that were.
        deleted: u64,
    },
    /// To a feed that was followed for a while.
    Watched(WatchSeen),
    /// To a request for a timestamp.
    Timestamp {
        /// It.
        version: Version,
    },
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpOutcome {
    /// Done.
    Ok(Reply),
    /// Definitely not done: the condition failed, and this is what the key held instead.
    Refused(Option<Record>),
    /// Definitely not done, for a reason that says nothing about the key.
    Failed,
    /// Nobody knows: it may take effect once, at any time after it was asked, or never.
    Unknown,
}

/// One operation of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Who.
    pub process: u64,
    /// Which key; for a scan, a page, a read of all registers, a deletion of a prefix or a feed the prefix of its
    /// keys, empty: all.
    pub key: String,
    /// What was asked.
    pub call: Call,
    /// When it was asked.
    pub invoke_ns: u64,
    /// When it ended; `None` if the outcome is unknown: an effect may come at any later time.
    pub complete_ns: Option<u64>,
    /// Index of the invocation. Indexes, not times, give the real-time order.
    pub invoke_index: u64,
    /// Index of the completion; `None` if the outcome is unknown.
    pub complete_index: Option<u64>,
    /// How it ended.
    pub outcome: OpOutcome,
}

impl Call {
    /// The name of it.
    pub fn operation(&self) -> Operation {
        self.encode().0
    }

    /// After how many milliseconds what it writes expires, if it does.
    pub fn ttl_ms(&self) -> Option<u64> {
        match self {
            Call::Write { ttl_ms, .. } | Call::Cas { ttl_ms, .. } | Call::Expire { ttl_ms } => {
                *ttl_ms
            }
            _ => None,
        }
    }

    /// Does it change the key when it succeeds?
    pub fn is_mutation(&self) -> bool {
        !matches!(
            self,
            Call::Read
                | Call::Scan
                | Call::ReadAll
                | Call::Page(_)
                | Call::List
                | Call::Watch(_)
                | Call::Timestamp
        )
    }
}

impl Op {
    /// Was it over before `other` began?
    pub fn precedes(&self, other: &Op) -> bool {
        self.complete_index.is_some_and(|complete| complete < other.invoke_index)
    }

    /// Were the two open at the same time?
    pub fn overlaps(&self, other: &Op) -> bool {
        !self.precedes(other) && !other.precedes(self)
    }

    /// The version that it made, if it was acknowledged and made one.
    pub fn version_made(&self) -> Option<Version> {
        match self.outcome {
            OpOutcome::Ok(
                Reply::Written { version }
                | Reply::Incremented { version, .. }
                | Reply::Deleted { version }
                | Reply::Expired { version },
            ) => Some(version).filter(|v| *v > 0),
            _ => None,
        }
    }

    /// What it learnt about the key before it did anything: a read's result or what a refusal
    /// rests on. `None`: it learnt nothing.
    pub fn observation(&self) -> Option<&Option<Record>> {
        match &self.outcome {
            OpOutcome::Ok(Reply::Read(record)) | OpOutcome::Refused(record) => Some(record),
            _ => None,
        }
    }

    /// The version that it made or saw.
    pub fn version_met(&self) -> Option<Version> {
        self.version_made().or_else(|| self.observation()?.as_ref().map(|record| record.version))
    }
}

/// Pairs events that [`super::History::push`] has accepted.
pub(super) fn pair(events: &[Event]) -> Vec<Op> {
    let mut ops: Vec<Op> = Vec::with_capacity(events.len() / 2);
    let mut open: BTreeMap<u64, usize> = BTreeMap::new();
    for event in events {
        if event.kind == Kind::Invoke {
            let call = Call::decode(event.f, &event.value).expect("checked when it was recorded");
            open.insert(event.process, ops.len());
            ops.push(Op {
                process: event.process,
                key: event.key.clone(),
                call,
                invoke_ns: event.time,
                complete_ns: None,
                invoke_index: event.index,
                complete_index: None,
                outcome: OpOutcome::Unknown,
            });
            continue;
        }
        let position = open.remove(&event.process).expect("checked when it was recorded");
        let op = &mut ops[position];
        op.outcome = OpOutcome::decode(event.f, event.kind, &event.value)
            .expect("checked when it was recorded");
        if op.outcome != OpOutcome::Unknown {
            op.complete_ns = Some(event.time);
            op.complete_index = Some(event.index);
        }
    }
    ops
}
