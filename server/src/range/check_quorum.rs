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
//! term would ask with the leader's permission (`VoteRequest::leadership_transfer`). The candidate named is the
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

use openraft::{
    async_runtime::watch::WatchReceiver,
    raft::{TransferLeaderRequest, VoteRequest},
};

use super::{
    elections::RaftTimes,
    raft::{
        types::{self, LogId, Vote},
        wire,
    },
    replica::Replica,
};
use crate::{
    ids::{NodeId, RangeId},
    peer::{Kind, Lane},
    planted::{self, Bug},
    time::local::Instant,
};

/// The replica of a transfer of leadership that is to nobody: the leader lets its followers go.
const NOBODY: u64 = 0;

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

/// What a leader knows of its followers at a moment.
struct Followers {
    term: u64,
    acked: Option<Instant>,
    /// It is the only voter.
    is_alone: bool,
}

/// What this replica knows of its followers; none where it does not lead.
fn followers(replica: &Replica) -> Option<Followers> {
    let term = replica.raft.as_leader().ok()?.term();
    let metrics = replica.raft.metrics();
    let metrics = metrics.borrow_watched();
    let voters = metrics.membership_config.membership().voter_ids().count();
    let acked = metrics.last_quorum_acked.map(|acked| acked.into_inner().local());
    Some(Followers { term, acked, is_alone: voters <= 1 })
}

/// What this leader does at the moment of a heartbeat.
pub fn beat(check: &mut CheckQuorum, replica: &Replica) -> Beat {
    let Some(followers) = followers(replica) else { return Beat::Hold };
    // The careless hand: "it is the leader until somebody says otherwise".
    if followers.is_alone || planted::active(Bug::LonelyLeaderHoldsOn) {
        return Beat::Send;
    }
    check.beat(replica.range, followers.term, followers.acked)
}

/// Ends the leadership of this replica, and tells its followers. Does nothing where it leads no more.
pub async fn step_down(replica: Replica) {
    let Some(ending) = Ending::of(&replica) else { return };
    let mut request = VoteRequest::new(ending.next, ending.last);
    request.leadership_transfer = true;
    match replica.raft.vote(request).await {
        Ok(answer) if answer.vote_granted => {}
        // Its log has grown since, or it has lost its leadership anyway: looked at again.
        Ok(_) | Err(_) => return,
    }
    tracing::warn!(
        range = %replica.range, term = ending.led.leader_id.term,
        "no majority has answered this leader for an election timeout: it steps down"
    );
    replica.shared.metrics.leaders_stepped_down.inc();
    let released = TransferLeaderRequest::new(ending.led, NOBODY, ending.last);
    for (to, node) in ending.others {
        let message = quintet_proto::internal::v1::PeerMessage {
            range_id: replica.range.0,
            from_replica: replica.id.0,
            to_replica: to,
            kind: Some(Kind::Transfer(wire::transfer_out(&released))),
            ..Default::default()
        };
        // Who does not hear it waits a little longer.
        replica.shared.peers.send(node, Lane::Urgent, message, Box::new(|_| {}));
    }
}

/// Lets the leader go whom a replica follows, as if it had said so itself: votes for others are not refused for
/// its sake any more. Returns the vote for it.
pub async fn release(replica: &Replica) -> Vote {
    let (vote, last) = (replica.raft.metrics().borrow_watched().vote, replica.log.last());
    // A group that has failed follows nobody.
    replica.raft.handle_transfer_leader(TransferLeaderRequest::new(vote, NOBODY, last)).await.ok();
    vote
}

/// How a leadership ends.
struct Ending {
    led: Vote,
    next: Vote,
    last: Option<LogId>,
    others: Vec<(u64, NodeId)>,
}

impl Ending {
    fn of(replica: &Replica) -> Option<Ending> {
        replica.raft.as_leader().ok()?;
        let me = replica.id.0;
        let metrics = replica.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let others = membership.voter_ids().filter(|voter| *voter != me);
        let others: Vec<_> =
            others.filter_map(|voter| Some((voter, membership.get_node(&voter)?.node))).collect();
        let (heard_last, _) =
            others.iter().max_by_key(|(voter, _)| types::answered_at(&metrics, *voter))?;
        let next = Vote::new(metrics.current_term.checked_add(1)?, *heard_last);
        Some(Ending { led: metrics.vote, next, last: replica.log.last(), others })
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
