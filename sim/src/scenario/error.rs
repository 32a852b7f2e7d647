//! What is wrong with a scenario, and in which line of its file.

use super::place;
use crate::workload::Wrong;

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Not TOML, or not a scenario's; the text names line and column.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// A field has a value that makes no sense.
    #[error("{}{field}: {reason}", in_line(*line))]
    Invalid {
        /// Path of the field, such as `network.latency_max_us`.
        field: String,
        /// What is wrong.
        reason: String,
        /// The line of the file where the field is, from 1; none where nothing around it is there.
        line: Option<usize>,
    },
}

impl ScenarioError {
    /// In which line of the file, from 1, and what is wrong there, without the line.
    pub fn at(&self, text: &str) -> (usize, String) {
        match self {
            ScenarioError::Syntax(error) => {
                let start = error.span().map_or(0, |span| span.start);
                (place::line_of(text, start).unwrap_or(1), error.message().to_owned())
            }
            // Nothing around it is in the file: the file as a whole lacks it.
            ScenarioError::Invalid { field, reason, line } => {
                (line.unwrap_or(1), format!("{field}: {reason}"))
            }
        }
    }
}

impl From<Wrong> for ScenarioError {
    fn from(wrong: Wrong) -> ScenarioError {
        ScenarioError::Invalid { field: wrong.field, reason: wrong.reason, line: None }
    }
}

fn in_line(line: Option<usize>) -> String {
    line.map(|line| format!("line {line}: ")).unwrap_or_default()
}

/// An error about a field, unless something holds.
pub(super) fn ensure(
    holds: bool,
    field: impl Into<String>,
    reason: impl Into<String>,
) -> Result<(), ScenarioError> {
    if holds {
        return Ok(());
    }
    Err(ScenarioError::Invalid { field: field.into(), reason: reason.into(), line: None })
}

/// Checks that a least value is not above the most.
pub(super) fn range(name: &str, min: u64, max: u64, unit: &str) -> Result<(), ScenarioError> {
    ensure(
        min <= max,
        format!("{name}_min_{unit}"),
        format!("is {min}, above {name}_max_{unit}, {max}"),
    )
}

/// Checks by what share a rate may differ.
pub(super) fn share(field: impl Into<String>, share: f64) -> Result<(), ScenarioError> {
    ensure((0.0..=0.5).contains(&share), field, "must be a share from 0 to 0.5")
}
