//! `quintet status`: nodes, rooms, ranges, leaders and lag, as one node sees them.
//!
//! For people two tables, and below them a line for everything that is wrong: nodes not heard from, disks, clocks,
//! ranges without a leader. For programs the same as JSON, `null` where nothing is known. The exit code tells
//! whether the node that was asked belongs to a cluster.

use std::time::Duration;

use comfy_table::Table;
use quintet_client::v1::{DiskCondition, NodeStatus, RangeStatus, StatusResponse};
use quintet_server::{placement::disk::Condition, time::beside};
use serde_json::{Value, json};

use super::{
    connect,
    exit::{Exit, Failure},
    output::{Format, Output},
    range_view::{self, bound, or_dash, replica},
    table::{align_right, table},
};

/// Flags of `status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connect: connect::Args,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let status = args.connect.client().await?.status().await?;
    let mut out = Output::new();
    match args.output {
        Format::Text => out.raw(text(&status).as_bytes())?,
        Format::Json => out.json(&json(&status))?,
    }
    out.flush()?;
    match (status.initialized, status.cluster_around.is_empty()) {
        (true, _) => Ok(()),
        (false, false) => Err(Failure::new(Exit::Refused, "empty_node", status.why_outside)),
        (false, true) => {
            Err(Failure::new(Exit::NotInitialized, "not_initialized", status.why_outside))
        }
    }
}

fn text(status: &StatusResponse) -> String {
    let mut text = match status.initialized {
        true => format!(
            "cluster {}  incarnation {}  seen by node {}\n\n",
            status.cluster_id, status.incarnation, status.node_id
        ),
        false if !status.cluster_around.is_empty() => format!(
            "outside of cluster {}  seen by node {}\n\n",
            status.cluster_around, status.node_id
        ),
        false => format!("no cluster yet  seen by node {}\n\n", status.node_id),
    };
    text.push_str(&nodes(status).trim_fmt());
    if !status.ranges.is_empty() {
        text.push_str("\n\n");
        text.push_str(&ranges(status).trim_fmt());
    }
    text.push('\n');
    let down: Vec<_> = status.nodes.iter().filter(|node| !node.live).collect();
    if !down.is_empty() {
        let names: Vec<_> = down.iter().map(|node| format!("node {}", node.id)).collect();
        text.push_str(&format!("\nnot heard from: {}\n", names.join(", ")));
        for node in down {
            let lasted = shown(Duration::from_millis(node.lasted_ms));
            text.push_str(&format!("  node {}: for {lasted} ({})\n", node.id, or_dash(&node.why)));
        }
    }
    for node in status.nodes.iter().filter(|node| node.live) {
        let free_mib = node.disk_free_bytes >> 20;
        match node.disk() {
            DiskCondition::Unspecified | DiskCondition::Well => {}
            DiskCondition::NearlyFull => text.push_str(&format!(
                "\nthe disk of node {} is nearly full, {free_mib} MiB are free: it leads only what no node \
                 with space can\n",
                node.id
            )),
            DiskCondition::Hung => text.push_str(&format!(
                "\nthe disk of node {} does not answer, or did not until a moment ago: it leads nothing\n",
                node.id
            )),
        }
    }
    if status.replacing {
        text.push_str(&format!(
            "\nthe replacement of node {} is not done: `quintet replace {}`\n",
            status.node_id, status.node_id
        ));
    }
    text.push_str(&clocks(status));
    let without: Vec<_> = status.ranges.iter().filter(|range| range.leader_node == 0).collect();
    if !without.is_empty() {
        let names: Vec<_> = without.iter().map(|range| range.id.to_string()).collect();
        text.push_str(&format!("\nno leader known of range {}\n", names.join(", ")));
    }
    text
}

/// What is wrong with the time.
fn clocks(status: &StatusResponse) -> String {
    let mut text = String::new();
    for node in status.nodes.iter().filter(|node| node.clock_wrong_by_ms != 0) {
        text.push_str(&format!(
            "\nthe clock of node {} is wrong, {}: it is not followed\n",
            node.id,
            beside(node.clock_wrong_by_ms.saturating_mul(1_000))
        ));
    }
    text
}

