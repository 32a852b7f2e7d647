//! Operations as people read them, in verdicts and on the pages of failures.
//!
//! The words are part of what a violation says: the corpus of judges (`sim/corpus/`) asks for some of them.

use std::fmt;

use super::{
    event::{PageAsked, Record, Version, WatchAsked, WatchSeen},
    ops::{Call, Op, OpOutcome, Reply},
};

/// A time as people read it: milliseconds with three decimals.
pub fn millis(ns: u64) -> String {
    format!("{}.{:03}", ns / 1_000_000, ns / 1_000 % 1_000)
}

/// A record in words.
fn record_in_words(record: &Option<Record>) -> String {
    match record {
        None => "absent".to_string(),
        Some(record) => format!("{:?} at version {}", record.value, record.version),
    }
}

/// Where a feed stands.
fn place(version: Version, key: &str) -> String {
    if key.is_empty() { version.to_string() } else { format!("{version} of {key:?}") }
}

fn page_in_words(f: &mut fmt::Formatter<'_>, asked: &PageAsked) -> fmt::Result {
    let PageAsked { start, end, reverse, limit, keys_only, at, since_ns } = asked;
    write!(f, "scans a page of {start:?} to {end:?}")?;
    if *limit > 0 {
        write!(f, ", {limit} at most")?;
    }
    if *reverse {
        write!(f, ", backwards")?;
    }
    if *keys_only {
        write!(f, ", keys only")?;
    }
    if *at > 0 {
        write!(f, ", at version {at}")?;
    }
    if let Some(since_ns) = since_ns {
        write!(f, ", which is said to be of {} ms or later", millis(*since_ns))?;
    }
    Ok(())
}

/// One line for people: `process 3 reads "a" -> "x" at version 7 (1.000 .. 2.500 ms, events 4 and 9)`.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        write!(f, "process {} ", self.process)?;
        match &self.call {
            Call::Read => write!(f, "reads {key:?}")?,
            Call::Scan if key.is_empty() => write!(f, "scans")?,
            Call::Scan => write!(f, "scans {key:?}")?,
            Call::ReadAll => write!(f, "reads all of {key:?}")?,
            Call::Page(asked) => page_in_words(f, asked)?,
            Call::Sweep => write!(f, "deletes all of {key:?}")?,
            Call::Watch(WatchAsked { after, after_key, is_key }) => {
                let all = if *is_key { "" } else { "all of " };
                write!(f, "follows {all}{key:?}")?;
                if *after > 0 {
                    write!(f, " behind {}", place(*after, after_key))?;
                }
            }
            Call::Timestamp => write!(f, "takes a timestamp")?,
            Call::Write { value, .. } => write!(f, "writes {value:?} to {key:?}")?,
            Call::Insert { value } => write!(f, "inserts {value:?} as {key:?}")?,
            Call::Cas { expected: 0, value, .. } => {
                write!(f, "writes {value:?} to {key:?} if absent")?
            }
            Call::Cas { expected, value, .. } => {
                write!(f, "writes {value:?} to {key:?} if at version {expected}")?;
            }
            Call::Delete { expected: None } => write!(f, "deletes {key:?}")?,
            Call::Delete { expected: Some(v) } => write!(f, "deletes {key:?} if at version {v}")?,
            Call::Increment { delta } => write!(f, "adds {delta} to {key:?}")?,
            Call::Expire { ttl_ms: None } => write!(f, "keeps {key:?} for ever")?,
            Call::Expire { .. } => write!(f, "keeps {key:?}")?,
            Call::Append { element } => write!(f, "appends {element} to {key:?}")?,
            Call::List => write!(f, "reads the list {key:?}")?,
        }
        if let Some(ttl_ms) = self.call.ttl_ms() {
            write!(f, " for {ttl_ms} ms")?;
        }
        if matches!(self.call, Call::Cas { keep_ttl: true, .. }) {
            write!(f, " for as long as what was there")?;
        }
        match &self.outcome {
            OpOutcome::Ok(Reply::Read(record)) => write!(f, " -> {}", record_in_words(record))?,
            OpOutcome::Ok(Reply::Written { version }) => write!(f, " -> version {version}")?,
            OpOutcome::Ok(Reply::Deleted { version: 0 }) => write!(f, " -> nothing to delete")?,
            OpOutcome::Ok(Reply::Deleted { version }) => write!(f, " -> version {version}")?,
            OpOutcome::Ok(Reply::Expired { version: 0 }) => write!(f, " -> no such key")?,
            OpOutcome::Ok(Reply::Expired { version }) => write!(f, " -> version {version}")?,
            OpOutcome::Ok(Reply::Timestamp { version }) => write!(f, " -> {version}")?,
            OpOutcome::Ok(Reply::Incremented { number, version }) => {
                write!(f, " -> {number} at version {version}")?;
            }
            OpOutcome::Ok(Reply::Scanned(entries)) => write!(f, " -> {} keys", entries.len())?,
            OpOutcome::Ok(Reply::Paged(page)) => {
                let keys: Vec<_> = page.records.iter().map(|entry| &entry.key).collect();
                write!(f, " -> {keys:?} at version {}", page.at)?;
                match &page.next {
                    Some(next) => write!(f, ", next {next:?}")?,
                    None => write!(f, ", the end")?,
                }
            }
            OpOutcome::Ok(Reply::Appended) => write!(f, " -> done")?,
            OpOutcome::Ok(Reply::Swept { at, deleted }) => {
                write!(f, " -> {deleted} keys up to version {at}")?;
            }
            OpOutcome::Ok(Reply::Watched(seen)) => {
                let WatchSeen { from, changes, upto, upto_key } = seen;
                let upto = place(*upto, upto_key);
                write!(f, " -> {} versions behind {from} up to {upto}", changes.len())?;
            }
            OpOutcome::Ok(Reply::Listed(elements)) => {
                // The end of a long one says the most.
                const SHOWN_MAX: usize = 12;
                let skipped = elements.len().saturating_sub(SHOWN_MAX);
                let shown = elements.get(skipped..).unwrap_or_default();
                match skipped {
                    0 => write!(f, " -> {shown:?}")?,
                    _ => write!(f, " -> {skipped} elements and {shown:?}")?,
                }
            }
            OpOutcome::Refused(current) => write!(f, " -> refused: {}", record_in_words(current))?,
            OpOutcome::Failed => write!(f, " -> not done")?,
            OpOutcome::Unknown => write!(f, " -> outcome unknown")?,
        }
        let (begin, began) = (millis(self.invoke_ns), self.invoke_index);
        match self.complete_ns.zip(self.complete_index) {
            Some((end, ended)) => {
                write!(f, " ({begin} .. {} ms, events {began} and {ended})", millis(end))
            }
            None => write!(f, " (from {begin} ms, event {began})"),
        }
    }
}
