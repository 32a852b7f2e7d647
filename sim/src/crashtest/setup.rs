//! What a crash test is run with, and why it may end before its time.

use std::{path::PathBuf, time::Duration};

/// Between two looks at a condition.
pub(super) const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// What is run.
pub struct Setup {
    /// The program `quintet`.
    pub quintet: PathBuf,
    /// An empty directory for data and logs.
    pub dir: PathBuf,
    /// How many rounds.
    pub rounds: u64,
    /// Where victims, moments and requests come from.
    pub seed: u64,
    /// Removes an acknowledged insert behind the history's back: the judges must find it missing.
    pub prove: bool,
}

/// Why a run ends before its time.
#[derive(Debug)]
pub(super) enum End {
    /// The product did what it must not.
    Violation(String),
    /// The test could not go on.
    CouldNot(anyhow::Error),
}

impl From<anyhow::Error> for End {
    fn from(error: anyhow::Error) -> End {
        End::CouldNot(error)
    }
}
