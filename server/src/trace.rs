//! The event log of a simulated run: every message, timer, disk operation and random draw.
//!
//! The simulation sets a sink, once a process; a run's events are equal byte for byte whenever its
//! seed is. In production there is no sink and an event costs one load.

use std::{fmt, sync::OnceLock};

/// Takes one event: its kind, and what happened.
pub type Sink = fn(kind: &'static str, what: fmt::Arguments<'_>);

static SINK: OnceLock<Sink> = OnceLock::new();

/// Sets the sink. Later calls change nothing.
pub fn set_sink(sink: Sink) {
    SINK.get_or_init(|| sink);
}

/// Records an event, if anyone listens.
#[inline]
pub fn event(kind: &'static str, what: fmt::Arguments<'_>) {
    if let Some(sink) = SINK.get() {
        sink(kind, what);
    }
}
