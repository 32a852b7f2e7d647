//! Between nodes: one stream from each node to each other one, carrying all groups' messages.
//!
//! ```text
//!   node 1 ----- link (requests, in frames) ----> node 2     opened by 1; 2 answers on it
//!   node 1 <---- link (requests, in frames) ----- node 2     opened by 2; 1 answers on it
//! ```
//!
//! Two lanes share a link: *urgent* (votes, heartbeats, forwarded requests) goes before *bulk* (log
//! entries), and bulk under way is bounded by credits, so that it cannot delay the other lane by
//! more than a frame. A link on which something is pending and nothing is heard for
//! `raft.link_stall_ms` is redialled and everything pending on it fails. Order and uniqueness hold within one
//! life of a link, as in TCP; between lives they do not.
//!
//! Who is at the other end is checked before anything else: cluster id, incarnation, node id, and whether it
//! is a member. Where each peer stands, and what the log says of it, is in `standing.rs`. A machine that plays several
//! rooms may put the distances between them on its links: `wan/`.

pub(crate) mod ask;
mod book;
mod departures;
mod link;
mod says;
mod server;
mod snapshot;
mod standing;
mod wan;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use quintet_proto::{internal::v1 as wire, v1::Code};

pub use book::AddressBook;
pub use link::{Lane, Link, LinkDown};
pub use server::PeerService;
pub use snapshot::SnapshotPipe;
pub use standing::Reach;
pub use wire::peer_message::Kind;

use self::departures::Departures;
use crate::{
    config::Wan,
    error::OpError,
    ids::NodeId,
    ops::metrics::Metrics,
    seams::{Random, Wire},
    storage::format::node::AddressRecord,
    time::{
        local::Instant,
        oracle::{Block, handle::Oracle},
    },
};

/// Bytes of urgent messages, or of answers, after which a frame takes no further one: larger frames
/// are refused on the other side, and votes and heartbeats must not wait behind them.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// The highest cluster version that this build knows.
pub const CLUSTER_VERSION: u32 = 1;

/// Answers what peers ask.
pub trait Handler: Send + Sync {
    /// Whether a data directory is lost for good, as an operator has said: nobody that has it is met.
    fn is_lost(&self, directory: u64) -> bool;

    /// Begins to answer a request of a peer. The first poll of the future happens in the order in
    /// which requests arrived on the link. `None` sends no answer.
    fn handle(&self, from: NodeId, message: wire::PeerMessage) -> BoxFuture<'static, Option<Kind>>;

    /// Receives a raft snapshot that a peer offers.
    fn snapshot(
        &self,
        from: NodeId,
        offer: wire::SnapshotOffer,
        pipe: SnapshotPipe,
    ) -> BoxFuture<'static, ()>;
}

/// The cluster that a node belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// Empty until the node belongs to one.
    pub cluster: String,
    /// 1 at birth.
    pub incarnation: u64,
    /// The nodes that it was formed with.
    pub members: BTreeSet<NodeId>,
}

impl ClusterIdentity {
    /// Whether a node may take part: everybody may as long as there is no cluster.
    fn admits(&self, node: NodeId) -> bool {
        self.cluster.is_empty() || self.members.contains(&node)
    }
}

