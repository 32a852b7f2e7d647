//! Keys that expire: the command line, unary calls, sessions, a leader that dies, and what is
//! collected behind them.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use quintet_client::{Client, Condition, PutOptions, ScanOptions, Ttl};
use quintet_proto::v1::{self, kv_client::KvClient};
use tonic::{Status, transport::Channel};

use crate::support::{
    cluster::{Cluster, HOME_TIMEOUT},
    details, http, wait_for,
};

/// For a key whose time is up, or nearly, on machines that are busy.
const GONE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the gc threshold, which is 10 s behind, to pass, and for every node to collect.
const COLLECTED_TIMEOUT: Duration = Duration::from_secs(60);
const HOUR_MS: u64 = 3_600_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_expire() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    command_line(&cluster).await;
    what_is_no_time_to_live(&cluster, &client).await;
    let mut kv = KvClient::connect(format!("http://{}", cluster.clients[1])).await.expect("a node");
    unary_calls(&mut kv).await;
    sessions(&client).await;
    nothing_comes_back(&cluster, &client).await;

    // Kept for as short as nodes can be told to.
    let memory = "\n[limits]\ndedup_window_s = 10\nversion_retention_s = 10\n";
    cluster.kill(&[1, 2, 3, 4, 5]).await;
    cluster.configure(memory);
    cluster.bring_back().await;
    what_nobody_sees_is_collected(&cluster, &client).await;
}

async fn command_line(cluster: &Cluster) {
    let run = async |arguments: &[&str]| cluster.quintet(&[&["kv"], arguments].concat()).await;
    let json = async |arguments: &[&str]| {
        cluster.quintet(&[&["kv"], arguments, &["--output", "json"]].concat()).await.json()
    };
    run(&["put", "cli", "v", "--ttl", "1h"]).await.done();
    assert!(run(&["ttl", "cli"]).await.done().starts_with("59m "), "an hour, less a moment");
    let left = json(&["ttl", "cli"]).await["ttl_ms"].as_u64().expect("a number");
    assert!((HOUR_MS - 600_000..=HOUR_MS).contains(&left), "{left}");
    assert!(json(&["get", "cli"]).await["expires_at"].is_string());
    assert!(json(&["scan", "--prefix", "cli"]).await["expires_at"].is_string());
    // A put without a ttl takes it away, an increment keeps it.
    run(&["put", "cli", "7"]).await.done();
    assert_eq!(run(&["ttl", "cli"]).await.done(), "no expiry\n");
    assert!(json(&["ttl", "cli"]).await["ttl_ms"].is_null());
    assert!(json(&["get", "cli"]).await.get("expires_at").is_none());
    run(&["expire", "cli", "2h"]).await.done();
    assert_eq!(run(&["incr", "cli"]).await.done(), "8\n");
    assert!(run(&["ttl", "cli"]).await.done().starts_with("1h 59m"));
    run(&["persist", "cli"]).await.done();
    assert_eq!(run(&["ttl", "cli"]).await.done(), "no expiry\n");
    assert_eq!(run(&["get", "cli"]).await.done(), "8", "the value stays");

    run(&["incr", "cli", "--ttl", "300ms"]).await.done();
    wait_for("the key is gone", GONE_TIMEOUT, async || {
        let outcome = run(&["get", "cli"]).await;
        if outcome.code == Some(3) { Ok(()) } else { Err(outcome) }
    })
    .await;
    for command in [&["ttl", "cli"][..], &["persist", "cli"], &["expire", "cli", "1h"]] {
        let line = run(command).await.refused(3);
        assert!(line.starts_with("error: absent: "), "{line}");
    }
    assert_eq!(run(&["scan", "--prefix", "cli"]).await.done(), "");
    run(&["cas", "cli", "again", "--absent", "--ttl", "1h"]).await.done();
    assert!(run(&["ttl", "cli"]).await.done().starts_with("59m "));
}

async fn what_is_no_time_to_live(cluster: &Cluster, client: &Client) {
    for ttl in ["-5s", "0s", "soon", "5", "99999999999999999999s"] {
        for arguments in [
            &["kv", "put", "k", "v", "--ttl", ttl][..],
            &["kv", "incr", "k", "1", "--ttl", ttl],
            &["kv", "expire", "k", ttl],
        ] {
            let line = cluster.quintet(arguments).await.refused(2);
            assert!(line.starts_with("error: usage: ") && line.contains("time to live"), "{line}");
        }
    }
    let line = cluster.quintet(&["kv", "put", "k", "v", "--ttl", "36501d"]).await.refused(1);
    assert!(line.starts_with("error: invalid_argument: "), "{line}");
    for ttl in [Duration::ZERO, Duration::MAX] {
        let error = client.put_with("k", "v", PutOptions::new().ttl(ttl)).await;
        assert_eq!(error.expect_err("no time to live").code(), "invalid_argument");
    }
    assert_eq!(client.get("k").await.expect("read"), None, "nothing was written");
}

