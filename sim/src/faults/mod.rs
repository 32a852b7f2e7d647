//! What goes wrong: one task a strike of the plan, one file a family of faults.
//!
//! A strike may be aborted wherever it is, when the run begins to heal: what it leaves behind
//! ([`Cluster::mend_all`]) is mended then.

mod clock;
mod cut;
mod disk;
mod disk_loss;
mod failpoint;
mod kill;
mod link;
mod load;
mod operator;
mod outage;
mod partial;
mod pause;

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use quintet_server::ids::NodeId;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    cluster::Cluster,
    dice::Dice,
    net::map::Rule,
    plan::Strike,
    run::Crowd,
    scenario::{Kind, Links, Who},
    timeline::What,
};

/// How often each kind of fault happened; of those that have several forms, each form by itself.
pub type Fired = Arc<Mutex<BTreeMap<&'static str, u64>>>;

/// A strike under way, and what it may touch.
pub(crate) struct Striking {
    cluster: Arc<Cluster>,
    crowd: Arc<Crowd>,
    fired: Fired,
    strike: Strike,
    dice: Dice,
}

/// Waits for the moment of a strike, and lets it happen.
pub(crate) async fn strike(
    cluster: Arc<Cluster>,
    crowd: Arc<Crowd>,
    fired: Fired,
    began: Instant,
    strike: Strike,
) {
    sleep_until(began + strike.at).await;
    let dice = Dice::new(strike.seed, 0);
    let mut striking = Striking { cluster, crowd, fired, strike, dice };
    match striking.strike.fault.kind {
        Kind::NodeKill => kill::node(&mut striking).await,
        Kind::RollingRestart => kill::rolling(&mut striking).await,
        Kind::PowerLoss => kill::power(&mut striking).await,
        Kind::RoomLoss => kill::room(&mut striking).await,
        Kind::CityLoss => kill::city(&mut striking).await,
        Kind::LongOutage => outage::long(&mut striking).await,
        Kind::DiskLoss => disk_loss::lose(&mut striking).await,
        Kind::LeaderCut => cut::leader(&mut striking).await,
        Kind::Drain => operator::drain(&mut striking).await,
        Kind::LeaderTransfer => operator::transfer(&mut striking).await,
        Kind::StaleRoutes => operator::stale_routes(&mut striking),
        Kind::Burst => load::burst(&mut striking).await,

        Kind::NodePause => pause::node(&mut striking).await,
        Kind::NodeCut => cut::node(&mut striking).await,
        Kind::OneWayCut => cut::one_way(&mut striking).await,
        Kind::CityCut => cut::city(&mut striking).await,
        Kind::RoomCut => cut::room(&mut striking).await,
        Kind::MinorityCut => cut::minority(&mut striking).await,
        Kind::RingCut => cut::ring(&mut striking).await,
        Kind::LonelyLeader => partial::lonely_leader(&mut striking).await,
        Kind::HalfSeenHome => partial::half_seen_home(&mut striking).await,
        Kind::LinkFlap => link::flap(&mut striking).await,
        Kind::LinkSlow => link::slow(&mut striking).await,
        Kind::StreamBreaks => link::break_streams(&mut striking),
        Kind::FailpointKill => failpoint::kill(&mut striking).await,
        Kind::ClockJump => clock::jump(&mut striking),
        Kind::ClockLeap => clock::leap(&mut striking).await,
        Kind::ClockRate => clock::rate(&mut striking).await,
        Kind::SyncFailure => disk::fail_sync(&mut striking).await,
        Kind::DiskSlow => disk::slow(&mut striking).await,
        Kind::DiskFull => disk::fill(&mut striking).await,
        Kind::DiskNearlyFull => disk::nearly_fill(&mut striking).await,
        Kind::DiskHang => disk::hang(&mut striking).await,
        Kind::GatewayCut => cut::gateway(&mut striking).await,
        Kind::BitRot => disk::rot(&mut striking).await,
    }
}

