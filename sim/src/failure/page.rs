//! One page about a run that failed.

use super::{Failure, Frame, diagram::diagram, ms, text::time_line};
use crate::html::{escape, page as html_page, table};

/// The page. `frames`: what nodes said to one another around the failure.
pub fn page(failure: &Failure<'_>, frames: &[Frame]) -> String {
    let scenario = failure.scenario;
    let title = format!("{}, seed {}: a violation", scenario.name, failure.seed);
    let mut body = format!("<p class=\"soft\">{}</p>\n", escape(&scenario.description));
    body.push_str("<h2>What is wrong</h2>\n");
    for violation in failure.violations {
        body.push_str(&format!(
            "<p class=\"soft\">judge: {}</p>\n<pre>{}</pre>\n",
            escape(violation.judge),
            escape(&violation.to_string())
        ));
    }
    body.push_str(&format!("<h2>Run it again</h2>\n<pre>{}</pre>\n", escape(&failure.command)));
    if let Some(whole) = &failure.whole {
        body.push_str(&format!(
            "<p>That is a smaller run than the one that failed first:</p>\n<pre>{}</pre>\n",
            escape(whole)
        ));
    }
    body.push_str(
        "<p class=\"soft\"><code>--trace FILE</code> writes all that happened, <code>--history \
         FILE</code> what clients saw, <code>--timeline FILE</code> faults, nodes and leaders.</p>\n",
    );
    let (svg, left_out) = diagram(failure, frames);
    body.push_str(&format!(
        "<h2>What happened around it</h2>\n{LEGEND}\n<div class=\"diagram\">{svg}</div>\n\
         <p class=\"soft\">{}</p>\n",
        escape(&left_out)
    ));
    body.push_str(&format!(
        "<h2>The same as text</h2>\n<pre>{}</pre>\n",
        escape(&time_line(failure))
    ));
    body.push_str("<h2>The run</h2>\n");
    body.push_str(&table(&["", ""], 2, &run_rows(failure)));
    html_page(&title, &body)
}

fn run_rows(failure: &Failure<'_>) -> Vec<Vec<String>> {
    let scenario = failure.scenario;
    let nodes: Vec<_> = scenario
        .topology
        .nodes
        .iter()
        .map(|node| format!("n{} in {}/{}", node.id, node.city, node.room))
        .collect();
    let operations = failure.history.operations().len();
    let rows = [
        ("nodes", nodes.join(", ")),
        ("clients", scenario.workload.clients.to_string()),
        ("operations", operations.to_string()),
        ("work and faults", format!("{} simulated seconds", scenario.duration_s)),
        ("end", format!("{} ms of simulated time", ms(failure.end_ns))),
    ];
    rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect()
}

const LEGEND: &str = "<p class=\"soft\">Time runs down. Arrows are messages between nodes (green: \
elections, purple: log entries, blue: requests passed on, grey: the rest; a cross: never arrived), red \
bars nodes that are down, orange bars and shades faults, green dots new leaders, as they were seen, with \
range and term. Bars of clients are operations: pink what the judge names, light pink others on the key. \
Point at anything to read more.</p>";
