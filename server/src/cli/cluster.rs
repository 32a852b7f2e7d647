//! `quintet cluster`: forms a cluster out of nodes that run and know each other.

use serde_json::json;

use super::{
    connect,
    exit::Failure,
    output::{Format, Output},
    split_points,
};

/// Subcommands of `cluster`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Form the cluster, once, from any of its nodes.
    ///
    /// Waits until as many nodes know each other as the cluster is to have, then gives it its id
    /// and its first ranges.
    Init(Init),
}

/// Flags of `cluster init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// How many nodes the cluster begins with
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    nodes: u32,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    ranges: split_points::Args,
    #[command(flatten)]
    connect: connect::Args,
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Result<(), Failure> {
    let Command::Init(init) = command;
    let request = init.ranges.request(init.nodes)?;
    let client = init.connect.client().await?;
    let formed = client.form_cluster(request).await?;
    let mut out = Output::new();
    match init.output {
        Format::Text => {
            out.line(format!("formed cluster {}", formed.cluster_id))?;
            for node in &formed.nodes {
                out.line(format!(
                    "  node {}  city={},room={}  {}",
                    node.id, node.city, node.room, node.client_address
                ))?;
            }
            out.line("next: quintet status, quintet kv put KEY VALUE")?;
        }
        Format::Json => {
            let nodes: Vec<_> = formed.nodes.iter().map(|node| node.id).collect();
            out.json(&json!({
                "cluster_id": formed.cluster_id,
                "incarnation": formed.incarnation,
                "nodes": nodes,
            }))?;
        }
    }
    out.flush()
}
