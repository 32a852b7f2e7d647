//! The event log of a run: one line an event, with its simulated time.
//!
//! Every line carries a *witness*, the next output of the simulation's one random generator. That
//! generator drives the scheduler, the network, `HashMap` seeds, everything: a single draw more or
//! less anywhere between two events makes all witnesses behind it differ. The witness is drawn
//! whether the log is kept or not, so a run is the same with `--trace` and without.

use std::{cell::RefCell, fmt, fmt::Write as _};

use xxhash_rust::xxh3::Xxh3Default;

/// What is kept of the events.
#[derive(Default)]
struct Log {
    lines: Option<String>,
    hash: Xxh3Default,
    events: u64,
}

thread_local! {
    // One run a thread, so this is the run's own.
    static LOG: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// Begins the log of this thread's run.
pub fn begin(keep: bool) {
    quintet_server::trace::set_sink(sink);
    LOG.with_borrow_mut(|log| {
        *log = Some(Log { lines: keep.then(String::new), ..Log::default() });
    });
}

/// Ends the log: the lines, if they were kept, a hash over all witnesses, and how many events.
pub fn end() -> (Option<String>, u64, u64) {
    LOG.with_borrow_mut(|log| {
        let log = log.take().unwrap_or_default();
        (log.lines, log.hash.digest(), log.events)
    })
}

/// Records an event of the harness itself.
pub fn event(kind: &'static str, what: fmt::Arguments<'_>) {
    sink(kind, what);
}

fn sink(kind: &'static str, what: fmt::Arguments<'_>) {
    LOG.with_borrow_mut(|log| {
        let Some(log) = log else { return };
        let witness: u64 = madsim::rand::random();
        log.events += 1;
        log.hash.update(&witness.to_be_bytes());
        if let Some(lines) = &mut log.lines {
            let now = madsim::time::TimeHandle::current().elapsed();
            // Writing to a string can't fail.
            writeln!(lines, "{:>15} {witness:016x} {kind} {what}", now.as_nanos()).ok();
        }
    });
}
