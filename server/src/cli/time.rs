//! `quintet time`: cluster time, the time servers, and what a timestamp means.
//!
//! For whoever reads a log, a history or an incident: versions are timestamps, and these commands say when that was,
//! and who tells the time. They ask one node, and print what it knows; `place` alone changes something. Timestamps are
//! text in JSON: they are larger than what some of its readers keep exactly.

use quintet_client::v1::{StatusResponse, TimeServerStatus, TimeStatus};
use quintet_server::time::{Timestamp, beside, utc};
use serde_json::json;

use super::{
    connect,
    exit::Failure,
    output::{Format, Output},
    table::{align_right, table},
};

/// Subcommands of `time`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print cluster time: the highest timestamp that the asked node knows to be published
    Now(Asked),
    /// Print the time servers: where they are, and whose clock is wrong
    Servers(Asked),
    /// Have time servers on these nodes alone, as on those that are left of a lost room, or on all again
    Place(PlaceArgs),
    /// Print what a timestamp means: a version, the moment of a scan, a line in a log
    Decode {
        /// The timestamp
        timestamp: u64,
        /// How to print
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
}

/// Flags of a command that asks a node.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Format,
    #[command(flatten)]
    pub(super) connect: connect::Args,
}

/// Which nodes have time servers.
#[derive(Debug, clap::Args)]
pub(crate) struct PlaceArgs {
    /// The nodes, an odd number
    #[arg(value_delimiter = ',', required_unless_present = "all", conflicts_with = "all")]
    nodes: Vec<u64>,
    /// Every node that holds a voter of the system range, as when the cluster was formed
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    asked: Asked,
}

async fn place(PlaceArgs { nodes, asked, .. }: PlaceArgs) -> Result<(), Failure> {
    asked.connect.client().await?.place_time_servers(&nodes).await?;
    let mut out = Output::new();
    match asked.output {
        Format::Json => out.json(&json!({ "nodes": nodes }))?,
        Format::Text if nodes.is_empty() => {
            out.line("time servers come to every node that holds a voter of the system range")?;
        }
        Format::Text => {
            let nodes = listed(&nodes, ", ");
            out.line(format!(
                "time servers come to nodes {nodes} alone; `quintet time place --all` ends that"
            ))?;
        }
    }
    out.flush()
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Now(Asked { output, connect }) => {
            let (status, time) = ask(&connect).await?;
            decode(time.now, Some(status.node_id), output)
        }
        Command::Servers(Asked { output, connect }) => {
            let (status, time) = ask(&connect).await?;
            servers(&status, &time, output)
        }
        Command::Place(args) => place(args).await,
        Command::Decode { timestamp, output } => decode(timestamp, None, output),
    }
}

async fn ask(connect: &connect::Args) -> Result<(StatusResponse, TimeStatus), Failure> {
    let status = connect.client().await?.status().await?;
    let time = status.time.clone().filter(|time| time.now > 0);
    let time = time.ok_or_else(|| {
        Failure::unavailable("the node does not know the time yet: too few time servers answer it")
    })?;
    Ok((status, time))
}

/// Prints a timestamp in all its forms; `known_by` says which node told it.
fn decode(timestamp: u64, known_by: Option<u64>, output: Format) -> Result<(), Failure> {
    let at = Timestamp(timestamp);
    let logical = timestamp & ((1 << Timestamp::LOGICAL_BITS) - 1);
    let mut out = Output::new();
    match output {
        Format::Text => {
            out.line(format!("{timestamp}  {}", utc(timestamp)))?;
            out.line(format!(
                "  {} us since 2020-01-01 UTC, number {logical} of that block",
                at.us()
            ))?;
        }
        Format::Json => {
            let mut object = json!({
                "timestamp": timestamp.to_string(),
                "utc": utc(timestamp),
                "block_us": at.us(),
                "number": logical,
            });
            if let (Some(node), Some(object)) = (known_by, object.as_object_mut()) {
                object.insert("node".to_owned(), node.into());
            }
            out.json(&object)?;
        }
    }
    out.flush()
}

fn servers(status: &StatusResponse, time: &TimeStatus, output: Format) -> Result<(), Failure> {
    let node = |id: u64| status.nodes.iter().find(|node| node.id == id);
    let mut out = Output::new();
    match output {
        Format::Text => {
            out.line(format!("cluster time {}  epoch {}", utc(time.now), time.epoch))?;
            if time.changes_begun > 0 {
                out.line("another set of time servers is begun and not active yet")?;
            }
            if !time.placed_on.is_empty() {
                out.line(format!(
                    "on nodes {} alone, until `quintet time place --all`",
                    listed(&time.placed_on, ", ")
                ))?;
            }
            out.line("")?;
            let mut table = table(&["SERVER", "NODE", "CITY", "ROOM", "LIVE", "CLOCK"]);
            for server in &time.servers {
                let on = node(server.node_id);
                table.add_row([
                    name(server),
                    on.map_or("lost".to_owned(), |node| node.id.to_string()),
                    on.map_or("-".to_owned(), |node| node.city.clone()),
                    on.map_or("-".to_owned(), |node| node.room.clone()),
                    if server.live { "yes" } else { "NO" }.to_owned(),
                    on.map_or("-".to_owned(), |node| clock(node.clock_wrong_by_ms)),
                ]);
            }
            align_right(&mut table, &[1]);
            out.raw(format!("{}\n", table.trim_fmt()).as_bytes())?;
        }
        Format::Json => {
            let servers: Vec<_> = time
                .servers
                .iter()
                .map(|server| {
                    let on = node(server.node_id);
                    json!({
                        "server": name(server),
                        "node": on.map(|node| node.id),
                        "live": server.live,
                        "clock_wrong_by_ms": on.map(|node| node.clock_wrong_by_ms),
                    })
                })
                .collect();
            out.json(&json!({
                "now": time.now.to_string(),
                "utc": utc(time.now),
                "epoch": time.epoch,
                "changes_begun": time.changes_begun,
                "placed_on": time.placed_on,
                "servers": servers,
            }))?;
        }
    }
    out.flush()
}

/// A time server, as an operator writes it.
pub(super) fn name(server: &TimeServerStatus) -> String {
    format!("{:016x}", server.server_id)
}

/// Several things in a line.
pub(super) fn listed<T: ToString>(items: impl IntoIterator<Item = T>, between: &str) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(between)
}

/// How a clock stands beside cluster time.
fn clock(wrong_by_ms: i64) -> String {
    match wrong_by_ms {
        0 => "right".to_owned(),
        _ => beside(wrong_by_ms.saturating_mul(1_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_beside_cluster_time() {
        assert_eq!(clock(0), "right");
        assert_eq!(clock(7_200_000), "2h 0m ahead of cluster time");
        assert_eq!(clock(-61_000), "1m 1s behind cluster time");
    }
}
