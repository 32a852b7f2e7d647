//! Typed questions to other nodes: what is asked decides what is answered, and both are in domain types.
//!
//! One line per question below says how it and its answer go on the wire. The node that asks gets an answer of the
//! right kind or [`NoAnswer`]; the node that answers hands the same type to [`Ask::reply`]. So an operation has one
//! type, whether the node does it itself or asks another one.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use quintet_proto::{internal::v1 as wire, v1};

use super::{Kind, Lane, Peers};
use crate::{
    error::OpError,
    ids::{Generation, NodeId, RangeId, ReplicaId, TimeDomain},
    storage::format::gc::GcHold,
    time::{
        Timestamp,
        local::timeout,
        ms_u32,
        oracle::{
            self as time, Block, Config, Epoch, ServerId,
            server::{Fenced, Seeded, Tick},
        },
    },
};

/// A question, and the answer that belongs to it.
pub(crate) trait Ask: Send + Sized {
    /// What is answered.
    type Answer: Send;

    /// The question on the wire.
    fn into_kind(self) -> Kind;

    /// An answer off the wire; none where it is of another kind, or says nothing.
    fn answer(kind: Kind) -> Option<Self::Answer>;

    /// An answer on the wire.
    fn reply(answer: Self::Answer) -> Kind;
}

/// A node was asked, and there is no answer: the link broke, or it was of another kind. It may have done what it
/// was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoAnswer;

impl Peers {
    /// Asks a node something of a range, or of itself.
    pub(crate) fn ask<A: Ask>(
        self: &Arc<Self>,
        node: NodeId,
        range: Option<RangeId>,
        question: A,
    ) -> impl Future<Output = Result<A::Answer, NoAnswer>> + Send + use<A> {
        let message = wire::PeerMessage {
            range_id: range.map_or(0, |range| range.0),
            kind: Some(question.into_kind()),
            ..wire::PeerMessage::default()
        };
        // At once: it is under way before anybody waits for the answer.
        let asked = self.request(node, Lane::Urgent, message);
        async move {
            match asked.await {
                Ok(Ok(kind)) => A::answer(kind).ok_or(NoAnswer),
                Ok(Err(_)) | Err(_) => Err(NoAnswer),
            }
        }
    }

    /// The same, for those who wait no longer than this.
    pub(crate) async fn ask_within<A: Ask>(
        self: &Arc<Self>,
        node: NodeId,
        range: Option<RangeId>,
        question: A,
        within: Duration,
    ) -> Result<A::Answer, NoAnswer> {
        timeout(within, self.ask(node, range, question)).await.unwrap_or(Err(NoAnswer))
    }
}

/// Whether a node answers at all.
pub(crate) struct Echo;

impl Ask for Echo {
    type Answer = ();

    fn into_kind(self) -> Kind {
        Kind::Echo(wire::Echo {})
    }

    fn answer(kind: Kind) -> Option<()> {
        matches!(kind, Kind::Echo(_)).then_some(())
    }

    fn reply((): ()) -> Kind {
        Kind::Echo(wire::Echo {})
    }
}

/// Whom a node reaches at the moment.
pub(crate) struct Reach;

impl Ask for Reach {
    type Answer = BTreeSet<NodeId>;

    fn into_kind(self) -> Kind {
        Kind::Reach(wire::Reach {})
    }

    fn answer(kind: Kind) -> Option<BTreeSet<NodeId>> {
        let Kind::ReachAnswer(answer) = kind else { return None };
        Some(answer.node_ids.into_iter().map(NodeId).collect())
    }

    fn reply(reached: BTreeSet<NodeId>) -> Kind {
        let node_ids = reached.into_iter().map(|node| node.0).collect();
        Kind::ReachAnswer(wire::ReachAnswer { node_ids })
    }
}

/// Take this plan of a new cluster. `Ok`: it is taken, durably.
pub(crate) struct TakePlan(pub(crate) wire::Bootstrap);

