//! Confirmation rounds without a network: which answers confirm a leadership, who is asked, and who is asked again.
//!
//! The rounds are driven by hand, one answer at a time; that they run on real links is the simulation's to show.

use std::time::Duration;

use super::{claim::Electorate, expected::PATIENCE, *};
use crate::ids::RangeId;

const MS: Duration = Duration::from_millis(1);

fn ids(ids: &[u64]) -> Vec<ReplicaId> {
    ids.iter().copied().map(ReplicaId).collect()
}

/// Voters 2.. are held by the nodes of the same numbers; 1 leads.
fn electorate(configs: &[&[u64]]) -> Electorate {
    let mut others: Vec<u64> = configs.concat();
    others.sort_unstable();
    others.dedup();
    others.retain(|id| *id != 1);
    Electorate {
        configs: configs.iter().map(|config| ids(config)).collect(),
        others: others.into_iter().map(|id| (ReplicaId(id), NodeId(id))).collect(),
    }
}

fn claim(configs: &[&[u64]]) -> Claim {
    Claim { range: RangeId(2), leader: ReplicaId(1), term: 7, electorate: electorate(configs) }
}

/// A claim of a leader whose own replica follows it as long as the claim is open.
fn open(configs: &[&[u64]]) -> (Open, oneshot::Receiver<u64>) {
    Open::new(claim(configs), || true)
}

fn nodes(asked: &[(ReplicaId, NodeId)]) -> Vec<u64> {
    asked.iter().map(|(_, node)| node.0).collect()
}

#[test]
fn only_a_vote_for_the_leader_in_its_term_confirms_it() {
    let follows = |term, replica, committed| {
        is_for(&Vote { term, replica: ReplicaId(replica), committed }, ReplicaId(1), 7)
    };
    assert!(follows(7, 1, true));
    // It was voted for, and has not been heard as the leader yet.
    assert!(follows(7, 1, false));
    for term in [6, 8] {
        assert!(!follows(term, 1, true));
        assert!(!follows(term, 2, false));
    }
    assert!(!follows(7, 2, false));
    assert!(!follows(8, 2, true));
}

#[test]
fn a_majority_of_every_configuration_counts() {
    let five = electorate(&[&[1, 2, 3, 4, 5]]);
    assert!(!five.is_quorum(&ids(&[1, 2])));
    assert!(five.is_quorum(&ids(&[1, 2, 5])));
    // A replica that is none of the voters is nobody.
    assert!(!five.is_quorum(&ids(&[1, 2, 9])));
    let joint = electorate(&[&[1, 2, 3], &[1, 4, 5]]);
    assert!(!joint.is_quorum(&ids(&[1, 2, 3])));
    assert!(joint.is_quorum(&ids(&[1, 2, 4])));
    // Nobody may vote: nothing is confirmed, not everything.
    assert!(!electorate(&[]).is_quorum(&ids(&[1, 2])));
    assert!(!electorate(&[&[]]).is_quorum(&ids(&[1, 2])));
}

#[test]
fn a_replica_counts_once() {
    let (open, mut decided) = open(&[&[1, 2, 3, 4, 5]]);
    open.ask(11, &Expected::default());
    open.holds_at(ReplicaId(2));
    open.holds_at(ReplicaId(2));
    assert!(decided.try_recv().is_err());
    // Asked again in a later round: it was begun in the first.
    open.ask(12, &Expected::default());
    open.holds_at(ReplicaId(4));
    assert_eq!(decided.try_recv(), Ok(11));
}

#[test]
fn a_leader_that_voted_for_another_since_does_not_count() {
    let (open, mut decided) = Open::new(claim(&[&[1, 2, 3, 4, 5]]), || false);
    assert_eq!(open.ask(1, &Expected::default()).len(), 3);
    open.holds_at(ReplicaId(2));
    open.holds_at(ReplicaId(3));
    assert!(decided.try_recv().is_err());
    open.holds_at(ReplicaId(4));
    assert_eq!(decided.try_recv(), Ok(1));
}

