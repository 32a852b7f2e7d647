//! Flags and arguments that `kv` commands share.
//!
//! Keys and values are arguments; `-` reads one from standard input, as it is. An argument is the bytes that
//! it is, or with `--escaped` what `scan` prints for them, so that every key that it shows can be given
//! back (the key `-` as `\x2d`).

use std::{ffi::OsString, io::Read, time::Duration};

use bytes::Bytes;
use quintet_client::{Client, PutOptions};

use crate::cli::{
    connect, duration,
    exit::Failure,
    output::{Format, unescape},
};

/// Bytes read from standard input; no server accepts as much.
const INPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Flags of every `kv` command.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Common {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Format,
    /// Keys, values and bounds on the command line are written as `kv scan` prints them: \xNN, \t, \n, \r
    /// and \\ stand for bytes
    #[arg(long)]
    escaped: bool,
    #[command(flatten)]
    connect: connect::Args,
}

impl Common {
    /// A client of the cluster.
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        self.connect.client().await
    }

    /// A key or a value: an argument, or standard input where it is `-`.
    pub(super) fn input(&self, argument: OsString) -> Result<Bytes, Failure> {
        if argument == "-" { standard_input() } else { self.bytes(argument) }
    }

    /// A key and a value, of which only one can be standard input.
    pub(super) fn inputs(&self, key: OsString, value: OsString) -> Result<[Bytes; 2], Failure> {
        if key == "-" && value == "-" {
            return Err(Failure::usage("only one of key and value can be - for standard input"));
        }
        Ok([self.input(key)?, self.input(value)?])
    }

    /// What an argument stands for.
    pub(super) fn bytes(&self, argument: OsString) -> Result<Bytes, Failure> {
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

/// How long a written key is there.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Lifetime {
    /// How long after the write the key expires, as in 250ms, 30s, 5m, 2h, 7d
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    ttl: Option<String>,
}

/// How long a key that is put is there.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct PutLifetime {
    #[command(flatten)]
    lifetime: Lifetime,
    /// Keep the time at which the key expires; without this and --ttl it does not expire
    #[arg(long, conflicts_with = "ttl")]
    keep_ttl: bool,
}

impl PutLifetime {
    pub(super) fn options(&self) -> Result<PutOptions, Failure> {
        let options = PutOptions::new();
        if self.keep_ttl {
            return Ok(options.keep_ttl());
        }
        Ok(self.lifetime.ttl()?.map_or(options, |ttl| options.ttl(ttl)))
    }
}

/// What `--ttl` and `expire` take.
pub(super) const TTL: &str = "time to live";

impl Lifetime {
    pub(super) fn ttl(&self) -> Result<Option<Duration>, Failure> {
        self.ttl.as_deref().map(|ttl| duration::parse(ttl, TTL)).transpose()
    }
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
    use crate::cli::output::escape;

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
