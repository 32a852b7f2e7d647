//! The commands of `storage/testscripts/mvcc/`: versions on a memory engine.
//!
//! Moments are small numbers, keys are those of the keyspace `default`.
//!
//! ```text
//!   put key=K value=V at=T [expires=T]     delete key=K at=T      stored
//!   read key=K at=T      read-exactly key=K at=T
//!   scan [reverse] [from=K] [to=K] at=T [records=N] [bytes=N] [versions=N]
//!   unchanged-since moment=T [from=K] [to=K] now=T [records=N] [bytes=N] [versions=N]
//!   fates threshold=T      collect threshold=T
//! ```

use std::sync::Arc;

use super::*;
use crate::{
    ids::KeyspaceId,
    storage::{
        Batch, Engine,
        gc::{Collectable, Fate},
        keys::{encoded, shown},
        memory::{MemoryDisk, MemoryEngine},
    },
    testscript::{self, Command},
};

#[test]
fn scripts() {
    testscript::run("storage/testscripts/mvcc", || {
        let scenario = Scenario::new();
        move |command: &mut Command| scenario.run(command)
    });
}

struct Scenario {
    engine: Arc<dyn Engine>,
}

fn version_shown(version: &Version) -> String {
    let value = version.value.escape_ascii();
    let expiry = version.expires_at.map(|end| format!(", expires at {}", end.0));
    format!("{value}, written at {}{}", version.at.0, expiry.unwrap_or_default())
}

fn moment(command: &mut Command, name: &str) -> Result<Timestamp, String> {
    command.must(name).map(Timestamp)
}

/// The stored keys of a span; without bounds it is the whole keyspace.
fn span(command: &mut Command) -> Result<(Vec<u8>, Vec<u8>), String> {
    let start = keys::keyspace_start(KeyspaceId::DEFAULT);
    let end = keys::prefix_end(&start);
    let from = command.may::<String>("from")?.map_or(start, |key| encoded(&key).to_vec());
    let to = command.may::<String>("to")?.map_or(end, |key| encoded(&key).to_vec());
    Ok((from, to))
}

fn limit(command: &mut Command) -> Result<PageLimit, String> {
    Ok(PageLimit {
        records: command.may("records")?.unwrap_or(1_000),
        bytes: command.may("bytes")?.unwrap_or(1_000),
        versions: command.may("versions")?.unwrap_or(1_000),
    })
}

impl Scenario {
    fn new() -> Scenario {
        Scenario { engine: MemoryEngine::of_test(&MemoryDisk::new()) }
    }

    fn run(&self, command: &mut Command) -> Result<String, String> {
        match command.name() {
            "put" | "delete" => self.write(command),
            "stored" => Ok(format!("stored:\n{}", self.stored(|_, _| Ok(String::new())))),
            "read" | "read-exactly" => self.read(command),
            "scan" => self.scan(command),
            "unchanged-since" => self.unchanged_since(command),
            "fates" => self.fates(command),
            "collect" => self.collect(command),
            other => Err(format!("no command {other}")),
        }
    }

    fn write(&self, command: &mut Command) -> Result<String, String> {
        let (key, at) = (encoded(&command.must::<String>("key")?), moment(command, "at")?);
        let value = match command.name() {
            "put" => Some(command.must::<String>("value")?),
            _ => None,
        };
        let record = VersionRecord {
            value: value.as_deref().map(str::as_bytes),
            txn: None,
            expires_at: command.may("expires")?.map(Timestamp),
        };
        let mut batch = Batch::new();
        batch.put(Family::Data, keys::version(&key, at), codec::encode(&record));
        self.engine.write(batch).expect("written");
        Ok(String::new())
    }