#[test]
fn the_fastest_majority_is_asked_first_and_then_everybody() {
    let mut expected = Expected::default();
    for (node, took) in [(2, 9), (3, 1), (4, 5), (5, 2)] {
        expected.took(NodeId(node), took * MS, false);
    }
    let (other, _undecided) = open(&[&[1, 2, 3, 4, 5]]);
    let (open, _decided) = open(&[&[1, 2, 3, 4, 5]]);
    assert_eq!(nodes(&open.ask(1, &expected)), [3, 5]);
    // One has confirmed; who failed is asked last.
    open.holds_at(ReplicaId(5));
    expected.took(NodeId(3), MS, true);
    assert_eq!(nodes(&open.ask(2, &expected)), [4]);
    assert_eq!(open.silent(), [NodeId(4)]);
    assert!(open.has_to_ask_all());
    assert!(!open.has_to_ask_all(), "said once");
    assert_eq!(nodes(&open.ask(3, &expected)), [2, 3, 4, 5]);
    assert_eq!(
        nodes(&other.ask(ASK_ALL_EVERY, &expected)),
        [2, 3, 4, 5],
        "to know how quick they are"
    );
    assert_eq!(nodes(&other.ask(ASK_ALL_EVERY + 1, &expected)), [5, 4]);
    // It answers again: what was before does not count.
    expected.took(NodeId(3), MS, false);
    assert_eq!(expected.of(NodeId(3)), MS);
}

#[test]
fn half_of_the_others_decide_how_long_to_wait() {
    let mut expected = Expected::default();
    let (open, _decided) = open(&[&[1, 2, 3, 4, 5]]);
    assert_eq!(expected.patience(open.claim.voters_asked()), PATIENCE);
    for (node, took) in [(2, 1), (3, 30), (4, 100), (5, 5_000)] {
        expected.took(NodeId(node), took * MS, false);
    }
    let patience = expected.patience(open.claim.voters_asked());
    assert!(patience > 110 * MS && patience <= 120 * MS, "{patience:?}");
    for node in [2, 3, 4, 5] {
        expected.took(NodeId(node), CONFIRM_TIMEOUT, true);
    }
    assert_eq!(expected.patience(open.claim.voters_asked()), CONFIRM_TIMEOUT);
}

#[test]
fn a_node_that_was_slow_is_asked_again_some_day() {
    let mut expected = Expected::default();
    for (node, failed) in [(2, true), (3, false), (4, false), (5, false)] {
        expected.took(NodeId(node), MS, failed);
    }
    for round in 1.. {
        let (open, _decided) = open(&[&[1, 2, 3, 4, 5]]);
        if nodes(&open.ask(round, &expected)).contains(&2) {
            assert_eq!(round, ASK_ALL_EVERY);
            break;
        }
    }
    expected.took(NodeId(2), MS / 2, false);
    let (open, _decided) = open(&[&[1, 2, 3, 4, 5]]);
    assert_eq!(nodes(&open.ask(1, &expected)), [2, 3], "it is quick again");
}

/// What was asked of nodes and is not answered yet.
type Asked = Arc<Mutex<Vec<(NodeId, usize, TakeAnswer)>>>;

/// Rounds whose messages wait to be answered by the test.
fn rounds() -> (Arc<Leaderships>, Asked) {
    let asked = Asked::default();
    let sent = asked.clone();
    let ask = move |node, message: wire::PeerMessage, answer| {
        let Some(Kind::Claims(claims)) = message.kind else { panic!("no claims") };
        sent.lock().push((node, claims.claims.len(), answer));
    };
    let leaderships = Leaderships::asking(Box::new(ask), Arc::new(Metrics::new()));
    // So slow that no round is given up while a test looks.
    for node in 2..=5 {
        leaderships.gathering.lock().expected.took(NodeId(node), 250 * MS, false);
    }
    (leaderships, asked)
}

/// Lets everything run that can.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Answers all that was asked so far; the nodes that were asked.
fn answer(asked: &Asked, holds: impl Fn(u64) -> bool) -> Vec<u64> {
    let asked = std::mem::take(&mut *asked.lock());
    let nodes = asked.into_iter().map(|(node, claims, answer)| {
        let holds = vec![holds(node.0); claims];
        answer(Ok(Kind::ClaimsAnswer(wire::ClaimsAnswer { holds })));
        node.0
    });
    nodes.collect()
}

