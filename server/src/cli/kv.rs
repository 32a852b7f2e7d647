//! `quintet kv`: reads and writes keys.
//!
//! `kv/common.rs` has the flags and how arguments are read, `kv/print.rs` what is printed of a key. `kv/scan.rs`
//! and `kv/del.rs` are the commands on many keys, `kv/past.rs` has reads of the past, `kv/watch.rs` follows what is
//! written; those on one key are here.

mod common;
mod del;
mod past;
mod print;
mod scan;
mod watch;

use std::{ffi::OsString, time::Duration};

use bytes::Bytes;
use quintet_client::{Condition, Ttl, Version};
use serde_json::{Map, Value};

use self::{
    common::{Common, Lifetime, PutLifetime},
    print::{expiring, no_such_key, object, written},
};
use super::{
    duration,
    exit::Failure,
    output::{Format, Output, insert_bytes},
    range_view,
};

/// Subcommands of `kv`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print the value of a key; exit code 3 if there is no such key
    Get {
        /// The key, or - for standard input
        key: OsString,
        #[command(flatten)]
        past: past::Past,
        /// The newest value by the replica of the node that is asked, which need not lead the range
        #[arg(long, conflicts_with_all = ["at", "stale"])]
        follower: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Print the versions of a key that are kept, newest first: when each was written, and by which request
    History(past::History),
    /// Print every version that is written to a key or a span, in order, as it comes; Ctrl-C ends it
    Watch(watch::Follow),
    /// Set a key
    Put {
        /// The key, or - for standard input
        key: OsString,
        /// The value, or - for standard input
        #[arg(allow_hyphen_values = true)]
        value: OsString,
        #[command(flatten)]
        lifetime: PutLifetime,
        #[command(flatten)]
        common: Common,
    },
    /// Remove a key, or those of a prefix or a range; removing what is not there is no error
    Del(del::Del),
    /// Print keys and values in the order of the keys, a tab between them
    Scan(scan::Scan),
    /// Set a key only if it is as expected; exit code 1 if it is not
    #[command(group = clap::ArgGroup::new("expected").required(true))]
    Cas {
        /// The key, or - for standard input
        key: OsString,
        /// The value, or - for standard input
        #[arg(allow_hyphen_values = true)]
        value: OsString,
        /// The key must have this version; 0: it must not exist
        #[arg(long, value_name = "N", group = "expected")]
        expect_version: Option<u64>,
        /// The key must not exist
        #[arg(long, group = "expected")]
        absent: bool,
        #[command(flatten)]
        lifetime: PutLifetime,
        #[command(flatten)]
        common: Common,
    },
    /// Print which range holds a key, where its replicas are, which node leads it and why
    Locate {
        /// The key, or - for standard input
        key: OsString,
        #[command(flatten)]
        common: Common,
    },
    /// Add to the decimal number that a key holds, and print the sum
    Incr {
        /// The key, or - for standard input
        key: OsString,
        /// What to add; may be negative
        #[arg(default_value_t = 1, allow_negative_numbers = true)]
        delta: i64,
        #[command(flatten)]
        lifetime: Lifetime,
        #[command(flatten)]
        common: Common,
    },
    /// Print how long a key has until it expires; exit code 3 if there is no such key
    Ttl {
        /// The key, or - for standard input
        key: OsString,
        #[command(flatten)]
        common: Common,
    },
    /// Make a key expire; exit code 3 if there is no such key
    Expire {
        /// The key, or - for standard input
        key: OsString,
        /// How long from now, as in 250ms, 30s, 5m, 2h, 7d
        #[arg(allow_hyphen_values = true)]
        ttl: String,
        #[command(flatten)]
        common: Common,
    },
    /// Keep a key from expiring; exit code 3 if there is no such key
    Persist {
        /// The key, or - for standard input
        key: OsString,
        #[command(flatten)]
        common: Common,
    },
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Get { key, past, common, .. } if past.is_asked() => {
            past::get(&common.input(key)?, &past, &common).await
        }
        Command::Get { key, follower, common, .. } => {
            get(&common.input(key)?, follower, &common).await
        }
        Command::History(args) => past::history(args).await,
        Command::Watch(args) => watch::run(args).await,
        Command::Put { key, value, lifetime, common } => {
            let options = lifetime.options()?;
            let ([key, value], client) = (common.inputs(key, value)?, common.client().await?);
            let version = client.put_with(&key, &value, options).await?;
            written(&common, &key, version)
        }
        Command::Del(args) => del::run(args).await,
        Command::Scan(args) => scan::run(args).await,
        Command::Cas { key, value, expect_version, absent: _, lifetime, common } => {
            let options = lifetime.options()?;
            let ([key, value], client) = (common.inputs(key, value)?, common.client().await?);
            // One of the two is there: clap's group requires it.
            let condition =
                expect_version.map_or(Condition::Absent, |n| Condition::Version(Version(n)));
            let version = client.put_with(&key, &value, options.condition(condition)).await?;
            written(&common, &key, version)
        }
        Command::Incr { key, delta, lifetime, common } => {
            incr(&common.input(key)?, delta, lifetime.ttl()?, &common).await
        }
        Command::Ttl { key, common } => ttl(&common.input(key)?, &common).await,
        Command::Expire { key, ttl, common } => {
            let (ttl, key, client) =
                (duration::parse(&ttl, common::TTL)?, common.input(key)?, common.client().await?);
            let version = client.expire(&key, ttl).await?.ok_or_else(|| no_such_key(&key))?;
            written(&common, &key, version)
        }
        Command::Persist { key, common } => {
            let (key, client) = (common.input(key)?, common.client().await?);
            let version = client.persist(&key).await?.ok_or_else(|| no_such_key(&key))?;
            written(&common, &key, version)
        }
        Command::Locate { key, common } => {
            let range = common.client().await?.locate(&common.input(key)?).await?;
            let mut out = Output::new();
            match common.output {
                Format::Text => out.raw(range_view::located(&range).as_bytes())?,
                Format::Json => out.json(&range_view::json(&range))?,
            }
            out.flush()
        }
    }
}

