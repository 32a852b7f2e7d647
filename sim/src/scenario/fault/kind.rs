//! The kinds of faults: what each does, how files spell it, and which fields it takes.
//!
//! What is done to the cluster is in `sim/src/faults/`, one file per family; which kind strikes when is planned in
//! `sim/src/plan.rs`.

use serde::Deserialize;

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
    /// Time servers are placed on three nodes, two of which lose their disks at the same time: no round decides any
    /// more. An operator begins time anew without them (`quintet recover time`), replaces the nodes, and places time
    /// servers on all. Once all nodes are up.
    TimeLoss,
    /// The node that leads the first range of data is cut off from all others and from the clients,
    /// while it goes on; later the cut is mended.
    LeaderCut,
    /// Clients ask for many times as much as otherwise.
    Burst,

    /// As many nodes are killed at once as make a majority, drawn, and started again together. What they had not
    /// synced is lost.
    MajorityLoss,

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
    /// The node that leads the first range of data is cut off from the other nodes; once another leads that range it
    /// reaches all others again, but not that one.
    SuccessorUnseen,
    /// Time servers are placed on the node that leads the first range of data and on two others. Then it reaches the
    /// second of them only, and that one the third, which reaches all the rest: on both sides there is time, and nobody
    /// on one hears of a leader on the other. Later time servers are placed on all nodes. Once all are up.
    TimeOnBothSides,
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
    /// The wall clocks of two nodes jump far at the same time, one forward and one back by as much, and later are right
    /// again. With five nodes a majority of clocks is right, and so is the median of any three of which these two are.
    ClocksApart,
    /// The wall clocks of all nodes of a city that has fewer than half of them jump far, each by an amount of its own,
    /// all forward or all back, and later are right again.
    CityClocks,
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
    pub const ALL: [(&'static str, Kind); 41] = [
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
        ("time-loss", Kind::TimeLoss),
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
        ("clocks-apart", Kind::ClocksApart),
        ("city-clocks", Kind::CityClocks),
        ("majority-loss", Kind::MajorityLoss),
        ("successor-unseen", Kind::SuccessorUnseen),
        ("time-on-both-sides", Kind::TimeOnBothSides),
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
            Kind::DiskLoss | Kind::TimeLoss => &[Field::Down],
            Kind::StaleRoutes => &[],
            Kind::Burst => &[Field::Down, Field::Factor],

            Kind::NodePause | Kind::NodeCut => &[Field::Down, Field::Node],
            Kind::OneWayCut | Kind::LinkFlap => &[Field::Down, Field::Node, Field::Links],
            Kind::LinkSlow => &[Field::Down, Field::Node, Field::Links, Field::Factor],
            Kind::CityCut => &[Field::Down, Field::City],
            Kind::RoomCut => &[Field::Down, Field::Room],
            Kind::MinorityCut | Kind::RingCut => &[Field::Down],
            Kind::LonelyLeader | Kind::HalfSeenHome | Kind::SuccessorUnseen => &[Field::Down],
            Kind::TimeOnBothSides => &[Field::Down],
            Kind::StreamBreaks => &[Field::Node],
            Kind::FailpointKill => &[Field::Down, Field::Node, Field::Points],
            Kind::ClockJump => &[Field::Node, Field::Jump],
            Kind::ClockLeap => &[Field::Down, Field::Node, Field::Jump],
            Kind::ClocksApart => &[Field::Down, Field::Jump],
            Kind::CityClocks => &[Field::Down, Field::City, Field::Jump],
            Kind::MajorityLoss => &[Field::Down],
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
