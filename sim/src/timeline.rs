//! What happened in a run, as far as people want to see it: faults, who is up, who leads.
//!
//! The history says what clients saw; the trace says everything. This is what lies between.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

/// Something that happened at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Simulated time in nanoseconds.
    pub at_ns: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum What {
    /// The run goes on to another phase: work, heal.
    Phase {
        /// Its name.
        name: String,
    },
    /// A strike has hit something.
    Begins {
        /// Its number in the plan.
        strike: u64,
        /// Kind of the fault.
        kind: String,
        /// The nodes concerned.
        nodes: Vec<u64>,
        /// In words.
        words: String,
    },
    /// A strike is over.
    Ends {
        /// Its number in the plan.
        strike: u64,
        /// Kind of the fault.
        kind: String,
    },
    /// A node was killed.
    Down {
        /// Which.
        node: u64,
    },
    /// A node was started.
    Up {
        /// Which.
        node: u64,
    },
    /// A node was seen to lead a range in a term for the first time.
    Leads {
        /// Which node.
        node: u64,
        /// Which range.
        range: u64,
        /// In which term.
        term: u64,
    },
    /// Anything else, in words.
    Note {
        /// The words.
        words: String,
    },
}

/// All moments, in the order of time.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    moments: Vec<Moment>,
}

impl Timeline {
    /// Adds what happens now.
    pub fn note(&mut self, at_ns: u64, what: What) {
        self.moments.push(Moment { at_ns, what });
    }

    /// All moments.
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// Writes one moment a line, as JSON.
    pub fn write_jsonl(&self, mut out: impl Write) -> io::Result<()> {
        for moment in &self.moments {
            serde_json::to_writer(&mut out, moment)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back() {
        let mut timeline = Timeline::default();
        timeline.note(5, What::Down { node: 3 });
        let (kind, words) = ("leader-cut".to_owned(), "is cut off".to_owned());
        timeline.note(7, What::Begins { strike: 1, kind, nodes: vec![2], words });
        timeline.note(9, What::Leads { node: 1, range: 2, term: 6 });
        let mut out = Vec::new();
        timeline.write_jsonl(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("{\"at_ns\":5,\"what\":\"down\",\"node\":3}\n"), "{text}");
        let read: Vec<Moment> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, timeline.moments());
    }
}
