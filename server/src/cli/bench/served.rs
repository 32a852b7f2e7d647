//! Which nodes served a load's reads, and how many of them without leading: by the nodes' own metrics.
//!
//! The load can't tell: a node that is asked may have had the leader answer. So the metrics of all nodes are read
//! before and after, and what they have counted meanwhile is the load's, where nobody else reads. What a node that is
//! not reached has served is not known, and is said to be so: shares are of the others then.

use std::{collections::BTreeMap, io, time::Duration};

use quintet_client::Client;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long a node may take for its metrics.
const PAGE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes that are read of them.
const PAGE_BYTES_MAX: u64 = 16 << 20;
/// Gets that a node has answered well, as leader or not.
const READS: &str = "quintet_operations_total{operation=\"get\",outcome=\"ok\"}";
const WITHOUT_LEADING: &str = "quintet_reads_without_leading_total";

/// What a node has served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    reads: u64,
    without_leading: u64,
}

/// What the nodes have served since each started, by node; none of those that could not be asked.
#[derive(Debug, Default)]
pub(super) struct Counted(BTreeMap<u64, Option<Counts>>);

/// What the nodes have served meanwhile; none where that is not known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Served(BTreeMap<u64, Option<Counts>>);

impl Counted {
    /// Asks all nodes.
    pub(super) async fn now(client: &Client) -> Counted {
        let Ok(status) = client.status().await else { return Counted::default() };
        let mut counted = Counted::default();
        for node in status.nodes {
            let page = timeout(PAGE_TIMEOUT, page(&node.http_address)).await;
            counted.0.insert(node.id, page.ok().and_then(|page| counts(&page.ok()?)));
        }
        counted
    }

    /// What came since.
    pub(super) fn until(&self, later: &Counted) -> Served {
        let since = |node| {
            let (before, later) = (self.0.get(node).copied()??, later.0.get(node).copied()??);
            Some(Counts {
                reads: later.reads.saturating_sub(before.reads),
                without_leading: later.without_leading.saturating_sub(before.without_leading),
            })
        };
        let nodes = self.0.keys().chain(later.0.keys());
        Served(nodes.map(|node| (*node, since(node))).collect())
    }
}

impl Served {
    fn total(&self, of: impl Fn(&Counts) -> u64) -> u64 {
        self.0.values().flatten().map(of).sum()
    }

    /// A line a node.
    pub(super) fn text(&self) -> String {
        let all = self.total(|counts| counts.reads);
        let without_leading = share(self.total(|counts| counts.without_leading), all);
        let unknown = self.0.values().filter(|counts| counts.is_none()).count();
        let mut text = match unknown {
            _ if unknown == self.0.len() => String::new(),
            0 => format!("{without_leading:>11.1}% of the reads were served without leading\n"),
            _ => format!(
                "{without_leading:>11.1}% of the reads of these nodes were served without leading\n"
            ),
        };
        for (node, counts) in &self.0 {
            text.push_str(&match counts {
                Some(Counts { reads, .. }) => {
                    format!("{:>11.1}% of them by node {node}\n", share(*reads, all))
                }
                None => {
                    format!("     unknown how many by node {node}: its metrics are not reached\n")
                }
            });
        }
        if self.0.is_empty() {
            text.push_str("     unknown which nodes served how much: no node told its status\n");
        }
        text
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let all = self.total(|counts| counts.reads);
        let node = |(node, counts): (&u64, &Option<Counts>)| {
            json!({
                "node": node,
                "reads": counts.map(|counts| counts.reads),
                "without_leading": counts.map(|counts| counts.without_leading),
                "share": counts.map(|counts| share(counts.reads, all) / 100.0),
            })
        };
        self.0.iter().map(node).collect()
    }
}

/// In percent.
fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { 100.0 * part as f64 / all as f64 }
}

/// None where it is no page of metrics.
fn counts(page: &str) -> Option<Counts> {
    if !page.starts_with("HTTP/1.1 200") {
        return None;
    }
    let value = |name: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    };
    Some(Counts { reads: value(READS), without_leading: value(WITHOUT_LEADING) })
}

async fn page(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(PAGE_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_what_came_meanwhile() {
        let page = |reads, without| {
            format!(
                "HTTP/1.1 200 OK\r\n\r\n# HELP x y\n{READS} {reads}\n{WITHOUT_LEADING} {without}\n"
            )
        };
        let counted = |of: &[(u64, u64, u64)]| {
            let of =
                of.iter().map(|(node, reads, without)| (*node, counts(&page(*reads, *without))));
            Counted(of.collect())
        };
        let before = counted(&[(1, 100, 0), (2, 5, 5)]);
        let served = before.until(&counted(&[(1, 130, 10), (2, 15, 15), (3, 7, 7)]));
        assert_eq!(served.json()[0]["share"], 0.75);
        assert_eq!(served.json()[1]["without_leading"], 10);
        assert_eq!(served.json()[2]["share"], Value::Null, "it was not asked before");
        let text = served.text();
        assert!(text.contains("50.0% of the reads of these nodes were served without"), "{text}");
        assert!(text.contains("25.0% of them by node 2\n"), "{text}");
        assert!(text.contains("unknown how many by node 3"), "{text}");
        let all = counted(&[(1, 130, 10)]);
        assert!(counted(&[(1, 100, 0)]).until(&all).text().contains("33.3% of the reads were"));
        let nobody = Counted::default().until(&all).text();
        assert_eq!(nobody, "     unknown how many by node 1: its metrics are not reached\n");
        assert_eq!(counts("HTTP/1.1 500"), None);
    }
}
