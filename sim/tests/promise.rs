//! The judge of promises is judged by histories and timelines written by hand.

use std::{collections::BTreeMap, path::Path};

use quintet_sim::{
    history::History,
    judge::{
        Verdict,
        promise::{self, Layout, Promise, Seen},
    },
    timeline::Moment,
};
use serde::Deserialize;

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

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expect {
    Ok,
    Violation,
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
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/promise");
    let mut files: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let (mut violations, mut unknowns, mut wrong) = (0, 0, Vec::new());
    for path in &files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (header, verdict, unknown) = judge(&std::fs::read_to_string(path).unwrap());
        println!("{name}: {}\n  {verdict:?}", header.about);
        unknowns += usize::from(unknown);
        let right = match header.expect {
            Expect::Ok => verdict.holds(),
            Expect::Violation => {
                violations += 1;
                let expected = header.words.clone().unwrap_or_default();
                verdict.violations().iter().any(|found| found.words.contains(&expected))
            }
        };
        if !right {
            wrong.push(format!("{name}: {verdict:?}"));
        }
    }
    assert!(wrong.is_empty(), "misjudged:\n{}", wrong.join("\n"));
    assert!(files.len() >= 20, "{} histories", files.len());
    assert!(violations * 2 >= files.len(), "{violations} violations");
    assert!(violations + 10 <= files.len(), "hardly any that holds");
    assert!(unknowns * 3 >= files.len(), "unknown outcomes in {unknowns} histories only");
}
