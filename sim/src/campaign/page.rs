//! One page about a campaign, for people who decide: what was tried, how often, what held, what is not covered.
//!
//! It is one HTML file without scripts. What has to hold, judge by judge, and what is not covered, stands here in
//! plain words: who adds a judge adds a line.

use super::{Record, ScenarioTotals, Totals, faults, hours, totals::by_commit};
use crate::html::{escape, page as html_page, table};

/// What a page is about.
pub struct Sheet<'a> {
    /// Each scenario with what it shows, and what came of it.
    pub scenarios: Vec<Held<'a>>,
    /// All finished seeds, of earlier sittings too, oldest first.
    pub records: &'a [Record],
    /// The commit that the campaign ran on.
    pub commit: &'a str,
}

/// What came of a scenario.
pub struct Held<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it shows, in a sentence.
    pub description: &'a str,
    /// Whether it was run at all on this commit.
    pub is_run: bool,
    /// What is wrong with it; empty: it held.
    pub findings: Vec<String>,
}

/// What has to hold, judge by judge.
const JUDGES: &[(&str, &str)] = &[
    (
        "linearizable",
        "Each key behaves as one register in real time: there is one order of its operations that explains \
         every answer. Nobody reads the past, nothing acknowledged is lost, nothing is done twice.",
    ),
    (
        "expiry",
        "A value with a time to live is there until then and gone afterwards, as far as clocks agree.",
    ),
    ("acknowledged", "Every acknowledged insert is there at the end, once, as it was written."),
    ("counter", "Increments count exactly once, whatever was retried."),
    ("list", "A list that is only appended to grows in one order, for whoever reads it."),
    ("moment", "A scan over many ranges shows one moment."),
    ("read_all", "So does a read of keys that are overwritten meanwhile, or it is refused."),
    ("pages", "A page of a scan, whichever way, shows a moment that is not before the scan began."),
    (
        "promise",
        "The loss of a room or a city costs no more than promised: seconds until writes go on, and until \
         leaders are home; or an honest refusal.",
    ),
    (
        "raft",
        "As the run goes: one leader a term, one log, nothing committed is lost, and what is committed is \
         on the disks of a majority.",
    ),
    ("replicas", "At the same position of the log all replicas of a range are in the same state."),
    ("run", "No node panics, and none stops but for what it must stop for."),
    (
        "heal",
        "After all faults a write is acknowledged within 3 seconds, replicas are equal within 30.",
    ),
    ("exercised", "A run without commits or leaders, or a fault that never happens, is a failure."),
];

/// What the simulation does not show, and what does.
const NOT_COVERED: &[(&str, &str)] = &[
    (
        "RocksDB itself",
        "one suite of tests for it and the memory engine in its place; the crash test of real processes",
    ),
    ("the kernel, real disks and file systems", "tests with real processes and kill -9"),
    ("TCP, HTTP/2, TLS and gRPC's limits", "end-to-end tests with real processes"),
    ("real time and throughput", "benches"),
];

