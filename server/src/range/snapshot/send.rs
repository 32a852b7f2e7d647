//! The sending side of a raft snapshot: one try. openraft tries again until it is installed or
//! nobody needs it any more.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use quintet_proto::internal::v1::{self as wire, snapshot_message::Kind};

use super::{
    limits::Transfers,
    source::{Outbox, Source},
};
use crate::{
    ids::{NodeId, RangeId, ReplicaId},
    ops::metrics::Metrics,
    peer::{Peers, SnapshotPipe},
    storage::format::codec,
    time::local::Instant,
};

/// Silence of the receiver after which the stream is given up. It says that it lives while it
/// installs.
const PATIENCE: Duration = Duration::from_secs(10);

/// One try to send a raft snapshot.
pub struct Sending {
    /// The node's connections.
    pub peers: Arc<Peers>,
    /// The node's limits.
    pub transfers: Arc<Transfers>,
    /// The node's metrics.
    pub metrics: Arc<Metrics>,
    /// Where the raft snapshot is kept.
    pub outbox: Arc<Outbox>,
    /// The range.
    pub range: RangeId,
    /// The leader's replica.
    pub from: ReplicaId,
    /// Whose state it becomes.
    pub to: ReplicaId,
    /// Where that replica is.
    pub node: NodeId,
    /// The leader's vote.
    pub vote: wire::Vote,
    /// What is sent.
    pub source: Arc<Source>,
}

impl Sending {
    /// Sends; the receiver's vote once it holds all. `Err` says why not, and that it is worth another
    /// try.
    pub async fn run(self) -> Result<wire::Vote, String> {
        let (range, to, id) = (self.range, self.to, self.source.head().id);
        let Ok(_permit) = self.transfers.sending.try_acquire() else {
            self.outbox.give_up(&self.source);
            return Err("two other raft snapshots are being sent: later".to_owned());
        };
        let mut pipe = match self.peers.open_snapshot(self.node).await {
            Ok(pipe) => pipe,
            Err(why) => {
                // Every second while the node is down, for each range: nothing to tell people.
                tracing::debug!(%range, %to, why, "no stream for a raft snapshot");
                self.metrics.snapshots.send_failed.inc();
                return Err(why);
            }
        };
        tracing::info!(
            %range, %to, node = %self.node, snapshot = format_args!("{id:032x}"),
            index = self.source.index(), "sending a raft snapshot"
        );
        let sent = self.send(&mut pipe).await;
        match &sent {
            Ok(_) => {
                self.outbox.hold(self.to, &self.source, Instant::now());
                self.metrics.snapshots.sent.inc();
                tracing::info!(
                    %range, %to, snapshot = format_args!("{id:032x}"), "raft snapshot sent"
                );
            }
            Err(why) => {
                self.metrics.snapshots.send_failed.inc();
                tracing::info!(
                    %range, %to, snapshot = format_args!("{id:032x}"), why,
                    "raft snapshot not sent, again later"
                );
            }
        }
        sent
    }

    /// The conversation on an open stream.
    pub async fn send(&self, pipe: &mut SnapshotPipe) -> Result<wire::Vote, String> {
        let offer = wire::SnapshotOffer {
            hello: Some(self.peers.introduction()),
            range_id: self.range.0,
            from_replica: self.from.0,
            to_replica: self.to.0,
            vote: Some(self.vote),
            head: Bytes::from(codec::encode(self.source.head())),
        };
        pipe.send(Kind::Offer(offer)).await?;
        let mut number = match pipe.receive(PATIENCE).await? {
            Kind::Wanted(wanted) => wanted.chunk,
            Kind::Held(held) => return held.vote.ok_or_else(nonsense),
            Kind::Refused(refused) => return Err(format!("refused: {}", refused.why)),
            _ => return Err(nonsense()),
        };
        let metrics = &self.metrics.snapshots;
        loop {
            let chunk = self.source.chunk(number).await.map_err(|error| error.to_string())?;
            self.outbox.hold(self.to, &self.source, Instant::now());
            let Some(chunk) = chunk else { break };
            self.transfers.throttle.take(chunk.records.len()).await;
            metrics.chunks_sent.inc();
            metrics.bytes_sent.inc_by(chunk.records.len() as u64);
            if self.source.note_sent(self.to, number) {
                metrics.chunks_resent.inc();
            }
            let chunk =
                wire::SnapshotChunk { number, checksum: chunk.checksum, records: chunk.records };
            pipe.send(Kind::Chunk(chunk)).await?;
            match pipe.receive(PATIENCE).await? {
                Kind::Taken(taken) if taken.number == number => number += 1,
                Kind::Refused(refused) => return Err(format!("refused: {}", refused.why)),
                _ => return Err(nonsense()),
            }
        }
        let total = self.source.total().await.filter(|(chunks, _)| *chunks == number);
        let Some((chunks, checksum)) = total else {
            return Err(format!("chunk {number} is wanted, beyond the last one"));
        };
        pipe.send(Kind::End(wire::SnapshotEnd { chunks, checksum })).await?;
        loop {
            self.outbox.hold(self.to, &self.source, Instant::now());
            match pipe.receive(PATIENCE).await? {
                Kind::Installing(_) => {}
                Kind::Held(held) => return held.vote.ok_or_else(nonsense),
                Kind::Refused(refused) => return Err(format!("refused: {}", refused.why)),
                _ => return Err(nonsense()),
            }
        }
    }
}

fn nonsense() -> String {
    "an answer that makes no sense".to_owned()
}
