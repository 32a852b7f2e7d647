//! What a node does not accept: each input has its stable code and a line that says what to do, by a
//! unary call and by a session, at the node that leads and at one that forwards. `docs/limits.md` is the
//! list for users.

use bytes::Bytes;
use prost::Message;
use quintet_proto::v1::{
    self, Code, kv_client::KvClient, session_request::Op, session_response::Result as Body,
};
use tonic::{Status, transport::Channel};

use crate::support::{
    cluster::{Cluster, HOME_TIMEOUT},
    command::quintet,
    details, http, node, wait_for,
};

/// What the encoded time counts in: microseconds, above 12 bits.
const HOUR: u64 = 3_600_000_000 << 12;
const KEY_BYTES_MAX: usize = 8 << 10;
const VALUE_BYTES_MAX: usize = 1 << 20;
const BATCH_ITEMS_MAX: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wrong_input_has_its_code() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    for (key, value) in
        [("text", "x".to_owned()), ("most", i64::MAX.to_string()), ("least", i64::MIN.to_string())]
    {
        client.put(key, value).await.expect("written");
    }
    let pids: Vec<_> = (1..=5).map(|id| cluster.pid(id)).collect();
    let leader = cluster.leader().await;
    for id in [leader, 5] {
        let mut kv = kv(&cluster, id).await;
        requests(&mut kv).await;
        batches(&mut kv).await;
        several_keys(&mut kv).await;
        reused_ids(&mut kv).await;
        clocks(&mut kv).await;
        frames(&mut kv).await;
    }
    an_id_that_is_in_use(&cluster).await;
    // Nothing of it has harmed anybody.
    for (id, pid) in (1..).zip(&pids) {
        assert_eq!(cluster.pid(id), *pid, "node {id} is another process");
        let log = cluster.log(id);
        assert_eq!(log.lines().find(|line| line.contains("panicked")), None, "node {id}");
        let page = http::page(&cluster.https[usize::try_from(id).expect("small") - 1], "/readyz");
        assert_eq!(page.await.map(|(code, _)| code), Ok(200), "node {id}");
        let state = kv(&cluster, id).await.get(get(None, "text")).await.expect("served");
        assert_eq!(state.into_inner().state.expect("a state").value, "x");
    }
    cluster.wait_healthy(HOME_TIMEOUT).await;
}

async fn kv(cluster: &Cluster, id: u64) -> KvClient<Channel> {
    let connected = KvClient::connect(format!("http://{}", cluster.address(id))).await;
    connected.expect("a node").max_encoding_message_size(64 << 20)
}

fn get(context: Option<v1::RequestContext>, key: &str) -> v1::GetRequest {
    v1::GetRequest { context, key: Bytes::copy_from_slice(key.as_bytes()), ..Default::default() }
}

fn put(key: &[u8]) -> v1::PutRequest {
    v1::PutRequest {
        key: Bytes::copy_from_slice(key),
        value: Bytes::from_static(b"x"),
        ..v1::PutRequest::default()
    }
}

fn put_with(context: v1::RequestContext) -> Op {
    Op::Put(v1::PutRequest { context: Some(context), ..put(b"k") })
}

fn timestamp_with(context: v1::RequestContext) -> Op {
    Op::Timestamp(v1::TimestampRequest { context: Some(context) })
}

fn increment(key: &'static str, delta: i64) -> Op {
    let key = Bytes::from_static(key.as_bytes());
    Op::Increment(v1::IncrementRequest { key, delta, ..v1::IncrementRequest::default() })
}

fn scan(start: &'static str, end: &'static str) -> v1::ScanRequest {
    v1::ScanRequest {
        start: Bytes::from_static(start.as_bytes()),
        end: Bytes::from_static(end.as_bytes()),
        ..v1::ScanRequest::default()
    }
}

fn deletion(start: &'static str, end: &'static str, at: u64) -> Op {
    let (start, end) = (Bytes::from(start), Bytes::from(end));
    Op::DeleteRange(v1::DeleteRangeRequest { start, end, at, ..Default::default() })
}

