//! Turns the samples of `script/bench-vs-etcd`, `bench-oracle` and `bench-rounds` into one table: medians of all
//! systems, ratios, and which targets are met.
//!
//! Input is a file of JSON lines, in the order in which they were measured. A sample is what a load
//! prints, with `system` (`quintet`, `quintet-1` with one range of data, `etcd`, `tsoracle` and `tsoracle-0`, whose
//! client waits for nobody, or `own-clock`: Quintet without rounds) and `round`; a line with `idle_cpu_percent`
//! instead says what the servers used without any load. Medians are over rounds, and a ratio is one of medians: machine
//! noise lasts longer than a sample, so pairs of samples say no more.

mod losses;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Parser;
use serde::Deserialize;
use serde_json::{Value, json};

/// Prints the comparison of Quintet and others.
#[derive(Debug, Parser)]
struct Args {
    /// Samples, one JSON object a line
    #[arg(requires = "json", required_unless_present = "losses")]
    samples: Option<PathBuf>,
    /// Where all samples, medians and verdicts go
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Samples in which a server was lost
    #[arg(long, value_name = "FILE", conflicts_with_all = ["samples", "json"])]
    losses: Option<PathBuf>,
}

/// A line of input.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Sample(Sample),
    Idle(Idle),
}

/// What a load printed, as far as the table needs it.
#[derive(Clone, Debug, Deserialize)]
struct Sample {
    system: String,
    op: String,
    /// How it read, where not from leaders.
    reads: Option<String>,
    /// The delays of a WAN were on the links.
    #[serde(default)]
    wan: bool,
    clients: u64,
    /// Of a load or a scan.
    records: Option<u64>,
    ops_per_s: f64,
    /// None of a load or a scan.
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    client_cpu_us_per_op: Option<f64>,
    server_cpu_us_per_op: Option<f64>,
    errors: u64,
}

/// CPU time of all servers with nobody asking, in percent of one core.
#[derive(Debug, Deserialize)]
struct Idle {
    system: String,
    idle_cpu_percent: f64,
}

/// At this operation and number of clients, beside a system.
struct Target {
    op: &'static str,
    clients: u64,
    beside: &'static str,
    wanted: Wanted,
}

/// What a ratio has to be.
#[derive(Clone, Copy)]
enum Wanted {
    /// At least this multiple of the throughput.
    Throughput(f64),
    /// The same, and p99 no worse.
    ThroughputAndP99(f64),
    /// At most this multiple of the median latency.
    P50(f64),
    /// At most as many milliseconds above the median latency.
    P50Ms(f64),
    /// At most this multiple of the servers' CPU time.
    Cpu(f64),
}

const fn etcd(op: &'static str, clients: u64, wanted: Wanted) -> Target {
    Target { op, clients, beside: "etcd", wanted }
}

const TARGETS: [Target; 16] = [
    etcd("put", 1, Wanted::Throughput(0.9)),
    etcd("put", 64, Wanted::ThroughputAndP99(2.5)),
    etcd("put", 256, Wanted::ThroughputAndP99(3.0)),
    etcd("get", 1, Wanted::Throughput(1.2)),
    etcd("get", 64, Wanted::ThroughputAndP99(2.5)),
    etcd("get", 256, Wanted::ThroughputAndP99(3.5)),
    etcd("load", 1, Wanted::Throughput(5.0)),
    etcd("scan", 1, Wanted::Throughput(1.5)),
    etcd("increment", 64, Wanted::Throughput(50.0)),
    timestamp(64, "tsoracle", Wanted::Throughput(5.0)),
    timestamp(64, "tsoracle-0", Wanted::Throughput(0.6)),
    timestamp(1, "tsoracle-0", Wanted::P50(2.5)),
    without_rounds("put", 256, Wanted::Cpu(1.1)),
    without_rounds("get", 64, Wanted::Cpu(1.05)),
    without_rounds("put, WAN", 1, Wanted::P50Ms(1.5)),
    without_rounds("put, WAN", 64, Wanted::P50Ms(1.5)),
];

