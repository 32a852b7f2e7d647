//! The judges of replicas: by logs of observations and by states, written by hand. Here an unknown
//! outcome is what no observation tells: entries that nobody committed, replicas that are not there.

use std::collections::BTreeSet;

use quintet_sim::judge::{
    Violation,
    raft::{Observation, Raft},
    replicas::{self, Replicas, Together},
};
use serde::Deserialize;

use super::{Expect, files, is_balanced};

/// The first line of a log of observations.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    about: String,
    expect: Expect,
    words: Option<String>,
    #[serde(default)]
    unknown: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Equal,
    Late,
    Violation,
}

/// States to compare.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct States {
    about: String,
    expect: Expected,
    words: Option<String>,
    #[serde(default)]
    unknown: bool,
    ranges: usize,
    nodes: BTreeSet<u64>,
    replicas: Replicas,
}

#[test]
fn raft_corpus() {
    let (mut cases, mut wrong) = (Vec::new(), Vec::new());
    for (name, text) in files("raft") {
        let (header, lines) = text.split_once('\n').unwrap();
        let header: Header = serde_json::from_str(header).unwrap_or_else(|e| panic!("{name}: {e}"));
        let seen: Vec<Observation> = lines
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|e| panic!("{name}: {e}: {line}"))
            })
            .collect();
        assert!(seen.is_sorted_by_key(|seen| seen.at_ns), "{name}: time falls");
        let mut judge = Raft::new();
        let found: Vec<Violation> = seen.iter().filter_map(|seen| judge.see(seen)).collect();
        println!("{name}: {}\n  {found:?}", header.about);
        let speaks = |v: &Violation| {
            v.judge == "raft"
                && v.at_ns.is_some()
                && v.words.starts_with("range ")
                && header.words.as_ref().is_none_or(|words| v.words.contains(words))
        };
        let right = match header.expect {
            Expect::Ok => found.is_empty(),
            // What follows on the first one need not be of the same kind.
            Expect::Violation => found.first().is_some_and(speaks),
        };
        if !right {
            wrong.push(format!("{name}: {found:?}"));
        }
        cases.push((header.expect == Expect::Violation, header.unknown));
    }
    assert!(wrong.is_empty(), "misjudged:\n{}", wrong.join("\n"));
    is_balanced("raft", &cases);
}

#[test]
fn replicas_corpus() {
    let (mut cases, mut wrong) = (Vec::new(), Vec::new());
    for (name, text) in files("replicas") {
        let case: States = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let found = replicas::compare(&case.replicas, case.ranges, &case.nodes);
        println!("{name}: {}\n  {found:?}", case.about);
        let says = |text: &str| case.words.as_ref().is_none_or(|words| text.contains(words));
        let right = match (case.expect, &found) {
            (Expected::Equal, Together::Equal) => true,
            (Expected::Late, Together::NotYet(why)) => says(why),
            (Expected::Violation, Together::Differ(violation)) => says(&violation.words),
            _ => false,
        };
        if !right {
            wrong.push(format!("{name}: {found:?}"));
        }
        cases.push((case.expect == Expected::Violation, case.unknown));
    }
    assert!(wrong.is_empty(), "misjudged:\n{}", wrong.join("\n"));
    is_balanced("replicas", &cases);
}