    /// Every version as it is stored, each with what `of` says of it.
    fn stored(&self, mut of: impl FnMut(&[u8], &[u8]) -> Result<String, Error>) -> String {
        let mut lines = String::new();
        let mut visit = |stored: &[u8], record: &[u8]| {
            let (key, at) = keys::split_version(stored).expect("a version");
            let version = decode(stored, record).expect("decodes");
            let what = version
                .map_or_else(|| format!("deleted at {}", at.0), |version| version_shown(&version));
            let more = of(stored, record).expect("decodes");
            lines.push_str(&format!("  {}: {what}{more}\n", shown(key)));
            ControlFlow::Continue(())
        };
        let scanned = self.engine.scan(Family::Data, &[], &[], Direction::Forward, &mut visit);
        scanned.expect("scanned");
        if lines.is_empty() { "  nothing\n".to_owned() } else { lines }
    }

    fn read(&self, command: &mut Command) -> Result<String, String> {
        let (key, at) = (command.must::<String>("key")?, moment(command, "at")?);
        let (found, how) = match command.name() {
            "read" => (read(&*self.engine, &encoded(&key), at), "at"),
            _ => (read_exact(&*self.engine, &encoded(&key), at), "at exactly"),
        };
        let found = found.expect("read");
        let found = found.map_or_else(|| "absent".to_owned(), |version| version_shown(&version));
        Ok(format!("{} {how} {}: {found}", shown(&encoded(&key)), at.0))
    }

    fn scan(&self, command: &mut Command) -> Result<String, String> {
        let direction = match &command.words()[..] {
            [] => Direction::Forward,
            [word] if word == "reverse" => Direction::Reverse,
            other => return Err(format!("unknown: {other:?}")),
        };
        let ((from, to), at) = (span(command)?, moment(command, "at")?);
        let page = scan(&*self.engine, (&from, &to), at, direction, limit(command)?);
        let page = page.expect("scanned");
        let mut lines = vec![match direction {
            Direction::Forward => format!("at {}:", at.0),
            Direction::Reverse => format!("at {}, in reverse:", at.0),
        }];
        lines.extend(
            page.records
                .iter()
                .map(|(key, version)| format!("  {}: {}", shown(key), version_shown(version))),
        );
        lines.push(match (&page.next, direction) {
            (None, _) => "  end".to_owned(),
            (Some(next), Direction::Forward) => format!("  more, from {}", shown(next)),
            (Some(next), Direction::Reverse) => format!("  more, below {}", shown(next)),
        });
        Ok(lines.join("\n"))
    }

    fn unchanged_since(&self, command: &mut Command) -> Result<String, String> {
        let ((from, to), since) = (span(command)?, moment(command, "moment")?);
        let now = moment(command, "now")?;
        let held = held_since(&*self.engine, (&from, &to), since, now, limit(command)?);
        let held = held.expect("scanned");
        let mut line = format!("unchanged since {}: ", since.0);
        held.keys.iter().for_each(|key| line.push_str(&format!("{}, ", shown(key))));
        match &held.next {
            None => line.push_str("end"),
            Some(next) => line.push_str(&format!("more from {}", shown(next))),
        }
        Ok(line)
    }

    fn fates(&self, command: &mut Command) -> Result<String, String> {
        let (threshold, mut rule) = (moment(command, "threshold")?, Collectable::new());
        let fates = self.stored(|stored, record| {
            Ok(match rule.fate(stored, record, threshold)? {
                Fate::Kept => " -> kept".to_owned(),
                Fate::Superseded => " -> may go".to_owned(),
                Fate::Absent => " -> may go when nothing older is left".to_owned(),
            })
        });
        Ok(format!("threshold {}:\n{fates}", threshold.0))
    }

    /// Removes, in one batch, all that may go.
    fn collect(&self, command: &mut Command) -> Result<String, String> {
        let (threshold, mut rule) = (moment(command, "threshold")?, Collectable::new());
        let (mut batch, mut kept) = (Batch::new(), 0);
        self.stored(|stored, record| {
            match rule.is_collectable(stored, record, threshold)? {
                true => batch.delete(Family::Data, stored.to_vec()),
                false => kept += 1,
            }
            Ok(String::new())
        });
        let gone = batch.changes.len();
        self.engine.write(batch).expect("written");
        Ok(format!("{gone} versions are gone, {kept} are kept"))
    }
}
