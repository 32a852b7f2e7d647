//! `quintet kv`: reads and writes keys.
//!
//! Keys and values are arguments; `-` reads one from standard input, as it is. An argument is the bytes that
//! it is, or with `--escaped` what `scan` prints for them, so that every key that it shows can be given
//! back (the key `-` as `\x2d`). `kv/del.rs` removes keys.
//!
//! Text output is the bare value; JSON has `key` and `value` (`key_base64`, `value_base64` where the bytes are
//! not UTF-8) and `version`, a string: versions do not fit into the numbers of most JSON readers. Of a key
//! that expires it has `expires_at` too, a time of the cluster in the form of a version.

pub(in crate::cli) mod del;

use std::{ffi::OsString, io::Read, ops::Bound, time::Duration};

use bytes::Bytes;
use futures::TryStreamExt;
use quintet_client::{Client, Condition, PutOptions, Record, ScanOptions, Ttl, Version};
use serde_json::{Map, Value};

use super::{
    connect, duration,
    exit::Failure,
    output::{Format, Output, escape, insert_bytes, unescape},
    status,
};

/// Bytes read from standard input; no server accepts as much.
const INPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Subcommands of `kv`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print the value of a key; exit code 3 if there is none
    Get {
        /// The key, or - for standard input
        key: OsString,
        #[command(flatten)]
        common: Common,
    },
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
    Scan(Scan),
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
    /// Say which range holds a key, where its replicas are, who leads it and why there
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
    /// Print how long a key will be there; exit code 3 if it is not
    Ttl {
        /// The key, or - for standard input
        key: OsString,
        #[command(flatten)]
        common: Common,
    },
    /// Make a key expire; exit code 3 if there is none
    Expire {
        /// The key, or - for standard input
        key: OsString,
        /// How long from now, as in 250ms, 30s, 5m, 2h, 7d
        #[arg(allow_hyphen_values = true)]
        ttl: String,
        #[command(flatten)]
        common: Common,
    },
    /// Make a key stay that would expire; exit code 3 if there is none
    Persist {
        /// The key, or - for standard input
        key: OsString,
        #[command(flatten)]
        common: Common,
    },
}

/// How long a written key is there.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Lifetime {
    /// The key expires so long after the write, as in 250ms, 30s, 5m, 2h, 7d
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    ttl: Option<String>,
}

/// How long a key that is put is there.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct PutLifetime {
    #[command(flatten)]
    lifetime: Lifetime,
    /// The key goes on to expire when it did before; without this and --ttl it stays
    #[arg(long, conflicts_with = "ttl")]
    keep_ttl: bool,
}

impl PutLifetime {
    fn options(&self) -> Result<PutOptions, Failure> {
        let options = PutOptions::new();
        if self.keep_ttl {
            return Ok(options.keep_ttl());
        }
        Ok(self.lifetime.ttl()?.map_or(options, |ttl| options.ttl(ttl)))
    }
}

impl Lifetime {
    fn ttl(&self) -> Result<Option<Duration>, Failure> {
        self.ttl.as_deref().map(duration::parse).transpose()
    }
}

/// Flags of every `kv` command.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Common {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    output: Format,
    /// Keys, values and bounds on the command line are written as `kv scan` prints them: \xNN, \t, \n, \r
    /// and \\ stand for bytes
    #[arg(long)]
    escaped: bool,
    #[command(flatten)]
    connect: connect::Args,
}

/// Flags of `kv scan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Scan {
    /// Only keys that begin so
    #[arg(long, conflicts_with_all = ["start", "end"])]
    prefix: Option<OsString>,
    /// First key, inclusive
    #[arg(long, value_name = "KEY")]
    start: Option<OsString>,
    /// Where to end, exclusive
    #[arg(long, value_name = "KEY")]
    end: Option<OsString>,
    /// At most so many keys
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// From the last key to the first
    #[arg(long)]
    reverse: bool,
    /// Without values
    #[arg(long)]
    keys_only: bool,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Get { key, common } => get(&common.input(key)?, &common).await,
        Command::Put { key, value, lifetime, common } => {
            let options = lifetime.options()?;
            let ([key, value], client) = (common.inputs(key, value)?, common.client().await?);
            let version = client.put_with(&key, &value, options).await?;
            written(&common, &key, version)
        }
        Command::Del(args) => del::run(args).await,
        Command::Scan(args) => scan(args).await,
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
                (duration::parse(&ttl)?, common.input(key)?, common.client().await?);
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
                Format::Text => out.raw(status::located(&range).as_bytes())?,
                Format::Json => out.json(&status::range_json(&range))?,
            }
            out.flush()
        }
    }
}

impl Common {
    async fn client(&self) -> Result<Client, Failure> {
        self.connect.client().await
    }

    /// A key or a value: an argument, or standard input where it is `-`.
    fn input(&self, argument: OsString) -> Result<Bytes, Failure> {
        if argument == "-" { standard_input() } else { self.bytes(argument) }
    }

    fn inputs(&self, key: OsString, value: OsString) -> Result<[Bytes; 2], Failure> {
        if key == "-" && value == "-" {
            return Err(Failure::usage("only one of key and value can be - for standard input"));
        }
        Ok([self.input(key)?, self.input(value)?])
    }

