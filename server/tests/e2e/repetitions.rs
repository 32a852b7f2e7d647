//! The same request sent again, by clients of one's own: what a second copy is told, and that it never acts
//! after the first was answered.

use bytes::Bytes;
use quintet_proto::v1::{self, Code, RetryClass, kv_client::KvClient};
use tonic::{Status, transport::Channel};

use crate::support::{
    cluster::{Cluster, HOME_TIMEOUT},
    details,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_twice() {
    let cluster = Cluster::start().await;
    // A node that leads the keys' range, and one that never does.
    let mut near = kv(&cluster, cluster.leader().await).await;
    let mut far = kv(&cluster, 5).await;
    late_copies(&mut near, &mut far).await;
    twice_in_a_batch(&mut far).await;
    version_zero_is_absent(&mut far).await;
    a_put_keeps_the_expiry(&mut far).await;
    a_done_write_is_never_denied(&cluster).await;
}

async fn kv(cluster: &Cluster, id: u64) -> KvClient<Channel> {
    KvClient::connect(format!("http://{}", cluster.address(id))).await.expect("a node")
}

/// What a client of one's own makes of a request.
struct Requests {
    client: Bytes,
    sequence: u64,
    first_attempt_time: u64,
}

impl Requests {
    async fn new(kv: &mut KvClient<Channel>) -> Requests {
        let answer = kv.get(v1::GetRequest { key: key("any"), ..Default::default() }).await;
        let context = answer.expect("read").into_inner().context.expect("a context");
        let client = Bytes::copy_from_slice(&rand::random::<u128>().to_be_bytes());
        Requests { client, sequence: 0, first_attempt_time: context.cluster_time }
    }

    /// The context of a new request.
    fn next(&mut self) -> v1::RequestContext {
        self.sequence += 1;
        let (client, sequence) = (self.client.clone(), self.sequence);
        v1::RequestContext {
            timeout_ms: 5_000,
            request_id: Some(v1::RequestId { origin_room: 0, client, sequence }),
            first_attempt_time: self.first_attempt_time,
            ..Default::default()
        }
    }
}

fn again(context: &v1::RequestContext) -> Option<v1::RequestContext> {
    Some(v1::RequestContext { attempt: context.attempt + 1, ..context.clone() })
}

fn key(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

fn put(name: &str, value: &str) -> v1::PutRequest {
    v1::PutRequest { key: key(name), value: key(value), ..Default::default() }
}

fn absent() -> Option<v1::Condition> {
    Some(v1::Condition { kind: Some(v1::condition::Kind::Absent(true)) })
}

fn version(version: u64) -> Option<v1::Condition> {
    Some(v1::Condition { kind: Some(v1::condition::Kind::Version(version)) })
}

async fn state(kv: &mut KvClient<Channel>, name: &str) -> v1::KeyState {
    let get = v1::GetRequest { key: key(name), ..Default::default() };
    kv.get(get).await.expect("read").into_inner().state.expect("a state")
}

fn refusal(status: Status) -> v1::Error {
    details(&status)
}

/// A first copy that did nothing was answered so; what it was refused for goes away; its second copy
/// must not act.
async fn late_copies(near: &mut KvClient<Channel>, far: &mut KvClient<Channel>) {
    let mut requests = Requests::new(near).await;

    let context = requests.next();
    let delete = |context| v1::DeleteRequest { context, key: key("deleted"), ..Default::default() };
    let first = near.delete(delete(Some(context.clone()))).await.expect("nothing there");
    assert_eq!(first.into_inner().version, 0);
    far.put(put("deleted", "acknowledged")).await.expect("written");
    let second = far.delete(delete(again(&context))).await.expect("the same answer");
    assert_eq!(second.into_inner().version, 0);
    assert_eq!(state(near, "deleted").await.value, "acknowledged");

    near.put(put("created", "old")).await.expect("written");
    let context = requests.next();
    let create =
        |context| v1::PutRequest { context, condition: absent(), ..put("created", "mine") };
    let first = refusal(near.put(create(Some(context.clone()))).await.expect_err("it is there"));
    assert_eq!((first.code(), first.maybe_committed), (Code::Conflict, false), "{first:?}");
    far.delete(v1::DeleteRequest { key: key("created"), ..Default::default() })
        .await
        .expect("removed");
    let second = refusal(far.put(create(again(&context))).await.expect_err("the same answer"));
    assert_eq!(second.code(), Code::Conflict, "{second:?}");
    assert_eq!(second.current, first.current, "the refusal is that of the first");
    assert_eq!(state(near, "created").await.version, 0);

    near.put(put("counted", "word")).await.expect("written");
    let context = requests.next();
    let add = |context| v1::IncrementRequest { context, key: key("counted"), delta: 5, ttl_ms: 0 };
    let first = refusal(near.increment(add(Some(context.clone()))).await.expect_err("a word"));
    assert_eq!(first.code(), Code::NotANumber, "{first:?}");
    far.put(put("counted", "100")).await.expect("written");
    let second = refusal(far.increment(add(again(&context))).await.expect_err("the same answer"));
    assert_eq!(second.code(), Code::NotANumber, "{second:?}");
    assert_eq!(state(near, "counted").await.value, "100");

    let context = requests.next();
    let expire = |context| v1::ExpireRequest {
        context,
        key: key("kept"),
        ttl_ms: 3_600_000,
        ..Default::default()
    };
    let first = near.expire(expire(Some(context.clone()))).await.expect("nothing there");
    assert_eq!(first.into_inner().version, 0);
    far.put(put("kept", "for ever")).await.expect("written");
    let second = far.expire(expire(again(&context))).await.expect("the same answer");
    assert_eq!(second.into_inner().version, 0);
    assert_eq!(state(near, "kept").await.ttl_ms, 0);

    // Who says that it ignores such an answer once it has sent a later copy is spared the log entry.
    let context = v1::RequestContext { refusal_not_remembered: true, ..requests.next() };
    let delete = |context| v1::DeleteRequest { context, key: key("free"), ..Default::default() };
    let first = near.delete(delete(Some(context.clone()))).await.expect("nothing there");
    assert_eq!(first.into_inner().version, 0);
    far.put(put("free", "x")).await.expect("written");
    let second = far.delete(delete(again(&context))).await.expect("it acts").into_inner();
    assert!(second.version > 0);
}

/// Two items of a batch under one request id: which of them would the answer be for?
async fn twice_in_a_batch(kv: &mut KvClient<Channel>) {
    let mut requests = Requests::new(kv).await;
    let (one, other) = (requests.next(), requests.next());
    let item = |context: &v1::RequestContext, name: &str| v1::PutRequest {
        context: Some(context.clone()),
        ..put(name, "v")
    };
    let twice = vec![item(&one, "batch/a"), item(&other, "batch/b"), item(&one, "batch/c")];
    let refused = kv.batch_put(v1::BatchPutRequest { items: twice, ..Default::default() }).await;
    let error = refusal(refused.expect_err("an id twice"));
    assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
    assert!(error.message.contains("give each one of its own"), "{error:?}");
    assert_eq!(state(kv, "batch/b").await.version, 0, "none of it was written");
    let items = vec![item(&one, "batch/a"), item(&other, "batch/b")];
    let done = kv.batch_put(v1::BatchPutRequest { items, ..Default::default() }).await;
    assert_eq!(done.expect("written").into_inner().items.len(), 2);
    assert!(state(kv, "batch/b").await.version > 0);
}

/// What `Get` says of an absent key can be given back as a condition.
async fn version_zero_is_absent(kv: &mut KvClient<Channel>) {
    let found = state(kv, "zero").await.version;
    let create = v1::PutRequest { condition: version(found), ..put("zero", "v") };
    let made = kv.put(create.clone()).await.expect("it is absent").into_inner().version;
    let error = refusal(kv.put(create).await.expect_err("it is there"));
    assert_eq!(error.code(), Code::Conflict, "{error:?}");
    assert_eq!(error.current.expect("what stands").version, made);
    let delete = |condition| v1::DeleteRequest { key: key("zero"), condition, context: None };
    let error = refusal(kv.delete(delete(version(0))).await.expect_err("it is there"));
    assert_eq!(error.code(), Code::Conflict, "{error:?}");
    kv.delete(delete(version(made))).await.expect("removed");
    let expire = v1::ExpireRequest {
        key: key("zero"),
        ttl_ms: 1_000,
        condition: version(0),
        ..Default::default()
    };
    let error = refusal(kv.expire(expire).await.expect_err("it makes no sense"));
    assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
}

async fn a_put_keeps_the_expiry(kv: &mut KvClient<Channel>) {
    let hour = v1::PutRequest { ttl_ms: 3_600_000, ..put("session", "1") };
    let made = kv.put(hour.clone()).await.expect("written").into_inner().version;
    let before = state(kv, "session").await.expires_at;
    assert!(before > 0);
    let keep = v1::PutRequest { keep_ttl: true, condition: version(made), ..put("session", "2") };
    kv.put(keep.clone()).await.expect("as expected");
    let kept = state(kv, "session").await;
    assert_eq!((&kept.value[..], kept.expires_at), (&b"2"[..], before));
    kv.put(v1::PutRequest { condition: None, ..keep.clone() }).await.expect("written");
    assert_eq!(state(kv, "session").await.expires_at, before);
    let error = refusal(kv.put(v1::PutRequest { keep_ttl: true, ..hour }).await.expect_err("both"));
    assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
    kv.put(put("session", "3")).await.expect("written");
    assert_eq!(state(kv, "session").await.expires_at, 0);
    // Nothing is there whose expiry could be kept.
    kv.put(v1::PutRequest { keep_ttl: true, ..put("session/new", "4") }).await.expect("written");
    assert_eq!(state(kv, "session/new").await.expires_at, 0);
}

/// Every node's disk is full: a write that was done is answered as done, one of which nobody knows as
/// unknown, a new one as refused.
async fn a_done_write_is_never_denied(cluster: &Cluster) {
    let mut far = kv(cluster, 5).await;
    let mut requests = Requests::new(&mut far).await;
    let context = requests.next();
    let done = v1::PutRequest { context: Some(context.clone()), ..put("full", "v") };
    let first = far.put(done.clone()).await.expect("written").into_inner();
    let free_mb = fs4::available_space(cluster.dir()).expect("a disk") >> 20;
    cluster.kill(&[1, 2, 3, 4, 5]).await;
    // Twice what there is: nothing new is taken on, and the last quarter is far away.
    cluster.configure(&format!("free_mb_min = {}\n", free_mb * 2));
    cluster.bring_back().await;
    cluster.wait_healthy(HOME_TIMEOUT).await;
    let mut far = kv(cluster, 5).await;
    let second = far.put(v1::PutRequest { context: again(&context), ..done.clone() }).await;
    assert_eq!(second.expect("it was done").into_inner().version, first.version);

    let error = refusal(far.put(put("new", "v")).await.expect_err("no room"));
    assert_eq!((error.code(), error.maybe_committed), (Code::Storage, false), "{error:?}");
    let context = requests.next();
    let unheard = v1::PutRequest { context: again(&context), ..put("new", "v") };
    let error = refusal(far.put(unheard).await.expect_err("no room"));
    assert_eq!((error.code(), error.maybe_committed), (Code::UnknownOutcome, true), "{error:?}");
    assert_eq!((error.refused_for(), error.retry()), (Code::Storage, RetryClass::Never));
    // What helps goes on.
    let delete = v1::DeleteRequest { key: key("full"), ..Default::default() };
    assert!(far.delete(delete).await.expect("removed").into_inner().version > 0);
}
