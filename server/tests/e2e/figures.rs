//! What an operator sees of running nodes: `/metrics`, the dashboard made of it, and the lines that
//! name requests.

use std::{collections::BTreeSet, path::Path, process::Stdio, time::Duration};

use quintet_proto::v1::{self, kv_client::KvClient};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::support::{cluster::Cluster, http, wait_for};

/// For figures to be looked at again, which happens once a second.
const SEEN_TIMEOUT: Duration = Duration::from_secs(20);
/// More than the second from which on a request is slow.
const PAUSE: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_operators_see() {
    let cluster = Cluster::start().await;
    let mut kv = KvClient::connect(format!("http://{}", cluster.clients[0])).await.expect("a node");
    let items = (0..100).map(|n| put(&format!("k{n}"), None)).collect();
    let batch = v1::BatchPutRequest { context: None, items };
    kv.batch_put(batch).await.expect("written");
    let batch = v1::BatchGetRequest { keys: vec!["k1".into()], ..Default::default() };
    kv.batch_get(batch).await.expect("read");
    every_figure_has_help(&cluster).await;
    promtool_has_nothing_to_say(&cluster).await;
    the_dashboard_shows_what_there_is(&cluster).await;
    figures_are_filled(&cluster, &mut kv).await;
    a_slow_request_is_named(&cluster, &mut kv).await;
}

fn put(key: &str, request: Option<v1::RequestId>) -> v1::PutRequest {
    let context =
        v1::RequestContext { timeout_ms: 20_000, request_id: request, ..Default::default() };
    v1::PutRequest {
        context: Some(context),
        key: key.to_owned().into(),
        value: "v".into(),
        ..Default::default()
    }
}

async fn metrics(cluster: &Cluster, id: usize) -> Result<String, String> {
    let (code, text) = http::page(&cluster.https[id - 1], "/metrics").await?;
    if code == 200 { Ok(text) } else { Err(format!("{code}: {text}")) }
}

/// Sum of the samples whose line begins so.
fn sum(text: &str, beginning: &str) -> f64 {
    let lines = text.lines().filter(|line| line.starts_with(beginning));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn samples(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(['{', ' ']).next()).collect()
}

async fn every_figure_has_help(cluster: &Cluster) {
    let text = metrics(cluster, 1).await.expect("metrics");
    let after = |kind: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(kind)?.split_once(' '));
        lines.filter(|(_, rest)| !rest.trim().is_empty()).map(|(name, _)| name.to_owned()).collect()
    };
    let (help, types) = (after("# HELP "), after("# TYPE "));
    assert_eq!(help, types);
    assert!(types.len() > 30, "{types:?}");
    // Every sample belongs to a family that has both.
    for sample in samples(&text) {
        let family = ["_total", "_bucket", "_sum", "_count", ""]
            .iter()
            .filter_map(|suffix| sample.strip_suffix(suffix))
            .any(|family| help.contains(family));
        let ours = ["quintet_", "process_"].iter().any(|prefix| sample.starts_with(prefix));
        assert!(family && ours, "{sample} is of no known family");
    }
}

/// By Prometheus's own judge, where `script/test` or somebody else has put it; what it judges is pinned by
/// a reader of our own in `ops/metrics/strict.rs`.
async fn promtool_has_nothing_to_say(cluster: &Cluster) {
    let promtool = std::env::var_os("QUINTET_PROMTOOL").unwrap_or_else(|| "promtool".into());
    let text = metrics(cluster, 1).await.expect("metrics");
    let mut judge = Command::new(&promtool);
    judge.args(["check", "metrics"]).stdin(Stdio::piped());
    judge.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut judge = match judge.spawn() {
        Ok(judge) => judge,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("no promtool here (QUINTET_PROMTOOL, or in PATH): not asked");
            return;
        }
        Err(error) => panic!("{promtool:?}: {error}"),
    };
    let mut asked = judge.stdin.take().expect("piped");
    asked.write_all(text.as_bytes()).await.expect("taken");
    drop(asked);
    let said = judge.wait_with_output().await.expect("judged");
    let words = [said.stdout, said.stderr].concat();
    assert!(
        said.status.success() && words.is_empty(),
        "{}: {}",
        said.status,
        String::from_utf8_lossy(&words)
    );
}

