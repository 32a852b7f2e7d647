//! The judge of answers: by histories written by hand, each with the moments of its heal.

use quintet_sim::{
    history::History,
    judge::{
        Verdict,
        answered::{self, Heal},
    },
};
use serde::Deserialize;

use super::{Expect, files, is_balanced};

/// The first line of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    about: String,
    expect: Expect,
    words: Option<String>,
    mended_ms: u64,
    within_ms: u64,
    until_ms: u64,
}

#[test]
fn answered_corpus() {
    let (mut cases, mut wrong) = (Vec::new(), Vec::new());
    for (name, text) in files("answered") {
        let (header, events) = text.split_once('\n').unwrap();
        let header: Header = serde_json::from_str(header).unwrap_or_else(|e| panic!("{name}: {e}"));
        let history = History::read_jsonl(events.as_bytes())
            .unwrap_or_else(|e| panic!("{name}, after the header: {e}"));
        let ns = |ms: u64| ms * 1_000_000;
        let heal = Heal {
            mended_ns: ns(header.mended_ms),
            within_ns: ns(header.within_ms),
            until_ns: ns(header.until_ms),
        };
        let verdict = answered::check(&history, heal);
        println!("{name}: {}\n  {verdict:?}", header.about);
        let right = match (header.expect, &verdict) {
            (Expect::Ok, Verdict::Holds) => true,
            (Expect::Violation, Verdict::Violation(violations)) => {
                let first = &violations[0];
                let speaks = first.words.starts_with("process ")
                    && first.key.is_some()
                    && first.at_ns.is_some()
                    && !first.events.is_empty();
                speaks && header.words.is_none_or(|words| verdict.to_string().contains(&words))
            }
            _ => false,
        };
        if !right {
            wrong.push(format!("{name}: {verdict:?}"));
        }
        let is_unknown = history.operations().iter().any(|op| op.complete_ns.is_none());
        cases.push((header.expect == Expect::Violation, is_unknown));
    }
    assert!(wrong.is_empty(), "misjudged:\n{}", wrong.join("\n"));
    is_balanced("answered", &cases);
}
