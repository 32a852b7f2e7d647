//! The batch writer against a fake node: bounds, order, and that every item is accounted for.
//!
//! The node takes no batches here, so that each item is a put of its own and can be held, lost or refused by
//! itself; `batches.rs` has the same writer against one that takes them.

#[expect(dead_code, reason = "made for more than these tests")]
mod support;

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use parking_lot::Mutex;
use quintet_client::{
    Client, Condition, PutOptions, Ttl,
    v1::{Code, RetryClass, session_request::Op},
};
use support::{FakeNode, Reaction, Store, error, eventually};

async fn one_node() -> (FakeNode, Arc<Mutex<Store>>, Client) {
    let store = Store::shared("alpha");
    let node = FakeNode::start(&store, 7).await;
    let client = Client::connect([node.address.as_str()]).await.unwrap();
    (node, store, client)
}

fn sent(node: &FakeNode) -> usize {
    node.seen(|seen| seen.requests.len())
}

#[tokio::test]
async fn every_item_is_written_once_under_an_id_of_its_own() {
    let (node, store, client) = one_node().await;
    let overloaded = || Reaction::Refuse(error(Code::Overloaded, RetryClass::Reroute));
    node.react((0..50).map(|_| overloaded()).chain([Reaction::DoAndBreak]));
    let writer = client.batch_writer().start().unwrap();
    for index in 0..1_000 {
        writer.write(format!("k{index:04}"), "value").await;
    }
    let progress = writer.flush().await;
    assert_eq!((progress.accepted, progress.acknowledged), (1_000, 1_000));
    let summary = writer.finish().await;
    assert!(summary.is_complete(), "{summary:?}");
    assert_eq!((summary.written, summary.bytes), (1_000, 1_000 * 10));
    assert_eq!(store.lock().records.len(), 1_000);
    let contexts = node.seen(|seen| seen.contexts());
    let ids: std::collections::BTreeSet<u64> =
        contexts.iter().map(|context| context.request_id.as_ref().unwrap().sequence).collect();
    assert_eq!(ids.len(), 1_000);
    assert!(contexts.len() > 1_050, "what was refused was sent again");
}

#[tokio::test]
async fn no_more_items_than_allowed_are_accepted() {
    let (node, _store, client) = one_node().await;
    node.react((0..12).map(|_| Reaction::Hold));
    let writer = client.batch_writer().in_flight_max(4).start().unwrap();
    for index in 0..4 {
        let accepted = writer.write(format!("k{index}"), "v").now_or_never();
        assert!(accepted.is_some(), "there is room for item {index}");
    }
    eventually("all are in flight", || node.seen(|seen| seen.in_flight) == 4).await;
    assert!(writer.write("k4", "v").now_or_never().is_none(), "a fifth");
    assert_eq!(writer.progress().accepted, 4, "what was dropped while it waited is not accepted");
    assert!(writer.flush().now_or_never().is_none(), "nothing has an outcome yet");
    let more = async {
        for index in 4..12 {
            writer.write(format!("k{index}"), "v").await;
        }
    };
    let release = async {
        for answered in 1..=8 {
            node.release(1);
            eventually("one more is accepted", || sent(&node) == 4 + answered).await;
        }
    };
    tokio::join!(more, release);
    node.release(4);
    assert_eq!(writer.finish().await.written, 12);
    assert_eq!(node.seen(|seen| seen.in_flight_max), 4);
}

#[tokio::test]
async fn no_more_bytes_than_allowed_are_held() {
    let (node, _store, client) = one_node().await;
    node.react((0..3).map(|_| Reaction::Hold));
    let writer = client.batch_writer().bytes_max(250).start().unwrap();
    for key in ["a", "b"] {
        assert!(writer.write(key, vec![0; 99]).now_or_never().is_some());
    }
    assert!(writer.write("c", vec![0; 99]).now_or_never().is_none(), "300 bytes");
    assert!(writer.write("c", vec![0; 49]).now_or_never().is_some(), "250 bytes");
    eventually("three are in flight", || node.seen(|seen| seen.in_flight) == 3).await;
    // what is above the bound by itself goes when it is the only one
    let large = async { writer.write("d", vec![0; 900]).await };
    tokio::join!(large, async {
        node.release(2);
        eventually("two have an outcome", || writer.progress().acknowledged == 2).await;
        assert_eq!(sent(&node), 3);
        node.release(1);
    });
    let summary = writer.finish().await;
    assert_eq!((summary.written, summary.bytes), (4, 100 + 100 + 50 + 901));
}

