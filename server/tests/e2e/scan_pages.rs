//! Scans in pages against a model, over real ranges: every combination of door, direction, limit, prefix
//! and bounds, at the moment of the first page or at a new one each time, with keys before, at and behind
//! the borders of ranges, some of them longer than the limit of keys that was set since.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use prost::Message;
use quintet_client::{Client, PutOptions, ScanOptions, Version};
use quintet_proto::v1::{
    self, kv_client::KvClient, session_request::Op, session_response::Result as Body,
};
use tokio::sync::{Mutex, mpsc};
use tonic::{Streaming, transport::Channel};

use crate::support::{cluster::Cluster, wait_for};

/// Where ranges end.
const BORDERS: &str = "d\nm\nm\\x00\nt\n";
/// Keys that come and go: before, at and behind the borders.
const KEYS: [&[u8]; 16] = [
    b"a",
    b"c",
    b"c\xff",
    b"d",
    b"d\0",
    b"e",
    b"l\xff\xff",
    b"m",
    b"m\0",
    b"m\0\0",
    b"mm",
    b"s",
    b"t",
    b"t\0",
    b"z",
    b"\xff",
];
/// Bounds of scans, and the empty one.
const BOUNDS: [&[u8]; 12] =
    [b"", b"b", b"c\xff", b"d", b"d\0", b"l", b"m", b"m\0", b"m\0\0", b"t", b"\xff", b"\xff\xff"];
const PREFIXES: [&[u8]; 8] = [b"", b"c", b"d", b"m", b"m\0", b"t", b"l\xff", b"\xff"];
/// Records of a page: fewer than most ranges hold.
const PAGE_RECORDS: u64 = 3;
/// The limit of keys is lowered below the length of those that are there by then.
const KEY_BYTES: usize = 64;
const LONG_KEY_BYTES: usize = 300;
const CASES: u32 = 250;
/// Pages of a scan that does not end.
const PAGES_MAX: usize = 100;
const SERVES_TIMEOUT: Duration = Duration::from_secs(20);
/// Draws the cases; another one draws others.
const SEED: u64 = 17;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_in_pages_lose_no_key_and_show_no_past() {
    let borders = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(borders.path(), BORDERS).expect("written");
    let path = borders.path().to_str().expect("a path in UTF-8");
    let cluster = Cluster::start_with(&["--split-points", path]).await;
    let client = cluster.client().await;
    let mut model = BTreeMap::new();
    for first in [b'd', b'm', b's'] {
        let key = Bytes::from(vec![first; LONG_KEY_BYTES]);
        client.put(key.clone(), "long").await.expect("written");
        model.insert(key, Bytes::from("long"));
    }
    cluster.kill(&[1, 2, 3, 4, 5]).await;
    let limits = format!(
        "\n[limits]\nscan_page_records_max = {PAGE_RECORDS}\nkey_bytes_max = {KEY_BYTES}\n"
    );
    cluster.configure(&limits);
    cluster.bring_back().await;
    let client = cluster.client().await;
    for key in [&b"a"[..], b"d", b"m", b"m\0", b"t"] {
        wait_for("every range serves", SERVES_TIMEOUT, async || client.get(key).await).await;
    }
    a_scan_begins_after_what_has_expired(&client).await;

    let world = World::new(&cluster, client, model).await;
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&SEED.to_be_bytes());
    println!("cases of seed {SEED}");
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(config, random);
    let handle = tokio::runtime::Handle::current();
    let all = runner.run(&cases(), |case| {
        tokio::task::block_in_place(|| handle.block_on(world.check(&case)));
        Ok(())
    });
    all.unwrap_or_else(|failed| panic!("seed {SEED}: {failed}"));
    what_is_longer_than_the_limit_can_go(&world).await;
}

/// A range that nobody writes to stands at its last write; a scan of it does not.
async fn a_scan_begins_after_what_has_expired(client: &Client) {
    let ttl = Duration::from_millis(400);
    client.put("e1", "v").await.expect("written");
    client.put_with("e2", "v", PutOptions::new().ttl(ttl)).await.expect("written");
    client.put("e3", "v").await.expect("written");
    // Not by looking: who looks is told, and then it is so for everybody.
    tokio::time::sleep(3 * ttl).await;
    let first = ScanOptions::prefix("e").limit(1);
    let page = client.scan_page(&first, None).await.expect("a page");
    assert_eq!(page.records[0].key, "e1");
    let rest = client.scan_page(&page.next.expect("more"), Some(page.at)).await.expect("a page");
    assert_eq!(rest.records[0].key, "e3", "one had expired before the scan began");
    for key in ["e1", "e3"] {
        client.delete(key).await.expect("removed");
    }
}

