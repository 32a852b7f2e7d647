//! The examples do what they say, against a fake node.

#[expect(dead_code, reason = "its main function")]
#[path = "../examples/compare_and_set.rs"]
mod compare_and_set;
#[expect(dead_code, reason = "its main function")]
#[path = "../examples/scan.rs"]
mod scan;
#[expect(dead_code, reason = "its main function")]
#[path = "../examples/stock_counter.rs"]
mod stock_counter;
#[expect(dead_code, reason = "made for more than these tests")]
mod support;

use quintet_client::Client;
use support::{FakeNode, Store};

async fn node() -> (FakeNode, Client) {
    let store = Store::shared("alpha");
    store.lock().page = 100;
    let node = FakeNode::start(&store, 1).await;
    let client = Client::connect([node.address.as_str()]).await.unwrap();
    (node, client)
}

#[tokio::test]
async fn compare_and_set() {
    let (_node, client) = node().await;
    compare_and_set::run(&client).await.unwrap();
}

#[tokio::test]
async fn scan() {
    let (_node, client) = node().await;
    scan::run(&client).await.unwrap();
}

#[tokio::test]
async fn stock_counter() {
    let (_node, client) = node().await;
    stock_counter::run(&client).await.unwrap();
}