#[tokio::test]
async fn items_of_one_key_happen_in_the_order_in_which_they_were_written() {
    let (node, store, client) = one_node().await;
    // the first is refused now and then: later ones must not overtake it
    let overloaded = || Reaction::Refuse(error(Code::Overloaded, RetryClass::Reroute));
    node.react([overloaded(), overloaded(), Reaction::Do, Reaction::DoAndBreak, overloaded()]);
    let writer = client.batch_writer().start().unwrap();
    for index in 0..20 {
        writer.write("same", index.to_string()).await;
    }
    assert!(writer.finish().await.is_complete());
    assert_eq!(store.lock().records["same".as_bytes()].value, "19");
    let mut values: Vec<u32> = node.seen(|seen| {
        let value = |op: &Op| match op {
            Op::Put(put) => std::str::from_utf8(&put.value).unwrap().parse().unwrap(),
            _ => panic!("{op:?}"),
        };
        seen.requests.iter().map(value).collect()
    });
    assert!(values.len() >= 24, "refused ones were sent again");
    assert!(values.is_sorted(), "{values:?}");
    values.dedup();
    assert_eq!(values, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn another_key_does_not_wait_for_a_busy_one() {
    let (node, _store, client) = one_node().await;
    node.react([Reaction::Hold]);
    let writer = client.batch_writer().start().unwrap();
    for (key, value) in [("busy", "1"), ("busy", "2"), ("other", "1")] {
        writer.write(key, value).await;
    }
    eventually("the other is written", || writer.progress().acknowledged == 1).await;
    assert_eq!(sent(&node), 2);
    node.release(1);
    assert_eq!(writer.finish().await.written, 3);
}

#[tokio::test]
async fn failures_and_unknown_outcomes_are_told_apart() {
    let (node, _store, client) = one_node().await;
    let hasty = client.with_timeout(Duration::from_millis(300));
    node.react([
        Reaction::Refuse(error(Code::Storage, RetryClass::Never)),
        Reaction::Swallow,
        Reaction::Do,
    ]);
    let writer = hasty.batch_writer().start().unwrap();
    writer.write("fails", "v").await;
    writer.write("unknown", "v").await;
    writer.write("written", "v").await;
    writer.write("", "no key").await;
    writer.flush().await;
    let progress = writer.progress();
    assert_eq!((progress.acknowledged, progress.failed, progress.unknown), (1, 2, 1));
    // it goes on
    writer.write("later", "v").await;
    let summary = writer.finish().await;
    assert_eq!((summary.written, summary.failed, summary.unknown), (2, 2, 1));
    assert!(!summary.is_complete());
    let mut failures: Vec<_> =
        summary.failures.iter().map(|item| (&item.key[..], item.error.code())).collect();
    failures.sort_unstable();
    assert_eq!(failures, [(&b""[..], "invalid_argument"), (b"fails", "storage")]);
    let unknown = &summary.unknown_outcomes;
    assert_eq!((unknown.len(), &unknown[0].key[..]), (1, &b"unknown"[..]));
    assert!(unknown[0].error.maybe_committed());
}

#[tokio::test]
async fn all_failures_are_counted_and_the_first_are_kept() {
    let (node, _store, client) = one_node().await;
    let writer = client.batch_writer().start().unwrap();
    for _ in 0..100 {
        writer.write("", "v").await;
    }
    let summary = writer.finish().await;
    assert_eq!((summary.failed, summary.failures.len(), summary.written), (100, 32, 0));
    assert_eq!(sent(&node), 0);
}

#[tokio::test]
async fn a_writer_that_is_dropped_stops() {
    let (node, _store, client) = one_node().await;
    node.react([Reaction::Hold]);
    let writer = client.batch_writer().start().unwrap();
    writer.write("k", "1").await;
    writer.write("k", "2").await;
    eventually("the first is in flight", || node.seen(|seen| seen.in_flight) == 1).await;
    drop(writer);
    drop(client);
    // its task holds the last clone of the client
    eventually("the session ends", || node.seen(|seen| seen.sessions_open) == 0).await;
    node.release(1);
    assert_eq!(sent(&node), 1, "what waited is not sent");
}

// a simulation has one runtime
#[cfg(not(madsim))]
#[test]
fn items_whose_runtime_is_gone_are_not_lost_silently() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let (of_nodes, of_writer, of_caller) = (runtime(), runtime(), runtime());
    let store = Store::shared("alpha");
    let node = of_nodes.block_on(FakeNode::start(&store, 1));
    node.react([Reaction::Hold]);
    let client = of_writer.block_on(Client::connect([node.address.as_str()])).unwrap();
    let writer = of_writer.block_on(async { client.batch_writer().start() }).unwrap();
    of_caller.block_on(async {
        writer.write("held", "v").await;
        eventually("it is in flight", || node.seen(|seen| seen.in_flight) == 1).await;
    });
    drop(of_writer);
    let summary = of_caller.block_on(async {
        writer.write("late", "v").await;
        writer.finish().await
    });
    assert_eq!((summary.written, summary.failed, summary.unknown), (0, 1, 1));
    assert_eq!(summary.failures[0].key, "late");
}

#[tokio::test]
async fn keys_of_a_writer_and_of_a_batch_can_expire() {
    let (node, _store, client) = one_node().await;
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let writer = client.batch_writer().ttl(minute).start().unwrap();
    writer.write("k", "v").await;
    assert!(writer.finish().await.is_complete());
    assert_eq!(client.ttl("k").await.unwrap(), Some(Ttl::Left(minute)));
    for ttl in [Duration::ZERO, Duration::MAX] {
        let refused = client.batch_writer().ttl(ttl).start().unwrap_err();
        assert_eq!(refused.code(), "invalid_argument");
    }

    let new_only = PutOptions::new().ttl(second).condition(Condition::Absent);
    let results = client.batch_put_with([("k", "2"), ("l", "2")], new_only).await;
    let codes: Vec<_> =
        results.iter().map(|result| result.as_ref().err().map(|e| e.code())).collect();
    assert_eq!(codes, [Some("conflict"), None]);
    assert_eq!(client.ttl("l").await.unwrap(), Some(Ttl::Left(second)));
    let before = sent(&node);
    let zero = PutOptions::new().ttl(Duration::ZERO);
    let results = client.batch_put_with([("k", "3"), ("l", "3")], zero).await;
    assert!(results.iter().all(Result::is_err));
    assert_eq!(sent(&node), before);
}
