//! The client against nodes that do what the test says: many operations on one stream, retries
//! under one request id, what is unknown stays unknown.

mod support;

use std::{sync::Arc, time::Duration};

use futures::{TryStreamExt, future::join_all};
use parking_lot::Mutex;
use quintet_client::{
    Client, Condition, Error, PutOptions, Record, ScanOptions, Ttl, Version,
    v1::{self, Code, RetryClass, session_request::Op},
};
use support::{FakeNode, Reaction, Store, error, eventually};

type SharedStore = Arc<Mutex<Store>>;

async fn one_node() -> (FakeNode, SharedStore, Client) {
    let store = Store::shared("alpha");
    let node = FakeNode::start(&store, 7).await;
    let client = Client::connect([node.address.as_str()]).await.unwrap();
    (node, store, client)
}

async fn two_nodes() -> (FakeNode, FakeNode, SharedStore, Client) {
    let store = Store::shared("alpha");
    let (first, second) = (FakeNode::start(&store, 1).await, FakeNode::start(&store, 2).await);
    let nodes = [first.address.as_str(), second.address.as_str()];
    let client = Client::connect(nodes).await.unwrap();
    (first, second, store, client)
}

#[tokio::test]
async fn reads_and_writes() {
    let (_node, _store, client) = one_node().await;
    assert_eq!(client.get("k").await.unwrap(), None);
    let first = client.put("k", "one").await.unwrap();
    let found = client.get(b"k").await.unwrap().unwrap();
    assert_eq!((found.value.as_ref(), found.version), (b"one".as_ref(), first));
    let second = client.put_if("k", vec![2], Condition::Version(first)).await.unwrap();
    assert!(second > first);
    assert!(client.delete_if("k", second).await.unwrap() > second);
    assert_eq!(client.delete("k").await.unwrap(), None);
    assert_eq!(client.increment("n", 5).await.unwrap().value, 5);
    assert_eq!(client.increment("n", -7).await.unwrap().value, -2);
    let cluster = client.cluster();
    assert_eq!((cluster.cluster_id.as_str(), cluster.incarnation), ("alpha", 1));
    assert_eq!((cluster.room, cluster.node_id), (7, 107));
    assert!(client.cluster_time().unwrap() > first);
}

#[tokio::test]
async fn callers_that_wait_for_timestamps_share_requests() {
    let (node, _store, client) = one_node().await;
    let before = client.put("k", "v").await.unwrap();
    node.react([Reaction::Hold]);
    // The first one's request is under way; it goes away.
    let gone = tokio::time::timeout(Duration::from_millis(50), client.timestamp()).await;
    assert!(gone.is_err());
    let many = tokio::spawn({
        let client = client.clone();
        async move { join_all((0..100).map(|_| client.timestamp())).await }
    });
    node.release(1);
    let taken: Vec<_> = many.await.unwrap().into_iter().map(Result::unwrap).collect();
    assert!(taken.iter().all(|at| *at > before));
    let asked =
        node.seen(|seen| seen.requests.iter().filter(|op| matches!(op, Op::Timestamp(_))).count());
    assert!((2..=10).contains(&asked), "{asked} requests");
    // They are of no keyspace, whichever a clone has: one of them can't spoil those of others.
    node.react([Reaction::Hold]);
    let wrong = client.with_keyspace("no such");
    let (first, second) = tokio::join!(wrong.timestamp(), async {
        node.release(1);
        client.timestamp().await
    });
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    let keyspaces = node.seen(|seen| {
        let asked = seen.requests.iter().filter(|op| matches!(op, Op::Timestamp(_)));
        asked
            .filter_map(|op| op.context().map(|context| context.keyspace.clone()))
            .collect::<Vec<_>>()
    });
    assert!(keyspaces.iter().all(String::is_empty), "{keyspaces:?}");
    // One that fails is everybody's failure, and the next one is asked for anew.
    node.react([Reaction::Refuse(error(Code::InvalidArgument, RetryClass::Never))]);
    assert_eq!(client.timestamp().await.unwrap_err().code(), "invalid_argument");
    assert!(client.timestamp().await.unwrap() > taken[0]);
}

