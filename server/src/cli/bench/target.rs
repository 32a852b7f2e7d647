//! Flags that loads on a running cluster share: which cluster, whose CPU time is told, how to print.

use serde_json::Value;

use crate::cli::{
    connect, dev,
    exit::Failure,
    output::{Format, Output},
};

/// Flags of every load.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// Processes of the servers on this machine, whose CPU time is told; those of a running
    /// `quintet dev` cluster are found
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    server_pids: Vec<u32>,
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
            true => dev::pids_of(&addresses),
            false => self.server_pids.clone(),
        };
        Ok((addresses, pids))
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
