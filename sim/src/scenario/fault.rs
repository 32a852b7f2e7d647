//! What goes wrong, when, and whom it hits.
//!
//! A fault strikes at random (`every_s_min` to `every_s_max` from the end of one to the beginning of
//! the next) or at times of its own (`at_s`). Which further fields it takes depends on its kind:
//! [`Kind::fields`]. A field that a kind does not take is an error, not a field without effect.

use serde::Deserialize;

use super::{Scenario, ScenarioError, ensure, points};
use crate::judge::promise::Promise;

/// Something that goes wrong, once or again and again. All times are simulated.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: Kind,
    /// At these moments, in seconds from the beginning of the work; instead of `every_s_min` and
    /// `every_s_max`.
    #[serde(default)]
    pub at_s: Vec<f64>,
    /// Least time from the end of one to the next, in seconds.
    pub every_s_min: Option<f64>,
    /// Most time from the end of one to the next.
    pub every_s_max: Option<f64>,
    /// Least time that it lasts, in seconds.
    pub down_s_min: Option<f64>,
    /// Most time that it lasts.
    pub down_s_max: Option<f64>,
    /// The room that it hits. Default: the room that leaders prefer.
    pub room: Option<String>,
    /// The city that it hits. Default: the city with most nodes.
    pub city: Option<String>,
    /// The node that it hits. Default: one at random.
    pub node: Option<u64>,
    /// Whom of the nodes it hits, where `node` does not say.
    pub who: Option<Who>,
    /// How many times as much as otherwise the clients do, or as long a sync or a frame takes.
    pub factor: Option<u32>,
    /// What users are promised where it strikes. Default: nothing.
    #[serde(default)]
    pub promise: Promise,
    /// Which links of the node it hits. Default: drawn from those that the kind takes.
    pub links: Option<Links>,
    /// Names of the points of the code at which a node may be killed. Default: all.
    #[serde(default)]
    pub points: Vec<String>,
    /// By how much a clock jumps at most, in seconds, from where it stood at first. One that leaps goes a
    /// tenth of it at least.
    pub jump_s_max: Option<f64>,
    /// By how much the rate of a clock differs from an ideal one at most, as a share.
    pub rate_share_max: Option<f64>,
}

/// Links of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Links {
    /// The one with another node, chosen at random.
    One,
    /// Those with all others, clients among them.
    All,
    /// What the node sends to all others.
    Sends,
    /// What the node receives from all others.
    Receives,
}

