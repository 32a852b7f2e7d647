//! The table of medians and ratios, and which targets are met.
//!
//! People read it as text and scripts as JSON, so each row and verdict is made once and said twice. A ratio is one of
//! medians (`samples.rs`); what is wanted of it stands in `targets.rs`. What was not measured is `?` or null, and no
//! target of it is met.

use std::{collections::BTreeSet, fmt::Write as _};

use serde_json::{Value, json};

use super::{
    samples::{Idle, Medians, Sample, median, medians},
    targets::{BESIDE_OWN, CLIENTS_OF_ONE_RANGE, ONE_RANGE, OPERATIONS, OTHERS, Target, met},
};

/// The table for people, and its rows for programs.
pub(super) struct Report {
    pub(super) table: String,
    pub(super) rows: Vec<Value>,
}

impl Report {
    pub(super) fn new(samples: &[Sample], idle: &[Idle]) -> anyhow::Result<Report> {
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
        if let (Some(target), Some(fields)) =
            (Target::find(op, clients, other), row.as_object_mut())
        {
            let what = match quintet.records {
                Some(records) => format!("{op} of {records} records"),
                None => format!("{op} at {clients} clients"),
            };
            for (is_met, figure) in target.judge(quintet, theirs, fields) {
                writeln!(verdicts, "{:6} {what}: {figure}", met(is_met))?;
            }
        }
        self.rows.push(row);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::parse;

    /// A sample of 64 clients, but for what `but` says.
    fn sample(system: &str, op: &str, ops: f64, but: Value) -> String {
        let mut sample = json!({
            "system": system, "round": 1, "op": op, "clients": 64, "ops_per_s": ops,
            "p50_us": 10, "p99_us": 1, "client_cpu_us_per_op": null,
            "server_cpu_us_per_op": 100.0, "errors": 0,
        });
        let (Value::Object(fields), Value::Object(but)) = (&mut sample, but) else {
            unreachable!("both are objects");
        };
        fields.extend(but);
        sample.to_string()
    }

    fn report(lines: &[String]) -> Report {
        let (samples, idle) = parse(&lines.join("\n")).expect("samples");
        Report::new(&samples, &idle).expect("a report")
    }

    #[test]
    fn targets_are_met_or_missed_by_the_ratio_of_medians() {
        let put = |system, ops, p99: u64| sample(system, "put", ops, json!({ "p99_us": p99 }));
        let report = report(&[
            put("quintet", 2500.0, 30),
            put("etcd", 1000.0, 20),
            put("quintet", 9000.0, 30),
            put("etcd", 900.0, 20),
            put("quintet", 100.0, 30),
            put("etcd", 2000.0, 20),
            json!({ "system": "etcd", "round": 1, "idle_cpu_percent": 7.0 }).to_string(),
        ]);
        for words in [
            "met    put at 64 clients: 2.50 x etcd, target 2.5 x",
            "MISSED put at 64 clients: p99 1.50 x etcd",
            "etcd 7.0 % of a core",
        ] {
            assert!(report.table.contains(words), "{}", report.table);
        }
        assert_eq!(report.rows[2]["target_met"], true);
        assert_eq!(report.rows[2]["target_p99_met"], false);
        assert_eq!(report.rows[2]["client_cpu_ratio"], Value::Null);
    }

    #[test]
    fn a_load_has_records_and_no_latencies() {
        let load = |system, ops| {
            let but = json!({ "clients": 1, "records": 1_000, "p50_us": null, "p99_us": null });
            sample(system, "load", ops, but)
        };
        let table = report(&[load("quintet", 5_500.0), load("etcd", 1_000.0)]).table;
        assert!(
            table.contains("met    load of 1000 records: 5.50 x etcd, target 5.0 x"),
            "{table}"
        );
        assert!(table.contains("| load | 1 | etcd | 1000 | - | - | ? | 100 |"), "{table}");
    }

    #[test]
    fn eight_ranges_stand_beside_one() {
        let put = |system, ops| sample(system, "put", ops, json!({}));
        let report =
            report(&[put("quintet", 900.0), put("quintet-1", 1_000.0), put("etcd", 100.0)]);
        let verdict = "MISSED put at 64 clients: 0.90 x one range, target no less";
        assert!(report.table.contains(verdict), "{}", report.table);
        let beside = report.rows.iter().find(|row| row["beside"] == ONE_RANGE).expect("a row");
        assert_eq!(beside["target_met"], false);
    }

    #[test]
    fn timestamps_stand_beside_both_clients_of_tsoracle() {
        let take = |system, clients: u64, ops, p50: u64| {
            sample(system, "timestamp", ops, json!({ "clients": clients, "p50_us": p50 }))
        };
        let table = report(&[
            take("quintet", 64, 60_000.0, 300),
            take("tsoracle", 64, 10_000.0, 2_000),
            take("tsoracle-0", 64, 200_000.0, 90),
            take("quintet", 1, 5_000.0, 200),
            take("tsoracle-0", 1, 10_000.0, 100),
        ])
        .table;
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
        let get = |reads, ops| sample("quintet", "get", ops, json!({ "reads": reads }));
        let table = report(&[
            get("leader", 10.0),
            get("stale", 14.0),
            sample("quintet", "put", 10.0, json!({})),
            sample("quintet", "increment", 6.0, json!({})),
        ])
        .table;
        for words in [
            "MISSED stale at 64 clients: 1.40 x get, target 1.5 x",
            "met    increment at 64 clients: 0.60 x put, target 0.5 x",
            "| stale | 64 | quintet | 14 |",
        ] {
            assert!(table.contains(words), "{table}");
        }
    }

    #[test]
    fn what_rounds_cost_stands_beside_a_build_without_them() {
        let busy = |system, cpu: f64| {
            sample(system, "put", 9.0, json!({ "clients": 256, "server_cpu_us_per_op": cpu }))
        };
        let far =
            |system, p50: u64| sample(system, "put", 9.0, json!({ "wan": true, "p50_us": p50 }));
        let table = report(&[
            busy("quintet", 120.0),
            busy("own-clock", 100.0),
            far("quintet", 4_300),
            far("own-clock", 3_000),
        ])
        .table;
        for verdict in [
            "MISSED put at 256 clients: servers' CPU 1.20 x own-clock, target 1.10 x",
            "met    put, WAN at 64 clients: p50 1.30 ms above own-clock, target 1.5 ms",
        ] {
            assert!(table.contains(verdict), "{table}");
        }
    }
}