/// What is wrong, its code, and words of the message that say what to do.
fn wrong() -> Vec<(&'static str, Op, Code, &'static str)> {
    use Code::{InvalidArgument, NotANumber, WrongCluster};
    let context = v1::RequestContext::default;
    let keyspace = |name: &str| v1::RequestContext { keyspace: name.to_owned(), ..context() };
    let with_ttl = |ttl_ms| Op::Put(v1::PutRequest { ttl_ms, ..put(b"k") });
    let conditioned =
        |kind| Op::Put(v1::PutRequest { condition: Some(v1::Condition { kind }), ..put(b"k") });
    let absent = Some(v1::Condition { kind: Some(v1::condition::Kind::Absent(true)) });
    let expire = v1::ExpireRequest { condition: absent, key: "k".into(), ..Default::default() };
    let short_id = v1::RequestId { client: Bytes::from_static(b"short"), ..Default::default() };
    let room = v1::RequestId {
        origin_room: u32::MAX,
        client: Bytes::from_static(&[7; 16]),
        ..Default::default()
    };
    let large = vec![0; VALUE_BYTES_MAX + 1];
    // One byte more is a bound just behind the longest key.
    let bound = Bytes::from(vec![b'k'; KEY_BYTES_MAX + 2]);
    vec![
        ("an empty key", Op::Put(put(b"")), InvalidArgument, "1 byte at least"),
        ("an empty key to get", Op::Get(get(None, "")), InvalidArgument, "1 byte at least"),
        (
            "a key too long",
            Op::Put(put(&[b'k'; KEY_BYTES_MAX + 1])),
            InvalidArgument,
            "8193 bytes, 8192 are allowed; shorten",
        ),
        (
            "a value too large",
            Op::Put(v1::PutRequest { value: large.into(), ..put(b"k") }),
            InvalidArgument,
            "1048577 bytes, 1048576 are allowed; split",
        ),
        ("the system keyspace", put_with(keyspace("system")), InvalidArgument, "use 'default'"),
        ("a keyspace that is not", put_with(keyspace("none")), InvalidArgument, "use 'default'"),
        ("start behind end", Op::Scan(scan("z", "a")), InvalidArgument, "swap them"),
        (
            "a bound too long",
            Op::Scan(v1::ScanRequest { start: bound, ..Default::default() }),
            InvalidArgument,
            "shorten",
        ),
        (
            "a moment to come",
            Op::Scan(v1::ScanRequest { at: u64::MAX, ..scan("a", "b") }),
            InvalidArgument,
            "take one that an answer told",
        ),
        (
            "a page of a moment, and how old it may be",
            Op::Scan(v1::ScanRequest { at: 1, stale_ms: 1, ..scan("a", "b") }),
            InvalidArgument,
            "leave 'at' or 'stale_ms' out",
        ),
        (
            "a value of a moment, and how old it may be",
            Op::Get(v1::GetRequest {
                key: Bytes::from_static(b"k"),
                at: 1,
                stale_ms: 1,
                ..Default::default()
            }),
            InvalidArgument,
            "leave 'at' or 'stale_ms' out",
        ),
        ("a deletion of no keys", deletion("", "", 1), InvalidArgument, "'everything' for all"),
        ("a deletion that ends before it starts", deletion("z", "a", 1), InvalidArgument, "swap"),
        (
            "a deletion of what is yet to come",
            deletion("a", "b", u64::MAX),
            InvalidArgument,
            "take the 'at'",
        ),
        // -1 as languages without unsigned numbers send it.
        ("a negative ttl", with_ttl(u64::MAX), InvalidArgument, "leave it out"),
        ("an enormous ttl", with_ttl(3_153_600_000_001), InvalidArgument, "leave it out"),
        ("an increment of a text", increment("text", 1), NotANumber, "put a number"),
        ("a sum too large", increment("most", 1), NotANumber, "put a number"),
        ("a sum too small", increment("least", -1), NotANumber, "put a number"),
        ("a condition of no kind", conditioned(None), InvalidArgument, "set 'absent' or"),
        ("an absent key that expires", Op::Expire(expire), InvalidArgument, "'version' or none"),
        (
            "another cluster",
            put_with(v1::RequestContext { cluster_id: "none".to_owned(), ..context() }),
            WrongCluster,
            "connect anew",
        ),
        (
            "a timestamp of another cluster",
            timestamp_with(v1::RequestContext { cluster_id: "none".to_owned(), ..context() }),
            WrongCluster,
            "connect anew",
        ),
        (
            "a timestamp of no such keyspace",
            timestamp_with(keyspace("No Such")),
            InvalidArgument,
            "keyspace",
        ),
        (
            "another incarnation",
            put_with(v1::RequestContext { incarnation: 77, ..context() }),
            WrongCluster,
            "connect anew",
        ),
        (
            "an id too short",
            put_with(v1::RequestContext { request_id: Some(short_id), ..context() }),
            InvalidArgument,
            "16 bytes",
        ),
        (
            "a room that is none",
            put_with(v1::RequestContext { request_id: Some(room), ..context() }),
            InvalidArgument,
            "16 bits",
        ),
    ]
}

