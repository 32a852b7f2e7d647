//! What the loads on other systems share: flags, and the end of a run of the closed loop. Each compiles this file by
//! its path, as it does `measure`.

use std::time::Duration;

use anyhow::bail;
use serde_json::Value;

use crate::measure::closed_loop::{CONNECTIONS_DEFAULT, Load, Measured, Operation};

/// Flags of every load.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Addresses of the servers, as http://HOST:PORT
    #[arg(long, value_name = "URL", value_delimiter = ',', required = true)]
    pub(crate) endpoints: Vec<String>,
    /// Clients, each with one operation under way
    #[arg(long, value_name = "N", default_value_t = 64)]
    clients: usize,
    /// How long to measure, in seconds, after a second of warming up
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    seconds: f64,
    /// Connections that the clients share; by default one per client and 16 at most
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// Processes of the servers, whose CPU time is reported
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub(crate) server_pids: Vec<u32>,
}

impl Flags {
    /// How many connections the clients share.
    ///
    /// # Errors
    /// There are none, or no clients.
    pub(crate) fn connections(&self) -> anyhow::Result<usize> {
        let connections = self.connections.unwrap_or(CONNECTIONS_DEFAULT.min(self.clients));
        if [self.clients, connections].contains(&0) {
            bail!("clients and connections must be at least 1");
        }
        Ok(connections)
    }

    /// The closed loop that they ask for, of one operation on this number of keys, with values of this size.
    ///
    /// # Errors
    /// As [`connections`](Self::connections), and for lengths of time that are none.
    pub(crate) fn load(
        &self,
        operation: Operation,
        value_bytes: usize,
        keys: usize,
    ) -> anyhow::Result<Load> {
        Ok(Load {
            clients: self.clients,
            connections: self.connections()?,
            seconds: Duration::try_from_secs_f64(self.seconds)?,
            operation,
            value_bytes,
            keys,
            server_pids: self.server_pids.clone(),
        })
    }
}

/// Prints what was measured.
///
/// # Errors
/// Nothing succeeded.
pub(crate) fn print(measured: &Measured, json: &Value) -> anyhow::Result<()> {
    println!("{json}");
    if measured.latency.is_empty() {
        bail!("not one operation succeeded: {}", measured.error.as_deref().unwrap_or("no answer"));
    }
    Ok(())
}
