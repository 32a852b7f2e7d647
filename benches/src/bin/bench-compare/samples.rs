//! What loads printed, a JSON object a line, and its medians.
//!
//! A line is a sample, or says what the servers used with nobody asking.

use anyhow::{Context, bail};
use serde::Deserialize;

/// A line of input.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Sample(Sample),
    Idle(Idle),
}

/// What a load printed, as far as the table needs it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Sample {
    pub(super) system: String,
    pub(super) op: String,
    /// How it read, where not from leaders.
    pub(super) reads: Option<String>,
    /// The delays of a WAN were on the links.
    #[serde(default)]
    pub(super) wan: bool,
    pub(super) clients: u64,
    /// Of a load or a scan.
    pub(super) records: Option<u64>,
    pub(super) ops_per_s: f64,
    /// None of a load or a scan.
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    pub(super) client_cpu_us_per_op: Option<f64>,
    pub(super) server_cpu_us_per_op: Option<f64>,
    pub(super) errors: u64,
}

/// CPU time of all servers with nobody asking, in percent of one core.
#[derive(Debug, Deserialize)]
pub(super) struct Idle {
    pub(super) system: String,
    pub(super) idle_cpu_percent: f64,
}

impl Sample {
    /// Of the table: stale reads are one of their own.
    pub(super) fn op(&self) -> &str {
        match (self.reads.as_deref(), &*self.op) {
            (Some("stale"), _) => "stale",
            (_, "put") if self.wan => "put, WAN",
            (_, op) => op,
        }
    }
}

/// Medians of one system at one operation and number of clients.
#[derive(Debug)]
pub(super) struct Medians {
    pub(super) rounds: usize,
    pub(super) records: Option<u64>,
    pub(super) ops_per_s: f64,
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    pub(super) client_cpu_us: Option<f64>,
    pub(super) server_cpu_us: Option<f64>,
    pub(super) errors: u64,
}

pub(super) fn parse(text: &str) -> anyhow::Result<(Vec<Sample>, Vec<Idle>)> {
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

pub(super) fn medians(samples: &[Sample], system: &str, op: &str, clients: u64) -> Option<Medians> {
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
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) =
        (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_over_rounds() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_line_that_is_no_sample_is_an_error() {
        assert!(parse("{\"system\":\"etcd\"}").is_err());
        assert!(parse("").is_err());
    }
}
