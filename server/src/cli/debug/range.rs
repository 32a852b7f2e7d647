//! `quintet debug range`: all that each node knows of its replica of one range.
//!
//! Every node is asked for itself, so that what a stuck or cut off replica believes can be laid beside
//! what the others do. A node that does not answer is a line of the output, not a failure.

mod json;
mod said;
mod text;

use std::time::Duration;

use quintet_client::Error;

use self::{
    json::json,
    said::{ByNode, Said, silent},
    text::text,
};
use crate::cli::{
    connect,
    exit::{Exit, Failure},
    output::{Format, Output},
};

/// How long a node may take that the others do not hear: it is down, or only this command reaches it.
const NOT_LIVE_TIMEOUT: Duration = Duration::from_secs(1);

/// Flags of `debug range`.
#[derive(Debug, clap::Args)]
pub(crate) struct Range {
    /// The range, by its id
    #[arg(value_name = "RANGE")]
    id: u64,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connect: connect::Args,
}

/// Runs the command.
pub(crate) async fn run(args: Range) -> Result<(), Failure> {
    let status = args.connect.client().await?.status().await?;
    if !status.initialized {
        let message = "no cluster has been formed yet: `quintet cluster init --node HOST:PORT`";
        return Err(Failure::new(Exit::NotInitialized, "not_initialized", message));
    }
    let asked = status.nodes.iter().map(|node| async {
        let timeout = match node.live {
            true => args.connect.timeout,
            false => args.connect.timeout.min(NOT_LIVE_TIMEOUT),
        };
        (node.id, ask(node.client_address.clone(), args.id, timeout).await)
    });
    let nodes: ByNode = futures::future::join_all(asked).await.into_iter().collect();
    judge(args.id, &nodes)?;
    let mut out = Output::new();
    match args.output {
        Format::Text => out.raw(text(args.id, &nodes).as_bytes())?,
        Format::Json => out.json(&json(args.id, &nodes))?,
    }
    out.flush()
}

async fn ask(address: String, range: u64, timeout: Duration) -> Said {
    let asked = async {
        let client = connect::connect(vec![address.clone()], timeout).await?;
        Ok(client.debug_range(range).await)
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(Ok(Ok(found))) => Said::Replica(found.replica.map(Box::new)),
        Ok(Ok(Err(Error::InvalidArgument(_)))) => Said::Unknown,
        Ok(Ok(Err(error))) => Said::Silent(Failure::from(error).to_string()),
        Ok(Err::<_, Failure>(failure)) => Said::Silent(failure.to_string()),
        Err(_) => Said::Silent(format!("{address} has not answered within {timeout:?}")),
    }
}

/// `Err` where nobody has a replica to show.
fn judge(range: u64, nodes: &ByNode) -> Result<(), Failure> {
    if nodes.values().any(|said| matches!(said, Said::Replica(Some(_)))) {
        return Ok(());
    }
    let silent = silent(nodes);
    if silent.is_empty() {
        let message = format!("there is no range {range}; `quintet status` lists them");
        return Err(Failure::new(Exit::Refused, "no_range", message));
    }
    let silent: Vec<_> = silent.iter().map(|(node, why)| format!("node {node}: {why}")).collect();
    let message =
        format!("no node that answers has a replica of range {range}; {}", silent.join("; "));
    Err(Failure::unavailable(message))
}

#[cfg(test)]
mod tests {
    use quintet_client::v1::{
        FollowerDebug, RaftDebug, RangeDescriptor, ReplicaDebug, ReplicaFault, VoterSet,
    };
    use serde_json::Value;

    use super::*;

    fn replica(node: u64) -> ReplicaDebug {
        let leads = node == 1;
        let voters =
            vec![VoterSet { replica_ids: vec![1, 2] }, VoterSet { replica_ids: vec![1, 3] }];
        let follower = FollowerDebug {
            replica_id: 2,
            node_id: 2,
            matched_index: 7,
            matched_known: true,
            ..FollowerDebug::default()
        };
        let fault = ReplicaFault {
            doing: "append".to_owned(),
            peer_replica: 2,
            why: "a\nb".to_owned(),
            first: 1,
            last: 2,
            count: 3,
        };
        ReplicaDebug {
            replica_id: node,
            descriptor: Some(RangeDescriptor { generation: node, ..RangeDescriptor::default() }),
            raft: Some(RaftDebug {
                role: if leads { "leader" } else { "follower" }.to_owned(),
                last_index: 9,
                voters,
                learners: vec![4],
                followers: if leads { vec![follower] } else { Vec::new() },
                ..RaftDebug::default()
            }),
            faults: if leads { vec![fault] } else { Vec::new() },
            ..ReplicaDebug::default()
        }
    }

    fn nodes() -> ByNode {
        let there = |node| Said::Replica(Some(Box::new(replica(node))));
        [(1, there(1)), (2, there(2)), (3, Said::Silent("gone".to_owned())), (4, Said::Unknown)]
            .into()
    }

    #[test]
    fn people_see_what_differs_and_who_is_silent() {
        let text = text(2, &nodes());
        for line in [
            "descriptor at node 1",
            "descriptor at node 2",
            "membership at nodes 1, 2",
            "  entry 0  JOINT, a change is under way: voters 1 2 and 1 3  learners 4",
            "node 3 did not answer: gone",
            "node 4 has no replica of it",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        let row = text.lines().find(|line| line.contains("a\\nb")).expect("a fault");
        assert_eq!(
            row.split_whitespace().skip(1).collect::<Vec<_>>(),
            ["1", "3", "append", "replica", "2", "a\\nb"],
            "{text}"
        );
    }

    #[test]
    fn programs_see_everything() {
        let json = json(2, &nodes());
        let one = &json["nodes"][0]["replica"];
        assert_eq!(one["raft"]["joint"], true);
        assert_eq!(one["raft"]["followers"][0]["matched_index"], 7);
        assert_eq!(one["raft"]["followers"][0]["heard_ms_ago"], Value::Null);
        assert_eq!(one["faults"][0]["count"], 3);
        assert_eq!(json["nodes"][2]["unreachable"], "gone");
        assert_eq!(json["nodes"][3]["replica"], Value::Null);
    }

    #[test]
    fn nobody_has_it_or_nobody_can_say() {
        let mut nodes: ByNode = [(1, Said::Unknown), (2, Said::Replica(None))].into();
        let failure = judge(9, &nodes).expect_err("no replica");
        assert_eq!(
            failure.line().as_deref(),
            Some("error: no_range: there is no range 9; `quintet status` lists them")
        );
        nodes.insert(3, Said::Silent("gone".to_owned()));
        let failure = judge(9, &nodes).expect_err("no replica");
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.to_string().contains("node 3: gone"), "{failure}");
    }
}
