//! `quintet retention`: for how long versions are kept, for all keys and by prefix.
//!
//! What is set lies in the cluster and counts for all nodes; what all other keys have is the configuration of the node
//! that is asked. Lengths of time are read and printed in the same form, so that what `list` shows can be given to
//! `set`.

use std::{ffi::OsString, time::Duration};

use clap::Subcommand;
use quintet_client::v1::{ListRetentionResponse, Retention};
use serde_json::{Map, json};

use super::{
    connect, duration,
    exit::Failure,
    output::{Format, Output, escape, insert_bytes, unescape},
    table::{align_right, table},
};

/// For how long versions are kept once they were overwritten or removed or have expired.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List what is set, and what counts for all other keys.
    List(ListArgs),
    /// Set it for the keys with a prefix; the longest prefix of a key counts.
    Set(SetArgs),
    /// Take a setting back.
    Unset(UnsetArgs),
}

/// Flags of all three.
#[derive(Debug, clap::Args)]
#[group(skip)]
struct Common {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connect: connect::Args,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SetArgs {
    /// The prefix; an empty one is every key
    prefix: OsString,
    /// For how long, as in 30s, 5m, 2h or 7d
    retention: String,
    #[command(flatten)]
    prefixed: Prefixed,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UnsetArgs {
    /// The prefix
    prefix: OsString,
    #[command(flatten)]
    prefixed: Prefixed,
}

/// Flags of those that name a prefix.
#[derive(Debug, clap::Args)]
#[group(skip)]
struct Prefixed {
    /// The prefix is written as `list` prints it: \xNN, \t, \n, \r and \\ stand for bytes
    #[arg(long)]
    escaped: bool,
    #[command(flatten)]
    common: Common,
}

impl Prefixed {
    fn bytes(&self, argument: OsString) -> Result<Vec<u8>, Failure> {
        let bytes = argument.into_encoded_bytes();
        if !self.escaped {
            return Ok(bytes);
        }
        unescape(&bytes).ok_or_else(|| {
            Failure::usage(
                "a backslash of the prefix begins no escape: give it as 'list' prints it",
            )
        })
    }
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List(ListArgs { common }) => list(&common).await,
        Command::Set(SetArgs { prefix, retention, prefixed }) => {
            let kept = duration::parse(&retention, "length of time")?;
            if !kept.as_millis().is_multiple_of(1_000) {
                return Err(Failure::usage("a retention is whole seconds"));
            }
            set(&prefixed, prefix, Some(kept)).await
        }
        Command::Unset(UnsetArgs { prefix, prefixed }) => set(&prefixed, prefix, None).await,
    }
}

async fn set(
    prefixed: &Prefixed,
    prefix: OsString,
    retention: Option<Duration>,
) -> Result<(), Failure> {
    let prefix = prefixed.bytes(prefix)?;
    let client = prefixed.common.connect.client().await?;
    client.set_retention(prefix.clone(), retention).await?;
    let mut out = Output::new();
    match prefixed.common.output {
        Format::Json => {
            let mut object = Map::new();
            insert_bytes(&mut object, "prefix", &prefix);
            object.insert("retention_s".to_owned(), retention.map(|kept| kept.as_secs()).into());
            out.json(&object.into())?;
        }
        Format::Text => out.line(match retention {
            Some(kept) => format!(
                "versions of keys that begin with '{}' are kept for {}",
                escape(&prefix),
                duration::whole(kept.as_secs())
            ),
            None => {
                format!("keys that begin with '{}' have no retention of their own", escape(&prefix))
            }
        })?,
    }
    out.flush()
}

async fn list(common: &Common) -> Result<(), Failure> {
    let found = common.connect.client().await?.list_retention().await?;
    let mut out = Output::new();
    match common.output {
        Format::Json => {
            let settings: Vec<_> = found.settings.iter().map(setting_json).collect();
            out.json(&json!({ "settings": settings, "default_s": found.default_s }))?;
        }
        Format::Text => out.line(list_table(&found))?,
    }
    out.flush()
}

fn setting_json(setting: &Retention) -> serde_json::Value {
    let mut object = Map::new();
    object.insert("keyspace".to_owned(), setting.keyspace.clone().into());
    insert_bytes(&mut object, "prefix", &setting.prefix);
    object.insert("retention_s".to_owned(), setting.retention_s.into());
    object.into()
}

fn list_table(found: &ListRetentionResponse) -> String {
    let words = |seconds: u32| duration::whole(seconds.into());
    let mut table = table(&["KEYSPACE", "PREFIX", "KEPT FOR"]);
    for setting in &found.settings {
        let prefix = format!("'{}'", escape(&setting.prefix));
        table.add_row([setting.keyspace.clone(), prefix, words(setting.retention_s)]);
    }
    table.add_row(["-".to_owned(), "all other keys".to_owned(), words(found.default_s)]);
    align_right(&mut table, &[2]);
    table.trim_fmt()
}