#[track_caller]
fn check(what: &str, error: &v1::Error, code: Code, words: &str) {
    assert_eq!(error.code(), code, "{what}: {error:?}");
    assert!(error.message.contains(words), "{what}: {words:?} in {:?}", error.message);
    assert!(!error.maybe_committed && !error.message.contains('\n'), "{what}: {error:?}");
    assert_eq!(error.retry(), v1::RetryClass::Never, "{what}: {error:?}");
}

/// Runs an operation as a unary call.
async fn unary(kv: &mut KvClient<Channel>, op: Op) -> Result<(), Status> {
    match op {
        Op::Get(get) => kv.get(get).await.map(drop),
        Op::Put(put) => kv.put(put).await.map(drop),
        Op::History(history) => kv.history(history).await.map(drop),
        Op::Delete(delete) => kv.delete(delete).await.map(drop),
        Op::Increment(increment) => kv.increment(increment).await.map(drop),
        Op::Expire(expire) => kv.expire(expire).await.map(drop),
        Op::DeleteRange(delete) => kv.delete_range(delete).await.map(drop),
        Op::Timestamp(asked) => kv.timestamp(asked).await.map(drop),
        Op::Scan(scan) => kv.scan(scan).await?.into_inner().message().await.map(drop),
        Op::PutMany(_) | Op::Watch(_) => panic!("a page is only on a session"),
    }
}

/// The answers to requests of one frame, in any order.
async fn session(
    kv: &mut KvClient<Channel>,
    requests: Vec<v1::SessionRequest>,
) -> Result<Vec<v1::SessionResponse>, Status> {
    let wanted = requests.len();
    let hello = Some(v1::SessionHello::default());
    let body = v1::SessionRequests { hello, requests }.encode_to_vec();
    let frame = v1::SessionFrame { body: body.into() };
    let mut answers = kv.session(futures::stream::iter([frame])).await?.into_inner();
    let mut all = Vec::new();
    while all.len() < wanted {
        let Some(frame) = answers.message().await? else { break };
        let frame = v1::SessionResponses::decode(frame.body).expect("decoded");
        all.extend(frame.responses);
    }
    Ok(all)
}

async fn requests(kv: &mut KvClient<Channel>) {
    for (what, op, code, words) in wrong() {
        let refused = unary(kv, op).await.err().unwrap_or_else(|| panic!("accepted: {what}"));
        check(what, &details(&refused), code, words);
    }
    let numbered = (0..).zip(wrong());
    let requests = numbered.map(|(id, (_, op, ..))| v1::SessionRequest { id, op: Some(op) });
    let answers = session(kv, requests.collect()).await.expect("answers, one by one");
    assert_eq!(answers.len(), wrong().len());
    for (id, (what, _, code, words)) in (0..).zip(wrong()) {
        let answer = answers.iter().find(|answer| answer.id == id).expect(what);
        match &answer.result {
            Some(Body::Error(error)) => check(what, error, code, words),
            other => panic!("{what}: {other:?}"),
        }
    }
    let nothing =
        session(kv, vec![v1::SessionRequest { id: 7, op: None }]).await.expect("answered");
    let Some(Body::Error(error)) = &nothing[0].result else { panic!("{nothing:?}") };
    assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
}

