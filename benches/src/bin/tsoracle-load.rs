//! Takes timestamps of a running `tsoracle` exactly as `quintet bench kv --op timestamp` takes those of a running
//! Quintet, and prints the same JSON: `script/bench-oracle` sets the two side by side.
//!
//! The closed loop, the warm-up, what counts as measured and the report are one module that both programs compile,
//! `measure`. Each instance of tsoracle's client crate gathers the requests of its callers into one, as Quintet's does;
//! it waits for more of them for a while first, unless `--window-us 0` says not to.

// The same code as the other side of the comparison, not one that resembles it.
#[path = "../../../server/src/cli/bench/measure/mod.rs"]
#[expect(dead_code, reason = "tsoracle keeps no keys; all of it is used by `quintet bench`")]
mod measure;

use std::{sync::Arc, time::Duration};

use anyhow::bail;
use bytes::Bytes;
use clap::Parser;
use tsoracle_client::{Client, ClientBuilder, ClientError};

use self::measure::closed_loop::{CONNECTIONS_DEFAULT, Load, Operation, System};

/// Takes timestamps of a running tsoracle and prints one line of JSON.
#[derive(Debug, Parser)]
struct Args {
    /// Service addresses of the nodes, as http://HOST:PORT
    #[arg(long, value_name = "URL", value_delimiter = ',', required = true)]
    endpoints: Vec<String>,
    /// Callers, each with one request under way
    #[arg(long, value_name = "N", default_value_t = 64)]
    clients: usize,
    /// How long to measure, in seconds, after a second of warming up
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    seconds: f64,
    /// Instances of the client that the callers share; by default one per caller and 16 at most
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// How long an instance gathers requests, in microseconds; by default as the client crate does
    #[arg(long, value_name = "US")]
    window_us: Option<u64>,
    /// Processes of the nodes, whose CPU time is reported
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    server_pids: Vec<u32>,
}

/// An instance of the client.
#[derive(Clone)]
struct Instance(Arc<Client>);

/// Why there was no timestamp.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("tsoracle keeps no keys")]
    NoKeys,
}

impl System for Instance {
    type Error = Failure;

    async fn put(&mut self, _: Bytes, _: Bytes) -> Result<(), Failure> {
        Err(Failure::NoKeys)
    }

    async fn get(&mut self, _: Bytes) -> Result<(), Failure> {
        Err(Failure::NoKeys)
    }

    async fn increment(&mut self, _: Bytes) -> Result<(), Failure> {
        Err(Failure::NoKeys)
    }

    async fn timestamp(&mut self) -> Result<(), Failure> {
        Ok(self.0.get_ts().await.map(drop)?)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if args.clients == 0 || args.connections == Some(0) {
        bail!("clients and connections must be at least 1");
    }
    let connections = args.connections.unwrap_or(CONNECTIONS_DEFAULT.min(args.clients));
    let mut instances = Vec::new();
    for _ in 0..connections {
        let builder = ClientBuilder::endpoints(args.endpoints.clone());
        let builder = match args.window_us {
            Some(us) => builder.batch_flush_interval(Duration::from_micros(us)),
            None => builder,
        };
        instances.push(Instance(Arc::new(builder.build().await?)));
    }
    let load = Load {
        clients: args.clients,
        connections,
        seconds: Duration::try_from_secs_f64(args.seconds)?,
        operation: Operation::Timestamp,
        value_bytes: 0,
        keys: 1,
        server_pids: args.server_pids,
    };
    let measured = load.run(&instances).await.map_err(anyhow::Error::msg)?;
    let mut json = measured.json(&load);
    // Whom the requests went to: who is killed where a leader is to be lost.
    json["leader"] = instances.first().and_then(|first| first.0.cached_leader()).into();
    println!("{json}");
    if measured.latency.is_empty() {
        bail!("not one timestamp came: {}", measured.error.as_deref().unwrap_or("no answer"));
    }
    Ok(())
}