fn confirm(of: &Arc<Leaderships>) -> tokio::task::JoinHandle<Option<u64>> {
    let of = of.clone();
    tokio::spawn(async move { of.decide(claim(&[&[1, 2, 3, 4, 5]]), || true).await })
}

#[tokio::test]
async fn what_comes_while_a_round_is_under_way_is_confirmed_by_the_next_one_alone() {
    let (leaderships, asked) = rounds();
    let before = leaderships.arrived();
    let first = confirm(&leaderships);
    settle().await;
    assert_eq!(asked.lock().len(), 2, "two others make a majority");
    let meanwhile = leaderships.arrived();
    let second = confirm(&leaderships);
    settle().await;
    assert_eq!(asked.lock().len(), 2, "it waits for the round that is under way");
    answer(&asked, |_| true);
    let round = first.await.unwrap().unwrap();
    settle().await;
    assert_eq!(asked.lock().len(), 2, "and is asked in the next");
    answer(&asked, |_| true);
    let next = second.await.unwrap().unwrap();
    // Reads are served by the rounds that are above what they were stamped with.
    assert_eq!((before < round, meanwhile < round, meanwhile < next), (true, false, true));
}

#[tokio::test]
async fn a_claim_that_some_do_not_confirm_is_asked_again_of_everybody() {
    let (leaderships, asked) = rounds();
    let confirmed = confirm(&leaderships);
    settle().await;
    let first = answer(&asked, |_| false);
    assert_eq!(first.len(), 2);
    settle().await;
    let again = answer(&asked, |node| !first.contains(&node));
    assert_eq!(again, [2, 3, 4, 5]);
    // The two others and the leader itself; it holds since the round in which it was asked first.
    assert_eq!(confirmed.await.unwrap(), Some(1));
    settle().await;
    assert!(asked.lock().is_empty(), "nothing is asked for what is decided");
}

#[tokio::test]
async fn a_round_is_over_once_its_claims_are_decided_whoever_is_still_to_answer() {
    let (leaderships, asked) = rounds();
    // Everybody is asked.
    leaderships.rounds.store(ASK_ALL_EVERY - 1, std::sync::atomic::Ordering::Release);
    let first = confirm(&leaderships);
    settle().await;
    let mut of_all = std::mem::take(&mut *asked.lock());
    assert_eq!(of_all.len(), 4);
    let second = confirm(&leaderships);
    settle().await;
    assert!(asked.lock().is_empty(), "it waits");
    let holds = || Ok(Kind::ClaimsAnswer(wire::ClaimsAnswer { holds: vec![true] }));
    for (.., answer) in of_all.drain(..2) {
        answer(holds());
    }
    assert_eq!(first.await.unwrap(), Some(ASK_ALL_EVERY));
    settle().await;
    assert_eq!(answer(&asked, |_| true).len(), 2, "the next begins without the slow ones");
    assert_eq!(second.await.unwrap(), Some(ASK_ALL_EVERY + 1));
    // Their answers begin no round, and end none.
    let third = confirm(&leaderships);
    settle().await;
    let fourth = confirm(&leaderships);
    for (.., answer) in of_all {
        answer(holds());
    }
    settle().await;
    assert_eq!(answer(&asked, |_| true).len(), 2, "of the third alone");
    assert_eq!(third.await.unwrap(), Some(ASK_ALL_EVERY + 2));
    settle().await;
    answer(&asked, |_| true);
    assert_eq!(fourth.await.unwrap(), Some(ASK_ALL_EVERY + 3));
}

#[tokio::test]
async fn a_claim_that_nobody_answers_is_asked_again_and_given_up() {
    let (leaderships, asked) = rounds();
    leaderships.gathering.lock().expected = Expected::default();
    let confirmed = confirm(&leaderships);
    while asked.lock().len() < 2 + 4 {
        crate::time::local::sleep(MS).await;
    }
    let all: Vec<u64> = asked.lock().iter().skip(2).map(|(node, ..)| node.0).collect();
    assert_eq!(all, [2, 3, 4, 5], "everybody, without waiting for those that are silent");
    assert_eq!(confirmed.await.unwrap(), None);
}
