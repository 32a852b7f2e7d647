//! The judges themselves are judged: by histories written by hand, by a plain exhaustive checker,
//! and by executions of a real register.
#![cfg(not(madsim))]

#[path = "corpus/answers.rs"]
mod answers;
#[path = "corpus/exhaustive.rs"]
mod exhaustive;
#[path = "corpus/generated.rs"]
mod generated;
#[path = "corpus/lists.rs"]
mod lists;
#[path = "corpus/observed.rs"]
mod observed;
#[path = "corpus/promises.rs"]
mod promises;

use std::collections::BTreeMap;
use std::path::Path;

use quintet_sim::history::{History, Op};
use quintet_sim::judge::{
    Verdict, Violation, acknowledged, counter, feed, linearizable, list, moment, read_all,
};
use serde::Deserialize;

/// The first line of a corpus file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    about: String,
    expect: Expect,
    /// What the verdict must say.
    words: Option<String>,
    /// How far clocks may be apart.
    #[serde(default)]
    skew_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expect {
    Ok,
    Violation,
}

struct Case {
    name: String,
    header: Header,
    ops: Vec<Op>,
}

/// The corpus of a judge, by name.
fn files(judge: &str) -> BTreeMap<String, String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(judge);
    let files = std::fs::read_dir(directory).unwrap().map(|file| {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).unwrap())
    });
    files.collect()
}

/// What every corpus must have, of (whether it is a violation, whether something in it is unknown).
fn is_balanced(judge: &str, cases: &[(bool, bool)]) {
    let violations = cases.iter().filter(|(violation, _)| *violation).count();
    let unknown = |violation| cases.iter().filter(|case| **case == (violation, true)).count();
    assert!(cases.len() >= 20, "{judge}: only {} cases", cases.len());
    assert!(violations * 2 >= cases.len(), "{judge}: {violations} of {}", cases.len());
    assert!(violations + 10 <= cases.len(), "{judge}: hardly any case that holds");
    for violation in [false, true] {
        let unknown = unknown(violation);
        assert!(unknown >= 3, "{judge}: {unknown} with unknowns, violations: {violation}");
    }
}

fn corpus(judge: &str) -> Vec<Case> {
    let cases = files(judge).into_iter().map(|(name, text)| {
        let (header, events) = text.split_once('\n').unwrap();
        let header = serde_json::from_str(header).unwrap_or_else(|e| panic!("{name}: {e}"));
        let history = History::read_jsonl(events.as_bytes())
            .unwrap_or_else(|e| panic!("{name}, after the header: {e}"));
        Case { name, header, ops: history.operations() }
    });
    cases.collect()
}

fn judge_corpus(judge: &str, check: fn(&[Op]) -> Verdict) {
    judge_each(judge, |case| check(&case.ops));
}

fn judge_each(judge: &str, check: impl Fn(&Case) -> Verdict) {
    let cases = corpus(judge);
    let is_unknown = |case: &Case| case.ops.iter().any(|op| op.complete_ns.is_none());
    let kinds = cases.iter().map(|c| (c.header.expect == Expect::Violation, is_unknown(c)));
    is_balanced(judge, &kinds.collect::<Vec<_>>());
    let unknown = cases.iter().filter(|case| is_unknown(case)).count();
    let least = if judge == "expiry" { cases.len() / 6 } else { cases.len().div_ceil(3) };
    assert!(unknown >= least, "{judge}: unknown outcomes in {unknown} histories only");
    let mut wrong = Vec::new();
    for case in &cases {
        let Case { name, header, .. } = case;
        let verdict = check(case);
        println!("{name}: {}\n  {verdict:?}", header.about);
        let right = match (header.expect, &verdict) {
            (Expect::Ok, Verdict::Holds) => true,
            (Expect::Violation, Verdict::Violation(violations)) => {
                violations.iter().all(|v| speaks(v, case))
                    && header.words.as_ref().is_none_or(|w| verdict.to_string().contains(w))
            }
            _ => false,
        };
        if !right {
            wrong.push(format!("{name}: {verdict:?}"));
        }
    }
    assert!(wrong.is_empty(), "misjudged:\n{}", wrong.join("\n"));
}

