//! The receiving side of a raft snapshot.
//!
//! A peer is believed nothing: numbers, checksums and records are checked chunk by chunk, and what does
//! not fit is refused by name before anything of the replica is touched.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use quintet_proto::internal::v1::{self as wire, snapshot_message::Kind};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    content,
    limits::Transfers,
    stage::{self, SYNC_BYTES, Stage, Ticket},
};
use crate::{
    failpoint,
    ids::{RangeId, ReplicaId},
    ops::metrics::Metrics,
    peer::SnapshotPipe,
    storage::{
        Batch, Engine,
        engine::Error,
        format::{codec, descriptor::Descriptor, snapshot::SnapshotHead},
    },
    time::local::{Instant, interval},
};

/// Silence of the sender after which its place is free for others. It waits for its throttle.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the sender hears that the installation goes on.
const INSTALLING_INTERVAL: Duration = Duration::from_secs(1);
/// What was staged goes when nobody went on with it for this long.
const STAGED_IDLE_MAX: Duration = Duration::from_secs(600);

/// A replica as a raft snapshot finds it.
pub trait Target: Send + Sync {
    /// Its range.
    fn range(&self) -> RangeId;
    /// Its id.
    fn replica(&self) -> ReplicaId;
    /// Its vote.
    fn vote(&self) -> wire::Vote;
    /// The index up to which it has applied everything.
    fn applied(&self) -> Option<u64>;
    /// Where its state is.
    fn engine(&self) -> Arc<dyn Engine>;
    /// Another range of which the node holds a replica, and which has a part of this span.
    fn overlapping(&self, span: &Descriptor) -> Option<RangeId>;
    /// It is not received, for this reason.
    fn not_received(&self, why: &str);
    /// Why Raft would not take it.
    fn check(&self, vote: &wire::Vote, head: &SnapshotHead) -> Result<(), String>;
    /// Hands what is staged to Raft; the replica's vote when it is installed.
    fn install(
        &self,
        vote: wire::Vote,
        ticket: Ticket,
    ) -> BoxFuture<'static, Result<wire::Vote, String>>;
}

/// A replica's place for one raft snapshot at a time.
#[derive(Debug)]
pub struct Inbox {
    busy: tokio::sync::Mutex<()>,
    /// When something was staged last.
    touched: Mutex<Instant>,
    /// Whether something may be staged.
    staged: AtomicBool,
}

impl Inbox {
    /// Nobody sends.
    pub fn new() -> Inbox {
        let touched = Mutex::new(Instant::now());
        Inbox { busy: tokio::sync::Mutex::new(()), touched, staged: AtomicBool::new(true) }
    }

    fn touch(&self) {
        *self.touched.lock() = Instant::now();
        self.staged.store(true, Ordering::Release);
    }

    /// Removes what was staged and will not be gone on with: it is older than what is applied, or was
    /// left for long.
    pub fn collect(
        &self,
        engine: &dyn Engine,
        range: RangeId,
        applied: Option<u64>,
        now: Instant,
    ) -> Result<(), Error> {
        if !self.staged.load(Ordering::Acquire) {
            return Ok(());
        }
        let Ok(_place) = self.busy.try_lock() else { return Ok(()) };
        let Some(found) = stage::find(engine, range)? else {
            self.staged.store(false, Ordering::Release);
            return Ok(());
        };
        let index = found.head.applied.applied.map(|at| at.index);
        let idle = now.saturating_duration_since(*self.touched.lock());
        if index > applied && idle < STAGED_IDLE_MAX {
            return Ok(());
        }
        let mut batch = Batch::new();
        stage::remove(&mut batch, range);
        engine.write(batch)?;
        self.staged.store(false, Ordering::Release);
        Ok(())
    }
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox::new()
    }
}

/// How receiving ended, where it did not end with all installed.
enum End {
    /// The other side is told why.
    Refused(String),
    /// The stream is gone.
    Cut(String),
}

/// Receives what is offered, installs it and answers.
pub async fn receive(
    target: &dyn Target,
    inbox: &Inbox,
    transfers: &Transfers,
    metrics: &Metrics,
    offer: wire::SnapshotOffer,
    mut pipe: SnapshotPipe,
) {
    let range = target.range();
    match run(target, inbox, transfers, metrics, offer, &mut pipe).await {
        Ok(vote) => {
            // Whoever has gone asks again and is told then.
            pipe.send(Kind::Held(wire::SnapshotHeld { vote: Some(vote) })).await.ok();
        }
        Err(end) => {
            metrics.snapshots.receive_failed.inc();
            let why = match end {
                End::Refused(why) => {
                    pipe.refuse(&why).await;
                    why
                }
                End::Cut(why) => why,
            };
            target.not_received(&why);
            tracing::info!(%range, why, "raft snapshot not received");
        }
    }
}

