//! The pages and time lines of failures, of a small history that is written out here: what they show, what they leave
//! out, and that nothing of a scenario or a value gets into a page as HTML.

use super::*;
use crate::{
    history::{Call, OpOutcome, Record, Reply},
    timeline::What,
};

fn scenario() -> Scenario {
    let text = "name = \"p\"\ndescription = \"Shows <that> & this.\"\nduration_s = 30\n[workload]\n\
                clients = 2\nkeys = 1\nmix = { get = 1 }\nthink_time_ms_max = 1\n\
                operation_timeout_ms = 100\n";
    Scenario::parse(text).unwrap()
}

const MS: u64 = 1_000_000;

/// Process 1 writes, process 2 reads the past; process 3, which client 1 was later, writes elsewhere.
fn history() -> History {
    let mut history = History::new();
    let write = |value: &str| Call::Write { value: value.to_owned(), ttl_ms: None };
    history.invoke(1, 5_000 * MS, "a", &write("<x>"));
    history.complete(1, 5_010 * MS, &OpOutcome::Ok(Reply::Written { version: 7 }));
    history.invoke(3, 5_011 * MS, "b", &write("z"));
    history.complete(3, 5_012 * MS, &OpOutcome::Unknown);
    history.invoke(2, 5_020 * MS, "a", &Call::Read);
    let old = Record { version: 3, value: "old".to_owned() };
    history.complete(2, 5_022 * MS, &OpOutcome::Ok(Reply::Read(Some(old))));
    history.invoke(1, 9_000 * MS, "a", &Call::Read);
    history.complete(1, 9_001 * MS, &OpOutcome::Failed);
    history
}

fn timeline() -> Vec<Moment> {
    let at = |ms: u64, what| Moment { at_ns: ms * MS, what };
    let begins = What::Begins {
        strike: 4,
        kind: "leader-cut".to_owned(),
        nodes: vec![2],
        words: "is cut <off>".to_owned(),
    };
    vec![
        at(1_000, What::Phase { name: "work".to_owned() }),
        at(2_000, What::Down { node: 3 }),
        at(4_990, begins),
        at(5_005, What::Leads { node: 1, range: 2, term: 6 }),
        at(6_000, What::Ends { strike: 4, kind: "leader-cut".to_owned() }),
    ]
}

fn violation(history: &History) -> Violation {
    let ops = history.operations();
    Violation::new("linearizable", "it saw <old>").with(&ops[0]).with(&ops[2]).of_key("a", "key: ")
}

fn with_failure<T>(look: impl FnOnce(&Failure<'_>) -> T) -> T {
    let (scenario, history, timeline) = (scenario(), history(), timeline());
    let clients = [(1, 0), (2, 5), (3, 1)].into_iter().collect();
    let violations = [violation(&history)];
    look(&Failure {
        scenario: &scenario,
        seed: 9,
        command: "script/sim p.toml --seed 9 --bug <b>".to_owned(),
        whole: None,
        violations: &violations,
        history: &history,
        clients: &clients,
        timeline: &timeline,
        end_ns: 40_000 * MS,
    })
}

#[test]
fn the_window_is_around_what_the_judge_names() {
    let window = with_failure(Window::around);
    assert_eq!(window, Window { from_ns: 4_940 * MS, to_ns: 5_062 * MS });
}

#[test]
fn without_operations_the_window_is_before_the_end() {
    let window = with_failure(|failure| {
        let violations = [Violation::new("harness", "a node panicked")];
        Window::around(&Failure { violations: &violations, ..copy(failure) })
    });
    assert_eq!(window, Window { from_ns: 39_500 * MS, to_ns: 40_040 * MS });
}

fn copy<'a>(failure: &Failure<'a>) -> Failure<'a> {
    Failure { command: failure.command.clone(), whole: None, ..*failure }
}

#[test]
fn operations_far_apart_do_not_make_a_window_of_minutes() {
    let window = with_failure(|failure| {
        let late = failure.violations[0].clone().at(30_000 * MS);
        let violations = [late];
        Window::around(&Failure { violations: &violations, ..copy(failure) })
    });
    assert_eq!(window.to_ns - window.from_ns, 1_500 * MS);
}

#[test]
fn the_time_line_says_who_asked_what_and_was_told_what() {
    let text = with_failure(time_line);
    assert_eq!(
        text,
        "before it:\n    \
         1000.000 ms  phase        work\n    \
         2000.000 ms  n3           is down\ntime line from 4940.000 ms on; down then: n3; under way then: none\n    \
         4990.000 ms  fault        strike 4, leader-cut: n2 is cut <off>\n    \
         5000.000 ms  client 0     process 1 writes \"<x>\" to \"a\" <==\n    \
         5005.000 ms  n1           leads r2 in term 6\n    \
         5010.000 ms  client 0     process 1 is told: version 7 <==\n    \
         5020.000 ms  client 5     process 2 reads \"a\" <==\n    \
         5022.000 ms  client 5     process 2 is told: \"old\" at version 3 <==\n"
    );
}

#[test]
fn the_page_shows_nodes_clients_messages_and_faults_and_escapes_all() {
    let frame = Frame {
        from: 1,
        to: 2,
        sent_ns: 5_003 * MS,
        received_ns: Some(5_004 * MS),
        says: "#7 append r3 (1 <entries>, term 5)".to_owned(),
        is_copy: false,
    };
    let lost = Frame {
        from: 2,
        to: 1,
        received_ns: None,
        says: "#8 vote asked".to_owned(),
        ..frame.clone()
    };
    let text = with_failure(|failure| page(failure, &[frame, lost]));
    for wanted in [
        ">n5<",
        ">client 5<",
        "class=\"m entries\"",
        "class=\"m election\"",
        "class=\"lost\"",
        "never arrived",
        "class=\"down\"",
        "class=\"strike\"",
        "class=\"struck\"",
        "r2 t6",
        "class=\"op named\"",
        "class=\"op plain\"",
        "here it shows",
        "script/sim p.toml --seed 9 --bug &lt;b&gt;",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    for raw in ["<x>", "<off>", "<old>", "<b>", "<that>", "<entries>", "<script", "src="] {
        assert!(!text.contains(raw), "{raw} in {text}");
    }
    assert!(!text.contains("http"));
    for element in ["g", "svg", "table", "pre", "text", "title"] {
        let opened = text.matches(&format!("<{element} ")).count()
            + text.matches(&format!("<{element}>")).count();
        assert_eq!(opened, text.matches(&format!("</{element}>")).count(), "{element}");
    }
}