fn nodes(status: &StatusResponse) -> Table {
    let mut table = table(&["NODE", "CITY", "ROOM", "LIVE", "LEADS", "CLIENT", "INTERNAL", "HTTP"]);
    for node in &status.nodes {
        table.add_row([
            node.id.to_string(),
            node.city.clone(),
            node.room.clone(),
            match (node.live, node.draining) {
                (true, false) => "yes",
                (true, true) => "drained",
                (false, _) => "NO",
            }
            .to_owned(),
            node.leaders.to_string(),
            node.client_address.clone(),
            node.internal_address.clone(),
            or_dash(&node.http_address),
        ]);
    }
    align_right(&mut table, &[0, 4]);
    table
}

fn ranges(status: &StatusResponse) -> Table {
    let mut table = table(&[
        "RANGE",
        "FROM",
        "TO",
        "LEADER",
        "TERM",
        "LAST",
        "APPLIED",
        "REPLICAS (LAG)",
        "REASON",
    ]);
    for range in &status.ranges {
        let replicas: Vec<_> = range.replicas.iter().map(replica).collect();
        table.add_row([
            range.id.to_string(),
            bound(&range.start, "start"),
            bound(&range.end, "end"),
            leader(range, &status.nodes),
            range.term.to_string(),
            range.last_index.to_string(),
            range.applied_index.to_string(),
            replicas.join(" "),
            or_dash(&range.leader_reason),
        ]);
    }
    align_right(&mut table, &[0, 4, 5, 6]);
    table
}

/// Node and room, as in `1 (c1/a)`; where none is known, who led until when.
fn leader(range: &RangeStatus, nodes: &[NodeStatus]) -> String {
    match nodes.iter().find(|node| node.id == range.leader_node) {
        _ if range.leader_node == 0 && range.last_leader_known => {
            let ago = shown(Duration::from_millis(range.last_leader_ms_ago));
            format!("none ({} until {ago} ago)", range.last_leader_node)
        }
        _ if range.leader_node == 0 => "none".to_owned(),
        Some(node) => format!("{} ({}/{})", node.id, node.city, node.room),
        None => range.leader_node.to_string(),
    }
}

fn json(status: &StatusResponse) -> Value {
    let nodes: Vec<_> = status.nodes.iter().map(node_json).collect();
    let ranges: Vec<_> = status.ranges.iter().map(range_view::json).collect();
    json!({
        "cluster_id": status.cluster_id,
        "incarnation": status.incarnation,
        "initialized": status.initialized,
        "cluster_around": status.cluster_around,
        "replacing": status.replacing,
        "why_outside": status.why_outside,
        "node_id": status.node_id,
        "nodes": nodes,
        "ranges": ranges,
    })
}

fn node_json(node: &NodeStatus) -> Value {
    json!({
        "id": node.id,
        "city": node.city,
        "room": node.room,
        "client_address": node.client_address,
        "internal_address": node.internal_address,
        "http_address": node.http_address,
        "live": node.live,
        "draining": node.draining,
        "lasted_ms": node.lasted_ms,
        "why": node.why,
        "clock_wrong_by_ms": node.clock_wrong_by_ms,
        "disk": disk(node.disk()),
        "disk_free_bytes": (node.disk() != DiskCondition::Unspecified).then_some(node.disk_free_bytes),
        "leaders": node.leaders,
        "version": node.version,
    })
}

/// What a disk is good for, as metrics call it; nothing where nothing was heard of it.
fn disk(condition: DiskCondition) -> Option<&'static str> {
    match condition {
        DiskCondition::Unspecified => None,
        DiskCondition::Well => Some(Condition::Well.name()),
        DiskCondition::NearlyFull => Some(Condition::NearlyFull.name()),
        DiskCondition::Hung => Some(Condition::Hung.name()),
    }
}