/// Why a node does not take a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PlanRefusal {
    /// It is for another directory of the node: it lost its disk since.
    OtherDirectory,
    /// In words.
    Other(String),
}

impl Ask for TakePlan {
    type Answer = Result<(), PlanRefusal>;

    fn into_kind(self) -> Kind {
        Kind::Bootstrap(self.0)
    }

    fn answer(kind: Kind) -> Option<Self::Answer> {
        let Kind::BootstrapAnswer(answer) = kind else { return None };
        Some(match (answer.other_directory, answer.refusal.is_empty()) {
            (true, _) => Err(PlanRefusal::OtherDirectory),
            (false, true) => Ok(()),
            (false, false) => Err(PlanRefusal::Other(answer.refusal)),
        })
    }

    fn reply(answer: Self::Answer) -> Kind {
        let (refusal, other_directory) = match answer {
            Ok(()) => (String::new(), false),
            Err(PlanRefusal::OtherDirectory) => {
                ("the plan is for another directory of this node".to_owned(), true)
            }
            Err(PlanRefusal::Other(why)) => (why, false),
        };
        Kind::BootstrapAnswer(wire::BootstrapAnswer { refusal, other_directory })
    }
}

/// Become a member of the cluster of this plan, without replicas. `Ok`: it is one, and whether it has not lost its
/// disk. `Err` says why not.
pub(crate) struct Enlist(pub(crate) wire::Bootstrap);

impl Ask for Enlist {
    type Answer = Result<bool, String>;

    fn into_kind(self) -> Kind {
        Kind::Enlist(self.0)
    }

    fn answer(kind: Kind) -> Option<Result<bool, String>> {
        let Kind::EnlistAnswer(answer) = kind else { return None };
        let is_refused = !answer.refusal.is_empty();
        Some(if is_refused { Err(answer.refusal) } else { Ok(answer.never_lost) })
    }

    fn reply(answer: Result<bool, String>) -> Kind {
        let (refusal, never_lost) = match answer {
            Ok(never_lost) => (String::new(), never_lost),
            Err(why) => (why, false),
        };
        Kind::EnlistAnswer(wire::EnlistAnswer { refusal, never_lost })
    }
}

/// Which replica of the range a node holds, and that it is to hold this one where it holds none; 0 is none.
pub(crate) struct HoldReplica(pub(crate) wire::HoldReplica);

impl Ask for HoldReplica {
    type Answer = Result<ReplicaId, String>;

    fn into_kind(self) -> Kind {
        Kind::HoldReplica(self.0)
    }

    fn answer(kind: Kind) -> Option<Result<ReplicaId, String>> {
        let Kind::HoldReplicaAnswer(answer) = kind else { return None };
        let is_refused = !answer.refusal.is_empty();
        Some(if is_refused { Err(answer.refusal) } else { Ok(ReplicaId(answer.replica_id)) })
    }

    fn reply(answer: Result<ReplicaId, String>) -> Kind {
        let (refusal, replica_id) = match answer {
            Ok(held) => (String::new(), held.0),
            Err(why) => (why, 0),
        };
        Kind::HoldReplicaAnswer(wire::HoldReplicaAnswer { refusal, replica_id })
    }
}

/// Hold a moment, as the leader of the range, and say what is refused of these keys by then.
pub(crate) struct HoldVersions {
    /// The hold.
    pub(crate) hold: GcHold,
    /// Where the keys begin and end, as stored.
    pub(crate) span: (Vec<u8>, Vec<u8>),
}

/// What a range answers that is asked to hold a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// It does. Reads of earlier moments of the span that was named are refused.
    Since(Timestamp),
    /// Perhaps not; why.
    NotHeld(String),
}

impl Ask for HoldVersions {
    type Answer = Held;

    fn into_kind(self) -> Kind {
        let (GcHold { holder, sequence, at, until }, (start, end)) = (self.hold, self.span);
        Kind::HoldVersions(wire::HoldVersions {
            time_domain: TimeDomain::default().0,
            holder,
            sequence,
            at: at.0,
            until: until.0,
            start: start.into(),
            end: end.into(),
        })
    }

