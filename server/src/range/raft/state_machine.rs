//! Applies a group's log to its state, as openraft's state machine, and hands raft snapshots over.
//!
//! What entries do is `range/state.rs`; here is only how openraft asks for it: entries in batches, answers to
//! whoever proposed, and raft snapshots as tickets, never as content.
//!
//! # Invariants
//!
//! * What can't be applied or installed stops the node: a replica that only looks like one must not answer.
//! * A batch is bounded in entries and in bytes, and others get their turn after a full one.
//! * A durable point, which permits truncation, is what a crash at this moment would leave applied.
//!
//! On a crash: see `range/state.rs`.

use std::{io, sync::Arc};

use futures::{FutureExt, Stream, StreamExt};
use openraft::{
    OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    log_store::LogStore,
    snapshot_data::SnapshotData,
    types::{self, Entry, LogId, Payload, StoredMembership, TypeConfig},
};
use crate::{
    observe::{self, Seen},
    ops::metrics::Metrics,
    range::{snapshot::source::Outbox, state::RangeState},
    size::Size,
    storage::{
        engine::Error,
        format::{applied::AppliedRecord, codec},
        watched::Failed,
    },
    time::local::Instant,
    trace,
};

/// Entries that one batch applies.
const APPLY_ENTRIES_MAX: Size = Size::new("apply-entries", 256, 1);
/// Bytes of entries after which a batch takes no more: the node's few threads do nothing else while
/// one is applied.
const APPLY_BYTES_MAX: usize = 256 << 10;

/// Hash of what an entry says.
fn content_hash(entry: &Entry) -> u64 {
    match &entry.payload {
        Payload::Blank => 0,
        Payload::Normal(proposal) => xxh3_64(&proposal.0),
        Payload::Membership(membership) => {
            xxh3_64(&codec::encode(&types::membership_record(membership)))
        }
    }
}

/// openraft's handle to a replica's applied state.
pub(in crate::range) struct StateMachine {
    state: Arc<RangeState>,
    outbox: Arc<Outbox>,
    log: LogStore,
    metrics: Arc<Metrics>,
    failed: Failed,
}

impl StateMachine {
    /// A state machine over a replica's state. `log` says what a raft snapshot must reach to be of
    /// use. `failed` is told when something can't be applied or installed: the replica ends with it, and
    /// a node with a replica that only looks like one must stop.
    pub(in crate::range) fn new(
        state: Arc<RangeState>,
        outbox: Arc<Outbox>,
        log: LogStore,
        metrics: Arc<Metrics>,
        failed: Failed,
    ) -> StateMachine {
        StateMachine { state, outbox, log, metrics, failed }
    }

    fn fail(&self, error: Error) -> io::Error {
        tracing::error!(range = %self.state.range(), %error, "state can't be written: the node stops");
        (self.failed)(error.clone());
        io::Error::other(error)
    }
}

type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;

fn stored_membership(record: &AppliedRecord) -> io::Result<StoredMembership> {
    let membership = types::membership(&record.membership).map_err(io::Error::other)?;
    Ok(StoredMembership::new(record.membership_at.map(types::log_id), membership))
}

/// What openraft wants to know of a raft snapshot of an applied state.
pub(in crate::range) fn snapshot_meta(record: &AppliedRecord) -> io::Result<SnapshotMeta> {
    Ok(SnapshotMeta {
        last_log_id: record.applied.map(types::log_id),
        last_membership: stored_membership(record)?,
    })
}

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// Says what of the applied state is durable: openraft truncates a log only below such a point. It has
/// no content; what is sent is read when it is needed ([`Outbox`]).
pub(in crate::range) struct DurablePoint {
    state: Arc<RangeState>,
}

impl RaftSnapshotBuilder<TypeConfig> for DurablePoint {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let durable = self.state.durable().map_err(io::Error::other)?;
        Ok(Snapshot { meta: snapshot_meta(&durable)?, snapshot: SnapshotData::Durable })
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = DurablePoint;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let applied = self.state.applied();
        Ok((applied.applied.map(types::log_id), stored_membership(&applied)?))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(first) = entries.next().await {
            let (mut applied, mut responders) = (Vec::new(), Vec::new());
            let (mut bytes, mut item) = (0, Some(first));
            while let Some(next) = item.take() {
                let (entry, responder) = next?;
                bytes += types::payload_bytes(&entry);
                applied.push(entry);
                responders.push(responder);
                if applied.len() < APPLY_ENTRIES_MAX.get() && bytes < APPLY_BYTES_MAX {
                    item = entries.next().now_or_never().flatten();
                }
            }
            let results = self
                .state
                .apply(applied.iter().map(types::entry_record))
                .map_err(|error| self.fail(error))?;
            for entry in &applied {
                let at = types::position(&entry.log_id);
                observe::tell(self.state.range(), || Seen::Applied {
                    at,
                    hash: content_hash(entry),
                });
            }
            if let Some(last) = applied.last() {
                let (range, at) = (self.state.range(), last.log_id);
                trace::event("apply", format_args!("{range} up to {at}"));
            }
            for (responder, result) in responders.into_iter().zip(results) {
                if let Some(responder) = responder {
                    responder.send(result);
                }
            }
            if applied.len() >= APPLY_ENTRIES_MAX.get() || bytes >= APPLY_BYTES_MAX {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> DurablePoint {
        DurablePoint { state: self.state.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> io::Result<()> {
        let SnapshotData::Staged(ticket) = snapshot else {
            return Err(io::Error::other("only what was received can be installed"));
        };
        if meta.last_log_id != ticket.head.applied.applied.map(types::log_id) {
            return Err(io::Error::other("the raft snapshot is not what it is said to be"));
        }
        let range = self.state.range();
        trace::event("install", format_args!("{range} begins"));
        self.metrics.snapshots.installing.inc();
        let installed = self.state.install(&ticket).await;
        self.metrics.snapshots.installing.dec();
        installed.map_err(|error| self.fail(error))?;
        self.metrics.snapshots.received.inc();
        trace::event("install", format_args!("{range} ends"));
        Ok(())
    }

    /// What to send now. Its position may be beyond what is durable here: it is committed.
    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let purged = self.log.purged_index();
        let now = Instant::now();
        let Some(source) = self.outbox.source(purged, now).map_err(io::Error::other)? else {
            return Ok(None);
        };
        let meta = snapshot_meta(&source.head().applied)?;
        Ok(Some(Snapshot { meta, snapshot: SnapshotData::Source(source) }))
    }
}
