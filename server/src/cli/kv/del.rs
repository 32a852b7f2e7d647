//! `quintet kv del`: removes a key, or those of a prefix or a range.
//!
//! A range is removed page by page, as of the moment at which the command begins: what is written later stays.
//! Where the command breaks off, the same command again removes the rest, as of a moment of its own.

use std::{ffi::OsString, ops::Bound};

use bytes::Bytes;
use futures::TryStreamExt;
use quintet_client::{Client, ScanOptions, Version};
use serde_json::json;

use super::{common::Common, print::object};
use crate::cli::{
    deletion,
    exit::Failure,
    output::{Format, Output},
};

/// Flags of `kv del`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true)
    .args(["key", "prefix", "start", "end", "everything"]))]
pub(crate) struct Del {
    /// The key, or - for standard input
    #[arg(conflicts_with_all = ["prefix", "start", "end", "everything", "limit", "dry_run"])]
    key: Option<OsString>,
    /// Only if the key has this version
    // clap lets `requires` go where the key conflicts with what is there: the conflicts say it again.
    #[arg(long, value_name = "N", requires = "key",
        conflicts_with_all = ["prefix", "start", "end", "everything", "limit", "dry_run"])]
    expect_version: Option<u64>,
    /// All keys that begin with this
    #[arg(long, conflicts_with_all = ["start", "end", "everything"])]
    prefix: Option<OsString>,
    /// All keys from this one on
    #[arg(long, value_name = "KEY", conflicts_with = "everything")]
    start: Option<OsString>,
    /// All keys below this one
    #[arg(long, value_name = "KEY", conflicts_with = "everything")]
    end: Option<OsString>,
    /// All keys that there are
    #[arg(long)]
    everything: bool,
    /// At most this many keys, the first ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Only print how many keys would be removed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub(super) async fn run(args: Del) -> Result<(), Failure> {
    if let Some(key) = args.key {
        let (key, client) = (args.common.input(key)?, args.common.client().await?);
        let removed = match args.expect_version {
            Some(version) => Some(client.delete_if(&key, Version(version)).await?),
            None => client.delete(&key).await?,
        };
        return one(&args.common, &key, removed);
    }
    let span = args.span()?;
    let client = args.common.client().await?;
    if args.dry_run {
        return would(&args, &client, span).await;
    }
    let removal = match span {
        Span::Everything => client.delete_everything(),
        Span::Prefix(prefix) => client.delete_prefix(prefix),
        Span::Range(range) => client.delete_range(range),
    };
    let mut removal = match args.limit {
        Some(limit) => removal.limit(limit),
        None => removal,
    };
    deletion::to_the_end(&mut removal).await?;
    let deleted = removal.deleted();
    let at = removal.moment().unwrap_or_default().to_string();
    print(&args.common, format!("removed {deleted} keys"), json!({ "deleted": deleted, "at": at }))
}

type Range = (Bound<Bytes>, Bound<Bytes>);

enum Span {
    Everything,
    Prefix(Bytes),
    Range(Range),
}

impl Del {
    fn span(&self) -> Result<Span, Failure> {
        if self.everything {
            return Ok(Span::Everything);
        }
        let given = |key: &Option<OsString>| {
            let bytes = key.clone().map(|key| self.common.bytes(key)).transpose()?;
            match bytes {
                Some(bytes) if bytes.is_empty() => Err(Failure::usage(
                    "an empty prefix or bound leaves nothing out: leave it away, or say --everything",
                )),
                bytes => Ok(bytes),
            }
        };
        if let Some(prefix) = given(&self.prefix)? {
            return Ok(Span::Prefix(prefix));
        }
        let start = given(&self.start)?.map_or(Bound::Unbounded, Bound::Included);
        let end = given(&self.end)?.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(Span::Range((start, end)))
    }
}

/// Counts what a deletion would remove now.
async fn would(args: &Del, client: &Client, span: Span) -> Result<(), Failure> {
    let options = match span {
        Span::Everything => ScanOptions::all(),
        Span::Prefix(prefix) => ScanOptions::prefix(prefix),
        Span::Range(range) => ScanOptions::range(range),
    };
    let mut scan = client.scan(options.keys_only());
    let mut count = 0;
    while args.limit.is_none_or(|limit| count < limit) && scan.try_next().await?.is_some() {
        count += 1;
    }
    print(&args.common, format!("would remove {count} keys"), json!({ "would_delete": count }))
}

fn print(common: &Common, text: String, json: serde_json::Value) -> Result<(), Failure> {
    let mut out = Output::new();
    match common.output {
        Format::Text => out.line(text)?,
        Format::Json => out.json(&json)?,
    }
    out.flush()
}

/// `removed` is the version of the removal.
fn one(common: &Common, key: &Bytes, removed: Option<Version>) -> Result<(), Failure> {
    let text = match removed {
        Some(version) => format!("removed, version {version}"),
        None => "there was nothing to remove".to_owned(),
    };
    let mut object = object(key, None, removed.unwrap_or_default());
    object.insert("removed".to_owned(), removed.is_some().into());
    print(common, text, object.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &str) -> Result<Del, clap::Error> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            del: Del,
        }
        let line = std::iter::once("del").chain(flags.split_whitespace());
        <Line as clap::Parser>::try_parse_from(line).map(|line| line.del)
    }

    #[test]
    fn every_key_goes_only_where_that_is_said() {
        for wrong in [
            "",
            "--limit 3",
            "--dry-run",
            "k --prefix p",
            "k --everything",
            "k --limit 1",
            "--prefix p --start a",
            "--everything --end a",
            "--prefix p --expect-version 3",
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?} is taken");
        }
        for empty in ["--prefix=", "--start=", "--start a --end="] {
            let failure = parse(empty).expect("parsed").span().err().expect("refused");
            assert_eq!(failure.exit, crate::cli::exit::Exit::Usage, "{empty}");
        }
        let span = |flags| parse(flags).expect("parsed").span().expect("a span");
        assert!(matches!(span("--everything"), Span::Everything));
        assert!(matches!(span("--prefix p --limit 3"), Span::Prefix(prefix) if prefix == "p"));
        let escaped = span("--prefix \\xff --escaped");
        assert!(matches!(escaped, Span::Prefix(prefix) if prefix == b"\xff"[..]));
        assert!(matches!(
            span("--start a --dry-run"),
            Span::Range((Bound::Included(start), Bound::Unbounded)) if start == "a"
        ));
    }
}
