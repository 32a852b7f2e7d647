//! From a key to the replica that serves it, here or on another node.
//!
//! Every node accepts every request. Where this node leads the key's range the request is decoded
//! and queued; where another does, it is forwarded over the link to that node, once: a node that
//! gets a forwarded request and does not lead answers `not leader` with a hint, it never forwards
//! again. The caller (the client library, or a unary call's loop in `api/`) tries again.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use parking_lot::RwLock;
use quintet_proto::{
    internal::v1 as wire,
    v1::{self, Code, session_request::Op},
};

use crate::{
    api::decode::{self, Decoded, Limits},
    error::OpError,
    ids::{NodeId, RangeId},
    ops::metrics::{Metrics, Operation},
    peer::{Kind, Lane, LinkDown, Peers},
    range::{
        replica::Replica,
        request::{Reply, ReplySink},
    },
    storage::{Engine, codec::Descriptor},
    time::Hlc,
};

/// Takes what was answered by another node, as it came.
pub trait ForwardSink: ReplySink {
    /// The answer to request `id`, from the node that leads the range.
    fn forwarded(&self, id: u64, response: v1::SessionResponse, leader: NodeId);
}

/// The ranges that a node knows and its replicas of them.
pub struct Router {
    /// By first stored key.
    descriptors: RwLock<BTreeMap<Vec<u8>, Arc<Descriptor>>>,
    replicas: RwLock<BTreeMap<RangeId, Replica>>,
    peers: Arc<Peers>,
    hlc: Arc<Hlc>,
    metrics: Arc<Metrics>,
    limits: Limits,
    log: Arc<dyn Engine>,
}

impl Router {
    /// A router that knows no range yet.
    pub fn new(
        peers: Arc<Peers>,
        hlc: Arc<Hlc>,
        metrics: Arc<Metrics>,
        limits: Limits,
        log: Arc<dyn Engine>,
    ) -> Router {
        let (descriptors, replicas) = (RwLock::default(), RwLock::default());
        Router { descriptors, replicas, peers, hlc, metrics, limits, log }
    }

    /// Learns of a range, and of this node's replica of it.
    pub fn add(&self, descriptor: Arc<Descriptor>, replica: Option<Replica>) {
        if let Some(replica) = replica {
            self.replicas.write().insert(replica.range, replica);
        }
        self.descriptors.write().insert(descriptor.start.clone(), descriptor);
    }

    /// This node's replica of a range.
    pub fn replica(&self, range: RangeId) -> Option<Replica> {
        self.replicas.read().get(&range).cloned()
    }

    /// This node's replicas.
    pub fn replicas(&self) -> Vec<Replica> {
        self.replicas.read().values().cloned().collect()
    }

    /// What the node accepts.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The node's clock.
    pub fn hlc(&self) -> &Arc<Hlc> {
        &self.hlc
    }

    /// The node's metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The other nodes.
    pub fn peers(&self) -> &Arc<Peers> {
        &self.peers
    }

    /// The range that a stored key lies in.
    fn range_of(&self, key: &[u8]) -> Option<Arc<Descriptor>> {
        let descriptors = self.descriptors.read();
        let (_, descriptor) =
            descriptors.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        descriptor.contains(key).then(|| descriptor.clone())
    }

    /// Serves a client's request: here, or on the node that leads its range.
    pub fn dispatch<S: ForwardSink + 'static>(
        &self,
        mut request: v1::SessionRequest,
        sink: &Arc<S>,
    ) {
        let id = request.id;
        let decoded = match self.decode(&mut request) {
            Ok(decoded) => decoded,
            Err(error) => return sink.answer(id, Err(error)),
        };
        let Some(descriptor) = self.range_of(decoded.routing_key()) else {
            let message = "no cluster has been formed yet: run 'quintet cluster init'";
            return sink.answer(id, Err(OpError::new(Code::NotInitialized, message)));
        };
        let Some(replica) = self.replica(descriptor.range) else {
            let message = "this node has no replica of the range";
            return sink.answer(id, Err(OpError::unavailable(message)));
        };
        match replica.leader_node() {
            Some(node) if node == self.peers.me() => {
                let reply = self.reply(sink.clone(), id, &request);
                self.submit(&replica, decoded, reply);
            }
            Some(node) => self.forward(node, &descriptor, request, sink.clone()),
            None => {
                let message = "the range has no leader at the moment; try again";
                sink.answer(id, Err(OpError::unavailable(message)));
            }
        }
    }

    /// Serves a request that another node forwarded: here or not at all.
    pub fn serve_forwarded(
        &self,
        mut request: v1::SessionRequest,
        range: RangeId,
        sink: Arc<dyn ReplySink>,
    ) {
        let id = request.id;
        let reply = self.reply(sink, id, &request);
        match (self.decode(&mut request), self.replica(range)) {
            (Err(error), _) => reply.send(Err(error)),
            (Ok(_), None) => reply.send(Err(OpError::not_leader(None))),
            (Ok(decoded), Some(replica)) => self.submit(&replica, decoded, reply),
        }
    }

    fn reply(&self, sink: Arc<dyn ReplySink>, id: u64, request: &v1::SessionRequest) -> Reply {
        let operation = match &request.op {
            Some(Op::Get(_)) | None => Operation::Get,
            Some(Op::Put(_)) => Operation::Put,
            Some(Op::Delete(_)) => Operation::Delete,
            Some(Op::Increment(_)) => Operation::Increment,
            Some(Op::Expire(_)) => Operation::Expire,
            Some(Op::Scan(_)) => Operation::Scan,
        };
        Reply::new(sink, id, self.metrics.clone(), operation)
    }

    fn decode(&self, request: &mut v1::SessionRequest) -> Result<Decoded, OpError> {
        decode::decode(request, &self.limits, &self.hlc, &self.peers.identity())
    }

    fn submit(&self, replica: &Replica, decoded: Decoded, reply: Reply) {
        match decoded {
            Decoded::Read(read) => replica.read(read.with_reply(reply)),
            Decoded::Write(write) => {
                let engine = replica.shared.state.engine();
                let space = self.log.check_space().and_then(|()| engine.check_space());
                if let (Err(error), true) = (space, write.needs_space()) {
                    let message = format!("{error}; delete something or add disk space");
                    return reply.send(Err(OpError::new(Code::Storage, message)));
                }
                replica.write(write.with_reply(reply));
            }
        }
    }

    fn forward<S: ForwardSink + 'static>(
        &self,
        node: NodeId,
        descriptor: &Descriptor,
        request: v1::SessionRequest,
        sink: Arc<S>,
    ) {
        self.metrics.forwarded.inc();
        let id = request.id;
        let writes = !matches!(request.op, Some(Op::Get(_) | Op::Scan(_)));
        let message = wire::PeerMessage {
            range_id: descriptor.range.0,
            kind: Some(Kind::Forward(request)),
            ..wire::PeerMessage::default()
        };
        self.peers.send(
            node,
            Lane::Urgent,
            message,
            Box::new(move |answer| match answer {
                Ok(Kind::ForwardAnswer(response)) => sink.forwarded(id, response, node),
                Ok(_) => sink.answer(id, Err(lost(writes))),
                Err(LinkDown { was_sent }) => sink.answer(id, Err(lost(writes && was_sent))),
            }),
        );
    }
}

fn lost(was_sent: bool) -> OpError {
    if was_sent {
        OpError::ambiguous("the link to the leader broke; ask again with the same id")
    } else {
        OpError::unavailable("the leader can't be reached at the moment; try again")
    }
}
