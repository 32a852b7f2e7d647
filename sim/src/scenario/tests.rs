//! What scenario files say where they are silent, what is wrong with them and in which line, and that those that are
//! shipped, and the one that the docs build, are none of these.

use super::*;

const LEAST: &str = r#"
name = "least"
description = "Shows the defaults."
duration_s = 10

[workload]
clients = 2
keys = 3
mix = { get = 1 }
think_time_ms_max = 0
operation_timeout_ms = 1000
"#;

#[test]
fn sections_have_defaults() {
    let scenario = Scenario::parse(LEAST).unwrap();
    let rooms: Vec<&str> = scenario.topology.nodes.iter().map(|n| n.room.as_str()).collect();
    assert_eq!(rooms, ["A", "A", "B", "B", "C"]);
    assert_eq!(scenario.topology.nodes[4].city, "c2");
    assert_eq!((scenario.faults.len(), scenario.expect.commits_min), (0, 0));
    assert_eq!(scenario.workload.mix.total(), 1);
    assert_eq!((scenario.workload.unary_clients, scenario.limits.sizes), (0, Sizes::Drawn));
    assert_eq!((scenario.expect.unknown_max, scenario.expect.answered_s), (None, None));
}

#[test]
fn errors_say_where() {
    let kill = "[[faults]]\nkind = \"node-kill\"\nevery_s_min = 1\nevery_s_max = 2\n";
    let fail = format!("{kill}down_s_min = 1\ndown_s_max = 2\n").replace("node-", "failpoint-");
    let rate = format!("{kill}down_s_min = 1\ndown_s_max = 2\n").replace("node-kill", "clock-rate");
    let cases = [
        (LEAST.replace("keys = 3", "keys = \"x\""), "line 8"),
        (LEAST.replace("keys = 3", "kyes = 3"), "line 8"),
        (
            format!("{LEAST}[limits]\nscan_page_records_min = 9\nscan_page_records_max = 3\n"),
            "line 13: limits.scan_page_records_min: is 9, above",
        ),
        (LEAST.replace("get = 1", "gte = 1"), "line 9"),
        (format!("{LEAST}{kill}down_s_min = 1\n"), "down_s_max"),
        (format!("{LEAST}{kill}down_s_min = 1\ndown_s_max = 2\nup = 1\n"), "unknown field `up`"),
        (format!("{LEAST}{kill}down_s_min = 3\ndown_s_max = 2\n"), "line 16: faults[0].down_s_min"),
        (format!("{LEAST}[[faults]]\nkind = \"flood\"\n"), "flood"),
        (
            format!("{LEAST}{kill}down_s_min = 1\ndown_s_max = 2\nroom = \"A\"\n"),
            "line 18: faults[0].room: a node-kill does not take it",
        ),
        (
            format!("{LEAST}[[faults]]\nkind = \"room-loss\"\nat_s = [1, 30]\n"),
            "line 14: faults[0].at_s",
        ),
        (
            format!("{LEAST}{kill}down_s_min = 1\ndown_s_max = 2\npoints = [\"log.after-sync\"]\n"),
            "line 18: faults[0].points: a node-kill does not take it",
        ),
        (
            format!("{LEAST}{fail}points = [\"log.after-sync\", \"log.after-lunch\"]\n"),
            "line 18: faults[0].points: there is no point \"log.after-lunch\"; there are log.before",
        ),
        (
            format!("{LEAST}[[faults]]\nkind = \"clock-jump\"\nat_s = [1]\njump_s_max = 90000\n"),
            "line 15: faults[0].jump_s_max: must be above 0 and at most 86400",
        ),
        (
            format!("{LEAST}[[faults]]\nkind = \"clock-jump\"\nat_s = [1]\n"),
            "line 12: faults[0].jump_s_max",
        ),
        (
            format!("{LEAST}{rate}rate_share_max = 0.9\n"),
            "line 18: faults[0].rate_share_max: must be a share from 0 to 0.5",
        ),
        (format!("{LEAST}{rate}"), "line 12: faults[0].rate_share_max"),
        (
            format!("{LEAST}{rate}rate_share_max = 0.1\njump_s_max = 1\n"),
            "line 19: faults[0].jump_s_max: a clock-rate does not take it",
        ),
        (
            format!(
                "{LEAST}{}down_s_min = 1\ndown_s_max = 2\n",
                kill.replace("node-kill", "disk-slow")
            ),
            "line 12: faults[0].factor: must be 2 to 100",
        ),
        (format!("{LEAST}[clocks]\nrate_share_max = 0.6\n"), "line 13: clocks.rate_share_max"),
        (LEAST.replace("get = 1", "get = 0"), "workload.mix"),
        (LEAST.replace("clients = 2", "clients = 0"), "workload.clients"),
        (LEAST.replace("duration_s = 10", "duration_s = 0"), "duration_s"),
        (format!("{LEAST}[network]\nloss = 0.9\n"), "network.loss"),
        (
            format!(
                "{LEAST}[network]\nother_city = {{ latency_min_us = 2, latency_max_us = 1 }}\n"
            ),
            "line 13: network.other_city.latency_min_us",
        ),
        (format!("{LEAST}[network]\nsame_city = {{ latency_min_us = 2 }}\n"), "latency_max_us"),
        (format!("{LEAST}[network]\n\nbreaks = 1.1\n"), "line 14: network.breaks"),
        (format!("{LEAST}[network]\nbandwidth_mbit_s = 0\n"), "network.bandwidth_mbit_s"),
        (format!("{LEAST}[network]\nclient_rooms = [\"A\", \"X\"]\n"), "network.client_rooms"),
        (
            format!("{LEAST}{kill}down_s_min = 1\ndown_s_max = 2\nlinks = \"one\"\n"),
            "line 18: faults[0].links: a node-kill does not take it",
        ),
        (
            format!(
                "{LEAST}[[faults]]\nkind = \"one-way-cut\"\nat_s = [1]\ndown_s_min = 1\n\
                 down_s_max = 2\nlinks = \"all\"\n"
            ),
            "faults[0].links: a one-way-cut takes one of [One, Sends, Receives]",
        ),
        (format!("{LEAST}[disk]\nsync_min_us = 9\nsync_max_us = 8\n"), "disk.sync_min_us"),
        (
            format!(
                "{LEAST}[topology]\nnodes = [{{ id = 1, city = \"c\", room = \"r\" }}, {{ id = 1, city = \"c\", room = \"r\" }}]\n"
            ),
            "id 1 is given twice",
        ),
        (
            format!(
                "{LEAST}[topology]\nnodes = [{{ id = 1, city = \"c\", room = \"r\" }}, {{ id = 2, city = \"d\", room = \"r\" }}]\n"
            ),
            "two cities",
        ),
    ];
    for (text, expect) in cases {
        let error = Scenario::parse(&text).unwrap_err().to_string();
        assert!(error.contains(expect), "{error:?} does not say {expect:?}");
    }
}