#[tokio::test]
async fn keys_expire() {
    let (node, store, client) = one_node().await;
    let second = Duration::from_secs(1);
    let version = client.put_with("k", "v", PutOptions::new().ttl(second)).await.unwrap();
    let found = client.get("k").await.unwrap().unwrap();
    assert_eq!(found.expires_at, Some(Version(version.0 + (1_000_000 << 12))));
    let scanned: Vec<_> = client.scan(ScanOptions::all()).try_collect().await.unwrap();
    assert_eq!(scanned[0].expires_at, found.expires_at);
    assert_eq!(client.ttl("k").await.unwrap(), Some(Ttl::Left(second)));
    let kept = client.persist("k").await.unwrap().unwrap();
    assert_eq!(client.ttl("k").await.unwrap(), Some(Ttl::Forever));
    assert_eq!(client.get("k").await.unwrap().unwrap().expires_at, None);
    let conflict = client.expire_if("k", second, version).await.unwrap_err();
    assert_eq!(conflict.code(), "conflict");
    assert!(client.expire_if("k", second, kept).await.unwrap().is_some());
    store.lock().pass(2 * second);
    assert_eq!(client.ttl("k").await.unwrap(), None);
    assert_eq!(client.expire("k", second).await.unwrap(), None);
    assert_eq!(client.persist("k").await.unwrap(), None);

    // What is shorter than a millisecond is not taken for none; what is no time is not sent.
    let sent = |node: &FakeNode| node.seen(|seen| seen.requests.len());
    client.put_with("k", "v", PutOptions::new().ttl(Duration::from_nanos(1))).await.unwrap();
    assert_eq!(client.ttl("k").await.unwrap(), Some(Ttl::Left(Duration::from_millis(1))));
    let before = sent(&node);
    for ttl in [Duration::ZERO, Duration::MAX, 101 * 365 * 86_400 * second] {
        let refused = [
            client.put_with("k", "v", PutOptions::new().ttl(ttl)).await.unwrap_err(),
            client.increment_with_ttl("n", 1, ttl).await.unwrap_err(),
            client.expire("k", ttl).await.unwrap_err(),
        ];
        assert!(refused.iter().all(|error| error.code() == "invalid_argument"), "{refused:?}");
    }
    assert_eq!(sent(&node), before);
}

#[tokio::test]
async fn refusals_tell_what_stands() {
    let (_node, _store, client) = one_node().await;
    let version = client.put("k", "stands").await.unwrap();
    let refused = client.put_if("k", "new", Condition::Absent).await.unwrap_err();
    let Error::Conflict { current: Some(current), version: stands } = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!((current.value.as_ref(), *stands), (b"stands".as_ref(), version));
    assert_eq!((refused.code(), refused.is_retryable()), ("conflict", false));
    assert!(!refused.maybe_committed());
    let absent = client.delete_if("other", version).await.unwrap_err();
    assert_eq!(absent, Error::Conflict { current: None, version: Version(0) });
    let word = client.increment("k", 1).await.unwrap_err();
    assert_eq!(word.code(), "not_a_number");
}

#[tokio::test]
async fn many_in_flight_share_one_stream_and_its_frames() {
    let (node, _store, client) = one_node().await;
    node.react((0..200).map(|_| Reaction::Hold));
    let keys: Vec<String> = (0..200).map(|index| format!("k{index}")).collect();
    let puts = join_all(keys.iter().map(|key| client.put(key, "v")));
    let release = async {
        eventually("all are in flight", || node.seen(|seen| seen.in_flight) == 200).await;
        node.release(200);
    };
    let (results, ()) = tokio::join!(puts, release);
    for result in results {
        result.unwrap();
    }
    node.seen(|seen| {
        assert_eq!(seen.hellos.len(), 1, "one stream");
        assert!(seen.frames < 20, "{} frames for 200 operations", seen.frames);
        let mut sequences: Vec<u64> =
            seen.contexts().iter().map(|c| c.request_id.as_ref().unwrap().sequence).collect();
        sequences.sort_unstable();
        sequences.dedup();
        assert_eq!(sequences.len(), 200, "an id each");
    });
}

#[tokio::test]
async fn answers_come_in_any_order() {
    let (node, _store, client) = one_node().await;
    client.put("slow", "1").await.unwrap();
    client.put("quick", "2").await.unwrap();
    node.react([Reaction::Hold]);
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.get("slow").await }
    });
    eventually("the first is held", || node.seen(|seen| seen.in_flight) == 1).await;
    assert_eq!(client.get("quick").await.unwrap().unwrap().value, "2");
    assert!(!slow.is_finished());
    node.release(1);
    assert_eq!(slow.await.unwrap().unwrap().unwrap().value, "1");
}