const fn without_rounds(op: &'static str, clients: u64, wanted: Wanted) -> Target {
    Target { op, clients, beside: "own-clock", wanted }
}

const fn timestamp(clients: u64, beside: &'static str, wanted: Wanted) -> Target {
    Target { op: "timestamp", clients, beside, wanted }
}

/// Other systems, in the order of the table.
const OTHERS: [&str; 4] = ["etcd", "tsoracle", "tsoracle-0", "own-clock"];
/// In the order of the table.
const OPERATIONS: [&str; 8] =
    ["put", "put, WAN", "increment", "get", "stale", "load", "scan", "timestamp"];
/// An operation of ours, and at least which multiple of another one's throughput it has at as many clients.
const BESIDE_OWN: [(&str, &str, f64); 2] = [("increment", "put", 0.5), ("stale", "get", 1.5)];

/// Eight ranges must do no less than one did, at these numbers of clients.
const CLIENTS_OF_ONE_RANGE: [u64; 2] = [64, 256];
/// How the table names the system with one range of data.
const ONE_RANGE: &str = "quintet-1";

/// Medians of one system at one operation and number of clients.
#[derive(Debug)]
struct Medians {
    rounds: usize,
    records: Option<u64>,
    ops_per_s: f64,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    client_cpu_us: Option<f64>,
    server_cpu_us: Option<f64>,
    errors: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(losses) = &args.losses {
        print!("{}", losses::report(&read(losses)?)?);
        return Ok(());
    }
    let (Some(samples), Some(to)) = (&args.samples, &args.json) else {
        bail!("name a file of samples, and with --json where the report goes");
    };
    let text = read(samples)?;
    let (samples, idle) = parse(&text)?;
    let report = Report::new(&samples, &idle)?;
    print!("{}", report.table);
    let raw: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let json = json!({ "samples": raw, "comparison": report.rows });
    fs::write(to, format!("{json:#}\n")).with_context(|| format!("cannot write {}", to.display()))
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn parse(text: &str) -> anyhow::Result<(Vec<Sample>, Vec<Idle>)> {
    let (mut samples, mut idle) = (Vec::new(), Vec::new());
    for line in text.lines() {
        match serde_json::from_str(line).with_context(|| format!("not a sample: {line}"))? {
            Line::Sample(sample) => samples.push(sample),
            Line::Idle(one) => idle.push(one),
        }
    }
    if samples.is_empty() {
        bail!("there are no samples");
    }
    Ok((samples, idle))
}

/// The table for people, and its rows for programs.
struct Report {
    table: String,
    rows: Vec<Value>,
}

impl Report {
    fn new(samples: &[Sample], idle: &[Idle]) -> anyhow::Result<Report> {
        let mut report = Report { table: String::new(), rows: Vec::new() };
        report.table.push_str(
            "| op | clients | system | ops/s | p50 ms | p99 ms | client CPU-us/op | servers CPU-us/op |\n\
             |---|--:|---|--:|--:|--:|--:|--:|\n",
        );
        let mut verdicts = String::new();
        // in this order, then by clients
        let place = |op: &str| OPERATIONS.iter().position(|known| *known == op);
        let measured: BTreeSet<_> =
            samples.iter().map(|s| (place(s.op()), s.op(), s.clients)).collect();
        for (_, op, clients) in measured {
            let of = |system| medians(samples, system, op, clients);
            let (quintet, one_range) = (of("quintet"), of(ONE_RANGE));
            for system in ["quintet", ONE_RANGE].into_iter().chain(OTHERS) {
                if let Some(medians) = of(system) {
                    report.row(op, clients, system, &medians)?;
                }
            }
            if let (Some(quintet), Some(one_range)) = (&quintet, &one_range) {
                report.beside_one_range(op, clients, quintet, one_range, &mut verdicts)?;
            }
            let Some(quintet) = quintet else { continue };
            for other in OTHERS {
                if let Some(theirs) = of(other) {
                    report.ratio(op, clients, &quintet, (other, &theirs), &mut verdicts)?;
                }
            }
            for (_, other, ratio_min) in BESIDE_OWN.iter().filter(|(own, ..)| *own == op) {
                if let Some(own) = medians(samples, "quintet", other, clients) {
                    let ratio = quintet.ops_per_s / own.ops_per_s;
                    let met = met(ratio >= *ratio_min);
                    writeln!(
                        verdicts,
                        "{met:6} {op} at {clients} clients: {ratio:.2} x {other}, target {ratio_min:.1} x"
                    )?;
                    report.rows.push(json!({
                        "op": op, "clients": clients, "beside_own": other, "ratio": ratio,
                        "target_ratio_min": ratio_min, "target_met": ratio >= *ratio_min,
                    }));
                }
            }
        }
        report.table.push('\n');
        for system in ["quintet", ONE_RANGE].into_iter().chain(OTHERS) {
            let of = idle.iter().filter(|one| one.system == system);
            if let Some(percent) = median(of.map(|one| one.idle_cpu_percent).collect()) {
                let what = "five servers with nobody asking";
                writeln!(report.table, "{what}: {system} {percent:.1} % of a core")?;
            }
        }
        report.table.push('\n');
        report.table.push_str(&verdicts);
        Ok(report)
    }