async fn the_dashboard_shows_what_there_is(cluster: &Cluster) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/grafana/quintet.json");
    let file = std::fs::read_to_string(&path).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&file).expect("JSON");
    assert!(dashboard["title"].is_string() && dashboard["schemaVersion"].is_u64());
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let datasource = variables.iter().find(|variable| variable["name"] == "datasource");
    let datasource = datasource.expect("a variable for the data source");
    assert_eq!(
        (&datasource["type"], &datasource["query"]),
        (&"datasource".into(), &"prometheus".into())
    );

    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> =
        panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len(), "ids are unique");
    let text = metrics(cluster, 1).await.expect("metrics");
    let exported = samples(&text);
    let mut used = BTreeSet::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{panel}");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{target}");
            let expression = target["expr"].as_str().expect("an expression");
            let named: Vec<_> = names(expression).collect();
            assert!(!named.is_empty(), "{expression} shows nothing of ours");
            for name in named {
                assert!(exported.contains(name), "{name} of {expression} is not exported");
                used.insert(name);
            }
            // Figures of the engines are told apart by a label.
            for (_, rest) in expression
                .match_indices(",name=\"")
                .map(|(at, s)| expression.split_at(at + s.len()))
            {
                let name = rest.split('"').next().expect("a name");
                assert!(text.contains(&format!("name=\"{name}\"")), "{name} of {expression}");
            }
        }
    }
    // And it leaves nothing out.
    for name in exported {
        let shown = ["_bucket", "_sum", "_count", ""].iter().any(|suffix| {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s));
            used.contains(format!("{}{suffix}", family.unwrap_or(name)).as_str())
        });
        assert!(shown, "{name} is nowhere on the dashboard");
    }
}

/// The metrics that an expression names.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("quintet_") || word.starts_with("process_"))
}

async fn figures_are_filled(cluster: &Cluster, kv: &mut KvClient<tonic::transport::Channel>) {
    for figure in [
        "quintet_operations_total{operation=\"batch_put\",outcome=\"ok\"}",
        "quintet_operations_total{operation=\"batch_get\",outcome=\"ok\"}",
        "quintet_range_term{",
        "quintet_range_log_entries{",
        "quintet_range_elections_won_total{",
        "quintet_range_is_leader{",
        "quintet_log_syncs_total ",
        "quintet_log_sync_entries_sum ",
        "quintet_log_sync_ranges_sum ",
        "quintet_read_confirmations_total ",
        "quintet_engine{engine=\"data\",name=\"dedup_records\"}",
        "quintet_engine{engine=\"data\",name=\"data_records\"}",
        "quintet_engine{engine=\"data\",name=\"disk_used_bytes\"}",
        "quintet_engine{engine=\"log\",name=\"disk_free_bytes\"}",
    ] {
        wait_for(figure, SEEN_TIMEOUT, async || {
            let text = metrics(cluster, 1).await?;
            if sum(&text, figure) > 0.0 { Ok(()) } else { Err(format!("zero in\n{text}")) }
        })
        .await;
    }
    // What was in flight has been answered.
    wait_for("nothing is in flight", SEEN_TIMEOUT, async || {
        let text = metrics(cluster, 1).await?;
        let (requests, waiting) = (
            sum(&text, "quintet_requests_in_flight "),
            sum(&text, "quintet_queue_depth{queue=\"forward\"}"),
        );
        if requests + waiting == 0.0 { Ok(()) } else { Err(format!("{requests} {waiting}")) }
    })
    .await;
    let lag = async |is_wanted: fn(f64) -> bool| {
        wait_for("the lag", SEEN_TIMEOUT, async || {
            let (one, two) = (metrics(cluster, 1).await?, metrics(cluster, 2).await?);
            let lag =
                sum(&one, "quintet_range_lag_entries{") + sum(&two, "quintet_range_lag_entries{");
            if is_wanted(lag) { Ok(()) } else { Err(lag) }.map_err(|lag| lag.to_string())
        })
        .await;
    };
    lag(|lag| lag == 0.0).await;
    cluster.kill(&[5]).await;
    for n in 0..30 {
        kv.put(put(&format!("lag{n}"), None)).await.expect("written");
    }
    lag(|lag| lag >= 30.0).await;
    cluster.bring_back().await;
    lag(|lag| lag == 0.0).await;
}

async fn a_slow_request_is_named(cluster: &Cluster, kv: &mut KvClient<tonic::transport::Channel>) {
    let client = vec![0xab; 16].into();
    let id = v1::RequestId { origin_room: 0, client, sequence: 4_242 };
    // Without a majority nothing is written until they go on.
    let majority = [3, 4, 5];
    cluster.stand_still(&majority);
    let pause = async {
        wait_for("the request is there", SEEN_TIMEOUT / 2, async || {
            let text = metrics(cluster, 1).await?;
            let arrived = sum(&text, "quintet_requests_in_flight ") > 0.0;
            arrived.then_some(()).ok_or(text)
        })
        .await;
        tokio::time::sleep(PAUSE).await;
        cluster.go_on(&majority);
    };
    let (_, written) = tokio::join!(pause, kv.put(put("slow", Some(id))));
    written.expect("written, late");
    let name = format!("request=\"0/{}/4242\"", "ab".repeat(16));
    wait_for("a line names the request", SEEN_TIMEOUT, async || {
        let logs = [cluster.log(1), cluster.log(2)].concat();
        let line = logs.lines().find(|line| line.contains(&name)).ok_or_else(|| logs.clone())?;
        for part in ["WARN", "a request", "operation=\"put\"", "range=", "outcome=", "took_ms="] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        Ok::<_, String>(())
    })
    .await;
}
