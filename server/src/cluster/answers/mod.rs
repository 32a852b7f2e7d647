//! What a node answers its peers: one arm per kind of request, each a call to the code that can answer it.
//!
//! ```text
//!   raft.rs      append, vote, pre-vote, transfer: handed to the addressed replica's group
//!   forward.rs   requests of clients that another node forwards
//!   pings.rs     what peers say of themselves
//!   snapshot.rs  raft snapshots, on a stream of their own
//! ```
//!
//! Nothing waits here: an answer that takes time is a future, which the link polls beside its other requests.
//! The handler holds the node weakly, since the node holds the peers that hold the handler.
//!
//! # Invariants
//!
//! * A message reaches only the replica that it names (`addressed`, `holds`). A node that lost its disk has other
//!   replica ids than before, and must not answer for the old ones.
//! * Nothing that a peer sends panics: an empty request, and an answer in the place of a request, are answered as
//!   failed.

mod forward;
mod index;
mod pings;
mod raft;
mod snapshot;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use quintet_proto::internal::v1 as wire;

use self::forward::Forwarded;
use super::{reach, state::NodeState};
use crate::{
    ids::{NodeId, RangeId, ReplicaId, SYSTEM_RANGE, TimeDomain},
    peer::{
        Handler, Kind, SnapshotPipe,
        ask::{self, Ask},
    },
    planted::{self, Bug},
    range::{closed::Moment, leadership, replica::Replica},
    storage::format::gc::GcHold,
    time::{
        Timestamp,
        oracle::{Block, Epoch, ServerId, server::Tick},
    },
};

/// Answers peers for a node.
pub(crate) struct NodeHandler {
    /// The peers hold this handler and the node holds the peers: a node that has ended must go.
    node_state: Weak<NodeState>,
    forwarded: Forwarded,
}

impl NodeHandler {
    /// Answers for this node for as long as it is there.
    pub(crate) fn new(node_state: &Arc<NodeState>) -> NodeHandler {
        NodeHandler { node_state: Arc::downgrade(node_state), forwarded: Forwarded::default() }
    }
}

/// The replica that a message is for: never another one than it names.
fn addressed(node_state: &NodeState, message: &wire::PeerMessage) -> Option<Replica> {
    let replica = node_state.router().replica(RangeId(message.range_id))?;
    (replica.id.0 == message.to_replica).then_some(replica)
}

/// Whether this node has a time server of a domain: there is one, 0.
fn is_ours(time_domain: u32) -> bool {
    time_domain == TimeDomain::default().0
}

fn failed(why: impl Into<String>) -> BoxFuture<'static, Option<Kind>> {
    let why = why.into();
    async move { Some(Kind::Failed(why)) }.boxed()
}

impl Handler for NodeHandler {
    fn is_lost(&self, directory: u64) -> bool {
        let system = self.node_state.upgrade().and_then(|it| it.router().replica(SYSTEM_RANGE));
        system.is_some_and(|replica| replica.shared.state.is_time_server_lost(ServerId(directory)))
    }