#[tokio::test]
async fn no_more_in_flight_than_the_server_allows() {
    let store = Store::shared("alpha");
    store.lock().limits.session_in_flight_max = 4;
    let node = FakeNode::start(&store, 1).await;
    let client = Client::connect([node.address.as_str()]).await.unwrap();
    node.react((0..40).map(|_| Reaction::Hold));
    let puts = join_all((0..40).map(|index| client.put(format!("k{index}"), "v")));
    let release = async {
        for answered in 0..40 {
            let full = (40 - answered).min(4);
            eventually("as many as allowed", || node.seen(|seen| seen.in_flight) == full).await;
            node.release(1);
            eventually("answered", || {
                node.seen(|seen| seen.requests.len() - seen.in_flight) == answered + 1
            })
            .await;
        }
    };
    let (results, ()) = tokio::join!(puts, release);
    for result in results {
        result.unwrap();
    }
    assert_eq!(node.seen(|seen| seen.in_flight_max), 4);
}

#[tokio::test]
async fn a_broken_stream_makes_a_later_attempt_under_the_same_id() {
    let (first, second, store, client) = two_nodes().await;
    first.react([Reaction::DoAndBreak]);
    second.react([Reaction::DoAndBreak]);
    assert_eq!(client.increment("n", 1).await.unwrap().value, 1);
    assert_eq!(store.lock().records["n".as_bytes()].value, "1", "done once");

    let mut contexts = first.seen(|seen| seen.contexts());
    let elsewhere = second.seen(|seen| seen.contexts());
    assert!(!elsewhere.is_empty(), "the second attempt goes to the other node");
    contexts.extend(elsewhere);
    contexts.sort_by_key(|context| context.attempt);
    let attempts: Vec<u32> = contexts.iter().map(|context| context.attempt).collect();
    assert_eq!(attempts, [0, 1, 2]);
    let id = contexts[0].request_id.clone().unwrap();
    assert_eq!((id.origin_room, id.client.len()), (1, 16));
    assert!(contexts[0].first_attempt_time >= 1_000_000 << 12);
    for context in &contexts {
        assert_eq!(context.request_id.as_ref(), Some(&id));
        assert_eq!(context.first_attempt_time, contexts[0].first_attempt_time);
        assert_eq!(context.incarnation, 1);
        assert!((1..=10_000).contains(&context.timeout_ms));
    }
}

#[tokio::test]
async fn a_definite_refusal_keeps_the_attempt() {
    let (node, _store, client) = one_node().await;
    let overloaded =
        v1::Error { retry_after_ms: 20, ..error(Code::Overloaded, RetryClass::Reroute) };
    let refusals = [
        overloaded,
        error(Code::NotLeader, RetryClass::Unspecified),
        error(Code::StaleRoute, RetryClass::Reroute),
        error(Code::Unavailable, RetryClass::Reroute),
    ];
    node.react(refusals.map(Reaction::Refuse));
    client.put("k", "v").await.unwrap();
    let contexts = node.seen(|seen| seen.contexts());
    assert_eq!(contexts.len(), 5);
    assert!(contexts.iter().all(|context| context.attempt == 0));
    assert!(contexts.iter().all(|context| context.request_id == contexts[0].request_id));
}

#[tokio::test]
async fn an_ambiguous_answer_makes_a_later_attempt() {
    let (node, store, client) = one_node().await;
    let unavailable =
        v1::Error { maybe_committed: true, ..error(Code::Unavailable, RetryClass::Reroute) };
    let unknown = error(Code::UnknownOutcome, RetryClass::Ambiguous);
    let overloaded = error(Code::Overloaded, RetryClass::Reroute);
    node.react([
        Reaction::DoAndRefuse(unavailable),
        Reaction::Refuse(overloaded),
        Reaction::DoAndRefuse(unknown),
    ]);
    assert_eq!(client.increment("n", 1).await.unwrap().value, 1);
    assert_eq!(store.lock().records["n".as_bytes()].value, "1", "done once");
    let attempts: Vec<u32> =
        node.seen(|seen| seen.contexts().iter().map(|context| context.attempt).collect());
    assert_eq!(attempts, [0, 1, 1, 2]);
}

