//! Deletions of ranges against a fake node: pages, one moment, and what an error leaves.

#[expect(dead_code, reason = "made for more than these tests")]
mod support;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use quintet_client::{
    Client, Error,
    v1::{self, Code, RetryClass, session_request::Op},
};
use support::{FakeNode, Reaction, Store, error};

/// A node with two ranges, that meet at `m`; pages have three keys.
async fn one_node() -> (FakeNode, Arc<Mutex<Store>>, Client) {
    let store = Store::shared("alpha");
    store.lock().splits = vec!["m"];
    store.lock().limits.delete_range_keys_max = 3;
    let node = FakeNode::start(&store, 7).await;
    let client = Client::connect([node.address.as_str()]).await.unwrap();
    for key in ["a", "b", "c", "d", "k", "m", "x", "z"] {
        client.put(key, "v").await.unwrap();
    }
    (node, store, client)
}

fn left(store: &Mutex<Store>) -> String {
    let keys = store.lock().records.keys().map(|key| key.to_vec()).collect::<Vec<_>>();
    String::from_utf8(keys.concat()).unwrap()
}

fn pages(node: &FakeNode) -> Vec<v1::DeleteRangeRequest> {
    let page = |op: &Op| match op {
        Op::DeleteRange(page) => Some(page.clone()),
        _ => None,
    };
    node.seen(|seen| seen.requests.iter().filter_map(page).collect())
}

#[tokio::test]
async fn pages_follow_on_each_other_at_one_moment() {
    let (node, store, client) = one_node().await;
    let mut deletion = client.delete_range("b"..="x");
    assert!(deletion.step().await.unwrap());
    assert_eq!((deletion.deleted(), left(&store)), (3, "akmxz".to_owned()));
    // Written since: it stays.
    client.put("m", "newer").await.unwrap();
    assert_eq!(deletion.run().await.unwrap(), 5);
    assert_eq!(left(&store), "amz");
    assert!(!deletion.step().await.unwrap(), "all is done");
    let pages = pages(&node);
    let starts: Vec<_> = pages.iter().map(|page| &page.start[..]).collect();
    assert_eq!(starts, [&b"b"[..], b"k", b"m"], "by pages and by ranges");
    assert!(pages.iter().all(|page| page.at == deletion.moment().unwrap().0 && page.end == "x\0"));
    let mut ids: Vec<_> = pages
        .iter()
        .map(|page| page.context.clone().unwrap().request_id.unwrap().sequence)
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 3, "each page is a request of its own");
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_id() {
    let (node, store, client) = one_node().await;
    let mut deletion = client.delete_prefix("a");
    assert!(!deletion.step().await.unwrap());
    node.react([Reaction::Do, Reaction::DoAndBreak]);
    let mut deletion = client.delete_range("b"..);
    assert_eq!(deletion.run().await.unwrap(), 7, "the page that was asked twice counts once");
    assert_eq!(left(&store), "");
    let contexts: Vec<_> = pages(&node).into_iter().map(|page| page.context.unwrap()).collect();
    assert_eq!(contexts[1].request_id, contexts[2].request_id);
    assert_eq!((contexts[1].attempt, contexts[2].attempt), (0, 1));
}

#[tokio::test]
async fn after_an_error_it_goes_on_where_it_was() {
    let (node, store, client) = one_node().await;
    let client = client.with_timeout(Duration::from_secs(5));
    let mut deletion = client.delete_everything().limit(7);
    assert!(deletion.step().await.unwrap());
    node.react([Reaction::Refuse(error(Code::Storage, RetryClass::Never))]);
    assert!(matches!(deletion.run().await, Err(Error::Storage(_))));
    assert_eq!(deletion.deleted(), 3);
    let at = deletion.moment();
    assert_eq!(deletion.run().await.unwrap(), 7);
    assert_eq!((left(&store), deletion.moment()), ("z".to_owned(), at));
    let limits: Vec<_> = pages(&node).iter().map(|page| page.limit).collect();
    assert_eq!(limits, [7, 4, 4, 2], "what is left of the limit");
}

#[tokio::test]
async fn everything_goes_only_where_that_is_said() {
    let (node, store, client) = one_node().await;
    for mut deletion in [client.delete_range::<&str>(..), client.delete_prefix("")] {
        assert!(matches!(deletion.run().await, Err(Error::InvalidArgument(_))));
    }
    assert_eq!(client.delete_range("d".."b").run().await.unwrap(), 0, "no key is in it");
    assert!(pages(&node).is_empty());
    assert_eq!(left(&store), "abcdkmxz");
    store.lock().limits.delete_range_keys_max = 0;
    let client = Client::connect([node.address.as_str()]).await.unwrap();
    let refused = client.delete_prefix("a").run().await;
    assert!(matches!(refused, Err(Error::InvalidArgument(text)) if text.contains("upgrade")));
}