async fn get(key: &Bytes, follower: bool, common: &Common) -> Result<(), Failure> {
    let client = common.client().await?;
    let found = match follower {
        true => client.from_follower().get(key).await?,
        false => client.get(key).await?,
    };
    let mut out = Output::new();
    let Some(found) = found else {
        return Err(no_such_key(key));
    };
    match common.output {
        Format::Text => out.value(&found.value)?,
        Format::Json => {
            let object = object(key, Some(&found.value), found.version);
            out.json(&expiring(object, found.expires_at).into())?;
        }
    }
    out.flush()
}

async fn ttl(key: &Bytes, common: &Common) -> Result<(), Failure> {
    let ttl = common.client().await?.ttl(key).await?.ok_or_else(|| no_such_key(key))?;
    let mut out = Output::new();
    match (common.output, ttl) {
        (Format::Text, Ttl::Forever) => out.line("no expiry")?,
        (Format::Text, Ttl::Left(left)) => out.line(duration::words(left))?,
        (Format::Json, ttl) => {
            let left = match ttl {
                Ttl::Forever => Value::Null,
                // Below 2^53: a number for every reader.
                Ttl::Left(left) => u64::try_from(left.as_millis()).unwrap_or(u64::MAX).into(),
            };
            let mut object = Map::new();
            insert_bytes(&mut object, "key", key);
            object.insert("ttl_ms".to_owned(), left);
            out.json(&object.into())?;
        }
    }
    out.flush()
}

async fn incr(
    key: &Bytes,
    delta: i64,
    ttl: Option<Duration>,
    common: &Common,
) -> Result<(), Failure> {
    let client = common.client().await?;
    let sum = match ttl {
        Some(ttl) => client.increment_with_ttl(key, delta, ttl).await?,
        None => client.increment(key, delta).await?,
    };
    let mut out = Output::new();
    match common.output {
        Format::Text => out.line(sum.value.to_string())?,
        Format::Json => {
            let value = sum.value.to_string();
            out.json(&object(key, Some(value.as_bytes()), sum.version).into())?;
        }
    }
    out.flush()
}