/// As in `12s`; what is shorter than a second does not matter here.
fn shown(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

#[cfg(test)]
mod tests {
    use quintet_client::v1::ReplicaStatus;

    use super::*;

    fn status() -> StatusResponse {
        let node = |id: u64, room: &str, live| NodeStatus {
            id,
            city: "c1".to_owned(),
            room: room.to_owned(),
            client_address: format!("127.0.0.1:{}", 7400 + id),
            internal_address: "i:1".to_owned(),
            live,
            leaders: u32::from(id == 1),
            ..NodeStatus::default()
        };
        let replica = |node_id, lag_known, role: &str| ReplicaStatus {
            replica_id: node_id,
            node_id,
            role: role.to_owned(),
            lag_entries: if lag_known { 3 } else { 0 },
            lag_known,
            ..ReplicaStatus::default()
        };
        let range = RangeStatus {
            id: 2,
            start: vec![0, 0, 0, 1].into(),
            leader_node: 1,
            term: 4,
            leader_reason: "room a is preferred".to_owned(),
            replicas: vec![replica(1, true, "voter"), replica(2, false, "learner")],
            ..RangeStatus::default()
        };
        StatusResponse {
            cluster_id: "abc".to_owned(),
            initialized: true,
            node_id: 1,
            nodes: vec![node(1, "a", true), node(2, "b", false)],
            ranges: vec![range],
            ..StatusResponse::default()
        }
    }

    #[test]
    fn people_see_tables() {
        let text = text(&status());
        let row = |begin: &str| {
            let found = text.lines().find(|line| line.trim_start().starts_with(begin));
            let words: Vec<_> = found.expect(begin).split_whitespace().collect();
            words.join(" ")
        };
        assert_eq!(row("1 "), "1 c1 a yes 1 127.0.0.1:7401 i:1 -");
        assert_eq!(row("not heard"), "not heard from: node 2");
        let range = text.lines().find(|line| line.contains("default/")).expect("the range");
        let range = range.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(range, "2 default/ end 1 (c1/a) 4 0 0 1(3) 2(? learner) room a is preferred");
    }

    #[test]
    fn whose_clock_is_wrong() {
        let mut status = status();
        assert_eq!(clocks(&status), "");
        status.nodes[1].clock_wrong_by_ms = -7_200_400;
        let text = text(&status);
        assert!(
            text.contains("\nthe clock of node 2 is wrong, 2h 0m behind cluster time: "),
            "{text}"
        );
        let json = json(&status);
        assert_eq!(json["nodes"][1]["clock_wrong_by_ms"], -7_200_400);
    }

    #[test]
    fn disks_that_are_not_well_are_named() {
        let mut status = status();
        status.nodes[0].set_disk(DiskCondition::NearlyFull);
        status.nodes[0].disk_free_bytes = 89 << 20;
        status.nodes[1].set_disk(DiskCondition::Hung);
        status.nodes[1].live = true;
        let text = text(&status);
        assert!(text.contains("the disk of node 1 is nearly full, 89 MiB are free"), "{text}");
        assert!(text.contains("the disk of node 2 does not answer"), "{text}");
        let json = json(&status);
        assert_eq!(json["nodes"][0]["disk"], "nearly_full");
        assert_eq!(json["nodes"][0]["disk_free_bytes"], 89 << 20);
        assert_eq!(json["nodes"][1]["disk"], "hung");
    }

    #[test]
    fn programs_see_null_where_nothing_is_known() {
        let mut status = status();
        status.ranges[0].leader_node = 0;
        let json = json(&status);
        assert_eq!(json["ranges"][0]["leader_node"], Value::Null);
        assert_eq!(json["ranges"][0]["replicas"][0]["lag_entries"], 3);
        assert_eq!(json["ranges"][0]["replicas"][1]["lag_entries"], Value::Null);
        assert_eq!(json["nodes"][1]["live"], false);
        assert_eq!(json["nodes"][1]["disk"], Value::Null);
        assert!(text(&status).contains("no leader known of range 2\n"));
    }

    #[test]
    fn what_is_not_known_now_is_shown_with_since_when() {
        let mut status = status();
        status.nodes[1] = NodeStatus {
            lasted_ms: 12_900,
            why: "connection refused".to_owned(),
            ..status.nodes[1].clone()
        };
        let range = &mut status.ranges[0];
        (range.leader_node, range.last_leader_node) = (0, 1);
        (range.last_leader_ms_ago, range.last_leader_known) = (12_400, true);
        range.replicas[0].lag_known = false;
        let text = text(&status);
        assert!(text.contains("  node 2: for 12s (connection refused)\n"), "{text}");
        assert!(text.contains("none (1 until 12s ago)"), "{text}");
        assert!(text.contains("1(3?) 2(? learner)"), "{text}");
        let json = json(&status);
        assert_eq!(json["ranges"][0]["last_leader_ms_ago"], 12_400);
        assert_eq!(json["nodes"][1]["why"], "connection refused");
    }
}