#[tokio::test]
async fn a_write_without_an_answer_has_an_unknown_outcome() {
    let (node, _store, client) = one_node().await;
    let hasty = client.with_timeout(Duration::from_millis(100));
    node.react([Reaction::Swallow]);
    let unknown = hasty.put("k", "v").await.unwrap_err();
    assert!(unknown.maybe_committed(), "{unknown}");
    assert_eq!((unknown.code(), unknown.is_retryable()), ("unknown_outcome", false));
    node.react([Reaction::Swallow]);
    let late = hasty.get("k").await.unwrap_err();
    assert!(!late.maybe_committed(), "{late}");
    assert_eq!((late.code(), late.is_retryable()), ("deadline_exceeded", true));
    // the session lives on
    assert_eq!(client.get("k").await.unwrap().unwrap().value, "v");
    assert_eq!(node.seen(|seen| seen.hellos.len()), 1);
}

#[tokio::test]
async fn a_write_that_was_never_sent_is_no_unknown_outcome() {
    let (mut node, _store, client) = one_node().await;
    node.stop();
    eventually("the session is gone", || node.seen(|seen| seen.sessions_open) == 0).await;
    let hasty = client.with_timeout(Duration::from_millis(200));
    // the first write may still meet the session that is about to break
    let mut outcome = hasty.put("k", "v").await.unwrap_err();
    if outcome.maybe_committed() {
        outcome = hasty.put("k", "v").await.unwrap_err();
    }
    assert_eq!(outcome.code(), "deadline_exceeded", "{outcome}");
    assert!(!outcome.maybe_committed());
}

#[tokio::test]
async fn what_is_unknown_is_not_made_a_failure_by_a_later_refusal() {
    let (node, _store, client) = one_node().await;
    for code in [Code::InvalidArgument, Code::Storage, Code::Expired, Code::RequestIdReused] {
        node.react([Reaction::Break, Reaction::Refuse(error(code, RetryClass::Never))]);
        let outcome = client.put("k", "v").await.unwrap_err();
        assert!(outcome.maybe_committed(), "{code:?}: {outcome:?}");
    }
    // but the cluster's own decision settles it
    client.put("taken", "v").await.unwrap();
    node.react([Reaction::Break]);
    let refused = client.put_if("taken", "w", Condition::Absent).await.unwrap_err();
    assert_eq!(refused.code(), "conflict");
}

#[tokio::test]
async fn a_first_attempt_that_expired_is_asked_again_under_a_new_id() {
    let (node, _store, client) = one_node().await;
    let expired = || Reaction::Refuse(error(Code::Expired, RetryClass::Never));
    node.react([expired(), expired()]);
    client.put("k", "v").await.unwrap();
    let contexts = node.seen(|seen| seen.contexts());
    let mut ids: Vec<u64> =
        contexts.iter().map(|context| context.request_id.as_ref().unwrap().sequence).collect();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    assert!(contexts.iter().all(|context| context.attempt == 0));
    node.react([expired(), expired(), expired()]);
    assert_eq!(client.put("k", "v").await.unwrap_err(), Error::Expired);
}

#[tokio::test]
async fn a_node_that_falls_silent_is_left() {
    let store = Store::shared("alpha");
    let (first, second) = (FakeNode::start(&store, 1).await, FakeNode::start(&store, 2).await);
    let client = Client::builder()
        .nodes([first.address.as_str(), second.address.as_str()])
        .stall_timeout(Duration::from_millis(100))
        .connect()
        .await
        .unwrap();
    first.react([Reaction::Swallow]);
    assert_eq!(client.increment("n", 1).await.unwrap().value, 1);
    assert_eq!(second.seen(|seen| seen.contexts()[0].attempt), 1);
    eventually("the silent session ends", || first.seen(|seen| seen.sessions_open) == 0).await;
}

/// A node that does not reach the leader names it; the client does not reach it either.
#[tokio::test]
async fn a_hint_that_leads_nowhere_makes_another_node_be_asked() {
    let (cut_off, second, _store, client) = two_nodes().await;
    client.put("k", "v").await.unwrap();
    let refuse = || {
        let error = error(Code::Unavailable, RetryClass::Reroute);
        Reaction::Refuse(v1::Error { hint_address: "127.0.0.1:1".to_owned(), ..error })
    };
    // For as long as it is asked.
    cut_off.react(std::iter::repeat_with(refuse).take(1_000));
    client.put("k", "w").await.unwrap();
    assert_eq!(second.seen(|seen| seen.contexts().len()), 1);
}

