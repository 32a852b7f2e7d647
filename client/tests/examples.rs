//! The examples do what they say, against a fake node.

#[expect(dead_code, reason = "its main function, and how patient it is")]
#[path = "../examples/bulk_load.rs"]
mod bulk_load;
#[expect(dead_code, reason = "its main function")]
#[path = "../examples/compare_and_set.rs"]
mod compare_and_set;
#[expect(dead_code, reason = "its main function")]
#[path = "../examples/configuration_store.rs"]
mod configuration_store;
#[expect(dead_code, reason = "its main function, and where it finds lists")]
#[path = "../examples/package_list.rs"]
mod package_list;
#[expect(dead_code, reason = "its main function")]
#[path = "../examples/scan.rs"]
mod scan;
#[expect(dead_code, reason = "its main function")]
#[path = "../examples/session_store.rs"]
mod session_store;
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
async fn bulk_load() {
    let store = Store::shared("alpha");
    let node = FakeNode::start(&store, 1).await;
    let client = Client::connect([node.address.as_str()]).await.unwrap();
    bulk_load::run(&client, 5_000).await.unwrap();
    assert_eq!(store.lock().records.len(), 5_000);
    // what does not get through is told
    store.lock().limits.key_bytes_max = 4;
    let strict = FakeNode::start(&store, 2).await;
    let client = Client::connect([strict.address.as_str()]).await.unwrap();
    let failure = bulk_load::run(&client, 10).await.unwrap_err();
    assert!(failure.to_string().contains("10 failed, 0 unknown"), "{failure}");
}

#[tokio::test]
async fn compare_and_set() {
    let (_node, client) = node().await;
    compare_and_set::run(&client).await.unwrap();
}

#[tokio::test]
async fn configuration_store() {
    let (_node, client) = node().await;
    configuration_store::run(&client).await.unwrap();
}

#[tokio::test]
async fn package_list() {
    let text = "Package: b\nVersion: 2\nDescription: second\n more\n .\n end\nTag: x\n y\n\n\n\
                Package: a\nDescription-en: first\n\nPackage: a\nDescription: older\n\n\
                Package: without\n\nDescription: nobody's\n\nPackage: last\nDescription: z";
    let mut packages = std::collections::BTreeMap::new();
    package_list::parse(text.as_bytes(), &mut packages).unwrap();
    let expected = [("a", "first"), ("b", "second\nmore\n.\nend"), ("last", "z")];
    assert!(packages.iter().map(|(name, text)| (&**name, &**text)).eq(expected), "{packages:?}");

    assert_eq!(package_list::split_points(&packages, 3), ["package/b", "package/last"]);
    assert_eq!(package_list::split_points(&packages, 1), [""; 0]);

    let (_node, client) = node().await;
    assert_eq!(package_list::verify(&client, &packages).await.unwrap(), 3, "all are missing");
    package_list::load(&client, &packages).await.unwrap();
    assert_eq!(package_list::verify(&client, &packages).await.unwrap(), 0);
    client.put("package/a", "changed").await.unwrap();
    client.put("package/more", "x").await.unwrap();
    assert_eq!(package_list::verify(&client, &packages).await.unwrap(), 2);
}

#[tokio::test]
async fn scan() {
    let (_node, client) = node().await;
    scan::run(&client).await.unwrap();
}

#[tokio::test]
async fn session_store() {
    let store = Store::shared("alpha");
    let node = FakeNode::start(&store, 1).await;
    let client = Client::connect([node.address.as_str()]).await.unwrap();
    // the node's time passes as the example asks for it
    let pass = async |time| store.lock().pass(time);
    session_store::run(&client, std::time::Duration::from_secs(60), pass).await.unwrap();
}

#[tokio::test]
async fn stock_counter() {
    let (_node, client) = node().await;
    stock_counter::run(&client).await.unwrap();
}