fn put(key: &str, ttl_ms: u64) -> v1::PutRequest {
    v1::PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::from_static(b"v"),
        ttl_ms,
        ..Default::default()
    }
}

async fn state(kv: &mut KvClient<Channel>, key: &str) -> v1::KeyState {
    let key = Bytes::copy_from_slice(key.as_bytes());
    let got = kv.get(v1::GetRequest { key, ..Default::default() }).await.expect("read");
    got.into_inner().state.expect("a state")
}

fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> v1::Code {
    let status = result.expect_err("refused");
    details(&status).code()
}

async fn unary_calls(kv: &mut KvClient<Channel>) {
    let key = Bytes::from_static(b"unary");
    let expire = |ttl_ms, condition| v1::ExpireRequest {
        key: key.clone(),
        ttl_ms,
        condition,
        ..Default::default()
    };
    let written = kv.put(put("unary", HOUR_MS)).await.expect("written").into_inner();
    let found = state(kv, "unary").await;
    assert_eq!(found.version, written.version);
    // Both are times of the cluster: 52 bits of microseconds, then 12.
    assert_eq!(found.expires_at, written.version + ((HOUR_MS * 1_000) << 12));
    assert!((1..=HOUR_MS).contains(&found.ttl_ms), "{found:?}");

    let kept = kv.expire(expire(0, None)).await.expect("done").into_inner();
    assert!(kept.version > written.version && kept.expires_at == 0, "{kept:?}");
    let found = state(kv, "unary").await;
    assert_eq!((found.version, found.expires_at, found.ttl_ms), (kept.version, 0, 0));
    assert_eq!(&found.value[..], b"v");

    let version =
        |version| Some(v1::Condition { kind: Some(v1::condition::Kind::Version(version)) });
    let absent = Some(v1::Condition { kind: Some(v1::condition::Kind::Absent(true)) });
    assert_eq!(code(kv.expire(expire(9, version(written.version))).await), v1::Code::Conflict);
    assert_eq!(code(kv.expire(expire(9, absent)).await), v1::Code::InvalidArgument);
    assert_eq!(code(kv.expire(expire(u64::MAX, None)).await), v1::Code::InvalidArgument);
    assert_eq!(code(kv.put(put("k", u64::MAX)).await), v1::Code::InvalidArgument);

    // One id, two requests that differ in nothing but the time to live.
    let context = Some(v1::RequestContext {
        request_id: Some(v1::RequestId { client: Bytes::from(vec![7; 16]), ..Default::default() }),
        ..Default::default()
    });
    let named = |ttl_ms| v1::PutRequest { context: context.clone(), ..put("named", ttl_ms) };
    let first = kv.put(named(HOUR_MS)).await.expect("written").into_inner().version;
    assert_eq!(kv.put(named(HOUR_MS)).await.expect("repeated").into_inner().version, first);
    assert_eq!(code(kv.put(named(HOUR_MS + 1)).await), v1::Code::RequestIdReused);

    // Not even the smallest time is none.
    kv.expire(expire(1, version(kept.version))).await.expect("done");
    wait_for("the key is gone", GONE_TIMEOUT, async || match state(kv, "unary").await {
        gone if gone == v1::KeyState::default() => Ok(()),
        found => Err(found),
    })
    .await;
    let nothing = kv.expire(expire(HOUR_MS, None)).await.expect("done").into_inner();
    assert_eq!((nothing.version, nothing.expires_at), (0, 0));
}

async fn sessions(client: &Client) {
    let soon = PutOptions::new().ttl(Duration::from_millis(200));
    let late = PutOptions::new().ttl(Duration::from_secs(3_600));
    for index in 0..20 {
        let options = if index % 2 == 0 { soon } else { late };
        client.put_with(format!("many/{index:02}"), "v", options).await.expect("written");
    }
    // A scan shows all or those that stay, however often it is asked, and never one again.
    let mut fewest = 20;
    wait_for("half of them are gone", GONE_TIMEOUT, async || {
        let scan = client.scan(ScanOptions::prefix("many/"));
        let records: Vec<_> = scan.try_collect().await.expect("scanned");
        assert!(records.len() <= fewest, "{} after {fewest}", records.len());
        fewest = records.len();
        if fewest == 10 { Ok(()) } else { Err(fewest) }
    })
    .await;
    let odd = |index: usize| format!("many/{index:02}");
    assert!(matches!(client.ttl(odd(1)).await, Ok(Some(Ttl::Left(_)))));
    assert_eq!(client.ttl(odd(0)).await, Ok(None));
    assert_eq!(client.delete(odd(0)).await, Ok(None), "there is nothing to remove");
    let stale = client.get(odd(1)).await.expect("read").expect("there");
    let refused = client.expire_if(
        odd(1),
        Duration::from_secs(1),
        client.put(odd(3), "w").await.expect("written"),
    );
    let error = refused.await.expect_err("another version");
    match error {
        quintet_client::Error::Conflict { current, .. } => assert_eq!(current, Some(stale)),
        other => panic!("{other}"),
    }
    client.increment_with_ttl("sum", 5, Duration::from_millis(50)).await.expect("done");
    wait_for("the sum is gone", GONE_TIMEOUT, async || {
        match client.increment("sum", 1).await.expect("done").value {
            1 => Ok(()),
            sum => Err(sum),
        }
    })
    .await;
}

