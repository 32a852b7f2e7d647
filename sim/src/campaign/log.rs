//! The resume file of a campaign: JSON lines, one a finished seed.
//!
//! It is only ever appended to, each line in one write, and is locked while a campaign runs. A campaign
//! that is killed in a write leaves a line without an end: it is dropped when the file is opened again, and
//! its seed runs again. Any other line that is no record is an error: nothing is skipped silently.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// One finished seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Name of the scenario.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Commit of the source that ran it, with `-dirty` where the tree was not as committed.
    pub commit: String,
    /// Seconds of work and faults.
    pub simulated_s: f64,
    /// Acknowledged writes.
    pub commits: u64,
    /// Leaders elected.
    pub elections: u64,
    /// Raft snapshots installed.
    #[serde(default)]
    pub snapshots: u64,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// What came of it.
    pub outcome: SeedOutcome,
    /// The judge that found a violation, or why nobody could tell; empty where it held.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub words: String,
}

/// What came of a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeedOutcome {
    /// Everything held.
    Held,
    /// A judge found a violation.
    Violation,
    /// A judge could not tell. Not a pass.
    Undecided,
}

/// Why a resume file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another campaign writes to it.
    #[error("{}: another campaign is at work on it; wait for it, or choose another --resume", .0.display())]
    Busy(PathBuf),
    /// A line is no record.
    #[error("{}:{line}: {source}; mend the line or choose another --resume", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The cause.
        source: serde_json::Error,
    },
}

/// An open resume file.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens a file, or begins one, and reads what is in it.
    pub fn open(path: &Path) -> Result<(Log, Vec<Record>), LogError> {
        let io = |source| LogError::Io { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(io)?;
        }
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LogError::Busy(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let text = read(&mut file).map_err(io)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(whole as u64).map_err(io)?;
        }
        let records = parse(path, &text[..whole])?;
        Ok((Log { path: path.to_owned(), file }, records))
    }

    /// Reads a file without touching it: a campaign may be at work on it.
    pub fn read(path: &Path) -> Result<Vec<Record>, LogError> {
        let io = |source| LogError::Io { path: path.to_owned(), source };
        let text = read(&mut File::open(path).map_err(io)?).map_err(io)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        parse(path, &text[..whole])
    }

    /// Adds a finished seed.
    pub fn append(&mut self, record: &Record) -> Result<(), LogError> {
        let io = |source| LogError::Io { path: self.path.clone(), source };
        let mut line = serde_json::to_string(record).map_err(|error| io(error.into()))?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(io)
    }
}

fn read(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn parse(path: &Path, text: &str) -> Result<Vec<Record>, LogError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(position, line)| {
            serde_json::from_str(line).map_err(|source| LogError::Line {
                path: path.to_owned(),
                line: position + 1,
                source,
            })
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn record(scenario: &str, seed: u64, commit: &str) -> Record {
        Record {
            scenario: scenario.to_owned(),
            seed,
            commit: commit.to_owned(),
            simulated_s: 30.0,
            commits: 100,
            elections: 12,
            snapshots: 0,
            faults: [("node-kill".to_owned(), 3)].into(),
            outcome: SeedOutcome::Held,
            words: String::new(),
        }
    }

    #[test]
    fn what_was_appended_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/campaign.jsonl");
        let records = [record("a", 1, "c"), record("b", 1, "c-dirty")];
        let (mut log, before) = Log::open(&path).unwrap();
        assert_eq!(before, []);
        for record in &records {
            log.append(record).unwrap();
        }
        assert!(matches!(Log::open(&path), Err(LogError::Busy(_))));
        assert_eq!(Log::read(&path).unwrap(), records);
        drop(log);
        assert_eq!(Log::open(&path).unwrap().1, records);
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_its_place_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.jsonl");
        let (mut log, _) = Log::open(&path).unwrap();
        log.append(&record("a", 1, "c")).unwrap();
        log.append(&record("a", 2, "c")).unwrap();
        drop(log);
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for cut in first..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(Log::read(&path).unwrap().len(), 1, "cut at {cut}");
            let (mut log, left) = Log::open(&path).unwrap();
            assert_eq!(left.len(), 1, "cut at {cut}");
            log.append(&record("a", 3, "c")).unwrap();
            drop(log);
            let seeds: Vec<_> = Log::read(&path).unwrap().iter().map(|r| r.seed).collect();
            assert_eq!(seeds, [1, 3], "cut at {cut}");
        }
    }

    #[test]
    fn a_broken_line_in_the_middle_is_an_error_with_its_number() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.jsonl");
        let line = serde_json::to_string(&record("a", 1, "c")).unwrap();
        std::fs::write(&path, format!("{line}\n{{\"scen\n{line}\n")).unwrap();
        let error = Log::open(&path).unwrap_err();
        assert!(matches!(error, LogError::Line { line: 2, .. }), "{error}");
    }
}
