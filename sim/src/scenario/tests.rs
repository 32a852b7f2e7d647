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
}

#[test]
fn errors_say_where() {
    let kill = "[[faults]]\nkind = \"node-kill\"\nevery_s_min = 1\nevery_s_max = 2\n";
    let fail = format!("{kill}down_s_min = 1\ndown_s_max = 2\n").replace("node-", "failpoint-");
    let rate = format!("{kill}down_s_min = 1\ndown_s_max = 2\n").replace("node-kill", "clock-rate");
    let cases = [
        (LEAST.replace("keys = 3", "keys = \"x\""), "line 8"),
        (LEAST.replace("keys = 3", "kyes = 3"), "line 8"),
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
            format!("{LEAST}[[faults]]\nkind = \"clock-jump\"\nat_s = [1]\njump_s_max = 4000\n"),
            "line 15: faults[0].jump_s_max: must be above 0 and at most 3600",
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
