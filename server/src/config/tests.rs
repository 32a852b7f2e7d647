//! What a configuration may say, and what an error says of it.
//!
//! Most cases go through [`Config::load`] with a file, an environment and flags, as a node does, and compare whole
//! messages: operators read them, so their wording is checked. Two tests keep lists equal: the keys of `sources.rs` and
//! the fields of [`Config`], the sample file and the defaults.

use std::path::PathBuf;

use super::*;

/// What every node has to set.
const NEEDED: &str = r#"
[node]
id = 3
data_dir = "/var/lib/quintet"
locality = "city=c1,room=b"
"#;

struct File {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn file(text: &str) -> File {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("node.toml");
    std::fs::write(&path, text).expect("written");
    File { _dir: dir, path }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn load(
    toml: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Loaded, String> {
    let file = file(toml);
    Config::load(Some(&file.path), pairs(environment), &pairs(flags))
        .map_err(|error| error.to_string().replace(&file.path.display().to_string(), "node.toml"))
}

fn fault(toml: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    load(&format!("{NEEDED}{toml}"), environment, flags).expect_err("not valid")
}

#[test]
fn flags_win_over_environment_over_file_over_default() {
    let toml = format!("worker_threads = 1\n{NEEDED}[raft]\nheartbeat_ms = 50\n");
    let loaded = load(&toml, &[], &[]).expect("valid");
    assert_eq!(loaded.config.worker_threads, 1);
    assert_eq!(loaded.config.raft.heartbeat_ms, 50);
    assert_eq!(loaded.config.raft.election_min_ms, 500);
    assert!(matches!(loaded.origins.get("worker_threads"), Some(Origin::File(_))));
    assert_eq!(loaded.origins.get("raft.election_min_ms"), None);

    let environment = [("QUINTET_WORKER_THREADS", "2"), ("QUINTET_SEEDS", "a:1, b:2,")];
    let loaded = load(&toml, &environment, &[]).expect("valid");
    assert_eq!(loaded.config.worker_threads, 2);
    assert_eq!(loaded.config.seeds, ["a:1", "b:2"]);

    let flags = [("worker_threads", "3"), ("listen.http", "off")];
    let loaded = load(&toml, &environment, &flags).expect("valid");
    assert_eq!(loaded.config.worker_threads, 3);
    assert_eq!(loaded.config.listen.http, None);
    assert_eq!(loaded.origins.get("worker_threads"), Some(&Origin::Flag));
    assert_eq!(loaded.origins.get("seeds"), Some(&Origin::Environment("QUINTET_SEEDS".to_owned())));
}

#[test]
fn works_without_a_file() {
    let environment = pairs(&[
        ("QUINTET_NODE_ID", "1"),
        ("QUINTET_NODE_DATA_DIR", "/d"),
        ("QUINTET_NODE_LOCALITY", "city=c1,room=a"),
        // Not a node's, but known.
        ("QUINTET_NODES", "x:1"),
        ("QUINTET_LOG", "debug"),
        ("PATH", "/bin"),
    ]);
    let loaded = Config::load(None, environment, &[]).expect("valid");
    assert_eq!(loaded.config.node.id, NodeId(1));
    assert_eq!(loaded.config.node.locality.room, "a");
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known_one() {
    assert_eq!(
        fault("[raft]\nheartbeet_ms = 1\n", &[], &[]),
        "unknown setting raft.heartbeet_ms (node.toml): did you mean raft.heartbeat_ms?"
    );
    assert_eq!(
        fault("", &[("QUINTET_NODEID", "1")], &[]),
        "unknown setting QUINTET_NODEID (environment variable QUINTET_NODEID): \
         did you mean QUINTET_NODE_ID?"
    );
    assert_eq!(
        fault("", &[], &[("listen.cleint", "1")]),
        "unknown setting listen.cleint (command line): did you mean listen.client?"
    );
    assert_eq!(
        fault("[zzz]\nqqq = 1\n", &[], &[]),
        "unknown setting zzz.qqq (node.toml): `quintet config print` lists what there is"
    );
    // An empty section and a table too deep are not overlooked either.
    assert!(fault("[lissten]\n", &[], &[]).starts_with("unknown setting lissten"));
    assert!(fault("[listen.client]\nport = 1\n", &[], &[]).starts_with("listen.client"));
    assert!(load(&format!("{NEEDED}[limits]\n"), &[], &[]).is_ok());
}

#[test]
fn a_kubernetes_service_named_quintet_keeps_no_node_from_starting() {
    let injected = [
        ("QUINTET_SERVICE_HOST", "10.96.12.7"),
        ("QUINTET_SERVICE_PORT", "7401"),
        ("QUINTET_SERVICE_PORT_CLIENT", "7401"),
        ("QUINTET_PORT", "tcp://10.96.12.7:7401"),
        ("QUINTET_PORT_7401_TCP", "tcp://10.96.12.7:7401"),
        ("QUINTET_PORT_7401_TCP_ADDR", "10.96.12.7"),
        ("QUINTET_PORT_7401_TCP_PORT", "7401"),
        ("QUINTET_PORT_7401_TCP_PROTO", "tcp"),
        ("QUINTET_INTERNAL_SERVICE_PORT_PEER", "7402"),
        ("QUINTET_WORKER_THREADS", "3"),
    ];
    let loaded = load(NEEDED, &injected, &[]).expect("valid");
    assert_eq!(loaded.config.worker_threads, 3, "settings among them count");
    assert_eq!(loaded.warnings, Vec::<String>::new());

    // Written by hand, most likely.
    let loaded = load(NEEDED, &[("QUINTET_LISTEN_PORT", "7401")], &[]).expect("valid");
    assert_eq!(
        loaded.warnings,
        [
            "the environment variable QUINTET_LISTEN_PORT is ignored: it has a name that orchestrators give, \
          and is no setting: did you mean QUINTET_LISTEN_HTTP?"
        ]
    );
}

#[test]
fn wrong_values_name_key_and_source() {
    let cases = [
        ("[listen]\nclient = 7401\n", "listen.client (node.toml): 7401 is not a text in quotes"),
        (
            "[listen]\nclient = \"10.0.0.1\"\n",
            "listen.client (node.toml): \"10.0.0.1\" lacks a port; write 10.0.0.1:7401",
        ),
        (
            "[listen]\nclient = \"db1:7401\"\n",
            "listen.client (node.toml): \"db1:7401\" is no IP address with a port, such as \
             127.0.0.1:7401",
        ),
        (
            "[advertise]\nclient = \"http://db1:7401\"\n",
            "advertise.client (node.toml): \"http://db1:7401\" is no host with a port, such as \
             db1.example.org:7402",
        ),
        (
            "[raft]\nheartbeat_ms = -1\n",
            "raft.heartbeat_ms (node.toml): -1 is not a whole number from 0",
        ),
    ];
    for (toml, message) in cases {
        assert_eq!(fault(toml, &[], &[]), message);
    }
    assert_eq!(
        fault("", &[("QUINTET_NODE_ID", "one")], &[]),
        "node.id (environment variable QUINTET_NODE_ID): \"one\" is not a whole number"
    );
    assert_eq!(
        fault("", &[], &[("node.locality", "city=c1,room=a\"b")]),
        "node.locality (command line): \"a\\\"b\" is no name: 1 to 64 letters, digits, '-', '_' or '.'"
    );
    assert_eq!(
        fault("", &[], &[("node.locality", "city=c1")]),
        "node.locality (command line): room has to be there exactly once; write \
         city=NAME,room=NAME"
    );
    assert_eq!(
        fault("", &[], &[("seeds", "a:1,b")]),
        "seeds (command line): \"b\" is no host with a port, such as db1.example.org:7402"
    );
    let message = fault("", &[], &[("limits.sessions_max", "99999999999")]);
    assert!(message.contains("99999999999"), "{message}");
    let message = load("[node\nid = 1", &[], &[]).expect_err("not TOML");
    assert!(message.starts_with("node.toml is not valid TOML: line 1: "), "{message}");
    let error = Config::load(Some(std::path::Path::new("/no/such")), [], &[]).expect_err("no file");
    assert!(error.to_string().starts_with("cannot read the configuration file /no/such: "));
}

#[test]
fn contradictions_are_refused() {
    let missing = load("", &[], &[]).expect_err("nothing set");
    assert!(missing.starts_with("node.id (default): not set: give the node a number"), "{missing}");
    let missing = load("[node]\nid = 1\n", &[], &[]).expect_err("no directory");
    assert!(missing.starts_with("node.data_dir (default): not set"), "{missing}");
    let missing = load("[node]\nid = 1\ndata_dir = \"d\"\n", &[], &[]).expect_err("no locality");
    assert!(missing.starts_with("node.locality (default): not set"), "{missing}");

    let cases = [
        (("listen.http", "127.0.0.1:7401"), "listen.http (command line): 127.0.0.1:7401 is used"),
        (("listen.internal", "0.0.0.0:7402"), "advertise.internal (default): not set, and nobody"),
        (("raft.election_min_ms", "200"), "raft.election_min_ms (command line): 200 is out of"),
        (("raft.election_max_ms", "500"), "raft.election_max_ms (command line): 500 is out of"),
        (("limits.key_bytes_max", "8193"), "limits.key_bytes_max (command line): 8193 is out of"),
        (("wan.cities_rtt_ms", "200.5"), "wan.cities_rtt_ms (command line): 200.5 is out of"),
    ];
    for (flag, message) in cases {
        let got = fault("", &[], &[flag]);
        assert!(got.starts_with(message), "{got}");
    }
    // Links that stall sooner bear less.
    let slow = [("raft.link_stall_ms", "200"), ("wan.rooms_rtt_ms", "51")];
    let got = fault("", &[], &slow);
    assert!(got.contains("set it to 0 at least and 50 at most"), "{got}");
    let any = [("listen.internal", "0.0.0.0:7402"), ("advertise.internal", "db1:7402")];
    assert!(load(NEEDED, &[], &any).is_ok());
    let free = [("listen.client", "127.0.0.1:0"), ("listen.internal", "127.0.0.1:0")];
    assert!(load(NEEDED, &[], &free).is_ok());
}

/// Every leaf of a table as `section.name`.
fn leaves(table: &toml::Table) -> Vec<String> {
    let mut names = Vec::new();
    for (name, value) in table {
        match value {
            toml::Value::Table(section) => {
                names.extend(section.keys().map(|key| format!("{name}.{key}")));
            }
            _ => names.push(name.clone()),
        }
    }
    names.sort();
    names
}

#[test]
fn the_list_of_keys_is_the_struct() {
    let address = Some("h:1".to_owned());
    let advertise = Advertise { client: address.clone(), internal: address.clone(), http: address };
    let all = Config { advertise, ..Config::default() };
    let table = all.to_toml().expect("utf-8").parse().expect("toml");
    let mut known: Vec<_> = keys().map(str::to_owned).collect();
    known.sort();
    assert_eq!(leaves(&table), known);

    let mut variables: Vec<_> = keys().map(|key| key.replace('.', "_")).collect();
    variables.sort();
    variables.dedup();
    assert_eq!(variables.len(), known.len(), "two settings share an environment variable");
}

#[test]
fn the_sample_documents_every_setting_at_its_default() {
    let settings: String = Config::default_toml()
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .filter(|line| !line.starts_with('#'))
        .fold(String::new(), |text, line| text + line + "\n");
    let table: toml::Table = settings.parse().expect("toml");
    let mut known: Vec<_> = keys().map(str::to_owned).collect();
    known.sort();
    assert_eq!(leaves(&table), known);
    let mut config: Config = table.try_into().expect("a configuration");
    // These three have no fixed default: the sample shows an example.
    config.advertise = Advertise::default();
    assert_eq!(config, Config::default());
    // As it stands it sets nothing.
    let as_it_is: Config = toml::from_str(Config::default_toml()).expect("toml");
    assert_eq!(as_it_is, Config::default());
}

#[test]
fn toml_comes_back_equal() {
    let mut config = load(NEEDED, &[], &[]).expect("valid").config;
    config.listen.http = None;
    config.seeds = vec!["a:1".to_owned()];
    assert_eq!(toml::from_str::<Config>(&config.to_toml().expect("utf-8")).expect("toml"), config);
}