    fn answer(kind: Kind) -> Option<Held> {
        let Kind::HoldVersionsAnswer(answer) = kind else { return None };
        Some(match answer.refusal.is_empty() {
            true => Held::Since(Timestamp(answer.threshold)),
            false => Held::NotHeld(answer.refusal),
        })
    }

    fn reply(answer: Held) -> Kind {
        let (threshold, refusal) = match answer {
            Held::Since(threshold) => (threshold.0, String::new()),
            Held::NotHeld(why) => (0, why),
        };
        Kind::HoldVersionsAnswer(wire::HoldVersionsAnswer { threshold, refusal })
    }
}

/// How far has a replica of the range to have applied the log to show what its leader would show?
pub(crate) struct ReadIndex {
    /// Of the descriptor that the read was routed by.
    pub(crate) generation: Generation,
    /// How long it may take.
    pub(crate) within: Duration,
    /// What is read, as stored: the key, or one in the span.
    pub(crate) key: Bytes,
    /// The moment that is read; none: the newest state of the key.
    pub(crate) at: Option<Timestamp>,
    /// A round is to decide whether the key has expired.
    pub(crate) decides: bool,
}

/// A point of a range's log at which a replica shows what its leader would have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadPoint {
    /// Everything up to this index has to be applied.
    pub(crate) applied: u64,
    /// The timestamp by which it is decided what has expired.
    pub(crate) decided: Timestamp,
}

impl Ask for ReadIndex {
    type Answer = Result<ReadPoint, OpError>;

    fn into_kind(self) -> Kind {
        let ReadIndex { generation, within, key, at, decides } = self;
        Kind::ReadIndex(wire::ReadIndex {
            time_domain: TimeDomain::default().0,
            generation: generation.0,
            timeout_ms: ms_u32(within),
            key,
            at: at.map_or(0, |at| at.0),
            decides,
        })
    }

    fn answer(kind: Kind) -> Option<Self::Answer> {
        use wire::read_index_answer::Result::{Error, Ok as Point};
        let Kind::ReadIndexAnswer(answer) = kind else { return None };
        Some(match answer.result? {
            Point(wire::ReadPoint { applied_index, decided }) => {
                Ok(ReadPoint { applied: applied_index, decided: Timestamp(decided) })
            }
            Error(error) => Err(error.into()),
        })
    }

    fn reply(answer: Self::Answer) -> Kind {
        use wire::read_index_answer::Result::{Error, Ok as Point};
        let result = Some(match answer {
            Ok(ReadPoint { applied, decided }) => {
                Point(wire::ReadPoint { applied_index: applied, decided: decided.0 })
            }
            Err(error) => Error(error.into()),
        });
        Kind::ReadIndexAnswer(wire::ReadIndexAnswer { result })
    }
}

/// Replace, as the leader of the range, the replica that a node lost. `Ok`: it is done, and whether it was before.
/// `Err` says what it waits for.
pub(crate) struct ReplaceReplica(pub(crate) wire::ReplaceReplica);

impl Ask for ReplaceReplica {
    type Answer = Result<bool, String>;

    fn into_kind(self) -> Kind {
        Kind::ReplaceReplica(self.0)
    }

    fn answer(kind: Kind) -> Option<Result<bool, String>> {
        let Kind::ReplaceReplicaAnswer(answer) = kind else { return None };
        let waits = !answer.waits_for.is_empty();
        Some(if waits { Err(answer.waits_for) } else { Ok(answer.was_done) })
    }

    fn reply(answer: Result<bool, String>) -> Kind {
        let (waits_for, was_done) = match answer {
            Ok(was_done) => (String::new(), was_done),
            Err(why) => (why, false),
        };
        Kind::ReplaceReplicaAnswer(wire::ReplaceReplicaAnswer { waits_for, was_done })
    }
}

/// Raise your clock to a block, time server, and say what it was.
pub(crate) struct TimeTick(pub(crate) Tick);