#[tokio::test]
async fn a_hint_leads_to_a_node_that_was_not_given() {
    let store = Store::shared("alpha");
    let (given, leader) = (FakeNode::start(&store, 1).await, FakeNode::start(&store, 2).await);
    let client = Client::connect([given.address.as_str()]).await.unwrap();
    let not_leader = || {
        let hint_address = leader.address.clone();
        let error = error(Code::NotLeader, RetryClass::Reroute);
        Reaction::Refuse(v1::Error { hint_address, ..error })
    };
    given.react((0..1_000).map(|_| not_leader()));
    client.put("k", "v").await.unwrap();
    let context = leader.seen(|seen| seen.contexts()[0].clone());
    assert_eq!(context.attempt, 0);
    assert_eq!(context.request_id.unwrap().origin_room, 1, "the room it attached to first");
    assert_eq!(leader.seen(|seen| seen.hellos[0].cluster_id.clone()), "alpha");
}

#[tokio::test]
async fn limits_are_those_of_the_server() {
    let (node, _store, client) = one_node().await;
    let cases = [
        (client.put("", "v").await, "at least 1 byte"),
        (client.put("k".repeat(65), "v").await, "the limit is 64"),
        (client.put("k", vec![0; 1_001]).await, "the limit is 1000"),
    ];
    for (result, text) in cases {
        let error = result.unwrap_err();
        assert_eq!(error.code(), "invalid_argument");
        assert!(error.to_string().contains(text), "{error}");
    }
    let keys: Vec<String> = (0..301).map(|index| index.to_string()).collect();
    for result in client.batch_get(&keys).await {
        let error = result.unwrap_err();
        assert!(error.to_string().contains("the limit is 300"), "{error}");
    }
    assert_eq!(node.seen(|seen| seen.requests.len()), 0, "nothing was sent");
    client.put("k".repeat(64), vec![0; 1_000]).await.unwrap();
}

#[tokio::test]
async fn items_of_a_batch_are_independent() {
    let (_node, _store, client) = one_node().await;
    let results = client.batch_put([("a", "1"), ("", "2"), ("c", "3")]).await;
    let codes: Vec<_> =
        results.iter().map(|result| result.as_ref().err().map(Error::code)).collect();
    assert_eq!(codes, [None, Some("invalid_argument"), None]);
    let found = client.batch_get(["c", "b", "a"]).await;
    let values: Vec<_> =
        found.into_iter().map(|found| found.unwrap().map(|found| found.value)).collect();
    assert_eq!(values, [Some("3".into()), None, Some("1".into())]);
}

