//! How far a campaign is: one line that is written again and again on a terminal, a line every few seconds
//! elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use quintet_sim::{
    campaign::{Totals, faults, hours},
    speed,
};

/// Between two lines where nobody looks.
const PAUSE: Duration = Duration::from_secs(15);
/// Between two on a terminal.
const PAUSE_TERMINAL: Duration = Duration::from_secs(1);
/// Where progress is shown.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// On standard error.
    pub(super) fn new() -> Progress {
        let bar = ProgressBar::new_spinner();
        // A line cut off is better than one that breaks.
        if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
            bar.set_style(style);
        }
        Progress { bar }
    }

    /// How long to wait for the next line.
    pub(super) fn pause(&self) -> Duration {
        if self.bar.is_hidden() { PAUSE } else { PAUSE_TERMINAL }
    }

    /// Says how far it is.
    pub(super) fn show(&self, totals: &Totals, wall: Duration) {
        let line = line(totals, wall);
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.set_message(line);
            self.bar.tick();
        }
    }

    /// Lets something else be printed.
    pub(super) fn aside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// The last line goes.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn line(totals: &Totals, wall: Duration) -> String {
    let mut line = format!(
        "{:.0} s: {} seeds, {} simulated hours ({}), {} commits, {} elections",
        wall.as_secs_f64(),
        totals.seeds,
        hours(totals.simulated_s),
        speed::told(Duration::from_secs_f64(totals.simulated_s), speed::cpu_time()),
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
