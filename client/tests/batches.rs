//! The batch writer against a fake node that takes several keys in one request: what goes together, and
//! that nothing is done twice where it must be taken apart.

#[expect(dead_code, reason = "made for more than these tests")]
mod support;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use quintet_client::{
    BatchWriter, Client, Ttl,
    v1::{self, Code, RetryClass, session_request::Op},
};
use support::{FakeNode, Reaction, Store, error, eventually};

/// A node with two ranges, that meet at `m`.
async fn one_node() -> (FakeNode, Arc<Mutex<Store>>, Client) {
    let store = Store::shared("alpha");
    store.lock().splits = vec!["m"];
    store.lock().limits.put_many_items_max = 100;
    store.lock().limits.put_many_bytes_max = 2_000;
    let node = FakeNode::start(&store, 7).await;
    let client = Client::connect([node.address.as_str()]).await.unwrap();
    (node, store, client)
}

/// A writer that knows both ranges.
async fn at_home(client: &Client) -> BatchWriter {
    let writer = client.batch_writer().start().unwrap();
    writer.write("a", "first").await;
    writer.write("z", "first").await;
    assert_eq!(writer.flush().await.acknowledged, 2);
    writer
}

/// Requests since the first two: keys of each.
fn sent(node: &FakeNode) -> Vec<Vec<String>> {
    let keys = |op: &Op| match op {
        Op::PutMany(many) => many.items.iter().map(|item| text(&item.key)).collect(),
        Op::Put(put) => vec![text(&put.key)],
        _ => panic!("{op:?}"),
    };
    node.seen(|seen| seen.requests.iter().skip(2).map(keys).collect())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Since the first two.
fn contexts(node: &FakeNode) -> Vec<v1::RequestContext> {
    node.seen(|seen| seen.contexts().split_off(2))
}

fn sequence(context: &v1::RequestContext) -> u64 {
    context.request_id.as_ref().unwrap().sequence
}

/// Holds one request of the range below `m`, so that what is written meanwhile gathers; then lets it go.
async fn together(node: &FakeNode, writer: &BatchWriter, keys: &[&str]) {
    node.react([Reaction::Hold, Reaction::Hold]);
    for busy in ["b0", "b1"] {
        let before = sent(node).len();
        writer.write(busy, "v").await;
        eventually("it is under way", || sent(node).len() > before).await;
    }
    for key in keys {
        writer.write(*key, "v").await;
    }
}

#[tokio::test]
async fn items_of_a_range_go_together() {
    let (node, store, client) = one_node().await;
    let writer = at_home(&client).await;
    for index in 0..500 {
        writer.write(format!("{}{index:03}", ["c", "x"][index % 2]), "value").await;
    }
    let summary = writer.finish().await;
    assert!(summary.is_complete(), "{summary:?}");
    assert_eq!((summary.written, store.lock().records.len()), (502, 502));
    let requests = sent(&node);
    assert!(requests.len() < 100, "{}", requests.len());
    let in_one_range = |keys: &Vec<String>| keys.iter().all(|key| key[..1] == keys[0][..1]);
    assert!(requests.iter().all(in_one_range), "{requests:?}");
    let ids: BTreeSet<_> = contexts(&node).iter().map(sequence).collect();
    assert_eq!(ids.len(), requests.len());
    assert!(contexts(&node).iter().all(|context| context.range_id == 7 && context.generation == 1));
}

#[tokio::test]
async fn what_gathers_goes_in_the_order_of_keys_and_within_the_limits() {
    let (node, _store, client) = one_node().await;
    let writer = at_home(&client).await;
    together(&node, &writer, &["f", "d", "e"]).await;
    writer.write("large", vec![7; 900]).await;
    writer.write("larger", vec![7; 1_000]).await;
    writer.write("x", "another range does not wait").await;
    eventually("it is written", || writer.progress().acknowledged == 3).await;
    node.release(2);
    assert!(writer.finish().await.is_complete());
    let requests = sent(&node);
    assert_eq!(requests[2..4], [vec!["x"], vec!["d", "e", "f", "large", "larger"]]);
}

#[tokio::test]
async fn a_batch_over_several_ranges_goes_item_by_item() {
    let (node, store, client) = one_node().await;
    let writer = at_home(&client).await;
    together(&node, &writer, &["c", "d", "k"]).await;
    store.lock().splits = vec!["g", "m"];
    node.release(2);
    let summary = writer.finish().await;
    assert_eq!((summary.written, summary.failed, summary.unknown), (7, 0, 0), "{summary:?}");
    let requests = sent(&node);
    assert_eq!(requests[2..], [vec!["c", "d", "k"], vec!["c"], vec!["d"], vec!["k"]]);
    let ids: BTreeSet<_> = contexts(&node).iter().map(sequence).collect();
    assert_eq!(ids.len(), requests.len(), "under ids of their own");
}

#[tokio::test]
async fn a_batch_of_unknown_fate_is_sent_again_as_it_was() {
    let (node, store, client) = one_node().await;
    let writer = at_home(&client).await;
    together(&node, &writer, &["c", "d"]).await;
    node.react([Reaction::DoAndBreak]);
    node.release(1);
    let done = || store.lock().records.contains_key("c".as_bytes());
    eventually("it is done", done).await;
    let version = store.lock().records["c".as_bytes()].version;
    let summary = writer.finish().await;
    assert!(summary.is_complete(), "{summary:?}");
    assert_eq!(store.lock().records["c".as_bytes()].version, version, "once");
    let again: Vec<_> = sent(&node)
        .into_iter()
        .zip(contexts(&node))
        .filter(|(keys, _)| keys == &["c", "d"])
        .map(|(_, context)| (sequence(&context), context.attempt))
        .collect();
    assert_eq!(again.len(), 2);
    assert_eq!((again[0].0, again[0].1, again[1].1), (again[1].0, 0, 1));
}

#[tokio::test]
async fn only_what_settles_every_copy_takes_a_batch_of_unknown_fate_apart() {
    let wrong = error(Code::InvalidArgument, RetryClass::Never);
    let several = error(Code::SeveralRanges, RetryClass::Never);
    for (answer, written, unknown) in [(wrong, 0, 2), (several, 2, 0)] {
        let (node, store, client) = one_node().await;
        let writer = at_home(&client).await;
        node.react([Reaction::Break, Reaction::Refuse(answer.clone())]);
        // Nothing else runs between the two: they go together.
        writer.write("c", "v").await;
        writer.write("d", "v").await;
        let summary = writer.finish().await;
        assert_eq!(sent(&node)[..2], [["c", "d"], ["c", "d"]]);
        let outcomes = (summary.written - 2, summary.failed, summary.unknown);
        assert_eq!(outcomes, (written, 0, unknown), "{answer:?} {summary:?}");
        assert_eq!(store.lock().records.contains_key("c".as_bytes()), written > 0);
    }
}

#[tokio::test]
async fn a_wrong_item_fails_alone() {
    let (node, _store, client) = one_node().await;
    let writer = at_home(&client).await;
    together(&node, &writer, &["c", "", "d"]).await;
    writer.write("e", vec![0; 1_001]).await;
    node.release(2);
    let summary = writer.finish().await;
    assert_eq!((summary.written, summary.failed, summary.unknown), (6, 2, 0), "{summary:?}");
    assert!(summary.failures.iter().all(|item| item.error.code() == "invalid_argument"));
}

#[tokio::test]
async fn a_batch_that_is_refused_for_an_item_goes_item_by_item() {
    let (node, _store, client) = one_node().await;
    let writer = at_home(&client).await;
    together(&node, &writer, &["c", "d"]).await;
    let wrong = || Reaction::Refuse(error(Code::InvalidArgument, RetryClass::Never));
    node.react([wrong(), wrong()]);
    node.release(2);
    let summary = writer.finish().await;
    assert_eq!((summary.written, summary.failed, summary.unknown), (5, 1, 0), "{summary:?}");
}

#[tokio::test]
async fn an_item_tells_what_came_of_it() {
    let (node, store, client) = one_node().await;
    let writer = at_home(&client).await;
    together(&node, &writer, &[]).await;
    let one = writer.write_tracked("c", "v").await;
    let other = writer.write_tracked("d", "v").await;
    let wrong = writer.write_tracked("", "v").await;
    node.release(2);
    let version = one.await.unwrap();
    assert_eq!(other.await.unwrap(), version, "one request, one version");
    assert_eq!(store.lock().records["c".as_bytes()].version, version.0);
    assert_eq!(wrong.await.unwrap_err().code(), "invalid_argument");
    node.react([Reaction::Hold]);
    let lost = writer.write_tracked("e", "v").await;
    drop(writer);
    assert!(lost.await.unwrap_err().maybe_committed());
}

#[tokio::test]
async fn keys_of_batches_can_expire() {
    let (_node, _store, client) = one_node().await;
    let minute = Duration::from_secs(60);
    let writer = client.batch_writer().ttl(minute).start().unwrap();
    for key in ["c", "d"] {
        writer.write(key, "v").await;
    }
    assert!(writer.finish().await.is_complete());
    assert_eq!(client.ttl("d").await.unwrap(), Some(Ttl::Left(minute)));
}

#[tokio::test]
async fn a_writer_that_knows_no_range_asks_with_a_few_items() {
    let (node, store, client) = one_node().await;
    let writer = client.batch_writer().start().unwrap();
    for index in 0..2_000 {
        writer.write(format!("{}{index:04}", ["c", "x"][index % 2]), "value").await;
    }
    let summary = writer.finish().await;
    assert!(summary.is_complete(), "{summary:?}");
    assert_eq!(store.lock().records.len(), 2_000);
    let requests = sent(&node).len();
    assert!(requests < 64 + 100, "{requests} requests");
}