async fn batches(kv: &mut KvClient<Channel>) {
    // Too many; and small messages that would unfold to a hundred times their size.
    let too_many = "1001 items, 1000 are allowed; split it";
    let far_too_many = "100001 items or more, 1000 are allowed; split it";
    for (key, count, message) in [
        (Bytes::from_static(b"k"), BATCH_ITEMS_MAX + 1, too_many),
        (Bytes::new(), 8_000_000, far_too_many),
    ] {
        let keys = vec![key; count];
        let refused = kv.batch_get(v1::BatchGetRequest { keys, ..Default::default() }).await;
        let error = details(&refused.expect_err("too many"));
        check("a batch to get", &error, Code::InvalidArgument, message);
    }
    for (item, count, message) in [
        (put(b"batch"), BATCH_ITEMS_MAX + 1, too_many),
        (v1::PutRequest::default(), 300_000, far_too_many),
    ] {
        let items = vec![item; count];
        let refused = kv.batch_put(v1::BatchPutRequest { items, ..Default::default() }).await;
        let error = details(&refused.expect_err("too many"));
        check("a batch to put", &error, Code::InvalidArgument, message);
    }
    // None of it was written.
    assert_eq!(
        kv.get(get(None, "batch")).await.expect("read").into_inner().state,
        Some(Default::default())
    );

    // One item that is wrong is that item's matter.
    let items = vec![put(b"batch/1"), put(b""), put(b"batch/2")];
    let done = kv.batch_put(v1::BatchPutRequest { items, ..Default::default() }).await;
    let items = done.expect("a batch").into_inner().items;
    let codes: Vec<_> = items
        .iter()
        .map(|item| match &item.result {
            Some(v1::put_result::Result::Error(error)) => Some(error.code()),
            _ => None,
        })
        .collect();
    assert_eq!(codes, [None, Some(Code::InvalidArgument), None]);

    // More bytes than gRPC takes: that is below the interface, and nothing was begun.
    let item = v1::PutRequest { value: vec![0; VALUE_BYTES_MAX].into(), ..put(b"batch/large") };
    let items = vec![item; 17];
    let refused = kv.batch_put(v1::BatchPutRequest { items, ..Default::default() }).await;
    let status = refused.expect_err("too many bytes");
    assert_eq!(status.code(), tonic::Code::OutOfRange, "{status:?}");
    assert!(kv.get(get(None, "batch/large")).await.is_ok(), "the connection serves on");
}

fn several(items: &[(&[u8], usize)]) -> v1::PutManyRequest {
    let item = |(key, bytes): &(&[u8], usize)| v1::PutManyItem {
        key: Bytes::copy_from_slice(key),
        value: vec![b'x'; *bytes].into(),
    };
    let items = items.iter().map(item).collect();
    v1::PutManyRequest { items, ..v1::PutManyRequest::default() }
}

/// Requests on several keys: done whole, once, or not at all.
async fn several_keys(kv: &mut KvClient<Channel>) {
    use Code::{InvalidArgument, RequestIdReused, SeveralRanges};
    let keys: Vec<_> = (0..=BATCH_ITEMS_MAX).map(|index| format!("n{index:04}")).collect();
    let many: Vec<_> = keys.iter().map(|key| (key.as_bytes(), 1)).collect();
    let long = [b'z'; KEY_BYTES_MAX + 1];
    let large: Vec<_> = (0..20).map(|index| (keys[index].as_bytes(), 60_000)).collect();
    let ttl = v1::PutManyRequest { ttl_ms: u64::MAX, ..several(&[(b"n", 1)]) };
    let wrong = [
        ("no items", several(&[]), InvalidArgument, "no items"),
        ("too many", several(&many), InvalidArgument, "1001 items, 1000 are allowed; split it"),
        ("too large", several(&large), InvalidArgument, "1048576 are allowed; split it"),
        ("an empty key", several(&[(b"", 1), (b"n", 1)]), InvalidArgument, "1 byte at least"),
        ("a long key", several(&[(b"n", 1), (&long, 1)]), InvalidArgument, "shorten"),
        ("falling keys", several(&[(b"nb", 1), (b"na", 1)]), InvalidArgument, "sort them"),
        ("a key twice", several(&[(b"na", 1), (b"na", 1)]), InvalidArgument, "name none twice"),
        ("a negative ttl", ttl, InvalidArgument, "leave it out"),
        ("two ranges", several(&[(b"a", 1), (b"n", 1)]), SeveralRanges, "under new request ids"),
    ];
    for (what, request, code, words) in wrong {
        match ask_one(kv, Op::PutMany(request)).await {
            Body::Error(error) => check(what, &error, code, words),
            other => panic!("{what}: {other:?}"),
        }
    }
    // None of it was written.
    let scan = v1::ScanRequest { prefix: "n".into(), ..Default::default() };
    let Body::Scan(page) = ask_one(kv, Op::Scan(scan)).await else { panic!("no page") };
    assert_eq!(page.records, []);

    let client = Bytes::copy_from_slice(&rand::random::<u128>().to_be_bytes());
    let request_id = Some(v1::RequestId { client, sequence: 1, origin_room: 0 });
    let answered = kv.get(get(None, "text")).await.expect("read").into_inner();
    let first_attempt_time = answered.context.expect("a context").cluster_time;
    let named = |attempt, request: v1::PutManyRequest| {
        let request_id = request_id.clone();
        let context =
            v1::RequestContext { request_id, first_attempt_time, attempt, ..Default::default() };
        Op::PutMany(v1::PutManyRequest { context: Some(context), ..request })
    };
    let right = || several(&[(b"several/a", 3), (b"several/b", 4)]);
    let Body::PutMany(first) = ask_one(kv, named(0, right())).await else { panic!("refused") };
    let Body::PutMany(again) = ask_one(kv, named(1, right())).await else { panic!("refused") };
    assert_eq!(first.version, again.version);
    for (key, bytes) in [("several/a", 3), ("several/b", 4)] {
        let state = kv.get(get(None, key)).await.expect("read").into_inner().state;
        let state = state.expect("there");
        assert_eq!((state.version, state.value.len()), (first.version, bytes));
    }
    let other = several(&[(b"several/a", 3), (b"several/b", 5)]);
    match ask_one(kv, named(1, other)).await {
        Body::Error(error) => {
            check("an id used again", &error, RequestIdReused, "must not be used twice");
        }
        other => panic!("{other:?}"),
    }
}