/// Why a peer is turned away, from its first words.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// Another node runs under its id.
    #[error("{0}")]
    IdInUse(String),
    /// It is none of the nodes that the cluster consists of.
    #[error("{0}")]
    NoMember(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Refusal {
    fn other(why: impl Into<String>) -> Refusal {
        Refusal::Other(why.into())
    }
}

/// The other nodes: their addresses and the links to them.
pub struct Peers {
    me: NodeId,
    identity: RwLock<Arc<ClusterIdentity>>,
    /// See [`Peers::cluster_around`].
    around: Mutex<Option<String>>,
    book: AddressBook,
    links: RwLock<BTreeMap<NodeId, Arc<Link>>>,
    oracle: Arc<Oracle>,
    metrics: Arc<Metrics>,
    handler: OnceLock<Arc<dyn Handler>>,
    random: Random,
    /// Whether a node of the same cluster was met since the start.
    met_own: AtomicBool,
    /// By address: seeds that belong to another cluster, and which.
    strangers: Mutex<BTreeMap<String, String>>,
    /// By address: seeds that know of another node which runs under this one's id, in words.
    twins: Mutex<BTreeMap<String, String>>,
    /// By address: seeds that were not met yet, and why.
    missed: Mutex<BTreeMap<String, String>>,
    /// What nodes of a cluster say to this one, which is no member of theirs, in words.
    no_member: Mutex<Option<String>>,
    begun: Instant,
    /// Processes of other nodes that have ended.
    departures: Departures,
    /// Silence on a link with something pending after which it is redialled.
    stall: Duration,
    /// See [`crate::seams::Seams::wire`].
    wire: Option<Arc<dyn Wire>>,
    /// How far other rooms and cities are made to be.
    wan: Wan,
}

impl Peers {
    /// No links yet: [`Peers::start`] opens them.
    #[allow(clippy::too_many_arguments, reason = "one call, at the start of a node")]
    pub fn new(
        me: AddressRecord,
        known: Vec<AddressRecord>,
        seeds: Vec<String>,
        identity: ClusterIdentity,
        oracle: Arc<Oracle>,
        metrics: Arc<Metrics>,
        random: Random,
        stall: Duration,
        wire: Option<Arc<dyn Wire>>,
        wan: Wan,
    ) -> Arc<Peers> {
        let (node, book) = (me.node, AddressBook::new(me, known, seeds));
        if !identity.cluster.is_empty() {
            book.keep_members(&identity.members);
        }
        Arc::new(Peers {
            me: node,
            identity: RwLock::new(Arc::new(identity)),
            around: Mutex::default(),
            book,
            links: RwLock::default(),
            oracle,
            metrics,
            handler: OnceLock::new(),
            met_own: AtomicBool::new(false),
            strangers: Mutex::default(),
            twins: Mutex::default(),
            departures: Departures::default(),
            missed: Mutex::default(),
            no_member: Mutex::default(),
            begun: Instant::now(),
            random,
            stall,
            wire,
            wan,
        })
    }

    /// Sets who answers peers, and dials every known node and seed from now on.
    pub fn start(self: &Arc<Self>, handler: Arc<dyn Handler>) {
        self.handler.get_or_init(|| handler);
        for node in self.book.nodes() {
            self.link(node);
        }
        tokio::spawn(link::dial_seeds(Arc::downgrade(self)));
    }

    /// This node.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// What lies between this node and whoever opens a stream to it.
    pub(crate) fn wire(&self) -> Option<&Arc<dyn Wire>> {
        self.wire.as_ref()
    }

    /// The address book.
    pub fn book(&self) -> &AddressBook {
        &self.book
    }

    /// The cluster that peers belong to, where this node belongs to none.
    pub fn cluster_around(&self) -> Option<String> {
        self.around.lock().clone()
    }

    /// The cluster that this node belongs to.
    pub fn identity(&self) -> Arc<ClusterIdentity> {
        self.identity.read().clone()
    }

    /// Joins a cluster: from now on only its nodes are talked to.
    pub fn join(&self, identity: ClusterIdentity) {
        self.book.keep_members(&identity.members);
        self.links.write().retain(|node, _| identity.members.contains(node));
        *self.identity.write() = Arc::new(identity);
    }

    /// Whether a node may take part: everybody may as long as this one belongs to no cluster.
    pub(crate) fn admits(&self, node: NodeId) -> bool {
        self.identity.read().admits(node)
    }

    /// Why a node is met no more with which there is a link; none: it is.
    fn turned_away(&self, node: NodeId, directory: u64) -> Option<&'static str> {
        let is_lost = || self.handler.get().is_some_and(|handler| handler.is_lost(directory));
        match self.admits(node) {
            false => Some("it is no member"),
            true => is_lost().then_some("its data directory was declared lost"),
        }
    }

    /// Client address of a node.
    pub fn client_address(&self, node: NodeId) -> Option<String> {
        self.book.get(node).map(|address| address.client).filter(|address| !address.is_empty())
    }

    /// How long a byte is made to take to a node, of which it is known where it stands.
    fn one_way(&self, to: &AddressRecord) -> Duration {
        wan::one_way(&self.wan, &self.book.me(), to)
    }

    /// Whether the link to a node is up; true for this node.
    pub fn is_live(&self, node: NodeId) -> bool {
        node == self.me || self.links.read().get(&node).is_some_and(|link| link.is_up())
    }

    /// Whether nobody listens where a node should.
    pub fn is_gone(&self, node: NodeId) -> bool {
        self.links.read().get(&node).is_some_and(|link| link.is_gone())
    }

    /// Nodes whose process has ended, each told once for each of its processes; waits for one.
    pub async fn departed(&self) -> BTreeSet<NodeId> {
        self.departures.next().await
    }

    /// How long ago the node was started.
    pub fn running_for(&self) -> Duration {
        self.begun.elapsed()
    }

    /// How a node is reached at the moment; none where it was never dialled. This one always is.
    pub fn reach(&self, node: NodeId) -> Option<Reach> {
        if node == self.me {
            return Some(Reach { up: true, lasted: self.running_for(), why: String::new() });
        }
        self.links.read().get(&node).map(|link| link.reach())
    }

    /// For how long no other node has been reached; none while one is, and where there is no other.
    pub fn alone_for(&self) -> Option<Duration> {
        let links = self.links.read();
        let reached = links.values().map(|link| link.reach());
        reached.map(|reach| if reach.up { Duration::ZERO } else { reach.lasted }).min()
    }

    /// Messages that wait to be sent to other nodes: urgent ones, and bulk.
    pub fn waiting(&self) -> (usize, usize) {
        let links = self.links.read();
        let waiting = links.values().map(|link| link.waiting());
        waiting.fold((0, 0), |sum, link| (sum.0 + link.0, sum.1 + link.1))
    }

    /// Asks a node something; the answer, or that the link went down.
    pub fn request(
        self: &Arc<Self>,
        node: NodeId,
        lane: Lane,
        message: wire::PeerMessage,
    ) -> tokio::sync::oneshot::Receiver<Result<Kind, LinkDown>> {
        let (tx, rx) = tokio::sync::oneshot::channel();
        self.send(
            node,
            lane,
            message,
            Box::new(move |answer| {
                // Whoever asked may have given up.
                tx.send(answer).ok();
            }),
        );
        rx
    }

    /// Asks a node something; `answer` is called once, with the answer or that the link went down.
    pub fn send(
        self: &Arc<Self>,
        node: NodeId,
        lane: Lane,
        message: wire::PeerMessage,
        answer: Box<dyn FnOnce(Result<Kind, LinkDown>) + Send>,
    ) {
        self.link(node).send(lane, message, answer);
    }

    fn link(self: &Arc<Self>, node: NodeId) -> Arc<Link> {
        if let Some(link) = self.links.read().get(&node) {
            return link.clone();
        }
        let mut links = self.links.write();
        let link = links.entry(node).or_insert_with(|| Link::start(node, Arc::downgrade(self)));
        link.clone()
    }

    /// Whether this node was started where it does not belong: among the nodes of another cluster (it
    /// has met none of its own, and more than half of its seeds are strangers), under the id of a
    /// node that runs, or with an empty directory under an id that is none of the cluster's. Says so in words.
    ///
    /// Nodes that have met their own cluster since their start never say so: one wrong node among
    /// them must not stop the right ones.
    pub fn astray(&self) -> Option<String> {
        if let Some(why) = self.no_member.lock().clone() {
            return Some(why);
        }
        let twin = self.twins.lock().values().next().cloned();
        let twin = twin.filter(|_| !self.met_own.load(Ordering::Acquire));
        if twin.is_some() {
            return twin;
        }
        let strangers = self.strangers.lock();
        let seeds = self.book.seeds();
        let strange: Vec<_> =
            seeds.iter().filter_map(|seed| strangers.get_key_value(seed)).collect();
        let astray = !self.met_own.load(Ordering::Acquire) && strange.len() * 2 > seeds.len();
        let (seed, cluster) = strange.first().filter(|_| astray)?;
        let mine = self.identity().cluster.clone();
        Some(format!(
            "the data directory belongs to cluster {mine}, the seed {seed} to cluster {cluster}: set \
             node.data_dir or seeds"
        ))
    }

    /// What requests are refused with, as long as this node belongs to no cluster.
    pub fn no_cluster(&self) -> OpError {
        if let Some(why) = self.no_member.lock().clone() {
            return OpError::new(Code::EmptyNode, why);
        }
        let around = self.cluster_around();
        match missed_in_words(&self.missed.lock()).filter(|_| around.is_none()) {
            // There may well be a cluster where nobody answers.
            Some(why) => OpError::new(Code::NotInitialized, why),
            None => OpError::no_cluster(self.me, around.as_deref()),
        }
    }

    /// Whether somebody's first words are this node's own.
    fn is_me(&self, hello: &wire::Hello) -> bool {
        let me = self.book.me();
        let them = hello.me.as_ref();
        them.is_some_and(|them| them.node_id == me.node.0 && them.directory == me.directory)
    }

    /// Notes whether a seed is met.
    fn note_seed(&self, address: &str, missed: Option<String>) {
        let mut all = self.missed.lock();
        match missed {
            Some(why) => drop(all.insert(address.to_owned(), why)),
            None => drop(all.remove(address)),
        }
    }

    /// Notes that the nodes of a cluster turn this one away because it is none of them.
    fn note_no_member(&self, hello: &wire::Hello) {
        if hello.no_member && self.identity.read().cluster.is_empty() {
            self.around.lock().get_or_insert_with(|| hello.cluster_id.clone());
            self.no_member.lock().get_or_insert_with(|| hello.refusal.clone());
        }
    }

    /// Learns from a member's frame what is published. Before there is a cluster there is no time, whoever says what.
    fn learn_time(&self, batch: &wire::PeerBatch) {
        if batch.known > self.oracle.known().block().0 && !self.identity.read().cluster.is_empty() {
            self.oracle.known().raise(Block(batch.known));
        }
    }

    /// Notes which cluster the node at an address belongs to.
    fn note_cluster(&self, address: &str, hello: &wire::Hello) {
        let mine = self.identity();
        if mine.cluster.is_empty() || hello.cluster_id.is_empty() {
            return;
        }
        let mut strangers = self.strangers.lock();
        if mine.cluster == hello.cluster_id && mine.incarnation == hello.incarnation {
            strangers.remove(address);
            self.met_own.store(true, Ordering::Release);
        } else if self.book.seeds().iter().any(|seed| seed == address) {
            let cluster = format!("{} incarnation {}", hello.cluster_id, hello.incarnation);
            strangers.insert(address.to_owned(), cluster);
        }
    }

    /// Whether another node runs under the id of whoever says this: this node itself, or one of its
    /// cluster that it hears from. Says so in words.
    ///
    /// Whoever belongs to the cluster is believed: it may be the one that runs, at a new address.
    fn twin(&self, hello: &wire::Hello) -> Option<String> {
        let them = hello.me.as_ref()?;
        let node = NodeId(hello.node_id);
        let known = self.book.get(node).filter(|_| self.is_live(node))?;
        let other = known.internal != them.internal_address
            || (node == self.me && known.epoch != them.epoch);
        let stranger = !self.identity().cluster.is_empty() && hello.cluster_id.is_empty();
        (other && (stranger || node == self.me)).then(|| {
            format!(
                "node id {} is in use by the node at {}: ids must differ and are never used again; set \
                 node.id",
                node.0, known.internal
            )
        })
    }

    /// Notes whether the node at an address knows another one that runs under this one's id.
    fn note_twin(&self, address: &str, hello: &wire::Hello) {
        if hello.id_in_use && self.book.seeds().iter().any(|seed| seed == address) {
            self.twins.lock().insert(address.to_owned(), hello.refusal.clone());
        } else {
            self.twins.lock().remove(address);
        }
    }

    fn hello(&self) -> wire::Hello {
        let mine = self.identity();
        wire::Hello {
            node_id: self.me.0,
            cluster_id: mine.cluster.clone(),
            incarnation: mine.incarnation,
            cluster_version: CLUSTER_VERSION,
            me: Some(book::to_wire(&self.book.me())),
            book: self.book.all().iter().map(book::to_wire).collect(),
            refusal: String::new(),
            id_in_use: false,
            no_member: false,
        }
    }

    /// Learns from a peer's first words. `Err` says why it is turned away.
    fn meet(self: &Arc<Self>, hello: &wire::Hello) -> Result<NodeId, Refusal> {
        let mine = self.identity();
        let strangers = !mine.cluster.is_empty()
            && !hello.cluster_id.is_empty()
            && (mine.cluster != hello.cluster_id || mine.incarnation != hello.incarnation);
        if strangers {
            return Err(Refusal::Other(format!(
                "node {} belongs to cluster {} incarnation {}, this one to {} incarnation {}",
                hello.node_id, hello.cluster_id, hello.incarnation, mine.cluster, mine.incarnation
            )));
        }
        let me = hello.me.clone();
        let me = me.ok_or_else(|| Refusal::other("the first frame carries no address"))?;
        let node = NodeId(hello.node_id);
        if node.0 == 0 || me.node_id != node.0 {
            return Err(Refusal::other("node ids begin at 1"));
        }
        if !mine.admits(node) {
            let members: Vec<_> = mine.members.iter().map(|member| member.0.to_string()).collect();
            return Err(Refusal::NoMember(format!(
                "node {} is no member of cluster {}, which was formed with the nodes {}: start it under the \
                 id of one that lost its disk, or with seeds of another cluster",
                node.0,
                mine.cluster,
                members.join(", ")
            )));
        }
        if self.handler.get().is_some_and(|handler| handler.is_lost(me.directory)) {
            return Err(Refusal::Other(format!(
                "the data directory of node {} was declared lost ('quintet recover time'): remove it, start the node \
                 with an empty one, and take it back with 'quintet replace {}'",
                node.0, node.0
            )));
        }
        if let Some(why) = self.twin(hello) {
            tracing::error!(%node, address = me.internal_address, "two nodes have one id");
            return Err(Refusal::IdInUse(why));
        }
        if node == self.me {
            return Err(Refusal::Other(format!(
                "node id {node} is this node's own: ids must differ"
            )));
        }
        if mine.cluster.is_empty() && !hello.cluster_id.is_empty() {
            self.around.lock().get_or_insert_with(|| hello.cluster_id.clone());
        }
        self.book.learn(book::from_wire(&me));
        for other in &hello.book {
            let other = book::from_wire(other);
            if other.node == self.me {
                self.book.outgrow(&other);
            } else if other.node.0 != 0 {
                self.book.learn(other);
            }
        }
        for node in self.book.nodes() {
            self.link(node);
        }
        Ok(node)
    }
}

/// Says which seeds are not met; none where all are.
fn missed_in_words(missed: &BTreeMap<String, String>) -> Option<String> {
    let (seed, why) = missed.first_key_value()?;
    let more = match missed.len() {
        1 => String::new(),
        n => format!(", nor are {} more", n - 1),
    };
    Some(format!(
        "no cluster is known yet: the seed {seed} is not met ({why}){more}; start these nodes, or set seeds"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_that_are_not_met_are_named_and_no_reason_to_form_a_cluster() {
        let mut missed = BTreeMap::new();
        assert_eq!(missed_in_words(&missed), None);
        missed.insert("db2:7402".to_owned(), "connection refused".to_owned());
        let one = missed_in_words(&missed).expect("one is missed");
        assert!(one.contains("the seed db2:7402 is not met (connection refused);"), "{one}");
        assert!(!one.contains("cluster init"), "{one}");
        missed.insert("db3:7402".to_owned(), "no answer in time".to_owned());
        let two = missed_in_words(&missed).expect("two are missed");
        assert!(two.contains("db2:7402 is not met (connection refused), nor are 1 more;"), "{two}");
    }
}
