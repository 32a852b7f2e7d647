//! The time line around a failure, as text.

use super::{Concern, Failure, Window, halves, ms};
use crate::timeline::{Moment, What};

/// More lines than this are not shown.
const LINES_MAX: usize = 80;
/// Faults, nodes and leaders before the window that are shown: what they did may show much later.
const BEFORE_MAX: usize = 10;

/// Faults, nodes, leaders, and the operations concerned, one event a line.
pub fn time_line(failure: &Failure<'_>) -> String {
    let window = Window::around(failure);
    let mut lines: Vec<(u64, String, String)> = Vec::new();
    for moment in failure.timeline {
        if window.meets(moment.at_ns, moment.at_ns) {
            let (who, what) = told(&moment.what);
            lines.push((moment.at_ns, who, what));
        }
    }
    for shown in failure.operations() {
        let end_ns = shown.told_ns.unwrap_or(u64::MAX);
        if shown.concern == Concern::None || !window.meets(shown.op.invoke_ns, end_ns) {
            continue;
        }
        let mark = if shown.concern == Concern::Named { " <==" } else { "" };
        let who = format!("client {}", shown.client);
        let (asked, told) = halves(&shown.op);
        // One that was asked before the window is part of the picture all the same.
        lines.push((shown.op.invoke_ns, who.clone(), format!("{asked}{mark}")));
        if let Some(told_ns) = shown.told_ns.filter(|told_ns| *told_ns <= window.to_ns) {
            let process = shown.op.process;
            lines.push((told_ns, who, format!("process {process} is told: {told}{mark}")));
        }
    }
    lines.sort_by_key(|line| line.0);
    let left_out = lines.len().saturating_sub(LINES_MAX);
    let mut out = state_before(failure, window);
    if left_out > 0 {
        out.push_str(&format!("  ({left_out} earlier lines left out)\n"));
    }
    for (at_ns, who, what) in lines.into_iter().skip(left_out) {
        out.push_str(&one(at_ns, &who, &what));
    }
    out
}

/// Which nodes are down and which strikes are under way when the window begins.
fn state_before(failure: &Failure<'_>, window: Window) -> String {
    let (mut down, mut striking) = (Vec::new(), Vec::new());
    for moment in failure.timeline.iter().take_while(|moment| moment.at_ns < window.from_ns) {
        match &moment.what {
            What::Down { node } => down.push(*node),
            What::Up { node } => down.retain(|other| other != node),
            What::Begins { strike, kind, .. } => striking.push((*strike, kind.clone())),
            What::Ends { strike, .. } => striking.retain(|(other, _)| other != strike),
            _ => {}
        }
    }
    let down: Vec<_> = down.iter().map(|node| format!("n{node}")).collect();
    let striking: Vec<_> =
        striking.iter().map(|(strike, kind)| format!("{kind} (strike {strike})")).collect();
    let before = failure.timeline.iter().filter(|moment| moment.at_ns < window.from_ns);
    let before: Vec<_> = before.map(line).collect();
    let earlier = before.iter().skip(before.len().saturating_sub(BEFORE_MAX));
    let list = |of: Vec<String>| if of.is_empty() { "none".to_owned() } else { of.join(", ") };
    format!(
        "before it:\n{}time line from {} ms on; down then: {}; under way then: {}\n",
        earlier.map(String::as_str).collect::<String>(),
        ms(window.from_ns),
        list(down),
        list(striking)
    )
}

fn line(moment: &Moment) -> String {
    let (who, what) = told(&moment.what);
    one(moment.at_ns, &who, &what)
}

fn one(at_ns: u64, who: &str, what: &str) -> String {
    format!("{:>12} ms  {who:<12} {what}\n", ms(at_ns))
}

/// Whom something happened to, and what.
pub(super) fn told(what: &What) -> (String, String) {
    match what {
        What::Phase { name } => ("phase".to_owned(), name.clone()),
        What::Begins { strike, kind, nodes, words } => {
            let nodes: Vec<_> = nodes.iter().map(|node| format!("n{node}")).collect();
            let nodes =
                if nodes.is_empty() { String::new() } else { format!(" {}", nodes.join(" ")) };
            ("fault".to_owned(), format!("strike {strike}, {kind}:{nodes} {words}"))
        }
        What::Ends { strike, kind } => {
            ("fault".to_owned(), format!("strike {strike}, {kind}, is over"))
        }
        What::Down { node } => (format!("n{node}"), "is down".to_owned()),
        What::Up { node } => (format!("n{node}"), "is started".to_owned()),
        What::Leads { node, range, term } => {
            (format!("n{node}"), format!("leads r{range} in term {term}"))
        }
        What::Note { words } => ("note".to_owned(), words.clone()),
    }
}
