//! What happened in a run, as far as people want to see it: faults, who is up, who leads.
//!
//! The history says what clients saw; the trace says everything. This is what lies between.

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
}