/// Whom a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Any node.
    Any,
    /// The node that leads the first range of data.
    Leader,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One node is killed at once and started again later. What it had not synced is lost. Never so
    /// that fewer than a majority are left up.
    NodeKill,
    /// All nodes are killed and started again, one after the other, each once the one before it is
    /// back.
    RollingRestart,
    /// All nodes lose power at the same moment and come back, each after a time of its own. What they
    /// had not synced is lost.
    PowerLoss,
    /// All nodes of a room are killed at once and started again together. What they had not synced is
    /// lost.
    RoomLoss,
    /// All nodes of a city are killed at once and started again together. What they had not synced is
    /// lost.
    CityLoss,
    /// One node, chosen at random, is drained of its leaders, and later they may come back.
    Drain,
    /// The leaders of a node are asked to go elsewhere and at once allowed to come back, so that
    /// ranges change their leaders while both are up.
    LeaderTransfer,
    /// One node forgets which range holds which keys and takes an old state for true: one range, chosen
    /// at random, holding all data.
    StaleRoutes,
    /// One node, chosen at random, is killed and stays away for long, twice in a row. Where it is seen
    /// to install a raft snapshot after the first time it is killed once more in the middle of that,
    /// three times of four.
    LongOutage,
    /// One node loses its disk, comes back with an empty one and is replaced, as an operator does it: by
    /// calls to nodes chosen at random, until all is done. Every second time two others were away before
    /// and come back with it, while the last two go: what was acknowledged is on those, and on the lost
    /// disk.
    DiskLoss,
    /// The node that leads the first range of data is cut off from all others and from the clients,
    /// while it goes on; later the cut is mended.
    LeaderCut,
    /// Clients ask for many times as much as otherwise.
    Burst,

    /// One node stands still, as one that was sent a SIGSTOP, and later goes on as if nothing had
    /// been. Its clock goes on meanwhile.
    NodePause,
    /// One node is cut off from all others and from the clients, while it goes on.
    NodeCut,
    /// Nothing gets through in one direction: from one node to another one (`one`), or all that a node
    /// `sends`, or all that it `receives`.
    OneWayCut,
    /// A city is cut off from the others, while all nodes go on. Clients are where their room is.
    CityCut,
    /// A room is cut off from the others, while all nodes go on. Clients are where their room is.
    RoomCut,
    /// Fewer than half of the nodes are cut off from the others; each client is on a side that is drawn.
    MinorityCut,
    /// Each node reaches only its two neighbours in a ring that is drawn. Clients reach all.
    RingCut,
    /// The node that leads the first range of data keeps the link to one other node only, and a third one is
    /// killed: those that are left are a majority, in which nobody can be spared.
    LonelyLeader,
    /// The node that leads the first range of data is cut off from the other nodes; once another leads that
    /// range these two, and nobody else, reach each other again.
    HalfSeenHome,
    /// The link between a node and another `one`, or `all` its links, are down and up again for 50 to
    /// 500 ms each.
    LinkFlap,
    /// Frames take `factor` times as long between a node and another `one`, or `all` others.
    LinkSlow,
    /// All streams that a node has with others break at the same moment.
    StreamBreaks,

    /// One node is killed as it passes a named point of its write path, drawn of `points`: a node drawn
    /// before, or every second time whichever passes it first. Never so that fewer than a majority are left
    /// up. What nobody passes soon is called off.
    FailpointKill,
    /// The wall clock of one node jumps forward or back. There it goes on.
    ClockJump,
    /// The wall clock of one node jumps far, forward twice as often as back, and later is right again. One
    /// node at a time, so that a majority of clocks is always right.
    ClockLeap,
    /// The clocks of one node, the wall clock and the one that timers go by, run at another rate for a
    /// while.
    ClockRate,
    /// A sync of one node's log, or of its data, fails. The node has to stop by itself, and is started
    /// again later. Never so that fewer than a majority are left up.
    SyncFailure,
    /// Syncs of one node take many times as long, for a while.
    DiskSlow,
    /// The disk of one node is full for a while, or every second time nearly full. A node with a full
    /// disk may stop by itself, and is started again when there is room. Never so that fewer than a
    /// majority are left up.
    DiskFull,
    /// The disk of one node is nearly full for a while: what is written is still taken, and no other node
    /// lacks space.
    DiskNearlyFull,
    /// The disk of one node does not answer for a while: no sync ends, and none fails.
    DiskHang,
    /// One node and the leader of the first range of data do not reach each other, while everybody else
    /// reaches both; and the clients in the room of that node reach nobody but it. Never the leader itself.
    GatewayCut,
    /// A bit flips in what is stored on one node's disk: in a record of its logs, or of its data. The node
    /// has to notice when it reads that, and to stop; its disk is then taken away and the node replaced,
    /// as with a `disk-loss`. What nobody reads in time is found by the operator. Every second time the
    /// node is restarted first. One disk at a time, and while all nodes are up.
    BitRot,
}

/// A field of [`Fault`] beyond the times at which it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `down_s_min` and `down_s_max`, both needed.
    Down,
    /// `room`.
    Room,
    /// `city`.
    City,
    /// `node` and `who`.
    Node,
    /// `factor`, needed.
    Factor,
    /// `links`.
    Links,
    /// `points`.
    Points,
    /// `jump_s_max`, needed.
    Jump,
    /// `rate_share_max`, needed.
    Rate,
}

