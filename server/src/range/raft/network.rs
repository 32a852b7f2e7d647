//! Raft messages over the node's links, as openraft's network.
//!
//! Appends are pipelined (`append_stream.rs`). A heartbeat (an append without entries) and everything
//! else goes on the urgent lane.

use std::{future::Future, sync::Arc};

use futures::Stream;
use openraft::{
    AnyError, OptionalSend, RaftNetworkFactory,
    base::{BoxFuture, BoxStream},
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{
        Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
    },
    raft::{
        AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use quintet_proto::internal::v1 as net;
use tokio::sync::oneshot;

use super::{
    append_stream::{self, Watched},
    log_store::LogStore,
    snapshot_data::SnapshotData,
    types::{Holder, LogId, RpcError as Error, TypeConfig, Vote},
    wire,
};
use crate::{
    ids::{NodeId, RangeId, ReplicaId},
    ops::metrics::Metrics,
    peer::{Kind, Lane, LinkDown, Peers},
    range::{
        faults::{Doing, Faults},
        snapshot::{limits::Transfers, send::Sending, source::Outbox},
    },
};

/// Makes connections to a range's other replicas.
#[derive(Clone)]
pub(in crate::range) struct Network {
    /// The range.
    pub range: RangeId,
    /// The replica whose connections these are.
    pub me: ReplicaId,
    /// Its log.
    pub log: LogStore,
    /// The node's links.
    pub peers: Arc<Peers>,
    /// What raft snapshots may take.
    pub transfers: Arc<Transfers>,
    /// The raft snapshot to send.
    pub outbox: Arc<Outbox>,
    /// The node's metrics.
    pub metrics: Arc<Metrics>,
    /// Where failures are noted.
    pub faults: Arc<Faults>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &Holder) -> Connection {
        Connection { network: self.clone(), target: ReplicaId(target), node: node.node }
    }
}

/// To one other replica.
#[derive(Clone)]
pub(in crate::range) struct Connection {
    network: Network,
    target: ReplicaId,
    node: NodeId,
}

type Answer = oneshot::Receiver<Result<Kind, LinkDown>>;

impl Connection {
    fn ask(&self, lane: Lane, kind: Kind) -> Answer {
        let message = net::PeerMessage {
            range_id: self.network.range.0,
            from_replica: self.network.me.0,
            to_replica: self.target.0,
            kind: Some(kind),
            ..net::PeerMessage::default()
        };
        self.network.peers.request(self.node, lane, message)
    }

    async fn call(&self, doing: Doing, kind: Kind, option: &RPCOption) -> Result<Kind, Error> {
        let answer = self.ask(Lane::Urgent, kind);
        let answer = match crate::time::local::timeout(option.soft_ttl(), answer).await {
            Ok(answer) => received(answer),
            Err(_) => Err(unreachable("no answer in time")),
        };
        answer.inspect_err(|error| self.note(doing, error))
    }

    fn note(&self, doing: Doing, error: &dyn std::fmt::Display) {
        self.network.faults.note(doing, Some(self.target), &error.to_string());
    }

    /// Sends an append; the future is its answer.
    pub(super) fn append(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> impl Future<Output = Result<StreamAppendResult<TypeConfig>, Error>> + use<> {
        let prev = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(prev);
        let (append, bytes) = wire::append_out(request);
        let lane = if append.entries.is_empty() { Lane::Urgent } else { Lane::Bulk(bytes) };
        Sent { answer: self.ask(lane, Kind::Append(append)), prev, last }.answered()
    }
}

fn unreachable(why: impl Into<String>) -> Error {
    RPCError::Unreachable(Unreachable::new(&AnyError::error(why.into())))
}

fn received(
    answer: Result<Result<Kind, LinkDown>, oneshot::error::RecvError>,
) -> Result<Kind, Error> {
    match answer {
        Ok(Ok(Kind::Failed(why))) => Err(unreachable(why)),
        Ok(Ok(kind)) => Ok(kind),
        Ok(Err(down)) => Err(unreachable(down.to_string())),
        Err(_) => Err(unreachable("the node is stopping")),
    }
}

fn unexpected() -> Error {
    unreachable("an answer of another kind, or one that makes no sense")
}

/// An append on its way.
struct Sent {
    answer: Answer,
    prev: Option<LogId>,
    last: Option<LogId>,
}

impl Sent {
    async fn answered(self) -> Result<StreamAppendResult<TypeConfig>, Error> {
        let Kind::AppendAnswer(answer) = received(self.answer.await)? else {
            return Err(unexpected());
        };
        let answer = wire::append_answer_in(answer).ok_or_else(unexpected)?;
        if answer.is_conflict() && self.prev.is_none() {
            return Err(unexpected());
        }
        Ok(answer.into_stream_result(self.prev, self.last))
    }
}

impl NetStreamAppend<TypeConfig> for Connection {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, Error>>, Error>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let log = self.network.log.clone();
        let appended = log.appended();
        let log = Watched { last: move || log.last_id(), appended };
        let connection = &*self;
        let answers = append_stream::answers(input, log, move |request| {
            let answer = connection.append(request);
            Box::pin(async move {
                answer.await.inspect_err(|error| connection.note(Doing::Append, error))
            })
        });
        Box::pin(async move {
            let stream: BoxStream<'s, _> = Box::pin(answers);
            Ok(stream)
        })
    }
}

impl NetVote<TypeConfig> for Connection {
    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Error> {
        let kind = Kind::Vote(wire::vote_request_out(&request));
        let Kind::VoteAnswer(answer) = self.call(Doing::Vote, kind, &option).await? else {
            return Err(unexpected());
        };
        wire::vote_answer_in(answer).ok_or_else(unexpected)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Error> {
        let kind = Kind::PreVote(wire::vote_request_out(&request));
        let Kind::VoteAnswer(answer) = self.call(Doing::Vote, kind, &option).await? else {
            return Err(unexpected());
        };
        wire::vote_answer_in(answer).ok_or_else(unexpected)
    }
}

impl NetTransferLeader<TypeConfig> for Connection {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Error> {
        let kind = Kind::Transfer(wire::transfer_out(&request));
        let Kind::TransferAnswer(answer) = self.call(Doing::Transfer, kind, &option).await? else {
            return Err(unexpected());
        };
        if answer.refusal.is_empty() {
            return Ok(Ok(()));
        }
        self.note(Doing::Transfer, &answer.refusal);
        Err(unreachable(answer.refusal))
    }
}

impl NetSnapshot<TypeConfig> for Connection {
    type SnapshotData = SnapshotData;

    /// openraft's own deadline is not kept to: a raft snapshot takes as long as it takes, and the
    /// stream has its own patience.
    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::alias::SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let later = |why: String| {
            let error = AnyError::error(why);
            StreamingError::Unreachable(Unreachable::new(&error))
        };
        let SnapshotData::Source(source) = snapshot.snapshot else {
            return Err(later("a durable point can't be sent".to_owned()));
        };
        let Network { range, me, peers, transfers, outbox, metrics, faults, .. } =
            self.network.clone();
        let to = self.target;
        let sending = Sending {
            peers,
            transfers,
            metrics,
            outbox,
            range,
            from: me,
            to,
            node: self.node,
            vote: wire::vote_out(&vote),
            source,
        };
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = sending.run() => {
                let sent = sent.inspect_err(|why| faults.note(Doing::SendSnapshot, Some(to), why));
                let vote = wire::vote_in(Some(sent.map_err(later)?));
                let vote = vote.ok_or_else(|| later("an answer without a vote".to_owned()))?;
                Ok(SnapshotResponse::new(vote))
            }
        }
    }
}

impl NetBackoff<TypeConfig> for Connection {
    fn backoff(&self) -> Option<Backoff> {
        None
    }
}