/// How somebody scans.
#[derive(Clone, Copy, Debug)]
enum Door {
    /// A stream of pages.
    Unary,
    /// A page a request.
    Session,
    /// A page a call.
    LibraryPages,
    /// All pages, one moment.
    LibraryStream,
}

#[derive(Clone, Debug)]
struct Case {
    /// Which of the keys are there.
    there: u16,
    door: Door,
    prefix: usize,
    start: usize,
    end: usize,
    reverse: bool,
    limit: u64,
    keys_only: bool,
    /// Pages are of the moment of the first one.
    kept: bool,
    /// A key that is written between two pages, and one that is removed.
    meddle: Option<(usize, usize)>,
}

fn cases() -> impl Strategy<Value = Case> {
    let door = prop_oneof![
        3 => Just(Door::Unary),
        3 => Just(Door::Session),
        2 => Just(Door::LibraryPages),
        1 => Just(Door::LibraryStream),
    ];
    let limit = prop_oneof![1 => Just(0), 5 => 1u64..=PAGE_RECORDS, 2 => PAGE_RECORDS + 1..20];
    // Bounds or a prefix or everything.
    let span = prop_oneof![
        2 => (Just(0), 0..BOUNDS.len(), 0..BOUNDS.len()),
        1 => (1..PREFIXES.len(), Just(0), Just(0)),
        1 => Just((0, 0, 0)),
    ];
    let meddle = proptest::option::of((0..KEYS.len(), 0..KEYS.len()));
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (any::<u16>(), door, span, limit, flags, meddle).prop_map(
        |(there, door, (prefix, start, end), limit, (reverse, keys_only, kept), meddle)| {
            let (start, end) = if end > 0 && start > end { (end, start) } else { (start, end) };
            Case { there, door, prefix, start, end, reverse, limit, keys_only, kept, meddle }
        },
    )
}

/// The cluster, its doors and what is there.
struct World {
    client: Client,
    kv: KvClient<Channel>,
    session: Mutex<Session>,
    /// Keys that are there, with their values.
    model: Mutex<BTreeMap<Bytes, Bytes>>,
    /// Version of the last write of each key, removals too.
    written: Mutex<BTreeMap<Bytes, u64>>,
    values: AtomicU64,
}

type State = BTreeMap<Bytes, Bytes>;

/// What is left of a scan.
#[derive(Clone, Debug)]
struct Left {
    request: v1::ScanRequest,
}

impl Left {
    /// Whether a key is in it.
    fn wants(&self, key: &[u8]) -> bool {
        let v1::ScanRequest { start, end, prefix, .. } = &self.request;
        key.starts_with(prefix) && key >= &start[..] && (end.is_empty() || key < &end[..])
    }

    /// What is there of it, in its order.
    fn of(&self, state: &State) -> Vec<(Bytes, Bytes)> {
        let empty = self.request.keys_only.then(Bytes::new);
        let wanted = state.iter().filter(|(key, _)| self.wants(key));
        let shown =
            wanted.map(|(key, value)| (key.clone(), empty.as_ref().unwrap_or(value).clone()));
        let mut shown: Vec<_> = shown.collect();
        if self.request.reverse {
            shown.reverse();
        }
        shown
    }
}

/// Answered: records, where it goes on, its moment.
type Answered = (Vec<(Bytes, Bytes)>, Bytes, u64);

impl World {
    async fn new(cluster: &Cluster, client: Client, model: State) -> World {
        // A node that leads nothing.
        let kv = KvClient::connect(format!("http://{}", cluster.address(5))).await.expect("a node");
        let session = Mutex::new(Session::open(kv.clone()).await);
        let (model, written) = (Mutex::new(model), Mutex::default());
        World { client, kv, session, model, written, values: AtomicU64::new(0) }
    }