impl Kind {
    /// Every kind, as files spell it.
    pub const ALL: [(&'static str, Kind); 35] = [
        ("node-kill", Kind::NodeKill),
        ("rolling-restart", Kind::RollingRestart),
        ("power-loss", Kind::PowerLoss),
        ("room-loss", Kind::RoomLoss),
        ("city-loss", Kind::CityLoss),
        ("drain", Kind::Drain),
        ("leader-transfer", Kind::LeaderTransfer),
        ("stale-routes", Kind::StaleRoutes),
        ("long-outage", Kind::LongOutage),
        ("disk-loss", Kind::DiskLoss),
        ("leader-cut", Kind::LeaderCut),
        ("burst", Kind::Burst),
        ("node-pause", Kind::NodePause),
        ("node-cut", Kind::NodeCut),
        ("one-way-cut", Kind::OneWayCut),
        ("city-cut", Kind::CityCut),
        ("room-cut", Kind::RoomCut),
        ("minority-cut", Kind::MinorityCut),
        ("ring-cut", Kind::RingCut),
        ("lonely-leader", Kind::LonelyLeader),
        ("half-seen-home", Kind::HalfSeenHome),
        ("link-flap", Kind::LinkFlap),
        ("link-slow", Kind::LinkSlow),
        ("stream-breaks", Kind::StreamBreaks),
        ("failpoint-kill", Kind::FailpointKill),
        ("clock-jump", Kind::ClockJump),
        ("clock-leap", Kind::ClockLeap),
        ("clock-rate", Kind::ClockRate),
        ("sync-failure", Kind::SyncFailure),
        ("disk-slow", Kind::DiskSlow),
        ("disk-full", Kind::DiskFull),
        ("disk-nearly-full", Kind::DiskNearlyFull),
        ("disk-hang", Kind::DiskHang),
        ("gateway-cut", Kind::GatewayCut),
        ("bit-rot", Kind::BitRot),
    ];

    /// As files spell it.
    pub fn name(self) -> &'static str {
        Kind::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| *name)
    }

    /// The fields that a fault of this kind takes.
    pub fn fields(self) -> &'static [Field] {
        match self {
            Kind::NodeKill => &[Field::Down, Field::Node],
            Kind::RoomLoss => &[Field::Down, Field::Room],
            Kind::CityLoss => &[Field::Down, Field::City],
            Kind::RollingRestart | Kind::PowerLoss | Kind::LeaderCut => &[Field::Down],
            Kind::Drain | Kind::LongOutage => &[Field::Down, Field::Node],
            Kind::LeaderTransfer => &[Field::Node],
            Kind::DiskLoss => &[Field::Down],
            Kind::StaleRoutes => &[],
            Kind::Burst => &[Field::Down, Field::Factor],

            Kind::NodePause | Kind::NodeCut => &[Field::Down, Field::Node],
            Kind::OneWayCut | Kind::LinkFlap => &[Field::Down, Field::Node, Field::Links],
            Kind::LinkSlow => &[Field::Down, Field::Node, Field::Links, Field::Factor],
            Kind::CityCut => &[Field::Down, Field::City],
            Kind::RoomCut => &[Field::Down, Field::Room],
            Kind::MinorityCut | Kind::RingCut => &[Field::Down],
            Kind::LonelyLeader | Kind::HalfSeenHome => &[Field::Down],
            Kind::StreamBreaks => &[Field::Node],
            Kind::FailpointKill => &[Field::Down, Field::Node, Field::Points],
            Kind::ClockJump => &[Field::Node, Field::Jump],
            Kind::ClockLeap => &[Field::Down, Field::Node, Field::Jump],
            Kind::ClockRate => &[Field::Down, Field::Node, Field::Rate],
            Kind::DiskSlow => &[Field::Down, Field::Node, Field::Factor],
            Kind::DiskNearlyFull | Kind::DiskHang | Kind::GatewayCut => &[Field::Down, Field::Node],
            Kind::SyncFailure | Kind::DiskFull | Kind::BitRot => &[Field::Down, Field::Node],
        }
    }

    /// What `links` may be for a fault of this kind.
    pub fn links(self) -> &'static [Links] {
        match self {
            Kind::OneWayCut => &[Links::One, Links::Sends, Links::Receives],
            Kind::LinkFlap | Kind::LinkSlow => &[Links::One, Links::All],
            _ => &[],
        }
    }
}

/// A clock jumps by a day at most.
const JUMP_S_MAX: f64 = 86_400.0;

/// Checks by what share a rate may differ.
pub(super) fn share(field: impl Into<String>, share: f64) -> Result<(), ScenarioError> {
    ensure((0.0..=0.5).contains(&share), field, "must be a share from 0 to 0.5")
}

impl Fault {
    /// The kind, as the file spells it.
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Least and most time from one to the next, in seconds; none where it strikes at given moments.
    pub fn every_s(&self) -> Option<(f64, f64)> {
        Some((self.every_s_min?, self.every_s_max?))
    }

    /// Least and most time that it lasts, in seconds; 0 for what happens at once.
    pub fn down_s(&self) -> (f64, f64) {
        (self.down_s_min.unwrap_or(0.0), self.down_s_max.unwrap_or(0.0))
    }