/// The answer to one request of a session.
async fn ask_one(kv: &mut KvClient<Channel>, op: Op) -> Body {
    let requests = vec![v1::SessionRequest { id: 1, op: Some(op) }];
    let mut answers = session(kv, requests).await.expect("answered");
    answers.remove(0).result.expect("a result")
}

/// A request id is one request for ever.
async fn reused_ids(kv: &mut KvClient<Channel>) {
    let answered = kv.get(get(None, "text")).await.expect("read").into_inner();
    let first_attempt_time = answered.context.expect("a context").cluster_time;
    let client = Bytes::copy_from_slice(&rand::random::<u128>().to_be_bytes());
    let request_id = Some(v1::RequestId { client, sequence: 1, origin_room: 0 });
    let context = v1::RequestContext { request_id, first_attempt_time, ..Default::default() };
    let request = |value: &'static str, attempt| v1::PutRequest {
        context: Some(v1::RequestContext { attempt, ..context.clone() }),
        value: Bytes::from_static(value.as_bytes()),
        ..put(b"reused")
    };
    let first = kv.put(request("one", 0)).await.expect("written").into_inner();
    let refused = kv.put(request("two", 1)).await.expect_err("another request");
    let error = details(&refused);
    check("an id used again", &error, Code::RequestIdReused, "must not be used twice");
    let again = kv.put(request("one", 1)).await.expect("a repetition").into_inner();
    assert_eq!(again.version, first.version);
    let state = kv.get(get(None, "reused")).await.expect("read").into_inner().state;
    assert_eq!(state.expect("there").value, "one");
}

/// Clients whose idea of the cluster's time is an hour off.
async fn clocks(kv: &mut KvClient<Channel>) {
    let answered = kv.get(get(None, "text")).await.expect("read").into_inner();
    let now = answered.context.expect("a context").cluster_time;
    let at = |first_attempt_time, attempt| {
        put_with(v1::RequestContext { first_attempt_time, attempt, ..Default::default() })
    };
    let refused = unary(kv, at(now + HOUR, 0)).await.expect_err("ahead");
    let error = details(&refused);
    check("an hour ahead", &error, Code::InvalidArgument, "learn the cluster's time");
    let refused = unary(kv, at(u64::MAX, 0)).await.expect_err("the end of time");
    let error = details(&refused);
    check("the end of time", &error, Code::InvalidArgument, "learn the cluster's time");
    // Moments above everything that is published are not made up for.
    for moment in [now + HOUR, u64::MAX] {
        let get = v1::GetRequest { at: moment, ..get(None, "text") };
        let error = details(&kv.get(get).await.expect_err("to come"));
        check("a value to come", &error, Code::InvalidArgument, "take one that an answer told");
    }
    // Nor is a version that nobody gave.
    let condition = Some(v1::Condition { kind: Some(v1::condition::Kind::Version(u64::MAX)) });
    let put = v1::PutRequest { condition, ..put(b"text") };
    let error = details(&kv.put(put).await.expect_err("no such version"));
    assert_eq!(error.code(), Code::Conflict, "{error:?}");
    // That says nothing about an earlier copy, nor does what is wrong with a later one.
    let timeless = put_with(v1::RequestContext { attempt: 1, ..Default::default() });
    let error = details(&unary(kv, timeless).await.expect_err("no time"));
    assert_eq!((error.code(), error.maybe_committed), (Code::UnknownOutcome, true), "{error:?}");
    assert!(error.message.contains("must name the time of the first"), "{error:?}");
    let refused = unary(kv, at(now + HOUR, 1)).await.expect_err("ahead");
    let error = details(&refused);
    assert_eq!((error.code(), error.maybe_committed), (Code::UnknownOutcome, true), "{error:?}");
    assert_eq!(error.refused_for(), Code::InvalidArgument, "{error:?}");
    assert!(error.message.contains("learn the cluster's time"), "{error:?}");
    // A cluster younger than its window remembers all that was ever asked; `expiry.rs` has an older one.
    unary(kv, at(now - HOUR, 0)).await.expect("remembered");
    // The cluster's own time has not followed anybody.
    let answered = kv.get(get(None, "text")).await.expect("read").into_inner();
    let later = answered.context.expect("a context").cluster_time;
    assert!((now..now + HOUR / 2).contains(&later), "{now} {later}");
}

