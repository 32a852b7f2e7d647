//! `quintet bench`, in small: what it says is what happened.

use futures::StreamExt;
use quintet_client::ScanOptions;
use serde_json::json;

use crate::support::cluster::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_loaded_and_scanned() {
    let cluster = Cluster::start().await;
    let bench = async |arguments: &[&str]| {
        let arguments = [&["bench"], arguments, &["--output", "json"]].concat();
        cluster.quintet(&arguments).await
    };
    let line = bench(&["scan", "--records", "3000"]).await.refused(3);
    assert!(line.contains("bench load --records 3000"), "{line}");

    // CPU time is told in steps of 10 ms: this number of records takes both sides many of them.
    let said = bench(&["load", "--records", "60000", "--value-size", "100"]).await.json();
    assert_eq!((&said["op"], &said["records"]), (&json!("load"), &json!(60_000)), "{said}");
    assert_eq!((&said["errors"], &said["bytes"]), (&json!(0), &json!(60_000 * 114)), "{said}");
    for positive in ["ops_per_s", "bytes_per_s", "client_cpu_us_per_op", "server_cpu_us_per_op"] {
        assert!(said[positive].as_f64().is_some_and(|number| number > 0.0), "{positive}: {said}");
    }
    let client = cluster.client().await;
    let stored = client.scan(ScanOptions::prefix("bench/")).count().await;
    assert_eq!(stored, 60_000);

    let said = bench(&["scan", "--records", "2000"]).await.json();
    assert_eq!((&said["op"], &said["records"]), (&json!("scan"), &json!(2_000)), "{said}");
    assert!(said["ops_per_s"].as_f64().is_some_and(|number| number > 0.0), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overloaded_cluster_refuses_and_goes_on() {
    let cluster = Cluster::start().await;
    // Bounds so low that a small load is far above them.
    cluster.kill(&[1, 2, 3, 4, 5]).await;
    cluster.configure("\n[limits]\nrequests_in_flight_max = 64\n");
    cluster.bring_back().await;
    let arguments =
        "bench overload --clients 32 --seconds 2 --patience 3 --sessions 16 --factor 10";
    let arguments: Vec<_> = arguments.split(' ').chain(["--output", "json"]).collect();
    let said = cluster.quintet(&arguments).await.json();
    let number = |name: &str| said[name].as_f64().unwrap_or_else(|| panic!("{name}: {said}"));
    assert!(number("refused") > 0.0, "nothing was refused: {said}");
    assert!((1.0..=50.0).contains(&number("retry_after_ms_min")), "{said}");
    assert!(number("retry_after_ms_max") <= 50.0, "{said}");
    assert_eq!(number("errors"), 0.0, "{said}");
    assert!(number("ops_per_s") > 0.0 && number("goodput_ratio") > 0.2, "{said}");
    assert_eq!(said["memory_met"], true, "{said}");
    assert!(number("healed_ms") < 10_000.0, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_replicas_are_weighed() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().to_str().expect("a path in UTF-8");
    let arguments = ["bench", "idle", "--ranges", "20", "--seconds", "1", "--settle", "1"];
    let arguments = [&arguments[..], &["--dir", place, "--output", "json"]].concat();
    let said = crate::support::command::quintet(dir.path(), &arguments).await.json();
    for (cluster, ranges) in [("one", 1), ("many", 20), ("rare_heartbeats", 20)] {
        assert_eq!(said[cluster]["ranges"], ranges, "{said}");
        assert!(said[cluster]["resident_kib_per_node"].as_f64() > Some(1_000.0), "{said}");
    }
    assert!(said["kib_per_replica"].is_number(), "{said}");
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("a directory").collect();
    assert!(left.is_empty(), "what it made is removed: {left:?}");
}
