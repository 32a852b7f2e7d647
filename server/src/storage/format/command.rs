//! A replicated command, as it stands in the log of a range and travels to its replicas.
//!
//! The leader evaluates requests and proposes what came out; every replica applies just that
//! (`range/command/`). So a command carries results, with their timestamps and outcomes, never a condition.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    gc::{GcHold, GcPrefix},
    request::{Outcome, Removed},
};
use crate::{
    ids::{RequestId, TimeDomain},
    time::{
        Timestamp,
        oracle::{Epoch, ServerId},
    },
};

/// A replicated command.
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
    /// Moves the gc thresholds: what nobody sees at a key's threshold or later may be removed from here on, and reads
    /// of earlier moments are refused.
    MoveGcThresholds {
        /// Term of the leader that proposed it.
        evaluated_under: u64,
        /// Cluster time: holds that end by then count no more.
        now: Timestamp,
        /// Of keys that no prefix below has; a lower one changes nothing.
        threshold: Timestamp,
        /// Of keys with a prefix; the longest counts.
        prefixes: Vec<GcPrefix>,
    },
    /// Reserves the next replica id of the range, for whoever proposed it: nobody else is given it, now
    /// or later.
    ReserveReplica {
        /// Term of the leader that proposed it.
        evaluated_under: u64,
    },
    /// A page of a deletion.
    Remove(#[serde(borrow)] RemoveCommand<'a>),
    /// Of the system range: another set of time servers is begun. It takes no timestamp: the oracle must be mended also
    /// when it gives none.
    BeginTimeServers {
        /// Term of the leader that proposed it.
        evaluated_under: u64,
        /// For which time domain.
        time_domain: TimeDomain,
        /// The newest epoch that the leader knew of: where there is a newer one nothing is done.
        after: Epoch,
        /// Who they are.
        members: Vec<ServerId>,
    },
    /// Of the system range: a set of time servers is seeded, and all before it are fenced.
    ActivateTimeServers {
        /// Term of the leader that proposed it.
        evaluated_under: u64,
        /// For which time domain.
        time_domain: TimeDomain,
        /// Which set.
        epoch: Epoch,
    },
    /// Keeps the gc thresholds of the range from rising above a moment, which is being read.
    HoldVersions {
        /// Term of the leader that proposed it.
        evaluated_under: u64,
        /// On whose behalf, from when until when.
        hold: GcHold,
    },
    /// Of the system range: another set of time servers is begun, and some of those before it are lost for good.
    RecoverTimeServers {
        /// Term of the leader that proposed it.
        evaluated_under: u64,
        /// For which time domain.
        time_domain: TimeDomain,
        /// The newest epoch that the leader knew of: where there is a newer one nothing is done.
        after: Epoch,
        /// Who they are.
        members: Vec<ServerId>,
        /// Who is lost.
        lost: Vec<ServerId>,
    },
}

/// Results of requests, evaluated by the leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteCommand<'a> {
    /// Term of the leader that evaluated: an entry of another term does nothing.
    pub evaluated_under: u64,
    /// Where the timestamps come from.
    pub time_domain: TimeDomain,
    /// One group a key. A group is applied whole or refused whole.
    #[serde(borrow)]
    pub groups: Vec<Group<'a>>,
    /// Requests on several keys each, none of them a key of a group or of another batch. A batch is
    /// applied whole or refused whole.
    #[serde(borrow)]
    pub batches: Vec<PutBatch<'a>>,
}

/// Requests on one key, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group<'a> {
    /// `enc(key)`: what the requests write, and their anchor.
    #[serde(borrow, with = "serde_bytes")]
    pub key: &'a [u8],
    /// In the order in which they take effect.
    #[serde(borrow)]
    pub operations: Vec<Operation<'a>>,
}

/// One evaluated request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation<'a> {
    /// The request.
    pub request: RequestId,
    /// Cluster time of its first attempt.
    pub first_attempt: Timestamp,
    /// Hash of the request.
    pub hash: u64,
    /// Timestamp of the write.
    pub at: Timestamp,
    /// What it does to the key.
    #[serde(borrow)]
    pub effect: Effect<&'a serde_bytes::Bytes>,
    /// What its caller is told.
    pub outcome: Outcome,
}

/// What an operation does to its key: a leader's has its value, one in a command borrows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect<Value = Bytes> {
    /// Nothing: a refusal that must be remembered.
    Nothing,
    /// A new version.
    Put {
        /// The value.
        value: Value,
        /// From then on the key is absent.
        expires_at: Option<Timestamp>,
    },
    /// A version that says: absent.
    Delete,
}