/// What was seen gone stays so when its leader dies right then.
async fn nothing_comes_back(cluster: &Cluster, client: &Client) {
    for round in 0..2 {
        let key = format!("round/{round}");
        let options = PutOptions::new().ttl(Duration::from_millis(700));
        client.put_with(&key, "v", options).await.expect("written");
        let leader = cluster.leader().await;
        wait_for("the key is gone", GONE_TIMEOUT, async || {
            let found = client.get(&key).await.expect("read");
            if found.is_none() { Ok(()) } else { Err(found) }
        })
        .await;
        cluster.kill(&[leader]).await;
        for _ in 0..20 {
            assert_eq!(client.get(&key).await.expect("read"), None, "it came back");
        }
        let once = PutOptions::new().condition(Condition::Absent);
        client.put_with(&key, "w", once).await.expect("nothing is there");
        cluster.bring_back().await;
        cluster.wait_healthy(HOME_TIMEOUT).await;
    }
}

/// A client whose idea of the cluster's time is an hour behind asks for what nobody would remember.
async fn who_is_an_hour_behind(cluster: &Cluster) {
    let mut kv = KvClient::connect(format!("http://{}", cluster.clients[4])).await.expect("a node");
    let now = kv.get(v1::GetRequest { key: "late".into(), ..Default::default() }).await;
    let now = now.expect("read").into_inner().context.expect("a context").cluster_time;
    let put = |attempt| v1::PutRequest {
        context: Some(v1::RequestContext {
            first_attempt_time: now - ((HOUR_MS * 1_000) << 12),
            attempt,
            timeout_ms: 2_000,
            ..Default::default()
        }),
        key: Bytes::from_static(b"late"),
        ..Default::default()
    };
    let refusal = |status: Status| details(&status);
    let error = wait_for("it is refused", COLLECTED_TIMEOUT, async || {
        kv.put(put(0)).await.err().map(refusal).ok_or("it was written")
    })
    .await;
    assert_eq!((error.code(), error.maybe_committed), (v1::Code::Expired, false), "{error:?}");
    assert!(error.message.contains("ask again under a new id"), "{error:?}");
    // A repetition may be one of something that was done.
    let error = refusal(kv.put(put(1)).await.expect_err("nobody remembers"));
    assert_eq!(
        (error.code(), error.maybe_committed),
        (v1::Code::UnknownOutcome, true),
        "{error:?}"
    );
}

async fn what_nobody_sees_is_collected(cluster: &Cluster, client: &Client) {
    let first = client.put("many/old", "v").await.expect("written").0;
    for _ in 0..50 {
        client.put("many/old", "v").await.expect("written");
    }
    let mut kv = KvClient::connect(format!("http://{}", cluster.clients[0])).await.expect("a node");
    let scan =
        v1::ScanRequest { at: first, prefix: Bytes::from_static(b"many/"), ..Default::default() };
    let mut scan = async || -> Result<v1::ScanResponse, Status> {
        let page = kv.scan(scan.clone()).await?.into_inner().message().await?;
        Ok(page.expect("a page"))
    };
    let page = scan().await.expect("it is recent");
    assert!(page.records.iter().any(|record| record.key == "many/old"), "{page:?}");
    wait_for("the moment is out of reach", COLLECTED_TIMEOUT, async || match scan().await {
        Ok(page) => Err(page.at),
        refused => {
            assert_eq!(code(refused), v1::Code::VersionCollected);
            Ok(())
        }
    })
    .await;
    who_is_an_hour_behind(cluster).await;
    wait_for("every node has collected", COLLECTED_TIMEOUT, async || {
        for address in &cluster.https {
            let (_, page) = http::page(address, "/metrics").await?;
            let line =
                page.lines().find(|line| line.starts_with("quintet_versions_collected_total"));
            let count = line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
            if count < Some(50) {
                return Err(format!("{address}: {count:?}"));
            }
        }
        Ok(())
    })
    .await;
    // What is there is still there.
    assert!(client.get("many/old").await.expect("read").is_some());
    assert!(client.get("many/01").await.expect("read").is_some());
}
