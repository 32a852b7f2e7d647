//! `quintet kv watch`: prints what is written to a key or a span, a line per version, as it comes.
//!
//! ```text
//!   VERSION <tab> put <tab> KEY <tab> VALUE        VERSION <tab> del <tab> KEY        VERSION <tab> resolved
//! ```
//!
//! Every line is flushed. It goes on over failures of nodes, and ends with Ctrl-C, where a flag says so, or where what
//! it has not printed yet is not kept any more.

use std::{ffi::OsString, ops::Bound};

use bytes::Bytes;
use quintet_client::{Change, Version, Watch, Watched};
use serde_json::{Map, Value};

use super::{
    common::Common,
    past::moment,
    print::{expiring, object},
};
use crate::cli::{
    exit::Failure,
    output::{Format, Output, escape},
};

/// Flags of `watch`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("keys").required(true).multiple(true))]
pub(crate) struct Follow {
    /// The key, or - for standard input
    #[arg(group = "keys", conflicts_with_all = ["prefix", "start", "end", "everything"])]
    key: Option<OsString>,
    /// All keys that begin with this
    #[arg(long, group = "keys", conflicts_with_all = ["start", "end", "everything"])]
    prefix: Option<OsString>,
    /// First key, inclusive
    #[arg(long, value_name = "KEY", group = "keys", conflicts_with = "everything")]
    start: Option<OsString>,
    /// Last key, exclusive
    #[arg(long, value_name = "KEY", group = "keys", conflicts_with = "everything")]
    end: Option<OsString>,
    /// All keys
    #[arg(long, group = "keys")]
    everything: bool,
    /// Only what was written after this moment: a version, or how long ago, as in -10s; without it what is written from
    /// now on
    #[arg(long, value_name = "TIMESTAMP|-DURATION", allow_hyphen_values = true)]
    from: Option<String>,
    /// End once everything up to this moment is printed: a version, or how long ago, as in -10s
    #[arg(long, value_name = "TIMESTAMP|-DURATION", allow_hyphen_values = true)]
    until: Option<String>,
    /// End after this many versions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print up to which version everything is printed, about every second
    #[arg(long)]
    resolved: bool,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub(super) async fn run(args: Follow) -> Result<(), Failure> {
    let client = args.common.client().await?;
    let bound = |key: Option<OsString>| key.map(|key| args.common.bytes(key)).transpose();
    let (watch, first) = match (args.key, args.prefix) {
        (Some(key), _) => {
            let key = args.common.input(key)?;
            (client.watch_key(key.clone()), key)
        }
        (None, Some(prefix)) => {
            let prefix = args.common.bytes(prefix)?;
            (client.watch_prefix(prefix.clone()), prefix)
        }
        (None, None) => {
            let start = bound(args.start)?;
            let first = start.clone().unwrap_or_default();
            let end = bound(args.end)?.map_or(Bound::Unbounded, Bound::Excluded);
            (client.watch_range((start.map_or(Bound::Unbounded, Bound::Included), end)), first)
        }
    };
    let until = match &args.until {
        Some(until) => Some(moment(until, &first, &client).await?),
        None => None,
    };
    let watch = match &args.from {
        Some(from) => watch.after(moment(from, &first, &client).await?),
        None => watch,
    };
    let printing = print(watch, args.common.output, until, (args.count, args.resolved));
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Ok(()),
        printed = printing => printed,
    }
}

async fn print(
    mut watch: Watch,
    format: Format,
    until: Option<Version>,
    (count, tells_resolved): (Option<u64>, bool),
) -> Result<(), Failure> {
    let (mut out, mut printed) = (Output::new(), 0);
    while let Some(item) = watch.next().await {
        match item? {
            // What comes behind the end shows that all before it has come.
            Watched::Change(change)
                if until.is_some_and(|until| change.written.version > until) =>
            {
                return out.flush();
            }
            Watched::Change(change) => {
                print_change(&mut out, format, &change)?;
                printed += 1;
                if count.is_some_and(|count| printed >= count) {
                    return out.flush();
                }
            }
            Watched::Resolved(resolved) => {
                if tells_resolved {
                    print_resolved(&mut out, format, resolved)?;
                }
                if until.is_some_and(|until| resolved >= until) {
                    return out.flush();
                }
            }
            _ => {}
        }
        out.flush()?;
    }
    out.flush()
}

fn print_change(out: &mut Output, format: Format, change: &Change) -> Result<(), Failure> {
    let Change { key, written, .. } = change;
    match (format, &written.value) {
        (Format::Text, Some(value)) => {
            out.line(format!("{}\tput\t{}\t{}", written.version, escape(key), escape(value)))
        }
        (Format::Text, None) => out.line(format!("{}\tdel\t{}", written.version, escape(key))),
        (Format::Json, value) => out.json(&json(key, value.as_ref(), change).into()),
    }
}

fn json(key: &Bytes, value: Option<&Bytes>, change: &Change) -> Map<String, Value> {
    let written = &change.written;
    let object = object(key, value.map(|value| &value[..]), written.version);
    let mut object = expiring(object, written.expires_at);
    object.insert("removed".to_owned(), value.is_none().into());
    object.insert("request".to_owned(), written.request.clone().into());
    object
}

fn print_resolved(out: &mut Output, format: Format, resolved: Version) -> Result<(), Failure> {
    match format {
        Format::Text => out.line(format!("{resolved}\tresolved")),
        Format::Json => {
            let mut object = Map::new();
            object.insert("resolved".to_owned(), resolved.to_string().into());
            out.json(&object.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        follow: Follow,
    }

    #[test]
    fn which_keys_is_said_and_said_once() {
        let parses = |args: &[&str]| Flags::try_parse_from([&["watch"], args].concat()).is_ok();
        assert!(!parses(&[]), "no keys");
        assert!(parses(&["k"]) && parses(&["--prefix", "p"]) && parses(&["--everything"]));
        assert!(parses(&["--start", "a", "--end", "b", "--from", "-10s", "--until", "7"]));
        for both in [
            &["k", "--prefix", "p"][..],
            &["k", "--everything"],
            &["--prefix", "p", "--end", "b"],
            &["--everything", "--start", "a"],
        ] {
            assert!(!parses(both), "{both:?}");
        }
        assert!(!parses(&["k", "--count", "0"]));
    }
}