    fn row(&mut self, op: &str, clients: u64, system: &str, of: &Medians) -> anyhow::Result<()> {
        let cpu = |us: Option<f64>| us.map_or_else(|| "?".to_owned(), |us| format!("{us:.0}"));
        let ms =
            |us: Option<f64>| us.map_or_else(|| "-".to_owned(), |us| format!("{:.2}", us / 1e3));
        let errors = match of.errors {
            0 => String::new(),
            errors => format!(" ({errors} errors)"),
        };
        writeln!(
            self.table,
            "| {op} | {clients} | {system} | {:.0}{errors} | {} | {} | {} | {} |",
            of.ops_per_s,
            ms(of.p50_us),
            ms(of.p99_us),
            cpu(of.client_cpu_us),
            cpu(of.server_cpu_us),
        )?;
        self.rows.push(json!({
            "op": op, "clients": clients, "system": system, "rounds": of.rounds,
            "records": of.records,
            "ops_per_s": of.ops_per_s, "p50_us": of.p50_us, "p99_us": of.p99_us,
            "client_cpu_us_per_op": of.client_cpu_us, "server_cpu_us_per_op": of.server_cpu_us,
            "errors": of.errors,
        }));
        Ok(())
    }

    /// Eight ranges of data against one: what dividing the keys costs or brings.
    fn beside_one_range(
        &mut self,
        op: &str,
        clients: u64,
        quintet: &Medians,
        one_range: &Medians,
        verdicts: &mut String,
    ) -> anyhow::Result<()> {
        let ratio = quintet.ops_per_s / one_range.ops_per_s;
        let mut row = json!({ "op": op, "clients": clients, "beside": ONE_RANGE, "ratio": ratio });
        if CLIENTS_OF_ONE_RANGE.contains(&clients) {
            let met = met(ratio >= 1.0);
            writeln!(
                verdicts,
                "{met:6} {op} at {clients} clients: {ratio:.2} x one range, target no less"
            )?;
            row["target_met"] = json!(ratio >= 1.0);
        }
        self.rows.push(row);
        Ok(())
    }