    /// Writes a key, or removes it.
    async fn set(&self, key: &'static [u8], there: bool) {
        let key = Bytes::from_static(key);
        let version = if there {
            let value = Bytes::from(self.values.fetch_add(1, Ordering::Relaxed).to_string());
            let version = self.client.put(key.clone(), value.clone()).await.expect("written");
            self.model.lock().await.insert(key.clone(), value);
            Some(version)
        } else {
            self.model.lock().await.remove(&key);
            self.client.delete(key.clone()).await.expect("removed")
        };
        if let Some(version) = version {
            self.written.lock().await.insert(key, version.0);
        }
    }

    async fn check(&self, case: &Case) {
        let present = self.model.lock().await.clone();
        let changes = (0..).zip(KEYS).filter_map(|(bit, key)| {
            let there = case.there & (1 << bit) > 0;
            (there != present.contains_key(key)).then(|| self.set(key, there))
        });
        futures::future::join_all(changes).await;
        let mut left = Left {
            request: v1::ScanRequest {
                start: Bytes::from_static(BOUNDS[case.start]),
                end: Bytes::from_static(BOUNDS[case.end]),
                prefix: Bytes::from_static(PREFIXES[case.prefix]),
                reverse: case.reverse,
                limit: case.limit,
                keys_only: case.keys_only,
                ..v1::ScanRequest::default()
            },
        };
        if let Door::LibraryStream = case.door {
            let expected = left.of(&*self.model.lock().await);
            let most = usize::try_from(case.limit).expect("small");
            let most = if most == 0 { expected.len() } else { most.min(expected.len()) };
            assert_eq!(self.stream(&left).await, expected[..most]);
            return;
        }
        let begun = self.model.lock().await.clone();
        for page in 0.. {
            assert!(page < PAGES_MAX, "it does not end");
            let is_first = left.request.at == 0;
            let now = self.model.lock().await.clone();
            let state = if case.kept { &begun } else { &now };
            let written = self.written.lock().await.clone();
            let (records, next, at) = self.ask(case.door, &left).await;
            if is_first {
                let of_span = written.iter().filter(|(key, _)| left.wants(key));
                for (key, version) in of_span {
                    assert!(
                        *version <= at,
                        "{key:?} was written at {version}, the scan is of {at}"
                    );
                }
            } else {
                assert_eq!(at, left.request.at, "one moment");
            }
            let expected = left.of(state);
            assert!(case.limit == 0 || records.len() as u64 <= case.limit, "{records:?}");
            assert!(expected.starts_with(&records), "{expected:?} begins not with {records:?}");
            let rest = &expected[records.len()..];
            if next.is_empty() {
                assert_eq!(rest, [], "they are not shown, and this is the end");
                return;
            }
            if case.reverse {
                left.request.end = next;
            } else {
                left.request.start = next;
            }
            assert_eq!(left.of(state), rest, "it goes on elsewhere");
            if case.kept {
                left.request.at = at;
            }
            if let Some((write, remove)) = case.meddle {
                self.set(KEYS[write], true).await;
                self.set(KEYS[remove], false).await;
            }
        }
    }

    async fn ask(&self, door: Door, left: &Left) -> Answered {
        let request = left.request.clone();
        match door {
            Door::Unary => {
                let stream = self.kv.clone().scan(request.clone()).await.expect("a stream");
                let pages = stream.into_inner().try_collect::<Vec<_>>().await.expect("pages");
                let last = pages.last().expect("a page at least");
                let (next, at) = (last.next.clone(), last.at);
                for page in &pages {
                    assert_eq!(page.at, at, "pages of one stream show one moment");
                }
                let records: Vec<_> = pages.into_iter().flat_map(|page| page.records).collect();
                let full = records.len() as u64 == request.limit;
                assert!(full || next.is_empty(), "a stream ends with the limit or the scan");
                (told(records), next, at)
            }
            Door::Session => {
                // Leaders may be on their way home still: a session's client asks again.
                let page = wait_for("a page", SERVES_TIMEOUT, async || {
                    self.session.lock().await.ask(request.clone()).await
                });
                let page = page.await;
                (told(page.records), page.next, page.at)
            }
            Door::LibraryPages | Door::LibraryStream => {
                let at = Some(Version(request.at)).filter(|at| at.0 > 0);
                let page = self.client.scan_page(&options(left), at).await.expect("a page");
                let bound = page.next.as_ref().map_or(&[][..], |next| {
                    let (start, end) = next.bounds();
                    if request.reverse { end } else { start }
                });
                let next = Bytes::copy_from_slice(bound);
                let records = page.records.into_iter().map(|it| (it.key, it.value));
                (records.collect(), next, page.at.0)
            }
        }
    }