    fn handle(
        &self,
        from: NodeId,
        mut message: wire::PeerMessage,
    ) -> BoxFuture<'static, Option<Kind>> {
        let Some(kind) = message.kind.take() else { return failed("an empty request") };
        let Some(node_state) = self.node_state.upgrade() else {
            return failed("the node is stopping");
        };
        match kind {
            Kind::Append(_) | Kind::Vote(_) | Kind::PreVote(_) | Kind::Transfer(_) => {
                match addressed(&node_state, &message) {
                    Some(replica) => {
                        if matches!(&kind, Kind::Transfer(to) if to.to_replica == replica.id.0) {
                            node_state.handovers.lock().returns(replica.range);
                        }
                        raft::hand_over(replica, from, kind)
                    }
                    None => failed("no such replica here"),
                }
            }
            Kind::Forward(forward) => {
                let router = node_state.router().clone();
                self.forwarded.serve(router, forward, RangeId(message.range_id))
            }
            Kind::ReadIndex(asked) if is_ours(asked.time_domain) => {
                index::answer(node_state.router().clone(), RangeId(message.range_id), asked)
            }
            Kind::Claims(claims) => {
                let holds = claims.claims.iter().map(|claim| holds(&node_state, claim)).collect();
                let answer = Kind::ClaimsAnswer(wire::ClaimsAnswer { holds });
                async { Some(answer) }.boxed()
            }
            Kind::TimeTick(tick) if is_ours(tick.time_domain) => {
                let server = node_state.time_server().clone();
                let (epoch, block) = (Epoch(tick.epoch), Block(tick.block));
                let tick = Tick { epoch, block, write_back: tick.write_back };
                async move { Some(ask::TimeTick::reply(server.tick(tick).await)) }.boxed()
            }
            Kind::TimeRound(round) if is_ours(round.time_domain) => {
                let oracle = node_state.host().oracle.clone();
                async move { Some(ask::TimeRound::reply(oracle.round_here().await.ok())) }.boxed()
            }
            Kind::TimeFence(fence) if is_ours(fence.time_domain) => {
                let server = node_state.time_server().clone();
                let config = ask::config_from_wire(fence.servers.unwrap_or_default());
                async move { Some(ask::TimeFence::reply(server.fence(&config).await)) }.boxed()
            }
            Kind::TimeSeed(seed) if is_ours(seed.time_domain) => {
                let server = node_state.time_server().clone();
                let config = ask::config_from_wire(seed.servers.unwrap_or_default());
                async move {
                    let seeded = server.seed(&config, Block(seed.above)).await;
                    Some(ask::TimeSeed::reply(seeded))
                }
                .boxed()
            }
            Kind::Closed(closed) if is_ours(closed.time_domain) => {
                let ages = node_state.closed_ages();
                for range in &closed.ranges {
                    let Some(replica) = node_state.router().replica(RangeId(range.range_id)) else {
                        continue;
                    };
                    let (block, applied) =
                        (Block(range.block).min(Block::MAX), range.applied_index);
                    let since = ages.since(&closed, range);
                    replica.hear_closed(Moment { block, applied }, since);
                }
                let answer = Kind::ClosedAnswer(ages.answer());
                async { Some(answer) }.boxed()
            }
            Kind::Reach(_) => {
                async move { Some(ask::Reach::reply(reach::reached(&node_state).await)) }.boxed()
            }
            Kind::Ping(ping) => {
                pings::heard(&node_state, from, ping);
                async { Some(Kind::Pong(wire::Pong {})) }.boxed()
            }
            Kind::Bootstrap(plan) => {
                async move { Some(ask::TakePlan::reply(node_state.take_from(plan).await)) }.boxed()
            }
            Kind::Drain(request) => {
                async move { Some(ask::Drain::reply(node_state.drain_asked(request).await)) }
                    .boxed()
            }
            Kind::TimeKnown(asked) if is_ours(asked.time_domain) => {
                let lost = asked.lost.into_iter().map(ServerId).collect();
                async move {
                    let known = node_state.time_known(Epoch(asked.epoch), &lost).await;
                    Some(ask::TimeKnown::reply(known))
                }
                .boxed()
            }
            Kind::RecoverTime(request) => async move {
                Some(ask::RecoverTime::reply(node_state.recover_time_here(request).await))
            }
            .boxed(),
            Kind::PlaceTimeServers(request) => async move {
                let placed = node_state.place_time_servers_here(request).await;
                Some(ask::PlaceTimeServers::reply(placed))
            }
            .boxed(),
            Kind::SetRetention(request) => async move {
                Some(ask::SetRetention::reply(node_state.set_retention_here(request).await))
            }
            .boxed(),
            Kind::HoldVersions(asked) if is_ours(asked.time_domain) => {
                let range = RangeId(message.range_id);
                let span = (asked.start.to_vec(), asked.end.to_vec());
                let hold = GcHold {
                    holder: asked.holder,
                    sequence: asked.sequence,
                    at: Timestamp(asked.at),
                    until: Timestamp(asked.until),
                };
                async move {
                    let held = node_state.hold_versions_here(range, hold, span).await;
                    Some(ask::HoldVersions::reply(held))
                }
                .boxed()
            }
            Kind::DrainFor(request) => {
                async move { Some(ask::DrainFor::reply(node_state.drain_here(request).await)) }
                    .boxed()
            }
            Kind::Enlist(plan) => {
                async move { Some(ask::Enlist::reply(node_state.enlist(plan).await)) }.boxed()
            }
            Kind::HoldReplica(offer) => {
                let range = RangeId(message.range_id);
                async move { Some(ask::HoldReplica::reply(node_state.hold(range, offer).await)) }
                    .boxed()
            }
            Kind::ReplaceReplica(request) => {
                let (range, node) = (RangeId(message.range_id), NodeId(request.node_id));
                let allowed = Duration::from_millis(request.timeout_ms.into());
                async move {
                    let done = node_state.replace_replica(range, node, allowed).await;
                    Some(ask::ReplaceReplica::reply(done))
                }
                .boxed()
            }
            Kind::Replace(request) => {
                async move { Some(ask::Replace::reply(node_state.replace(request, false).await)) }
                    .boxed()
            }
            Kind::Init(request) => {
                async move { Some(ask::Init::reply(node_state.init(request, false).await)) }.boxed()
            }
            Kind::TimeTick(_)
            | Kind::TimeRound(_)
            | Kind::TimeFence(_)
            | Kind::TimeSeed(_)
            | Kind::TimeKnown(_)
            | Kind::Closed(_)
            | Kind::ReadIndex(_)
            | Kind::HoldVersions(_) => failed("this node knows no such time domain"),
            _ => failed("an answer where a request belongs"),
        }
    }

    fn snapshot(
        &self,
        from: NodeId,
        offer: wire::SnapshotOffer,
        mut pipe: SnapshotPipe,
    ) -> BoxFuture<'static, ()> {
        let node_state = self.node_state.upgrade();
        async move {
            match node_state {
                Some(node_state) => snapshot::receive(&node_state, from, offer, pipe).await,
                None => pipe.refuse("the node is stopping").await,
            }
        }
        .boxed()
    }
}

/// Whether a replica of this node follows a leader; never another one than it names.
fn holds(node_state: &NodeState, claim: &wire::Claim) -> bool {
    let replica = node_state.router().replica(RangeId(claim.range_id));
    if planted::active(Bug::ClaimsAnsweredBlindly) {
        // The careless hand: "who claims it will know".
        return replica.is_some_and(|replica| replica.id.0 == claim.to_replica);
    }
    replica.is_some_and(|replica| {
        replica.id.0 == claim.to_replica
            && leadership::follows(&replica.log, ReplicaId(claim.leader_replica), claim.term)
    })
}
