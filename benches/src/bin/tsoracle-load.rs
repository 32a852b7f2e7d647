//! Takes timestamps of a running `tsoracle` exactly as `quintet bench kv --op timestamp` takes those of a running
//! Quintet, and prints the same JSON: `script/bench-oracle` sets the two side by side.
//!
//! The closed loop, the warm-up, what counts as measured and the report are one module that both programs compile,
//! `measure`. Each instance of tsoracle's client crate gathers the requests of its callers into one, as Quintet's does;
//! it waits for more of them for a while first, unless `--window-us 0` says not to.

// The same code as the other side of the comparison, not one that resembles it.
#[path = "../flags.rs"]
mod flags;
#[path = "../../../server/src/cli/bench/measure/mod.rs"]
#[expect(dead_code, reason = "tsoracle keeps no keys; all of it is used by `quintet bench`")]
mod measure;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use clap::Parser;
use tsoracle_client::{Client, ClientBuilder, ClientError};

use self::{
    flags::{Flags, print},
    measure::closed_loop::{Operation, System},
};

/// Takes timestamps of a running tsoracle and prints one line of JSON.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    flags: Flags,
    /// How long an instance gathers requests, in microseconds; by default as the client crate does
    #[arg(long, value_name = "US")]
    window_us: Option<u64>,
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
    let Args { flags, window_us } = Args::parse();
    let load = flags.load(Operation::Timestamp, 0, 1)?;
    let mut instances = Vec::new();
    for _ in 0..load.connections {
        let builder = ClientBuilder::endpoints(flags.endpoints.clone());
        let builder = match window_us {
            Some(us) => builder.batch_flush_interval(Duration::from_micros(us)),
            None => builder,
        };
        instances.push(Instance(Arc::new(builder.build().await?)));
    }
    let measured = load.run(&instances).await.map_err(anyhow::Error::msg)?;
    let mut json = measured.json(&load);
    // Whom the requests went to: who is killed where a leader is to be lost.
    json["leader"] = instances.first().and_then(|first| first.0.cached_leader()).into();
    print(&measured, &json)
}
