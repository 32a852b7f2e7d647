//! Check quorum: a leader that no majority has answered for an election timeout gives its leadership up.
//!
//! Without it a leader that still reaches one voter can keep all others from electing another: its heartbeats
//! make that voter refuse its vote, and nothing is committed, for as long as the links are so. Here such a
//! leader steps down, in its own eyes too, and says so to those that it reaches: a follower whose leader
//! has released it takes part in the next election at once.
//!
//! openraft (0.10.0-alpha.37) refuses proposals of such a leader and can hold its heartbeats back for a while
//! (`Config::quorum_loss_probe_interval`), but the replica stays leader in name: it never stands for election
//! again, and shows itself as the leader. So the replica is asked for its vote here, as a candidate of the next
//! term would ask with the leader's permission (`raft/step_down.rs`). The candidate named is the
//! voter that the leader heard last; it knows nothing of it, gets no answer, and has to ask for that vote
//! like any other. Granting a vote in a later term is always safe: the promise is durable before anything
//! else happens, and nothing that was acknowledged is touched.
//!
//! # Invariants
//!
//! * What counts is heartbeats sent and not answered, not time: a node that stood still for a while has
//!   sent none, and gets the chance to be answered before it gives up ([`CheckQuorum::beat`]).
//! * A range with one voter needs nobody's answer.
//! * No read or write rests on this. Leadership is confirmed for each of them (`leadership.rs`), and two
//!   leaders of one term there are never.
//!
//! # On a crash
//!
//! Nothing is kept.

use std::collections::BTreeMap;

use super::{
    elections::RaftTimes,
    raft::{progress::Vote, step_down},
    replica::Replica,
};
use crate::{
    ids::{NodeId, RangeId, ReplicaId},
    peer::{Kind, Lane},
    planted::{self, Bug},
    storage::format::raft::Position,
    time::local::Instant,
};

/// What a leader does at the moment of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// It sends it.
    Send,
    /// It steps down. Said again, where it leads all the same, after as many heartbeats as led to it.
    GiveUp,
    /// It is stepping down, and sends nothing.
    Hold,
}

/// What a leader's followers have confirmed, for all ranges that a node leads.
pub struct CheckQuorum {
    /// Heartbeats without an answer of a majority after which a leader gives up.
    beats_max: u32,
    leading: BTreeMap<RangeId, Leading>,
}

struct Leading {
    term: u64,
    /// When that was sent which a majority answered last.
    acked: Option<Instant>,
    /// Heartbeats since that was learnt.
    beats: u32,
}

impl CheckQuorum {
    /// Leaders have as long as the last of their followers waits before it stands for election
    /// (`elections.rs`): a leader that is merely out of reach for a moment leads on, as it would without this.
    pub fn new(times: RaftTimes) -> CheckQuorum {
        let timeout = times.election_max * 2;
        let beats = timeout.as_millis().div_ceil(times.heartbeat.as_millis().max(1));
        let beats_max = u32::try_from(beats).unwrap_or(u32::MAX).max(1);
        CheckQuorum { beats_max, leading: BTreeMap::new() }
    }

    /// What to do at the moment of a leader's heartbeat, where the last that a majority answered was sent at
    /// `acked`.
    pub fn beat(&mut self, range: RangeId, term: u64, acked: Option<Instant>) -> Beat {
        let leading = self.leading.entry(range).or_insert(Leading { term, acked, beats: 0 });
        if leading.term != term || leading.acked != acked {
            *leading = Leading { term, acked, beats: 0 };
        }
        leading.beats = leading.beats.wrapping_add(1).max(1);
        match leading.beats {
            beats if beats <= self.beats_max => Beat::Send,
            beats if beats % self.beats_max == 1 % self.beats_max => Beat::GiveUp,
            _ => Beat::Hold,
        }
    }

    /// Forgets all ranges but those that the node leads.
    pub fn keep(&mut self, leads: impl Fn(RangeId) -> bool) {
        self.leading.retain(|range, _| leads(*range));
    }
}

/// What this leader does at the moment of a heartbeat.
pub fn beat(check: &mut CheckQuorum, replica: &Replica) -> Beat {
    let Some(quorum) = replica.raft.quorum() else { return Beat::Hold };
    // The careless hand: "it is the leader until somebody says otherwise".
    if quorum.is_alone || planted::active(Bug::LonelyLeaderHoldsOn) {
        return Beat::Send;
    }
    check.beat(replica.range, quorum.term, quorum.answered_at)
}