    fn ratio(
        &mut self,
        op: &str,
        clients: u64,
        quintet: &Medians,
        (other, theirs): (&str, &Medians),
        verdicts: &mut String,
    ) -> anyhow::Result<()> {
        let ops = quintet.ops_per_s / theirs.ops_per_s;
        let over = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
        let p50 = over(quintet.p50_us, theirs.p50_us);
        let p99 = over(quintet.p99_us, theirs.p99_us);
        let client_cpu = over(quintet.client_cpu_us, theirs.client_cpu_us);
        let server_cpu = over(quintet.server_cpu_us, theirs.server_cpu_us);
        let show = |ratio: Option<f64>| {
            ratio.map_or_else(|| "?".to_owned(), |ratio| format!("**{ratio:.2} x**"))
        };
        writeln!(
            self.table,
            "| {op} | {clients} | **quintet / {other}** | **{ops:.2} x** | {} | {} | {} | {} |",
            show(p50),
            show(p99),
            show(client_cpu),
            show(server_cpu),
        )?;
        let mut row = json!({
            "op": op, "clients": clients, "beside": other, "ratio": ops, "p50_ratio": p50, "p99_ratio": p99,
            "client_cpu_ratio": client_cpu, "server_cpu_ratio": server_cpu,
        });
        let of_these = |t: &&Target| t.op == op && t.clients == clients && t.beside == other;
        if let Some(target) = TARGETS.iter().find(of_these) {
            let what = match quintet.records {
                Some(records) => format!("{op} of {records} records"),
                None => format!("{op} at {clients} clients"),
            };
            let mut say = |is_met: bool, figure: &str| {
                writeln!(verdicts, "{:6} {what}: {figure}", met(is_met))
            };
            match (target.wanted, p50, server_cpu) {
                (Wanted::P50(most), Some(p50), _) => {
                    row["target_p50_ratio_max"] = json!(most);
                    row["target_met"] = json!(p50 <= most);
                    say(p50 <= most, &format!("p50 {p50:.2} x {other}, target {most:.1} x"))?;
                }
                (Wanted::P50Ms(most), Some(_), _) => {
                    let ms = |of: &Medians| of.p50_us.unwrap_or_default() / 1e3;
                    let more = ms(quintet) - ms(theirs);
                    row["p50_ms_more"] = json!(more);
                    row["target_met"] = json!(more <= most);
                    let figure = format!("p50 {more:.2} ms above {other}, target {most:.1} ms");
                    say(more <= most, &figure)?;
                }
                (Wanted::Cpu(most), _, Some(cpu)) => {
                    row["target_cpu_ratio_max"] = json!(most);
                    row["target_met"] = json!(cpu <= most);
                    let figure = format!("servers' CPU {cpu:.2} x {other}, target {most:.2} x");
                    say(cpu <= most, &figure)?;
                }
                (Wanted::P50(_) | Wanted::P50Ms(_), None, _) | (Wanted::Cpu(_), _, None) => {
                    let figure = format!("{other} or this was not measured in full");
                    say(false, &figure)?;
                }
                (Wanted::Throughput(least) | Wanted::ThroughputAndP99(least), ..) => {
                    row["target_ratio_min"] = json!(least);
                    row["target_met"] = json!(ops >= least);
                    say(ops >= least, &format!("{ops:.2} x {other}, target {least:.1} x"))?;
                }
            }
            if let (Wanted::ThroughputAndP99(_), Some(p99)) = (target.wanted, p99) {
                row["target_p99_met"] = json!(p99 <= 1.0);
                say(p99 <= 1.0, &format!("p99 {p99:.2} x {other}, target no worse"))?;
            }
        }
        self.rows.push(row);
        Ok(())
    }
}

fn met(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}

impl Sample {
    /// Of the table: stale reads are one of their own.
    fn op(&self) -> &str {
        match (self.reads.as_deref(), &*self.op) {
            (Some("stale"), _) => "stale",
            (_, "put") if self.wan => "put, WAN",
            (_, op) => op,
        }
    }
}

fn medians(samples: &[Sample], system: &str, op: &str, clients: u64) -> Option<Medians> {
    let of: Vec<_> = samples
        .iter()
        .filter(|s| s.system == system && s.op() == op && s.clients == clients)
        .collect();
    let known =
        |field: fn(&Sample) -> Option<f64>| median(of.iter().filter_map(|s| field(s)).collect());
    Some(Medians {
        rounds: of.len(),
        records: of.iter().filter_map(|s| s.records).min(),
        ops_per_s: median(of.iter().map(|s| s.ops_per_s).collect())?,
        p50_us: known(|s| s.p50_us),
        p99_us: known(|s| s.p99_us),
        client_cpu_us: known(|s| s.client_cpu_us_per_op),
        server_cpu_us: known(|s| s.server_cpu_us_per_op),
        errors: of.iter().map(|s| s.errors).sum(),
    })
}

/// Of an even number the mean of the middle two.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) =
        (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(system: &str, ops: f64, p99: u64) -> String {
        json!({
            "system": system, "round": 1, "op": "put", "clients": 64, "ops_per_s": ops,
            "p50_us": 10, "p99_us": p99, "client_cpu_us_per_op": null,
            "server_cpu_us_per_op": 100.0, "errors": 0,
        })
        .to_string()
    }

    #[test]
    fn medians_are_over_rounds() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn targets_are_met_or_missed_by_the_ratio_of_medians() {
        let lines = [
            line("quintet", 2500.0, 30),
            line("etcd", 1000.0, 20),
            line("quintet", 9000.0, 30),
            line("etcd", 900.0, 20),
            line("quintet", 100.0, 30),
            line("etcd", 2000.0, 20),
            json!({ "system": "etcd", "round": 1, "idle_cpu_percent": 7.0 }).to_string(),
        ];
        let (samples, idle) = parse(&lines.join("\n")).expect("samples");
        let report = Report::new(&samples, &idle).expect("a report");
        assert!(report.table.contains("met    put at 64 clients: 2.50 x etcd"), "{}", report.table);
        assert!(
            report.table.contains("MISSED put at 64 clients: p99 1.50 x etcd"),
            "{}",
            report.table
        );
        assert!(report.table.contains("etcd 7.0 % of a core"), "{}", report.table);
        assert_eq!(report.rows[2]["target_met"], true);
        assert_eq!(report.rows[2]["target_p99_met"], false);
        assert_eq!(report.rows[2]["client_cpu_ratio"], Value::Null);
    }

    #[test]
    fn a_load_has_records_and_no_latencies() {
        let line = |system: &str, ops: f64| {
            json!({
                "system": system, "round": 1, "op": "load", "clients": 1, "records": 1_000,
                "ops_per_s": ops, "client_cpu_us_per_op": 1.0, "server_cpu_us_per_op": 2.0,
                "errors": 0,
            })
            .to_string()
        };
        let lines = [line("quintet", 5_500.0), line("etcd", 1_000.0)];
        let (samples, idle) = parse(&lines.join("\n")).expect("samples");
        let table = Report::new(&samples, &idle).expect("a report").table;
        assert!(
            table.contains("met    load of 1000 records: 5.50 x etcd, target 5.0 x"),
            "{table}"
        );
        assert!(table.contains("| load | 1 | etcd | 1000 | - | - | 1 | 2 |"), "{table}");
    }

    #[test]
    fn eight_ranges_stand_beside_one() {
        let lines =
            [line("quintet", 900.0, 1), line("quintet-1", 1_000.0, 1), line("etcd", 100.0, 1)];
        let (samples, idle) = parse(&lines.join("\n")).expect("samples");
        let report = Report::new(&samples, &idle).expect("a report");
        let verdict = "MISSED put at 64 clients: 0.90 x one range, target no less";
        assert!(report.table.contains(verdict), "{}", report.table);
        let beside = report.rows.iter().find(|row| row["beside"] == ONE_RANGE).expect("a row");
        assert_eq!(beside["target_met"], false);
    }

    #[test]
    fn timestamps_stand_beside_both_clients_of_tsoracle() {
        let line = |system: &str, clients: u64, ops: f64, p50: u64| {
            json!({
                "system": system, "round": 1, "op": "timestamp", "clients": clients,
                "ops_per_s": ops, "p50_us": p50, "p99_us": 900, "client_cpu_us_per_op": null,
                "server_cpu_us_per_op": null, "errors": 0,
            })
            .to_string()
        };
        let lines = [
            line("quintet", 64, 60_000.0, 300),
            line("tsoracle", 64, 10_000.0, 2_000),
            line("tsoracle-0", 64, 200_000.0, 90),
            line("quintet", 1, 5_000.0, 200),
            line("tsoracle-0", 1, 10_000.0, 100),
        ];
        let (samples, idle) = parse(&lines.join("\n")).expect("samples");
        let table = Report::new(&samples, &idle).expect("a report").table;
        for verdict in [
            "met    timestamp at 64 clients: 6.00 x tsoracle, target 5.0 x",
            "MISSED timestamp at 64 clients: 0.30 x tsoracle-0, target 0.6 x",
            "met    timestamp at 1 clients: p50 2.00 x tsoracle-0, target 2.5 x",
        ] {
            assert!(table.contains(verdict), "{table}");
        }
    }

    #[test]
    fn stale_reads_stand_beside_strict_ones_and_a_counter_beside_puts() {
        let sample = |op: &str, reads: Option<&str>, ops: f64| {
            json!({
                "system": "quintet", "round": 1, "op": op, "reads": reads, "clients": 64,
                "ops_per_s": ops, "p50_us": 1, "p99_us": 1, "client_cpu_us_per_op": null,
                "server_cpu_us_per_op": null, "errors": 0,
            })
            .to_string()
        };
        let lines = [
            sample("get", Some("leader"), 10.0),
            sample("get", Some("stale"), 14.0),
            sample("put", None, 10.0),
            sample("increment", None, 6.0),
        ];
        let (samples, idle) = parse(&lines.join("\n")).expect("samples");
        let table = Report::new(&samples, &idle).expect("a report").table;
        assert!(table.contains("MISSED stale at 64 clients: 1.40 x get, target 1.5 x"), "{table}");
        assert!(
            table.contains("met    increment at 64 clients: 0.60 x put, target 0.5 x"),
            "{table}"
        );
        assert!(table.contains("| stale | 64 | quintet | 14 |"), "{table}");
    }

    #[test]
    fn what_rounds_cost_stands_beside_a_build_without_them() {
        let sample = |system: &str, op: &str, wan: bool, clients: u64, p50: u64, cpu: f64| {
            json!({
                "system": system, "round": 1, "op": op, "wan": wan, "clients": clients,
                "ops_per_s": 9.0, "p50_us": p50, "p99_us": 1, "client_cpu_us_per_op": null,
                "server_cpu_us_per_op": cpu, "errors": 0,
            })
            .to_string()
        };
        let lines = [
            sample("quintet", "put", false, 256, 900, 120.0),
            sample("own-clock", "put", false, 256, 900, 100.0),
            sample("quintet", "put", true, 64, 4_300, 120.0),
            sample("own-clock", "put", true, 64, 3_000, 100.0),
        ];
        let (samples, idle) = parse(&lines.join("\n")).expect("samples");
        let table = Report::new(&samples, &idle).expect("a report").table;
        for verdict in [
            "MISSED put at 256 clients: servers' CPU 1.20 x own-clock, target 1.10 x",
            "met    put, WAN at 64 clients: p50 1.30 ms above own-clock, target 1.5 ms",
        ] {
            assert!(table.contains(verdict), "{table}");
        }
    }

    #[test]
    fn a_line_that_is_no_sample_is_an_error() {
        assert!(parse("{\"system\":\"etcd\"}").is_err());
        assert!(parse("").is_err());
    }
}