async fn run(
    target: &dyn Target,
    inbox: &Inbox,
    transfers: &Transfers,
    metrics: &Metrics,
    offer: wire::SnapshotOffer,
    pipe: &mut SnapshotPipe,
) -> Result<wire::Vote, End> {
    let refused = |why: &str| End::Refused(why.to_owned());
    let storage = |error: Error| End::Refused(error.to_string());
    let (range, replica) = (target.range(), target.replica());
    if offer.range_id != range.0 || offer.to_replica != replica.0 {
        return Err(refused("it is for another replica"));
    }
    let vote = offer.vote.ok_or_else(|| refused("an offer without a vote"))?;
    let head: SnapshotHead = codec::decode(&offer.head).map_err(storage)?;
    if head.descriptor.range != range {
        return Err(refused("it is of another range"));
    }
    let index = head.applied.applied.map(|at| at.index);
    if index.is_none() {
        return Err(refused("it is of nothing"));
    }
    let mine = target.vote();
    if (mine.term, mine.committed) > (vote.term, vote.committed) || index <= target.applied() {
        // There is nothing to send: the sender learns of the higher vote, or that all is here.
        return Ok(mine);
    }
    target.check(&vote, &head).map_err(End::Refused)?;
    if let Some(other) = target.overlapping(&head.descriptor) {
        return Err(End::Refused(format!("later: {other} has a part of its span here")));
    }
    let permit = transfers.receiving.try_acquire();
    let _permit = permit.map_err(|_| refused("later: two others are being received"))?;
    let place = inbox.busy.try_lock();
    let _place = place.map_err(|_| refused("later: another one is being received"))?;

    let engine = target.engine();
    engine.check_space().map_err(storage)?;
    let mut stage = Stage::open(engine.clone(), &head).map_err(storage)?;
    inbox.touch();
    tracing::info!(
        %range, snapshot = format_args!("{:032x}", head.id), index, from_chunk = stage.next(),
        "receiving a raft snapshot"
    );
    let wanted = wire::SnapshotWanted { chunk: stage.next() };
    pipe.send(Kind::Wanted(wanted)).await.map_err(End::Cut)?;
    let mut unsynced = 0;
    let end = loop {
        let chunk = match pipe.receive(PATIENCE).await.map_err(End::Cut)? {
            Kind::Chunk(chunk) => chunk,
            Kind::End(end) => break end,
            _ => return Err(refused("a message that does not belong here")),
        };
        let number = chunk.number;
        if number != stage.next() {
            let next = stage.next();
            return Err(End::Refused(format!("chunk {number} where {next} belongs")));
        }
        if xxh3_64(&chunk.records) != chunk.checksum {
            return Err(End::Refused(format!("chunk {number} is damaged: its checksum is wrong")));
        }
        content::records(&head.descriptor, &chunk.records).map_err(storage)?;
        engine.check_space().map_err(storage)?;
        let bytes = chunk.records.len();
        stage.add(chunk.records.to_vec(), chunk.checksum).map_err(storage)?;
        failpoint::hit("snapshot.after-chunk");
        inbox.touch();
        metrics.snapshots.bytes_received.inc_by(bytes as u64);
        unsynced += bytes;
        if unsynced >= SYNC_BYTES {
            unsynced = 0;
            engine.sync().await.map_err(storage)?;
        }
        pipe.send(Kind::Taken(wire::SnapshotTaken { number })).await.map_err(End::Cut)?;
    };
    if (end.chunks, end.checksum) != (stage.next(), stage.checksum()) {
        let mut batch = Batch::new();
        stage::remove(&mut batch, range);
        engine.write(batch).map_err(storage)?;
        return Err(refused("the chunks together are not what was sent"));
    }
    // It took a while: what was right at its beginning may be so no more.
    if index <= target.applied() {
        return Ok(target.vote());
    }
    target.check(&vote, &head).map_err(End::Refused)?;
    if let Some(other) = target.overlapping(&head.descriptor) {
        return Err(End::Refused(format!("later: {other} has a part of its span here")));
    }
    let begun = Instant::now();
    let mut installing = target.install(vote, stage.ticket());
    let mut ticks = interval(INSTALLING_INTERVAL);
    let vote = loop {
        tokio::select! {
            biased;
            installed = &mut installing => break installed.map_err(End::Refused)?,
            _ = ticks.tick() => {
                // If the stream is gone the installation goes on all the same.
                pipe.send(Kind::Installing(wire::SnapshotInstalling {})).await.ok();
            }
        }
    };
    tracing::info!(
        %range, snapshot = format_args!("{:032x}", head.id), index, took = ?begun.elapsed(),
        "raft snapshot received"
    );
    Ok(vote)
}