    /// What an argument stands for.
    fn bytes(&self, argument: OsString) -> Result<Bytes, Failure> {
        let bytes = argument.into_encoded_bytes();
        if !self.escaped {
            return Ok(bytes.into());
        }
        unescape(&bytes).map(Bytes::from).ok_or_else(|| {
            let shown = String::from_utf8_lossy(&bytes);
            Failure::usage(format!(
                "a backslash of '{shown}' begins no escape: give it as 'kv scan' prints it, with \\xNN, \
                 \\t, \\n, \\r or \\\\"
            ))
        })
    }
}

async fn get(key: &Bytes, common: &Common) -> Result<(), Failure> {
    let found = common.client().await?.get(key).await?;
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

fn no_such_key(key: &[u8]) -> Failure {
    Failure::absent(format!("there is no key {:?}", escape(key)))
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

async fn scan(args: Scan) -> Result<(), Failure> {
    let (format, keys_only) = (args.common.output, args.keys_only);
    let bound = |key: Option<OsString>| key.map(|key| args.common.bytes(key)).transpose();
    let mut options = match bound(args.prefix)? {
        Some(prefix) => ScanOptions::prefix(prefix),
        None => ScanOptions::range((
            bound(args.start)?.map_or(Bound::Unbounded, Bound::Included),
            bound(args.end)?.map_or(Bound::Unbounded, Bound::Excluded),
        )),
    };
    if let Some(limit) = args.limit {
        options = options.limit(limit);
    }
    if args.reverse {
        options = options.reverse();
    }
    if keys_only {
        options = options.keys_only();
    }
    let client = args.common.client().await?;
    let mut records = client.scan(options);
    let mut out = Output::new();
    while let Some(record) = records.try_next().await? {
        print_record(&mut out, format, keys_only, &record)?;
    }
    out.flush()
}

fn print_record(
    out: &mut Output,
    format: Format,
    keys_only: bool,
    record: &Record,
) -> Result<(), Failure> {
    let value = (!keys_only).then_some(&record.value[..]);
    match (format, value) {
        (Format::Json, value) => {
            let object = object(&record.key, value, record.version);
            out.json(&expiring(object, record.expires_at).into())
        }
        (Format::Text, None) => out.line(escape(&record.key)),
        (Format::Text, Some(value)) => {
            out.line(format!("{}\t{}", escape(&record.key), escape(value)))
        }
    }
}

fn written(common: &Common, key: &Bytes, version: Version) -> Result<(), Failure> {
    let mut out = Output::new();
    match common.output {
        Format::Text => out.line(format!("version {version}"))?,
        Format::Json => out.json(&object(key, None, version).into())?,
    }
    out.flush()
}

fn object(key: &[u8], value: Option<&[u8]>, version: Version) -> Map<String, Value> {
    let mut object = Map::new();
    insert_bytes(&mut object, "key", key);
    if let Some(value) = value {
        insert_bytes(&mut object, "value", value);
    }
    object.insert("version".to_owned(), version.to_string().into());
    object
}

fn expiring(mut object: Map<String, Value>, expires_at: Option<Version>) -> Map<String, Value> {
    if let Some(expires_at) = expires_at {
        object.insert("expires_at".to_owned(), expires_at.to_string().into());
    }
    object
}

/// Standard input, as it is.
fn standard_input() -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(INPUT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::internal(format!("cannot read standard input: {error}")))?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(Failure::usage(format!(
            "standard input is longer than {INPUT_BYTES_MAX} bytes: no value can be"
        )));
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_strings_in_json() {
        let json = Value::from(object(b"k", Some(b"v"), Version(u64::MAX)));
        assert_eq!(json.to_string(), r#"{"key":"k","value":"v","version":"18446744073709551615"}"#);
    }

    #[test]
    fn standard_input_goes_to_one_place() {
        let failure = common(&[]).inputs("-".into(), "-".into()).expect_err("both");
        assert_eq!(failure.exit, crate::cli::exit::Exit::Usage);
        assert_eq!(common(&[]).inputs("k".into(), "v".into()).expect("arguments"), ["k", "v"]);
    }

    #[test]
    fn what_scan_prints_of_a_key_is_taken_back_for_that_key() {
        let escaped = common(&["--escaped"]);
        for key in [&b"plain"[..], b"k\xc3\xa4se", b"\xff\0\x01", b"a\\b\tc\nd", b"-", b"--x"] {
            let shown = OsString::from(escape(key));
            assert_eq!(escaped.bytes(shown).expect("taken back"), key);
        }
        let failure = escaped.input("a\\q".into()).expect_err("no escape");
        assert_eq!(failure.exit, crate::cli::exit::Exit::Usage);
        // Without the flag an argument is its bytes, whatever they are.
        assert_eq!(common(&[]).input("a\\x00".into()).expect("taken"), "a\\x00");
        use std::os::unix::ffi::OsStringExt;
        let raw = OsString::from_vec(b"\xff\xfe".to_vec());
        assert_eq!(common(&[]).input(raw.clone()).expect("taken"), &b"\xff\xfe"[..]);
        assert_eq!(escaped.input(raw).expect("taken"), &b"\xff\xfe"[..]);
    }

    fn common(flags: &[&str]) -> Common {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            common: Common,
        }
        let line = ["kv"].iter().chain(flags);
        <Line as clap::Parser>::parse_from(line).common
    }
}
