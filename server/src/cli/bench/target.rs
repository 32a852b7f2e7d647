//! Flags that loads on a running cluster share: which cluster, which processes' CPU time, how to print.

use serde_json::Value;

use super::{leftovers, measure::keys::PREFIX};
use crate::cli::{
    connect,
    dev_cluster::registry,
    exit::Failure,
    output::{Format, Output, note},
};

/// Flags of every load.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// Processes of the servers on this machine, whose CPU time is reported; those of a running
    /// `quintet dev` cluster are found
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    server_pids: Vec<u32>,
    /// Remove all keys that begin with bench/ afterwards
    #[arg(long)]
    clean: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    pub(super) connect: connect::Args,
}

impl Target {
    /// Addresses of nodes to begin with, and the processes of the servers here.
    pub(super) fn servers(&self) -> Result<(Vec<String>, Vec<u32>), Failure> {
        let addresses = self.connect.addresses()?;
        let pids = match self.server_pids.is_empty() {
            true => registry::pids_of(&addresses),
            false => self.server_pids.clone(),
        };
        Ok((addresses, pids))
    }

    /// At the end of a load, whatever became of it: removes what it wrote, or says what is left, which is at
    /// most this many keys with values of this size.
    pub(super) async fn leave(
        &self,
        keys: usize,
        value_bytes: usize,
        done: Result<(), Failure>,
    ) -> Result<(), Failure> {
        if !self.clean {
            note(format!(
                "{} are left in the cluster; 'quintet bench clean' removes them, --clean at once",
                leftovers::left(keys, value_bytes)
            ));
            return done;
        }
        let removed = leftovers::remove(&self.connect).await;
        if let Ok(removed) = &removed {
            note(format!("removed {removed} keys below {PREFIX}"));
        }
        done.and(removed.map(drop))
    }

    /// Prints what was measured, for people or for programs.
    pub(super) fn print(
        &self,
        text: impl FnOnce() -> String,
        json: impl FnOnce() -> Value,
    ) -> Result<(), Failure> {
        let mut out = Output::new();
        match self.output {
            Format::Text => out.raw(text().as_bytes())?,
            Format::Json => out.json(&json())?,
        }
        out.flush()
    }
}