fn keys(records: &[Record]) -> String {
    let key = |record: &Record| String::from_utf8(record.key.to_vec()).unwrap();
    records.iter().map(key).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn scans_go_over_pages_in_both_directions() {
    let (node, _store, client) = one_node().await;
    for key in ["a1", "a2", "a3", "a4", "a5", "a6", "a7", "b1", "b2"] {
        client.put(key, format!("v{key}")).await.unwrap();
    }
    let scan = async |options| client.scan(options).try_collect::<Vec<_>>().await.unwrap();
    let all = scan(ScanOptions::all()).await;
    assert_eq!(keys(&all), "a1 a2 a3 a4 a5 a6 a7 b1 b2");
    assert_eq!(all[0].value, "va1");
    assert_eq!(keys(&scan(ScanOptions::all().reverse()).await), "b2 b1 a7 a6 a5 a4 a3 a2 a1");
    assert_eq!(keys(&scan(ScanOptions::prefix("a").reverse()).await), "a7 a6 a5 a4 a3 a2 a1");
    assert_eq!(keys(&scan(ScanOptions::prefix("b")).await), "b1 b2");
    assert_eq!(keys(&scan(ScanOptions::range("a6".."b2")).await), "a6 a7 b1");
    assert_eq!(keys(&scan(ScanOptions::range("a6"..="b2").reverse()).await), "b2 b1 a7 a6");
    assert_eq!(keys(&scan(ScanOptions::range("b2".."a6")).await), "");
    assert_eq!(keys(&scan(ScanOptions::all().limit(0)).await), "");
    let some = client.scan(ScanOptions::all()).limit(5).reverse().keys_only();
    let some: Vec<_> = some.try_collect().await.unwrap();
    assert_eq!(keys(&some), "b2 b1 a7 a6 a5");
    assert!(some.iter().all(|record| record.value.is_empty() && record.version.0 > 0));

    // pages are fetched as they are read, and show the moment of the first
    let before = node.seen(|seen| seen.requests.len());
    let mut scan = client.scan(ScanOptions::all());
    assert_eq!(scan.try_next().await.unwrap().unwrap().key, "a1");
    assert_eq!(node.seen(|seen| seen.requests.len()), before + 1, "one page");
    let at = scan.at().unwrap();
    client.put("a8", "later").await.unwrap();
    let rest: Vec<_> = scan.try_collect().await.unwrap();
    assert_eq!(keys(&rest), "a2 a3 a4 a5 a6 a7 b1 b2");
    node.seen(|seen| {
        let Some(Op::Scan(last)) = seen.requests.last() else { panic!("no scan") };
        assert_eq!(last.at, at.0);
    });
}

#[tokio::test]
async fn another_cluster_is_refused_by_name() {
    let (alpha, beta) = (Store::shared("alpha"), Store::shared("beta"));
    let mut right = FakeNode::start(&alpha, 1).await;
    let wrong = FakeNode::start(&beta, 2).await;
    let nodes = [right.address.as_str(), wrong.address.as_str()];
    let client = Client::connect(nodes).await.unwrap();
    assert_eq!(client.cluster().cluster_id, "alpha");
    right.stop();
    let hasty = client.with_timeout(Duration::from_millis(500));
    let refused = hasty.get("k").await.unwrap_err();
    assert!(refused.to_string().contains("belongs to cluster beta"), "{refused}");
    assert_eq!(wrong.seen(|seen| seen.hellos[0].cluster_id.clone()), "alpha");
    assert_eq!(wrong.seen(|seen| seen.requests.len()), 0);
}

#[tokio::test]
async fn a_cluster_is_formed_through_the_client() {
    let store = Store::shared("");
    let node = FakeNode::start(&store, 1).await;
    let client = Client::connect([node.address.as_str()]).await.unwrap();
    assert!(!client.status().await.unwrap().initialized);
    assert_eq!(client.put("k", "v").await.unwrap_err().code(), "not_initialized");
    assert_eq!(client.init_cluster(1).await.unwrap().cluster_id, "made");
    client.put("k", "v").await.unwrap();
    assert_eq!(client.cluster().cluster_id, "made");
    assert_eq!(client.init_cluster(1).await.unwrap_err().code(), "already_initialized");
}

#[tokio::test]
async fn no_node_is_an_error_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let builder = Client::builder().nodes([address.clone()]).timeout(Duration::from_millis(100));
    let refused = builder.connect().await.unwrap_err();
    assert_eq!(refused.code(), "unavailable");
    assert!(refused.to_string().contains(&address), "{refused}");
    let nothing = Client::connect([""; 0]).await.unwrap_err();
    assert_eq!(nothing.code(), "invalid_argument");
}

#[tokio::test]
async fn dropping_the_last_client_ends_its_sessions() {
    let (node, _store, client) = one_node().await;
    let clone = client.clone();
    drop(client);
    clone.put("k", "v").await.unwrap();
    assert_eq!(node.seen(|seen| seen.sessions_open), 1);
    drop(clone);
    eventually("the session ends", || node.seen(|seen| seen.sessions_open) == 0).await;
}

#[tokio::test]
async fn a_seed_makes_the_id() {
    let store = Store::shared("alpha");
    let node = FakeNode::start(&store, 1).await;
    for seed in [Some(1), Some(1), None, None] {
        let builder = Client::builder().nodes([node.address.as_str()]).seed(seed);
        builder.connect().await.unwrap().put("k", "v").await.unwrap();
    }
    let ids: Vec<_> = node
        .seen(|seen| seen.contexts().into_iter().map(|c| c.request_id.unwrap().client).collect());
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[1], ids[2]);
    assert_ne!(ids[2], ids[3]);
}