    /// Says what is wrong with the fault at a position of the file.
    pub(super) fn validate(
        &self,
        position: usize,
        scenario: &Scenario,
    ) -> Result<(), ScenarioError> {
        let path = |name: &str| format!("faults[{position}].{name}");
        self.validate_times(&path, scenario.duration_s as f64)?;
        let fields = self.kind.fields();
        let down = fields.contains(&Field::Down);
        let given = [
            ("down_s_min", Field::Down, self.down_s_min.is_some()),
            ("down_s_max", Field::Down, self.down_s_max.is_some()),
            ("room", Field::Room, self.room.is_some()),
            ("city", Field::City, self.city.is_some()),
            ("node", Field::Node, self.node.is_some()),
            ("who", Field::Node, self.who.is_some()),
            ("factor", Field::Factor, self.factor.is_some()),
            ("links", Field::Links, self.links.is_some()),
            ("points", Field::Points, !self.points.is_empty()),
            ("jump_s_max", Field::Jump, self.jump_s_max.is_some()),
            ("rate_share_max", Field::Rate, self.rate_share_max.is_some()),
        ];
        for (name, field, is_given) in given {
            let says = format!("a {} does not take it", self.name());
            ensure(!is_given || fields.contains(&field), path(name), says)?;
        }
        if down {
            let ordered = matches!((self.down_s_min, self.down_s_max),
                (Some(min), Some(max)) if min > 0.0 && min <= max && max.is_finite());
            ensure(
                ordered,
                path("down_s_min"),
                format!(
                    "a {} needs down_s_min, above 0, and down_s_max, not below it",
                    self.name()
                ),
            )?;
        }
        if fields.contains(&Field::Factor) {
            let says = "must be 2 to 100: how many times as much, or as long, as usual";
            ensure(matches!(self.factor, Some(2..=100)), path("factor"), says)?;
        }
        let Promise { writable_s, home_s, settled_s, answered_s, .. } = self.promise;
        let seconds = [writable_s, home_s, settled_s, answered_s];
        let mut seconds = seconds.into_iter().flatten();
        let says = "seconds must be above 0";
        ensure(seconds.all(|seconds| seconds > 0.0), path("promise"), says)?;
        let takes = self.kind.links();
        let links = self.links.is_none_or(|links| takes.contains(&links));
        ensure(links, path("links"), format!("a {} takes one of {takes:?}", self.name()))?;
        if fields.contains(&Field::Jump) {
            let fits = self.jump_s_max.is_some_and(|most| most > 0.0 && most <= JUMP_S_MAX);
            ensure(fits, path("jump_s_max"), format!("must be above 0 and at most {JUMP_S_MAX}"))?;
        }
        if fields.contains(&Field::Rate) {
            share(path("rate_share_max"), self.rate_share_max.unwrap_or(f64::NAN))?;
        }
        if let Some(unknown) = self.points.iter().find(|point| !points::is_known(point)) {
            let known = points::names().collect::<Vec<_>>().join(", ");
            let says = format!("there is no point {unknown:?}; there are {known}");
            return ensure(false, path("points"), says);
        }
        let nodes = &scenario.topology.nodes;
        let room = self.room.as_ref().is_none_or(|room| nodes.iter().any(|n| n.room == *room));
        ensure(room, path("room"), "no node of the topology is in it")?;
        let city = self.city.as_ref().is_none_or(|city| nodes.iter().any(|n| n.city == *city));
        ensure(city, path("city"), "no node of the topology is in it")?;
        let node = self.node.is_none_or(|id| nodes.iter().any(|n| n.id == id));
        ensure(node, path("node"), "the topology has no such node")?;
        ensure(self.node.is_none() || self.who.is_none(), path("who"), "node says it already")
    }

    fn validate_times(
        &self,
        path: &impl Fn(&str) -> String,
        duration_s: f64,
    ) -> Result<(), ScenarioError> {
        if !self.at_s.is_empty() {
            let at_random = self.every_s_min.is_some() || self.every_s_max.is_some();
            ensure(!at_random, path("at_s"), "excludes every_s_min and every_s_max")?;
            let rise = self.at_s.windows(2).all(|pair| pair[0] < pair[1]);
            let inside = self.at_s.iter().all(|at| *at >= 0.0 && *at < duration_s);
            let says = "must be moments in rising order, from 0 to below duration_s";
            return ensure(rise && inside, path("at_s"), says);
        }
        let Some((min, max)) = self.every_s() else {
            return ensure(
                false,
                path("every_s_min"),
                "every_s_min and every_s_max are needed, or at_s with moments",
            );
        };
        ensure(
            min.is_finite() && max.is_finite() && min > 0.0 && min <= max,
            path("every_s_min"),
            format!("must be above 0 and not above every_s_max, is {min} with {max}"),
        )?;
        ensure(
            min <= duration_s,
            path("every_s_min"),
            "is longer than the scenario: it would never happen",
        )
    }
}