/// Does a violation say what whoever looks for the cause has to know: who, when, and which events?
fn speaks(violation: &Violation, case: &Case) -> bool {
    let indexes = |op: &Op| [Some(op.invoke_index), op.complete_index];
    let known: Vec<u64> = case.ops.iter().flat_map(indexes).flatten().collect();
    !violation.judge.is_empty()
        && violation.words.contains("process ")
        && violation.at_ns.is_some()
        && !violation.events.is_empty()
        && violation.events.is_sorted()
        && violation.events.iter().all(|event| known.contains(event))
}

#[test]
fn linearizable_corpus() {
    judge_corpus("linearizable", linearizable::check);
}

/// The same judge, where values expire and clocks are wrong.
#[test]
fn expiry_corpus() {
    judge_each("expiry", |case| {
        let skew_ns = case.header.skew_ms * 1_000_000;
        let limits = linearizable::Limits { skew_ns, ..Default::default() };
        linearizable::check_within(&case.ops, limits)
    });
}

#[test]
fn acknowledged_corpus() {
    judge_corpus("acknowledged", acknowledged::check);
}

#[test]
fn list_corpus() {
    judge_corpus("list", list::check);
}

#[test]
fn read_all_corpus() {
    // As in a run: each register by itself, and all of them together.
    judge_corpus("read_all", |ops| linearizable::check(ops).and(read_all::check(ops)));
}

#[test]
fn moment_corpus() {
    judge_corpus("moment", moment::check);
}

#[test]
fn feed_corpus() {
    judge_corpus("feed", feed::check);
}

#[test]
fn counter_corpus() {
    judge_corpus("counter", counter::check);
}

/// Small histories of the corpus are also put before the exhaustive checker.
#[test]
fn linearizable_corpus_agrees_with_the_exhaustive_checker() {
    for Case { name, header, ops } in corpus("linearizable") {
        if ops.iter().any(|op| op.call.ttl_ms().is_some()) {
            // It knows of no time at which something expires.
            continue;
        }
        let holds = header.expect == Expect::Ok;
        assert_eq!(exhaustive::is_linearizable(&ops), holds, "{name}");
    }
}

#[test]
fn what_was_not_exercised_is_undecided() {
    let read = r#"{"process":1,"type":"invoke","f":"read","value":["k",null],"time":0,"index":0}"#;
    let ops = History::read_jsonl(read.as_bytes()).unwrap().operations();
    assert!(matches!(acknowledged::check(&ops), Verdict::Undecided(_)));
    assert!(matches!(counter::check(&ops), Verdict::Undecided(_)));
    assert!(matches!(list::check(&ops), Verdict::Undecided(_)));
    assert!(matches!(moment::check(&ops), Verdict::Undecided(_)));
    assert!(matches!(feed::check(&ops), Verdict::Undecided(_)));
    let append = |process, element, time, index| {
        format!(
            r#"{{"process":{process},"type":"invoke","f":"txn","value":[["append","l",{element}]],"time":{time},"index":{index}}}"#
        )
    };
    let done =
        r#"{"process":1,"type":"ok","f":"txn","value":[["append","l",1]],"time":1,"index":1}"#;
    for (text, why) in [
        (format!("{}\n{done}", append(1, 1, 0, 0)), "nobody read it"),
        (format!("{}\n{done}\n{}", append(1, 1, 0, 0), append(2, 1, 2, 2)), "appends 1 twice"),
    ] {
        let ops = History::read_jsonl(text.as_bytes()).unwrap().operations();
        let verdict = list::check(&ops);
        assert!(matches!(&verdict, Verdict::Undecided(words) if words.contains(why)), "{verdict}");
    }
}