/// Ends the leadership of this replica, and tells its followers. Does nothing where it leads no more.
pub async fn step_down(replica: Replica) {
    let Some(ending) = Ending::of(&replica) else { return };
    if !replica.raft.ask_vote_for(ending.next, ending.last).await {
        // Its log has grown since, or it has lost its leadership anyway: looked at again.
        return;
    }
    tracing::warn!(
        range = %replica.range, term = ending.led.term,
        "no majority has answered this leader for an election timeout: it steps down"
    );
    replica.shared.metrics.leaders_stepped_down.inc();
    for (to, node) in ending.others {
        let message = quintet_proto::internal::v1::PeerMessage {
            range_id: replica.range.0,
            from_replica: replica.id.0,
            to_replica: to.0,
            kind: Some(Kind::Transfer(step_down::release(ending.led, ending.last))),
            ..Default::default()
        };
        // Who does not hear it waits a little longer.
        replica.shared.peers.send(node, Lane::Urgent, message, Box::new(|_| {}));
    }
}

/// Lets the leader go whom a replica follows, as if it had said so itself: votes for others are not refused for
/// its sake any more. Returns the vote for it.
pub async fn release(replica: &Replica) -> Vote {
    replica.raft.release_leader(replica.log.last()).await
}

/// How a leadership ends.
struct Ending {
    led: Vote,
    next: Vote,
    last: Option<Position>,
    others: Vec<(ReplicaId, NodeId)>,
}

impl Ending {
    fn of(replica: &Replica) -> Option<Ending> {
        replica.raft.leads()?;
        let progress = replica.raft.progress();
        let others = progress.members.voters().into_iter().filter(|voter| *voter != replica.id);
        let others: Vec<_> =
            others.filter_map(|voter| Some((voter, progress.members.holder(voter)?))).collect();
        let answered_at =
            |voter: &ReplicaId| progress.followers.get(voter).and_then(|it| it.answered_at);
        let (heard_last, _) = others.iter().max_by_key(|(voter, _)| answered_at(voter))?;
        let term = progress.term.checked_add(1)?;
        let next = Vote { term, replica: *heard_last, committed: false };
        Some(Ending { led: progress.vote, next, last: replica.log.last(), others })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RANGE: RangeId = RangeId(2);

    fn check() -> CheckQuorum {
        let ms = Duration::from_millis;
        CheckQuorum::new(RaftTimes {
            heartbeat: ms(100),
            election_min: ms(500),
            election_max: ms(1_000),
        })
    }

    /// Heartbeats that a leader may send from now on without an answer.
    fn beats(check: &mut CheckQuorum, term: u64, acked: Option<Instant>) -> u32 {
        (0..1_000).take_while(|_| check.beat(RANGE, term, acked) == Beat::Send).count() as u32
    }

    /// Regression: it went on for ever, and a follower that heard it refused its vote to others.
    #[test]
    fn leader_without_majority_gives_up_after_an_election_timeout() {
        let mut check = check();
        let now = Instant::now();
        assert_eq!(beats(&mut check, 7, Some(now)), 20);
        // The next one told it to give up; where it leads all the same it stays silent, and is told again.
        let next: Vec<_> = (0..40).map(|_| check.beat(RANGE, 7, Some(now))).collect();
        let again: Vec<_> = next.iter().map(|beat| *beat == Beat::GiveUp).collect();
        assert!(!next.contains(&Beat::Send));
        assert_eq!(again.iter().filter(|again| **again).count(), 2);
        assert!(again[19] && again[39], "{next:?}");
        // A new leader whom nobody has answered yet has as long.
        assert_eq!(beats(&mut check, 8, None), 20);
        assert_eq!(beats(&mut check, 8, Some(now)), 20);
    }

    #[test]
    fn each_answer_of_a_majority_gives_it_the_whole_time_again() {
        let mut check = check();
        let start = Instant::now();
        for answer in 0..50 {
            let acked = Some(start + Duration::from_millis(answer));
            for _ in 0..19 {
                assert_eq!(check.beat(RANGE, 7, acked), Beat::Send);
            }
        }
    }

    #[test]
    fn ranges_are_counted_apart_and_forgotten() {
        let mut check = check();
        assert_eq!(beats(&mut check, 7, None), 20);
        assert_eq!(check.beat(RangeId(3), 7, None), Beat::Send);
        check.keep(|range| range == RangeId(3));
        assert_eq!(check.leading.len(), 1);
        assert_eq!(beats(&mut check, 7, None), 20);
    }
}
