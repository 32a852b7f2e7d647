//! A campaign: many seeds of many scenarios, over many sittings and commits.
//!
//! ```text
//!   turns.rs    which scenario's turn it is, and with which seed
//!   log.rs      the resume file: one line a finished seed
//!   ledger.rs   and what they come to, kept in the repository
//!   totals.rs   all lines added up, by scenario and by commit
//!   findings.rs what a campaign must have exercised to count
//!   table.rs    the totals as text
//!   page.rs     and as one HTML page
//! ```
//!
//! Pure but for the file: how a seed is run is not known here.

mod findings;
pub mod ledger;
mod log;
mod page;
mod table;
mod totals;
mod turns;

pub use self::{
    findings::{FIRED_SHARE_MIN, SEEDS_TO_JUDGE, findings},
    log::{Log, LogError, Record, SeedOutcome},
    page::{Held, Sheet, page},
    table::{commits, faults, hours, scenarios},
    totals::{ScenarioTotals, Totals},
    turns::Turns,
};