impl Effect {
    /// The same, as it goes into a command.
    pub fn borrowed(&self) -> Effect<&serde_bytes::Bytes> {
        match self {
            Effect::Nothing => Effect::Nothing,
            Effect::Put { value, expires_at } => {
                Effect::Put { value: serde_bytes::Bytes::new(value), expires_at: *expires_at }
            }
            Effect::Delete => Effect::Delete,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::format::golden::{holds, holds_borrowed};

    fn request() -> RequestId {
        RequestId { origin_room: 3, client: 0x0102_0304, sequence: 9 }
    }

    #[test]
    fn format_1() {
        let write = Command::Write(WriteCommand {
            evaluated_under: 4,
            time_domain: TimeDomain(0),
            groups: vec![Group {
                key: b"k",
                operations: vec![Operation {
                    request: request(),
                    first_attempt: Timestamp(1),
                    hash: 2,
                    at: Timestamp(3),
                    effect: Effect::Put { value: serde_bytes::Bytes::new(b"v"), expires_at: None },
                    outcome: Outcome::Written,
                }],
            }],
            batches: Vec::new(),
        });
        let expiring =
            Effect::Put { value: Bytes::from_static(b"v"), expires_at: Some(Timestamp(300)) };
        holds(&expiring, "0101017601fb2c01");
        holds_borrowed(
            &Effect::Put { value: serde_bytes::Bytes::new(b"v"), expires_at: Some(Timestamp(300)) },
            "0101017601fb2c01",
        );
        // Term, domain, one group: key, one operation: request id, first attempt, hash, at, put, written; no
        // batches.
        holds_borrowed(&write, "0100040001016b0103fc0403020109010203010176000000");
    }

    #[test]
    fn dedup_thresholds() {
        let moved = Command::MoveDedupThreshold { evaluated_under: 4, threshold: Timestamp(300) };
        holds_borrowed(&moved, "010104fb2c01");
    }

    #[test]
    fn effects() {
        holds::<Effect>(&Effect::Nothing, "0100");
        holds::<Effect>(&Effect::Delete, "0102");
    }

    /// Came with `quintet 4` directories; its number is that of `quintet 7`.
    #[test]
    fn replaced_nodes() {
        holds_borrowed(&Command::ReserveReplica { evaluated_under: 4 }, "010304");
    }

    /// Came with `quintet 5` directories.
    #[test]
    fn batches() {
        let items = vec![BatchItem { key: b"k", value: b"v" }, BatchItem { key: b"l", value: b"" }];
        let batch = PutBatch {
            request: request(),
            first_attempt: Timestamp(1),
            hash: 2,
            at: Timestamp(3),
            expires_at: Some(Timestamp(300)),
            items,
        };
        let write = Command::Write(WriteCommand {
            evaluated_under: 4,
            time_domain: TimeDomain(0),
            groups: Vec::new(),
            batches: vec![batch],
        });
        // Term, domain, no groups, one batch: request id, first attempt, hash, at, expiry, two items.
        holds_borrowed(&write, "01000400000103fc040302010901020301fb2c0102016b0176016c00");
    }

    /// Came with `quintet 6` directories; its number is that of `quintet 7`.
    #[test]
    fn deletions_of_ranges() {
        let removed = Removed { keys: 2, moment: Timestamp(300), next: Some(b"m".to_vec()) };
        let remove = Command::Remove(RemoveCommand {
            evaluated_under: 4,
            time_domain: TimeDomain(0),
            request: request(),
            first_attempt: Timestamp(1),
            hash: 2,
            at: Timestamp(3),
            start: b"a",
            keys: vec![serde_bytes::Bytes::new(b"k"), serde_bytes::Bytes::new(b"l")],
            removed,
        });
        // Term, domain, request id, first attempt, hash, at, start, two keys; how many, the moment, where to
        // go on.
        holds_borrowed(&remove, "0104040003fc0403020109010203016102016b016c02fb2c0101016d");
    }

    /// Came with `quintet 8` directories.
    #[test]
    fn gc_thresholds() {
        let prefix = GcPrefix { prefix: b"k".to_vec(), threshold: Timestamp(3) };
        let moved = Command::MoveGcThresholds {
            evaluated_under: 4,
            now: Timestamp(300),
            threshold: Timestamp(2),
            prefixes: vec![prefix],
        };
        holds_borrowed(&moved, "010204fb2c010201016b03");
        let hold = GcHold { holder: 5, sequence: 6, at: Timestamp(7), until: Timestamp(300) };
        holds_borrowed(&Command::HoldVersions { evaluated_under: 4, hold }, "010704050607fb2c01");
    }

    /// Came with `quintet 7` directories.
    #[test]
    fn time_servers() {
        let begin = Command::BeginTimeServers {
            evaluated_under: 4,
            time_domain: TimeDomain(0),
            after: Epoch(1),
            members: vec![ServerId(300), ServerId(5)],
        };
        holds_borrowed(&begin, "010504000102fb2c0105");
        let activate = Command::ActivateTimeServers {
            evaluated_under: 4,
            time_domain: TimeDomain(0),
            epoch: Epoch(2),
        };
        holds_borrowed(&activate, "0106040002");
        // Came with `quintet 8` directories.
        let recover = Command::RecoverTimeServers {
            evaluated_under: 4,
            time_domain: TimeDomain(0),
            after: Epoch(2),
            members: vec![ServerId(5)],
            lost: vec![ServerId(6), ServerId(7)],
        };
        holds_borrowed(&recover, "01080400020105020607");
    }
}