/// The page.
pub fn page(sheet: &Sheet<'_>) -> String {
    let all = Totals::of(sheet.records);
    let here = Totals::of(sheet.records.iter().filter(|record| record.commit == sheet.commit));
    let failed = sheet.scenarios.iter().filter(|held| !held.findings.is_empty()).count();
    let verdict = match failed {
        0 => "<p class=\"good\">Everything that was run held.</p>".to_owned(),
        failed => format!("<p class=\"bad\">{failed} scenarios did not hold.</p>"),
    };
    let mut body = format!(
        "<p>{} runs of a simulated cluster, {} simulated hours, {} acknowledged writes, {} elections, {} \
         faults. Of these runs {} are of commit <code>{}</code>.</p>\n{verdict}\n\
         <p class=\"soft\">Each run is a cluster of real nodes and real clients on a simulated network, \
         simulated clocks and simulated disks. Everything in it follows from its seed, so whatever fails \
         can be run again.</p>\n",
        all.seeds,
        hours(all.simulated_s),
        all.commits,
        all.elections,
        all.faults.values().sum::<u64>(),
        here.seeds,
        escape(sheet.commit)
    );
    body.push_str("<h2>What was tried</h2>\n");
    body.push_str(&scenario_table(sheet));
    body.push_str("<h2>What went wrong on purpose</h2>\n");
    let kinds = all.faults.iter().map(|(kind, count)| {
        let fired_in = all.fired_in.get(kind).copied().unwrap_or(0);
        vec![kind.clone(), count.to_string(), fired_in.to_string()]
    });
    body.push_str(&table(&["fault", "times", "runs"], 1, &kinds.collect::<Vec<_>>()));
    body.push_str("<h2>What has to hold</h2>\n");
    body.push_str(&pairs(&["judge", "demands"], JUDGES));
    body.push_str("<h2>On which commits</h2>\n");
    let commits = by_commit(sheet.records).into_iter().map(|(commit, totals)| {
        vec![
            commit.to_owned(),
            totals.seeds.to_string(),
            hours(totals.simulated_s),
            (totals.violations + totals.undecided).to_string(),
        ]
    });
    let head = ["commit, oldest first", "runs", "simulated hours", "not held"];
    body.push_str(&table(&head, 1, &commits.collect::<Vec<_>>()));
    body.push_str("<h2>What is not covered here</h2>\n");
    body.push_str(&pairs(&["not simulated", "covered by"], NOT_COVERED));
    html_page("Quintet: what the simulation tried and what held", &body)
}

fn scenario_table(sheet: &Sheet<'_>) -> String {
    let by_name = ScenarioTotals::of(sheet.records);
    let none = Totals::default();
    let mut out = String::from(
        "<table>\n<tr><th>scenario</th><th>what it shows</th><th class=\"n\">runs</th>\
         <th class=\"n\">simulated hours</th><th class=\"n\">writes</th><th>faults</th><th></th></tr>\n",
    );
    for held in &sheet.scenarios {
        let totals = by_name.0.get(held.name).unwrap_or(&none);
        let verdict = match held.findings.as_slice() {
            [] if !held.is_run => "<span class=\"soft\">not run on this commit</span>".to_owned(),
            [] => "<span class=\"good\">held</span>".to_owned(),
            findings => format!("<span class=\"bad\">{}</span>", escape(&findings.join("; "))),
        };
        out.push_str(&format!(
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td>{}</td><td>{verdict}</td></tr>\n",
            escape(held.name),
            escape(held.description),
            totals.seeds,
            hours(totals.simulated_s),
            totals.commits,
            escape(&faults(totals))
        ));
    }
    out.push_str("</table>\n");
    out
}

fn pairs(head: &[&str], of: &[(&str, &str)]) -> String {
    let rows = of.iter().map(|(a, b)| vec![(*a).to_owned(), (*b).to_owned()]);
    table(head, 2, &rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::{super::log::tests::record, *};

    #[test]
    fn the_page_says_what_was_tried_how_often_and_what_held() {
        let records = [record("a", 1, "old"), record("a", 2, "new<1>"), record("b", 1, "new<1>")];
        let held = |name, findings| Held {
            name,
            description: "Shows <all>.",
            is_run: name != "c",
            findings,
        };
        let sheet = Sheet {
            scenarios: vec![
                held("a", vec![]),
                held("b", vec!["1 seeds <bad>".to_owned()]),
                held("c", vec![]),
            ],
            records: &records,
            commit: "new<1>",
        };
        let text = page(&sheet);
        for wanted in [
            "3 runs of a simulated cluster",
            "Of these runs 2 are of commit <code>new&lt;1&gt;</code>",
            "1 scenarios did not hold",
            "<td>Shows &lt;all&gt;.</td>",
            "<span class=\"good\">held</span>",
            "<span class=\"soft\">not run on this commit</span>",
            "<span class=\"bad\">1 seeds &lt;bad&gt;</span>",
            "<tr><td>node-kill</td><td class=\"n\">9</td><td class=\"n\">3</td></tr>",
            "<tr><td>old</td><td class=\"n\">1</td>",
            "RocksDB",
        ] {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
        assert!(!text.contains("<all>") && !text.contains("<bad>") && !text.contains("new<1>"));
    }
}
