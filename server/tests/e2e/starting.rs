//! Starting up: what a node finds around it, and what it leaves to others to read.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use crate::support::{command::command, http, node, node::Node, wait_for};

/// Time for a node to say that nobody answers.
const SAID_TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_seed_that_nobody_answers_at_is_named_once_and_no_cluster_is_to_be_formed() {
    let temp = tempfile::tempdir().expect("a directory");
    // Nobody listens there.
    let seed = "127.0.0.1:1".to_owned();
    let config = node::configure(temp.path(), 1, std::slice::from_ref(&seed));
    let first = Node::start(&config).await;
    let lines = || -> Vec<String> {
        let log = fs::read_to_string(temp.path().join("node-1/log")).expect("a log");
        let said = log.lines().filter(|line| line.contains("a seed is not met"));
        said.map(str::to_owned).collect()
    };
    wait_for("the seed is named", SAID_TIMEOUT, async || {
        if lines().is_empty() { Err("no line of it") } else { Ok(()) }
    })
    .await;
    assert!(lines()[0].contains(&seed) && lines()[0].contains("refused"), "{:?}", lines());
    let (code, why) = http::page(&first.http, "/readyz").await.expect("a page");
    assert_eq!(code, 503);
    assert!(why.contains(&seed) && why.contains("refused"), "{why}");
    assert!(!why.contains("cluster init"), "there may well be a cluster: {why}");
    assert_eq!(lines().len(), 1, "{:?}", lines());

    // One with a node that answers: it is known that there is no cluster.
    let seeds = [first.internal.clone()];
    let second = Node::start(&node::configure(temp.path(), 2, &seeds)).await;
    wait_for("the second has met the first", SAID_TIMEOUT, async || {
        match http::page(&second.http, "/readyz").await? {
            (503, why) if why.contains("cluster init") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_node_may_be_among_its_own_seeds() {
    let temp = tempfile::tempdir().expect("a directory");
    let config = node::configure(temp.path(), 1, &[]);
    let first = Node::start(&config).await;
    let (_, port) = first.internal.rsplit_once(':').expect("a port");
    let seeds = [format!("localhost:{port}")];
    let internal = first.internal.clone();
    node::configure(temp.path(), 1, &seeds);
    let text = fs::read_to_string(&config).expect("a configuration");
    let fixed = format!("internal = {internal:?}");
    fs::write(&config, text.replace("internal = \"127.0.0.1:0\"", &fixed)).expect("written");
    first.kill().await;
    let again = Node::start(&config).await;
    wait_for("it knows itself", SAID_TIMEOUT, async || {
        match http::page(&again.http, "/readyz").await? {
            (503, why) if why.contains("cluster init") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

/// Everything below a directory that others than its owner may read, write or enter.
fn open_to_others(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if mode(&path) & 0o077 != 0 {
            found.push(format!("{} {:o}", path.display(), mode(&path)));
        }
        if path.is_dir() {
            found.extend(open_to_others(&path));
        }
    }
    found
}

#[tokio::test]
async fn what_a_node_stores_is_its_users_alone() {
    let temp = tempfile::tempdir().expect("a directory");
    let config = node::configure(temp.path(), 1, &[]);
    let data = temp.path().join("node-1/data");
    let first = Node::start(&config).await;
    assert_eq!(format!("{:o}", mode(&data)), "700");
    assert_eq!(open_to_others(&data), Vec::<String>::new());
    let log = || fs::read_to_string(temp.path().join("node-1/log")).expect("a log");
    assert!(!log().contains("open to other users"), "{}", log());
    first.kill().await;

    // One that an earlier version made.
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).expect("set");
    fs::set_permissions(data.join("FORMAT"), fs::Permissions::from_mode(0o644)).expect("set");
    let _second = Node::start(&config).await;
    let warned: Vec<_> =
        log().lines().filter(|l| l.contains("open to other users")).map(str::to_owned).collect();
    assert_eq!(warned.len(), 1, "{}", log());
    assert!(warned[0].contains("mode 0755") && warned[0].contains("FORMAT"), "{warned:?}");
}

#[tokio::test]
async fn variables_of_a_kubernetes_service_named_quintet_are_ignored() {
    let temp = tempfile::tempdir().expect("a directory");
    let config = node::configure(temp.path(), 1, &[]);
    let arguments = ["config", "print", "--effective", "--config", config.to_str().expect("UTF-8")];
    let mut print = command(temp.path(), &arguments);
    print.envs([
        ("QUINTET_SERVICE_HOST", "10.96.12.7"),
        ("QUINTET_SERVICE_PORT_CLIENT", "7401"),
        ("QUINTET_PORT", "tcp://10.96.12.7:7401"),
        ("QUINTET_PORT_7401_TCP_ADDR", "10.96.12.7"),
        ("QUINTET_LISTEN_PORT", "7401"),
    ]);
    let output = print.output().await.expect("it runs");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains("QUINTET_LISTEN_PORT is ignored"), "{err}");
}
