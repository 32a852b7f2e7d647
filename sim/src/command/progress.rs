//! How far a campaign is: one line that is written again and again on a terminal, a line every few seconds
//! elsewhere.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use quintet_sim::campaign::{Totals, faults, hours};

/// Between two lines where nobody looks.
const PAUSE: Duration = Duration::from_secs(15);
/// Between two on a terminal.
const PAUSE_TERMINAL: Duration = Duration::from_secs(1);
/// Columns of a terminal that are used.
const COLUMNS_MAX: usize = 150;

/// Where progress is shown.
pub(super) struct Progress {
    is_terminal: bool,
}

impl Progress {
    /// On standard error.
    pub(super) fn new() -> Progress {
        Progress { is_terminal: std::io::stderr().is_terminal() }
    }

    /// How long to wait for the next line.
    pub(super) fn pause(&self) -> Duration {
        if self.is_terminal { PAUSE_TERMINAL } else { PAUSE }
    }

    /// Says how far it is.
    pub(super) fn show(&self, totals: &Totals, wall: Duration, jobs: usize) {
        let line = line(totals, wall, jobs);
        let mut out = std::io::stderr().lock();
        // Whoever closed standard error does not want to know.
        if self.is_terminal {
            let short: String = line.chars().take(COLUMNS_MAX).collect();
            write!(out, "\r\x1b[2K{short}").ok();
            out.flush().ok();
        } else {
            writeln!(out, "{line}").ok();
        }
    }

    /// Makes room for other lines.
    pub(super) fn clear(&self) {
        if self.is_terminal {
            write!(std::io::stderr(), "\r\x1b[2K").ok();
        }
    }
}

/// Simulated hours that an hour of one core brings.
pub(super) fn speed(totals: &Totals, wall: Duration, jobs: usize) -> f64 {
    totals.simulated_s / (wall.as_secs_f64() * jobs as f64).max(0.001)
}

fn line(totals: &Totals, wall: Duration, jobs: usize) -> String {
    let mut line = format!(
        "{:.0} s: {} seeds, {} simulated hours ({:.1} an hour and core), {} commits, {} elections",
        wall.as_secs_f64(),
        totals.seeds,
        hours(totals.simulated_s),
        speed(totals, wall, jobs),
        totals.commits,
        totals.elections
    );
    let bad = totals.violations + totals.undecided;
    if bad > 0 {
        line.push_str(&format!(", {bad} NOT HELD"));
    }
    line.push_str(&format!("; {}", faults(totals)));
    line
}