impl Ask for TimeTick {
    type Answer = time::server::Answer;

    fn into_kind(self) -> Kind {
        let Tick { epoch, block, write_back } = self.0;
        let time_domain = TimeDomain::default().0;
        Kind::TimeTick(wire::TimeTick { time_domain, epoch: epoch.0, block: block.0, write_back })
    }

    fn answer(kind: Kind) -> Option<Self::Answer> {
        use time::server::Answer;
        use wire::time_tick_answer::Result::{Ok, TooFar, WrongEpoch};
        let Kind::TimeTickAnswer(answer) = kind else { return None };
        let physical = Block(answer.physical);
        Some(match answer.result? {
            Ok(old) => Answer::Ok { old: Block(old), physical },
            TooFar(clock) => Answer::TooFar { clock: Block(clock), physical },
            WrongEpoch(servers) => {
                Answer::WrongEpoch { config: config_from_wire(servers), physical }
            }
        })
    }

    fn reply(answer: Self::Answer) -> Kind {
        use time::server::Answer;
        use wire::time_tick_answer::Result::{Ok, TooFar, WrongEpoch};
        let (result, physical) = match answer {
            Answer::Ok { old, physical } => (Ok(old.0), physical),
            Answer::TooFar { clock, physical } => (TooFar(clock.0), physical),
            Answer::WrongEpoch { config, physical } => {
                (WrongEpoch(config_to_wire(&config)), physical)
            }
        };
        Kind::TimeTickAnswer(wire::TimeTickAnswer { result: Some(result), physical: physical.0 })
    }
}

/// Run a round of the oracle for me. None: it has decided nothing.
pub(crate) struct TimeRound;

impl Ask for TimeRound {
    type Answer = Option<Block>;

    fn into_kind(self) -> Kind {
        Kind::TimeRound(wire::TimeRound { time_domain: TimeDomain::default().0 })
    }

    fn answer(kind: Kind) -> Option<Self::Answer> {
        let Kind::TimeRoundAnswer(answer) = kind else { return None };
        Some(Some(Block(answer.block)).filter(|block| (Block(1)..=Block::MAX).contains(block)))
    }

    fn reply(answer: Self::Answer) -> Kind {
        let block = answer.map_or(0, |block| block.0);
        Kind::TimeRoundAnswer(wire::TimeRoundAnswer { block })
    }
}

/// Answer no epoch before that of this set any more, time server.
pub(crate) struct TimeFence(pub(crate) Config);

impl Ask for TimeFence {
    type Answer = Fenced;

    fn into_kind(self) -> Kind {
        let (time_domain, servers) = (TimeDomain::default().0, Some(config_to_wire(&self.0)));
        Kind::TimeFence(wire::TimeFence { time_domain, servers })
    }

    fn answer(kind: Kind) -> Option<Self::Answer> {
        use wire::time_fence_answer::Result::{Clock, Superseded};
        let Kind::TimeFenceAnswer(answer) = kind else { return None };
        Some(match answer.result? {
            Clock(clock) => Fenced::Ok(Block(clock)),
            Superseded(servers) => Fenced::Superseded(config_from_wire(servers)),
        })
    }

    fn reply(answer: Self::Answer) -> Kind {
        use wire::time_fence_answer::Result::{Clock, Superseded};
        let result = Some(match answer {
            Fenced::Ok(clock) => Clock(clock.0),
            Fenced::Superseded(config) => Superseded(config_to_wire(&config)),
        });
        Kind::TimeFenceAnswer(wire::TimeFenceAnswer { result })
    }
}

/// Begin to answer in the epoch of this set, time server, above a block.
pub(crate) struct TimeSeed(pub(crate) Config, pub(crate) Block);

impl Ask for TimeSeed {
    type Answer = Seeded;

    fn into_kind(self) -> Kind {
        let TimeSeed(config, above) = self;
        let (time_domain, servers) = (TimeDomain::default().0, Some(config_to_wire(&config)));
        Kind::TimeSeed(wire::TimeSeed { time_domain, servers, above: above.0 })
    }