#[test]
fn shipped_scenarios_are_valid() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let mut names = Vec::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        let scenario = Scenario::parse(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(path.file_stem().unwrap().to_str(), Some(scenario.name.as_str()));
        names.push(scenario.name);
    }
    for name in ["steady", "node-kill", "power-loss"] {
        assert!(names.iter().any(|n| n == name), "{name} is missing");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let text = "name = \"p\"\ndescription = \"d\"\nduration_s = 0\n[workload]\nclients = 2\nkeys = 1\n\
                mix = { get = 1 }\nthink_time_ms_max = 1\noperation_timeout_ms = 100\n";
    let at = |text: &str| Scenario::parse(text).unwrap_err().at(text);
    assert_eq!(at(text), (3, "duration_s: must be 1 to 86400".to_owned()));
    let (line, message) = at(&text.replace("keys = 1", "kees = 1"));
    assert_eq!(line, 6);
    assert!(message.contains("unknown field `kees`"), "{message}");
    let (line, _) = at(&text.replace("keys = 1", "keys = = 1"));
    assert_eq!(line, 6);
}

#[test]
fn clients_are_near_the_nodes_of_all_rooms_or_of_those_told() {
    let topology = Topology::default();
    let near = |network: &Network| {
        (0..6).map(|client| network.client_node(client, &topology)).collect::<Vec<_>>()
    };
    assert_eq!(near(&Network::default()), [1, 3, 5, 2, 4, 5]);
    let told = Network { client_rooms: vec!["B".to_owned()], ..Network::default() };
    assert_eq!(near(&told), [3, 4, 3, 4, 3, 4]);
}

#[test]
fn each_kind_of_fault_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), Kind::ALL.len());
    for (name, kind) in Kind::ALL {
        assert_eq!(kind.name(), name);
        assert_eq!(kind.fields().contains(&Field::Links), !kind.links().is_empty(), "{name}");
    }
}

#[test]
fn the_slowest_clock_is_the_slowest_of_all_that_is_done_to_clocks() {
    let slowest = |more: &str| Scenario::parse(&format!("{LEAST}{more}")).unwrap().slowest_clock();
    let rate = "[[faults]]\nkind = \"clock-rate\"\nevery_s_min = 1\nevery_s_max = 2\n\
                down_s_min = 1\ndown_s_max = 2\nrate_share_max = 0.25\n";
    assert_eq!(slowest(""), 1.0);
    assert_eq!(slowest(rate), 0.75);
    assert_eq!(slowest(&format!("[clocks]\nrate_share_max = 0.5\n{rate}")), 0.5);
}

#[test]
fn the_scenario_that_the_docs_build_is_valid() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/simulation.md");
    let docs = std::fs::read_to_string(path).unwrap();
    let section = docs.split("## A scenario of your own\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let scenario = Scenario::parse(&blocks.collect::<String>()).unwrap();
    assert_eq!((scenario.topology.nodes.len(), scenario.faults.len()), (7, 1));
    assert_eq!(scenario.topology.preferred_room(), [1, 2]);
}

#[test]
fn every_shipped_scenario_is_in_the_docs() {
    let root = env!("CARGO_MANIFEST_DIR");
    let docs = std::fs::read_to_string(format!("{root}/../docs/simulation.md")).unwrap();
    for file in std::fs::read_dir(format!("{root}/scenarios")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(docs.contains(&format!("| `{name}` |")), "{name} is not in docs/simulation.md");
    }
}
