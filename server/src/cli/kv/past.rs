//! Reads of the past: `kv get --at`, `kv get --stale`, `kv history`.
//!
//! What is printed is what the newest state would be printed as, by the same options, so that a script that reads can
//! read the past too. Where a state may be old, how old it is and which moment it shows is told beside it, on standard
//! error or in the object: without the moment nobody could ask for the same state again.

use std::{ffi::OsString, num::NonZeroUsize, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use quintet_client::{Client, ScanOptions, Version};
use quintet_server::time::{Timestamp, ms, utc};
use serde_json::{Map, Value, json};

use super::{
    common::Common,
    print::{expiring, no_such_key, object},
};
use crate::cli::{
    duration,
    exit::Failure,
    output::{Format, Output, escape, insert_bytes, note},
    table::table,
};

/// Versions that `kv history` prints where nobody says how many.
const HISTORY_VERSIONS: NonZeroUsize = NonZeroUsize::new(100).expect("above zero");
/// Characters of a value that text shows of it; JSON has all of it.
const VALUE_CHARS_MAX: usize = 64;

/// Which state a read shows.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Past {
    /// As it was at this moment: a version, or how long ago, as in -10s
    #[arg(long, value_name = "TIMESTAMP|-DURATION", allow_hyphen_values = true)]
    at: Option<String>,
    /// A state of this long ago will do, as in 5s, from the node that is asked; how old it is is said on standard error
    #[arg(long, value_name = "DURATION", conflicts_with = "at")]
    stale: Option<String>,
}

/// Flags of `history`.
#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// The key, or - for standard input
    key: OsString,
    /// No more than this
    #[arg(long, value_name = "N", default_value_t = HISTORY_VERSIONS)]
    limit: NonZeroUsize,
    #[command(flatten)]
    common: Common,
}

impl Past {
    pub(super) fn is_asked(&self) -> bool {
        self.at.is_some() || self.stale.is_some()
    }
}

/// A moment as it is given on the command line. How long ago is counted from a timestamp that is taken for it: what a
/// node knows of the time may stand still where it is cut off.
pub(super) async fn moment(text: &str, key: &Bytes, client: &Client) -> Result<Version, Failure> {
    let Some(ago) = text.strip_prefix('-') else {
        return match text.parse() {
            Ok(at) if at > 0 => Ok(Version(at)),
            _ => Err(Failure::usage(format!(
                "'{text}' is no moment: give a version, or how long ago, as in -10s"
            ))),
        };
    };
    let ago = duration::parse(ago, "length of time")?;
    let mut scan = client.scan(ScanOptions::prefix(key.clone()).limit(1).keys_only());
    scan.next().await.transpose()?;
    let now = scan.at().or_else(|| client.cluster_time());
    let now = now.ok_or_else(|| Failure::unavailable("no node has told the cluster's time yet"))?;
    let at = Timestamp(now.0).saturating_sub(ago).0;
    if at == 0 {
        let why = "cluster time begins with 2020: give a shorter time";
        return Err(Failure::usage(format!("'{text}' is too long ago: {why}")));
    }
    Ok(Version(at))
}

/// A value as text shows it: one line, escaped as `scan` does it, and not all of a long one.
fn shown(value: &[u8]) -> String {
    let text = escape(value);
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((cut, _)) => format!("{}… ({} bytes)", &text[..cut], value.len()),
        None => text,
    }
}

pub(super) async fn get(key: &Bytes, past: &Past, common: &Common) -> Result<(), Failure> {
    let client = common.client().await?;
    let (found, at, stale) = match (&past.at, &past.stale) {
        (Some(at), _) => {
            let at = moment(at, key, &client).await?;
            (client.snapshot(at).get(key).await?, Some(at), None)
        }
        (None, stale) => {
            let max = stale
                .as_deref()
                .map_or(Ok(Duration::ZERO), |max| duration::parse(max, "length of time"))?;
            let shown = client.stale(max).get(key).await?;
            (shown.found, shown.at, Some(shown.stale))
        }
    };
    if let (Format::Text, Some(stale)) = (common.output, stale) {
        let how = match at {
            Some(at) => format!("{} ago, at {at}", duration::words(stale)),
            None => "now".to_owned(),
        };
        note(format!("as of: {how}"));
    }
    let found = found.ok_or_else(|| no_such_key(key))?;
    let mut out = Output::new();
    match common.output {
        Format::Text => out.value(&found.value)?,
        Format::Json => {
            let mut object =
                expiring(object(key, Some(&found.value), found.version), found.expires_at);
            object.insert("at".to_owned(), at.map_or(Value::Null, |at| at.to_string().into()));
            if let Some(stale) = stale {
                object.insert("stale_ms".to_owned(), ms(stale).into());
            }
            out.json(&object.into())?;
        }
    }
    out.flush()
}

pub(super) async fn history(args: History) -> Result<(), Failure> {
    let History { key, limit, common } = args;
    let (key, client) = (common.input(key)?, common.client().await?);
    let limit = limit.get();
    let mut versions = client.history(&key, limit.saturating_add(1)).await?;
    if versions.is_empty() {
        return Err(no_such_key(&key));
    }
    let more = versions.len() > limit;
    versions.truncate(limit);
    let mut out = Output::new();
    match common.output {
        Format::Text => {
            let mut table = table(&["VERSION", "WRITTEN AT", "VALUE", "EXPIRES AT", "REQUEST"]);
            for kept in &versions {
                table.add_row([
                    kept.version.to_string(),
                    utc(kept.version.0),
                    kept.value.as_ref().map_or("(removed)".to_owned(), |value| shown(value)),
                    kept.expires_at.map_or("-".to_owned(), |at| utc(at.0)),
                    kept.request.clone(),
                ]);
            }
            out.raw(format!("{}\n", table.trim_fmt()).as_bytes())?;
            if more {
                note(format!("there are more than {limit} versions: --limit"));
            }
        }
        Format::Json => {
            let versions: Vec<Value> = versions
                .iter()
                .map(|kept| {
                    let mut object = Map::new();
                    object.insert("version".to_owned(), kept.version.to_string().into());
                    object.insert("utc".to_owned(), utc(kept.version.0).into());
                    match &kept.value {
                        Some(value) => insert_bytes(&mut object, "value", value),
                        None => drop(object.insert("value".to_owned(), Value::Null)),
                    }
                    let mut object = expiring(object, kept.expires_at);
                    object.insert("request".to_owned(), kept.request.clone().into());
                    object.into()
                })
                .collect();
            let mut object = Map::new();
            insert_bytes(&mut object, "key", &key);
            object.insert("versions".to_owned(), json!(versions));
            object.insert("more".to_owned(), more.into());
            out.json(&object.into())?;
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        past: Past,
    }

    #[test]
    fn a_moment_begins_with_a_hyphen_or_is_a_version() {
        let parsed =
            |args: &[&str]| Flags::try_parse_from([&["get"], args].concat()).map(|it| it.past);
        let ago = parsed(&["--at", "-10s"]).expect("parses");
        assert!(ago.is_asked() && ago.at.as_deref() == Some("-10s"));
        assert!(parsed(&["--at", "5", "--stale", "1s"]).is_err(), "one of the two");
        assert!(!parsed(&[]).expect("parses").is_asked());
    }

    #[test]
    fn a_long_value_is_cut() {
        assert_eq!(shown("päß\n".as_bytes()), "päß\\n");
        let long = shown(&[b'a'; 70_000]);
        assert_eq!(long, format!("{}… (70000 bytes)", "a".repeat(64)));
    }
}