    fn answer(kind: Kind) -> Option<Self::Answer> {
        let Kind::TimeSeedAnswer(answer) = kind else { return None };
        Some(match answer.superseded {
            None => Seeded::Ok,
            Some(servers) => Seeded::Superseded(config_from_wire(servers)),
        })
    }

    fn reply(answer: Self::Answer) -> Kind {
        let superseded = match answer {
            Seeded::Ok => None,
            Seeded::Superseded(config) => Some(config_to_wire(&config)),
        };
        Kind::TimeSeedAnswer(wire::TimeSeedAnswer { superseded })
    }
}

/// Issue no block of an epoch before this one any more, and say what you know of time. These servers are lost for good.
pub(crate) struct TimeKnown(pub(crate) Epoch, pub(crate) BTreeSet<ServerId>);

/// What a node knows of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The highest block that it has heard of, where that can be said.
    pub(crate) block: Option<Block>,
    /// The time server of its directory.
    pub(crate) server: ServerId,
    /// The ranges that it leads.
    pub(crate) led: Vec<RangeId>,
}

impl Ask for TimeKnown {
    type Answer = Known;

    fn into_kind(self) -> Kind {
        let TimeKnown(epoch, lost) = self;
        let (time_domain, lost) = (TimeDomain::default().0, lost.iter().map(|it| it.0).collect());
        Kind::TimeKnown(wire::TimeKnown { time_domain, epoch: epoch.0, lost })
    }

    fn answer(kind: Kind) -> Option<Self::Answer> {
        let Kind::TimeKnownAnswer(answer) = kind else { return None };
        Some(Known {
            block: answer.block.map(Block).filter(|block| *block <= Block::MAX),
            server: ServerId(answer.server_id),
            led: answer.led_ranges.into_iter().map(RangeId).collect(),
        })
    }

    fn reply(answer: Self::Answer) -> Kind {
        Kind::TimeKnownAnswer(wire::TimeKnownAnswer {
            block: answer.block.map(|block| block.0),
            server_id: answer.server.0,
            led_ranges: answer.led.iter().map(|range| range.0).collect(),
        })
    }
}

fn config_to_wire(config: &Config) -> wire::TimeServers {
    let members = config.members.iter().map(|member| member.0).collect();
    wire::TimeServers { epoch: config.epoch.0, members }
}

/// A set of time servers, as a peer tells it.
pub(crate) fn config_from_wire(servers: wire::TimeServers) -> Config {
    let members = servers.members.into_iter().map(ServerId).collect();
    Config { epoch: Epoch(servers.epoch), members }
}

