//! `quintet debug registry`: what the system range holds of the cluster.

use quintet_client::v1::{RegisteredNode, RegisteredRange, RegistryResponse};
use quintet_server::time::utc;
use serde_json::{Map, Value, json};

use super::descriptor;
use crate::cli::{
    connect,
    exit::Failure,
    output::{Format, Output},
    range_view::bound,
    table::{align_right, table},
};

/// Flags of `debug registry`.
#[derive(Debug, clap::Args)]
pub(crate) struct Registry {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connect: connect::Args,
}

/// Runs the command.
pub(crate) async fn run(args: Registry) -> Result<(), Failure> {
    let registry = args.connect.client().await?.registry().await?;
    let mut out = Output::new();
    match args.output {
        Format::Text => out.raw(text(&registry).as_bytes())?,
        Format::Json => out.json(&json(&registry))?,
    }
    out.flush()
}

fn text(registry: &RegistryResponse) -> String {
    let mut nodes = table(&["NODE", "CITY", "ROOM", "CLIENT", "INTERNAL", "STARTS", "WRITTEN"]);
    align_right(&mut nodes, &[0, 5]);
    for node in &registry.nodes {
        nodes.add_row([
            node.node_id.to_string(),
            node.city.clone(),
            node.room.clone(),
            node.client_address.clone(),
            node.internal_address.clone(),
            node.starts.to_string(),
            utc(node.at),
        ]);
    }
    let mut ranges = table(&["RANGE", "FROM", "TO", "GENERATION", "REPLICAS", "WRITTEN"]);
    align_right(&mut ranges, &[0, 3]);
    for range in &registry.ranges {
        let Some(descriptor) = &range.descriptor else { continue };
        let places = descriptor.replicas.iter();
        let places: Vec<_> =
            places.map(|place| format!("{}@{}", place.replica_id, place.node_id)).collect();
        ranges.add_row([
            descriptor.range_id.to_string(),
            bound(&descriptor.start, "start"),
            bound(&descriptor.end, "end"),
            descriptor.generation.to_string(),
            places.join(" "),
            utc(range.at),
        ]);
    }
    let mut settings: Vec<_> = registry.settings.iter().collect();
    settings.sort();
    let settings: Vec<_> =
        settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    format!(
        "the system range, as node {} has it\n\n{nodes}\n\n{ranges}\n\n{}",
        registry.node_id,
        settings.concat()
    )
}

fn json(registry: &RegistryResponse) -> Value {
    let nodes: Vec<_> = registry.nodes.iter().map(node_json).collect();
    let ranges: Vec<_> = registry.ranges.iter().map(range_json).collect();
    let settings: Map<String, Value> = registry
        .settings
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.clone())))
        .collect();
    json!({ "node": registry.node_id, "nodes": nodes, "ranges": ranges, "settings": settings })
}

fn node_json(node: &RegisteredNode) -> Value {
    json!({
        "node": node.node_id,
        "city": node.city,
        "room": node.room,
        "client": node.client_address,
        "internal": node.internal_address,
        "http": node.http_address,
        "starts": node.starts,
        "version": node.version,
        "written": { "time": node.at, "utc": utc(node.at) },
    })
}

fn range_json(range: &RegisteredRange) -> Value {
    json!({
        "descriptor": range.descriptor.as_ref().map(descriptor::json),
        "written": { "time": range.at, "utc": utc(range.at) },
    })
}
