//! The judge of promises, by histories and timelines written by hand.

use std::collections::BTreeMap;

use quintet_sim::{
    history::History,
    judge::{
        Verdict,
        promise::{self, Layout, Promise, Seen},
    },
    timeline::Moment,
};
use serde::Deserialize;

use super::{Expect, files, is_balanced};

/// The first line of a file; events of the history and moments of the timeline follow, one a line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    about: String,
    expect: Expect,
    /// What the verdict must say.
    words: Option<String>,
    /// By number of the strike.
    promises: BTreeMap<u64, Promise>,
    layout: Layout,
    /// When faults were over.
    until_ms: u64,
    /// When calls ended with which error.
    #[serde(default)]
    errors: Vec<(u64, String)>,
}

fn judge(text: &str) -> (Header, Verdict, bool) {
    let (header, rest) = text.split_once('\n').unwrap();
    let header: Header = serde_json::from_str(header).unwrap();
    let (moments, events): (Vec<&str>, Vec<&str>) =
        rest.lines().partition(|line| line.contains("\"what\""));
    let timeline: Vec<Moment> =
        moments.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let history = History::read_jsonl(events.join("\n").as_bytes()).unwrap();
    let ops = history.operations();
    let errors: Vec<(u64, &str)> = header.errors.iter().map(|(at, code)| (*at, &**code)).collect();
    let until_ns = header.until_ms * 1_000_000;
    let seen = Seen { timeline: &timeline, errors: &errors, until_ns };
    let verdict = promise::check(&header.promises, &header.layout, &ops, seen);
    let unknown = ops.iter().any(|op| op.complete_ns.is_none());
    (header, verdict, unknown)
}

#[test]
fn promise_corpus() {
    let (mut cases, mut wrong) = (Vec::new(), Vec::new());
    for (name, text) in files("promise") {
        let (header, verdict, unknown) = judge(&text);
        println!("{name}: {}\n  {verdict:?}", header.about);
        let right = match header.expect {
            Expect::Ok => verdict.holds(),
            Expect::Violation => {
                let expected = header.words.clone().unwrap_or_default();
                verdict.violations().iter().any(|found| found.words.contains(&expected))
            }
        };
        if !right {
            wrong.push(format!("{name}: {verdict:?}"));
        }
        cases.push((header.expect == Expect::Violation, unknown));
    }
    assert!(wrong.is_empty(), "misjudged:\n{}", wrong.join("\n"));
    is_balanced("promise", &cases);
    let unknowns = cases.iter().filter(|(_, unknown)| *unknown).count();
    assert!(unknowns * 3 >= cases.len(), "unknown outcomes in {unknowns} histories only");
}