/// An operation of an operator that one node hands to another: the request, and its answer or error.
macro_rules! operation {
    ($(#[$doc:meta])* $name:ident($request:ty) -> $response:ty,
     $question:ident, $answer:ident, $result:ident) => {
        $(#[$doc])*
        pub(crate) struct $name(pub(crate) $request);

        impl Ask for $name {
            type Answer = Result<$response, OpError>;

            fn into_kind(self) -> Kind {
                Kind::$question(self.0)
            }

            fn answer(kind: Kind) -> Option<Self::Answer> {
                let Kind::$answer(answer) = kind else { return None };
                Some(match answer.result? {
                    wire::$result::Result::Ok(done) => Ok(done),
                    wire::$result::Result::Error(error) => Err(error.into()),
                })
            }

            fn reply(answer: Self::Answer) -> Kind {
                let result = match answer {
                    Ok(done) => wire::$result::Result::Ok(done),
                    Err(error) => wire::$result::Result::Error(error.into()),
                };
                Kind::$answer(wire::$answer { result: Some(result) })
            }
        }
    };
}

operation! {
    /// Form the cluster: the node with the lowest id does.
    Init(v1::InitClusterRequest) -> v1::InitClusterResponse, Init, InitAnswer, init_answer
}
operation! {
    /// Replace a node: a member does.
    Replace(v1::ReplaceNodeRequest) -> v1::ReplaceNodeResponse, Replace, ReplaceAnswer, replace_answer
}
operation! {
    /// Drain yourself, or note in the registry that another node is drained.
    Drain(v1::DrainRequest) -> v1::DrainResponse, Drain, DrainAnswer, drain_answer
}
operation! {
    /// Set a retention, as the leader of the system range.
    SetRetention(v1::SetRetentionRequest) -> v1::SetRetentionResponse,
    SetRetention, SetRetentionAnswer, set_retention_answer
}
operation! {
    /// Say on which nodes time servers are to be, as the leader of the system range.
    PlaceTimeServers(v1::PlaceTimeServersRequest) -> v1::PlaceTimeServersResponse,
    PlaceTimeServers, PlaceTimeServersAnswer, place_time_servers_answer
}
operation! {
    /// Begin time anew without time servers that are lost, or say who is, as the leader of the system range.
    RecoverTime(v1::RecoverTimeRequest) -> v1::RecoverTimeResponse,
    RecoverTime, RecoverTimeAnswer, recover_time_answer
}
operation! {
    /// Drain a node for one that does not reach it.
    DrainFor(v1::DrainRequest) -> v1::DrainResponse, DrainFor, DrainAnswer, drain_answer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the node that asks gets of an answer.
    fn told<A: Ask>(answer: A::Answer) -> Option<A::Answer> {
        A::answer(A::reply(answer))
    }

    #[test]
    fn answers_arrive_as_they_were_given() {
        let other = PlanRefusal::Other("no".to_owned());
        for answer in [Ok(()), Err(PlanRefusal::OtherDirectory), Err(other)] {
            assert_eq!(told::<TakePlan>(answer.clone()), Some(answer));
        }
        for answer in [Ok(true), Ok(false), Err("no".to_owned())] {
            assert_eq!(told::<Enlist>(answer.clone()), Some(answer.clone()));
            assert_eq!(told::<ReplaceReplica>(answer.clone()), Some(answer));
        }
        let reached = BTreeSet::from([NodeId(1), NodeId(3)]);
        assert_eq!(told::<Reach>(reached.clone()), Some(reached));
        let config = Config { epoch: Epoch(3), members: [ServerId(5), ServerId(6)].into() };
        let (block, physical) = (Block(7), Block(8));
        for answer in [
            time::server::Answer::Ok { old: block, physical },
            time::server::Answer::TooFar { clock: block, physical },
            time::server::Answer::WrongEpoch { config: config.clone(), physical },
        ] {
            assert_eq!(told::<TimeTick>(answer.clone()), Some(answer));
        }
        assert_eq!(told::<TimeRound>(Some(block)), Some(Some(block)));
        assert_eq!(told::<TimeRound>(Some(Block(u64::MAX))), Some(None), "no block is that late");
        for block in [Some(block), Some(Block(0)), None] {
            let known = Known { block, server: ServerId(9), led: vec![RangeId(1), RangeId(4)] };
            assert_eq!(told::<TimeKnown>(known.clone()), Some(known));
        }
        for answer in [Fenced::Ok(block), Fenced::Superseded(config.clone())] {
            assert_eq!(told::<TimeFence>(answer.clone()), Some(answer));
        }
        for answer in [Seeded::Ok, Seeded::Superseded(config)] {
            assert_eq!(told::<TimeSeed>(answer.clone()), Some(answer));
        }
        for answer in [Held::Since(Timestamp(300)), Held::NotHeld("no".to_owned())] {
            assert_eq!(told::<HoldVersions>(answer.clone()), Some(answer));
        }
        let drained = v1::DrainResponse { leaders_left: 2, ..v1::DrainResponse::default() };
        assert_eq!(told::<Drain>(Ok(drained)), Some(Ok(drained)));
        assert_eq!(told::<Drain>(Err(OpError::deadline())), Some(Err(OpError::deadline())));
        assert_eq!(TakePlan::answer(Echo::reply(())), None, "of another kind");
    }
}