/// Frames that are larger than they look, and ones that are too large.
async fn frames(kv: &mut KvClient<Channel>) {
    // Two bytes each on the wire.
    let many = vec![v1::SessionRequest::default(); 1 << 20];
    let refused = session(kv, many).await.expect_err("too many");
    let error = details(&refused);
    check("a frame of a million", &error, Code::InvalidArgument, "send fewer at once");
    let items = vec![v1::PutManyItem::default(); 1 << 20];
    let op = Some(Op::PutMany(v1::PutManyRequest { items, ..Default::default() }));
    let refused = session(kv, vec![v1::SessionRequest { id: 1, op }]).await.expect_err("too many");
    let error = details(&refused);
    check("a batch of a million", &error, Code::InvalidArgument, "send fewer at once");
    let value = Bytes::from(vec![0; 17 << 20]);
    let op = Some(Op::Put(v1::PutRequest { value, ..put(b"k") }));
    let refused = session(kv, vec![v1::SessionRequest { id: 1, op }]).await.expect_err("too large");
    assert_eq!(refused.code(), tonic::Code::OutOfRange, "{refused:?}");
    let op = Some(Op::Get(get(None, "text")));
    let served = session(kv, vec![v1::SessionRequest { id: 1, op }]).await.expect("served");
    assert!(matches!(served[0].result, Some(Body::Get(_))), "{served:?}");
}

/// Sessions beyond the bound are refused, and taken again once others have gone.
#[tokio::test]
async fn sessions_have_a_bound() {
    let temp = tempfile::tempdir().expect("a directory");
    let config = node::configure(temp.path(), 1, &[]);
    let text = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(&config, text + "[limits]\nsessions_max = 2\n").expect("written");
    let node = node::Node::start(&config).await;
    let init = ["cluster", "init", "--nodes", "1", "--node", &node.client];
    quintet(temp.path(), &init).await.done();
    let connected = KvClient::connect(format!("http://{}", node.client)).await;
    let mut kv = connected.expect("a node");
    let mut open =
        async || kv.session(futures::stream::pending()).await.map(tonic::Response::into_inner);
    let (first, second) = (open().await.expect("a session"), open().await.expect("a session"));
    let refused = wait_for("the third is refused", HOME_TIMEOUT, async || {
        // Sessions are counted a moment after they begin.
        open().await.err().ok_or("a third session")
    })
    .await;
    let error = details(&refused);
    assert_eq!(error.code(), Code::Overloaded, "{error:?}");
    assert!(error.message.contains("2 sessions are open; close some"), "{error:?}");
    assert_eq!(error.retry(), v1::RetryClass::Reroute, "{error:?}");
    drop((first, second));
    wait_for("there is room again", HOME_TIMEOUT, async || open().await.map(drop)).await;
}

/// A node that is started with an empty directory under the id of one that runs ends, and says why.
async fn an_id_that_is_in_use(cluster: &Cluster) {
    let temp = tempfile::tempdir().expect("a directory");
    // The one that has the id, and one that only knows it.
    for seed in [&cluster.internals[2], &cluster.internals[0]] {
        let config = node::configure(temp.path(), 3, std::slice::from_ref(seed));
        let config = config.to_str().expect("UTF-8");
        let line = quintet(temp.path(), &["start", "--config", config]).await.refused(1);
        assert!(line.starts_with("error: node_failed: "), "{line}");
        let named = format!("node id 3 is in use by the node at {}", cluster.internals[2]);
        assert!(line.contains(&named) && line.contains("set node.id"), "{line}");
    }
    // Nobody has minded it.
    cluster.wait_healthy(HOME_TIMEOUT).await;
}
