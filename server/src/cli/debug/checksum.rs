//! `quintet debug checksum`: whether the replicas of each range are equal.
//!
//! A replica answers with a hash over its state, and the applied index which that state is of. Only hashes at equal
//! applied indexes can be compared, so that every node is asked again until all replicas of a range have
//! answered for the same index, or the time is over; then the range's verdict stays open.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use comfy_table::{Table, presets};
use quintet_client::v1::RangeChecksum;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::cli::{
    connect,
    exit::{Exit, Failure},
    output::{Format, Output},
};

/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(200);

/// Flags of `debug checksum`.
#[derive(Debug, clap::Args)]
pub(crate) struct Checksum {
    /// Only this range
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    range: u64,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connect: connect::Args,
}

/// By range and node.
type Sums = BTreeMap<u64, BTreeMap<u64, RangeChecksum>>;

/// Runs the command.
pub(super) async fn run(args: Checksum) -> Result<(), Failure> {
    let deadline = Instant::now() + args.connect.timeout;
    let status = args.connect.client().await?.status().await?;
    let ranges = status.ranges.iter().filter(|range| args.range == 0 || range.id == args.range);
    let wanted: BTreeMap<u64, BTreeSet<u64>> = ranges
        .map(|range| (range.id, range.replicas.iter().map(|replica| replica.node_id).collect()))
        .collect();
    if wanted.is_empty() {
        return Err(Failure::new(Exit::Refused, "no_range", "there is no such range"));
    }
    let addresses: BTreeMap<u64, String> =
        status.nodes.iter().map(|node| (node.id, node.client_address.clone())).collect();
    let (mut sums, mut silent) = (Sums::new(), BTreeMap::new());
    loop {
        round(&args, &addresses, deadline, &mut sums, &mut silent).await;
        let settled = wanted.iter().all(|(range, nodes)| verdict(&sums, *range, nodes).is_some());
        if settled || Instant::now() + PAUSE >= deadline {
            break;
        }
        sleep(PAUSE).await;
    }
    print(args.output, &wanted, &sums)?;
    let verdicts: Vec<_> =
        wanted.iter().map(|(range, nodes)| (*range, verdict(&sums, *range, nodes))).collect();
    let named = |wanted: Option<bool>| {
        let of = verdicts.iter().filter(|(_, verdict)| *verdict == wanted);
        of.map(|(range, _)| range.to_string()).collect::<Vec<_>>().join(", ")
    };
    let differ = named(Some(false));
    if !differ.is_empty() {
        let message = format!("the replicas of range {differ} differ at equal applied indexes");
        return Err(Failure::new(Exit::Refused, "unequal", message));
    }
    let open = named(None);
    if !open.is_empty() {
        let silent: Vec<_> =
            silent.iter().map(|(node, why)| format!("node {node}: {why}")).collect();
        let message = format!(
            "the replicas of range {open} did not answer for one applied index in time; stop the \
             writes, or wait longer with --timeout {}",
            silent.join("; ")
        );
        return Err(Failure::unavailable(message.trim_end()));
    }
    Ok(())
}

/// Asks every node once.
async fn round(
    args: &Checksum,
    addresses: &BTreeMap<u64, String>,
    deadline: Instant,
    sums: &mut Sums,
    silent: &mut BTreeMap<u64, String>,
) {
    let left = deadline.saturating_duration_since(Instant::now());
    let asked = addresses.iter().map(|(node, address)| async move {
        let asked = async {
            let client = connect::connect(vec![address.clone()], left).await?;
            Ok::<_, Failure>(client.checksum(args.range).await?)
        };
        (*node, asked.await)
    });
    for (node, answer) in futures::future::join_all(asked).await {
        match answer {
            Ok(answer) => {
                silent.remove(&node);
                for sum in answer.ranges {
                    sums.entry(sum.range_id).or_default().insert(node, sum);
                }
            }
            Err(why) => {
                silent.insert(node, why.to_string());
            }
        }
    }
}

/// Whether a range's replicas are equal; `None` while they answer for different applied indexes, or
/// not all of them answer.
fn verdict(sums: &Sums, range: u64, nodes: &BTreeSet<u64>) -> Option<bool> {
    let sums = sums.get(&range)?;
    let of: Vec<_> = nodes.iter().map(|node| sums.get(node)).collect::<Option<_>>()?;
    let first = of.first()?;
    if of.iter().any(|sum| sum.applied_index != first.applied_index) {
        return None;
    }
    Some(of.iter().all(|sum| sum.hash == first.hash))
}

fn word(verdict: Option<bool>) -> &'static str {
    match verdict {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "?",
    }
}

fn print(
    format: Format,
    wanted: &BTreeMap<u64, BTreeSet<u64>>,
    sums: &Sums,
) -> Result<(), Failure> {
    let mut out = Output::new();
    let rows = wanted.iter().flat_map(|(range, nodes)| {
        let equal = verdict(sums, *range, nodes);
        nodes.iter().map(move |node| (*range, *node, equal))
    });
    let sum = |range: u64, node: u64| sums.get(&range).and_then(|sums| sums.get(&node));
    match format {
        Format::Text => {
            let mut table = Table::new();
            table.load_preset(presets::NOTHING);
            table.set_header(["RANGE", "NODE", "APPLIED", "RECORDS", "HASH", "EQUAL"]);
            for (range, node, equal) in rows {
                let shown = |show: fn(&RangeChecksum) -> String| {
                    sum(range, node).map_or_else(|| "-".to_owned(), show)
                };
                table.add_row([
                    range.to_string(),
                    node.to_string(),
                    shown(|sum| sum.applied_index.to_string()),
                    shown(|sum| sum.records.to_string()),
                    shown(|sum| format!("{:016x}", sum.hash)),
                    word(equal).to_owned(),
                ]);
            }
            out.line(table.trim_fmt())?;
        }
        Format::Json => {
            let rows: Vec<_> = rows
                .map(|(range, node, equal)| {
                    let sum = sum(range, node);
                    json!({
                        "range": range,
                        "node": node,
                        "applied_index": sum.map(|sum| sum.applied_index),
                        "records": sum.map(|sum| sum.records),
                        "hash": sum.map(|sum| format!("{:016x}", sum.hash)),
                        "equal": equal,
                    })
                })
                .collect();
            out.json(&json!({ "replicas": rows }))?;
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(of: &[(u64, u64, u64)]) -> Sums {
        let mut sums = Sums::new();
        for (node, applied_index, hash) in of {
            let (applied_index, hash) = (*applied_index, *hash);
            let sum = RangeChecksum { applied_index, hash, ..RangeChecksum::default() };
            sums.entry(2).or_default().insert(*node, sum);
        }
        sums
    }

    #[test]
    fn only_hashes_at_equal_indexes_are_compared() {
        let nodes = BTreeSet::from([1, 2]);
        let verdict = |of: &[(u64, u64, u64)]| verdict(&sums(of), 2, &nodes);
        assert_eq!(verdict(&[(1, 7, 9), (2, 7, 9)]), Some(true));
        assert_eq!(verdict(&[(1, 7, 9), (2, 7, 8)]), Some(false));
        assert_eq!(verdict(&[(1, 7, 9), (2, 6, 9)]), None);
        assert_eq!(verdict(&[(1, 7, 9)]), None);
        assert_eq!(verdict(&[]), None);
    }
}