impl Striking {
    /// Notes that the strike has hit something.
    fn begins(&self, nodes: &[NodeId], words: &str) {
        self.begins_as(self.strike.fault.name(), nodes, words);
    }

    /// Notes that the strike has hit something, and counts it under a name of its own: that of its kind,
    /// and after a blank what distinguishes it.
    fn begins_as(&self, counted: &'static str, nodes: &[NodeId], words: &str) {
        let kind = self.strike.fault.name();
        *self.fired.lock().entry(counted).or_default() += 1;
        self.cluster.note(What::Begins {
            strike: self.strike.number,
            kind: kind.to_owned(),
            nodes: nodes.iter().map(|node| node.0).collect(),
            words: words.to_owned(),
        });
    }

    /// Notes that it is over.
    fn ends(&self) {
        let kind = self.strike.fault.name().to_owned();
        self.cluster.note(What::Ends { strike: self.strike.number, kind });
    }

    /// Waits for as long as it lasts.
    async fn last(&self) {
        sleep(self.strike.lasts).await;
    }

    /// The node that is hit, of some that may be: the one that the fault names, the leader, or one at
    /// random.
    fn victim(&mut self, of: &[NodeId]) -> Option<NodeId> {
        let fault = &self.strike.fault;
        let chosen = match (fault.node, fault.who) {
            (Some(node), _) => Some(NodeId(node)),
            (None, Some(Who::Leader)) => self.cluster.data_leader(),
            (None, Some(Who::Any) | None) => self.dice.pick(of),
        };
        chosen.filter(|node| of.contains(node))
    }

    /// The links of a node that are hit: those that the fault names, or drawn ones of those that its kind
    /// takes.
    fn links(&mut self) -> Links {
        let fault = &self.strike.fault;
        let drawn = self.dice.pick(fault.kind.links());
        fault.links.or(drawn).unwrap_or(Links::All)
    }

    /// Another node.
    fn other_than(&mut self, node: NodeId) -> Option<NodeId> {
        let mut others = self.cluster.nodes();
        others.retain(|other| *other != node);
        self.dice.pick(&others)
    }

    /// Lets rules of the network hold for as long as the strike lasts.
    async fn while_it_lasts(&self, nodes: &[NodeId], words: &str, rules: Vec<Rule>) {
        self.begins(nodes, words);
        let rules = self.cluster.net().add(rules);
        self.last().await;
        self.cluster.net().remove(rules);
        self.ends();
    }

    /// The room that is hit: the one that the fault names, or the one that leaders prefer; and its nodes.
    fn room(&self) -> (&str, Vec<NodeId>) {
        let topology = self.cluster.topology();
        let room = self.strike.fault.room.as_deref().unwrap_or(topology.first_room());
        (room, topology.in_room(room).into_iter().map(NodeId).collect())
    }

    /// The city that is hit: the one that the fault names, or the main one; and its nodes.
    fn city(&self) -> (&str, Vec<NodeId>) {
        let topology = self.cluster.topology();
        let city = self.strike.fault.city.as_deref().unwrap_or(topology.main_city());
        (city, topology.in_city(city).into_iter().map(NodeId).collect())
    }

    /// A node at random, other than one, that may be killed alone: a majority stays up.
    fn single_other_than(&mut self, node: NodeId) -> Option<NodeId> {
        let mut up = self.cluster.up();
        let may_be = up.len() > self.cluster.nodes().len() / 2 + 1;
        up.retain(|other| *other != node);
        self.dice.pick(&up).filter(|_| may_be)
    }

    /// A node that may be killed alone: a majority stays up.
    fn single(&mut self) -> Option<NodeId> {
        let up = self.cluster.up();
        let victim = self.victim(&up);
        victim.filter(|_| up.len() > self.cluster.nodes().len() / 2 + 1)
    }
}