    async fn stream(&self, left: &Left) -> Vec<(Bytes, Bytes)> {
        let scan = self.client.scan(options(left));
        let records = scan.map(|found| found.map(|it| (it.key, it.value)));
        records.try_collect().await.expect("records")
    }
}

fn told(records: Vec<v1::Record>) -> Vec<(Bytes, Bytes)> {
    records.into_iter().map(|it| (it.key, it.state.unwrap_or_default().value)).collect()
}

/// As the library has it. There a prefix is a range: what is left of it has bounds.
fn options(left: &Left) -> ScanOptions {
    let v1::ScanRequest { start, end, prefix, reverse, limit, keys_only, .. } = &left.request;
    let whole = ScanOptions::prefix(prefix.clone());
    let (first, last) = whole.bounds();
    let start: &[u8] = start.as_ref().max(first);
    let end: &[u8] = match (end.as_ref(), last) {
        ([], last) => last,
        (end, []) => end,
        (end, last) => end.min(last),
    };
    let options = match (start, end) {
        ([], []) => ScanOptions::all(),
        (start, []) => ScanOptions::range(start..),
        (start, end) => ScanOptions::range(start..end),
    };
    let options = if *reverse { options.reverse() } else { options };
    let options = if *keys_only { options.keys_only() } else { options };
    if *limit > 0 { options.limit(*limit) } else { options }
}

/// A raw session, one request at a time.
struct Session {
    requests: mpsc::Sender<v1::SessionFrame>,
    frames: Streaming<v1::SessionFrame>,
    id: u64,
}

impl Session {
    async fn open(mut kv: KvClient<Channel>) -> Session {
        let (requests, sent) = mpsc::channel(4);
        let hello =
            v1::SessionRequests { hello: Some(v1::SessionHello::default()), requests: vec![] };
        requests.send(frame(&hello)).await.expect("open");
        let sent = futures::stream::unfold(sent, async |mut sent| Some((sent.recv().await?, sent)));
        let frames = kv.session(sent).await.expect("a session").into_inner();
        Session { requests, frames, id: 0 }
    }

    /// A page; `Err`: to be asked again.
    async fn ask(&mut self, scan: v1::ScanRequest) -> Result<v1::ScanResponse, v1::Error> {
        self.id += 1;
        let request = v1::SessionRequest { id: self.id, op: Some(Op::Scan(scan)) };
        let requests = v1::SessionRequests { hello: None, requests: vec![request] };
        self.requests.send(frame(&requests)).await.expect("open");
        loop {
            let frame = self.frames.message().await.expect("open").expect("not the end");
            let told = v1::SessionResponses::decode(frame.body).expect("responses");
            let mine = told.responses.into_iter().find(|told| told.id == self.id);
            match mine.map(|response| response.result) {
                Some(Some(Body::Scan(page))) => return Ok(page),
                Some(Some(Body::Error(error))) if error.retry() == v1::RetryClass::Reroute => {
                    return Err(error);
                }
                Some(other) => panic!("{other:?}"),
                None => {}
            }
        }
    }
}

fn frame(requests: &v1::SessionRequests) -> v1::SessionFrame {
    v1::SessionFrame { body: requests.encode_to_vec().into() }
}

/// It can be read and removed, and not written anew.
async fn what_is_longer_than_the_limit_can_go(world: &World) {
    let key = Bytes::from(vec![b'm'; LONG_KEY_BYTES]);
    let client = &world.client;
    let found = client.get(key.clone()).await.expect("read").expect("there");
    assert_eq!(found.value, "long");
    let refused = client.put(key.clone(), "v").await.expect_err("too long");
    assert_eq!(refused.code(), "invalid_argument");
    let (mut kv, put) =
        (world.kv.clone(), v1::PutRequest { key: key.clone(), ..Default::default() });
    let refused = kv.put(put).await.expect_err("too long");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    client.expire(key.clone(), Duration::from_secs(3600)).await.expect("done");
    assert!(client.delete(key.clone()).await.expect("removed").is_some());
    assert_eq!(client.get(key).await.expect("read"), None);
}
