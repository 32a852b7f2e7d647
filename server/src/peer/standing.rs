//! Whether another node is reached, since when, and why not; and what the log says of it.
//!
//! Losing a node and regaining it is one line each, however often it is dialled meanwhile; another line where
//! it is dialled at another address by then. A connection that broke and is there again at the next dial is
//! no loss. A node that was never reached is given some time to start, since nodes of a new cluster start one
//! after the other.

use std::{error::Error, time::Duration};

use crate::time::local::Instant;

/// How long a node that was never reached is waited for before that is said.
const START_PATIENCE: Duration = Duration::from_secs(3);

/// How a node stands.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    up: bool,
    /// Begin of the present state.
    since: Instant,
    /// Why it is not reached, as of the last try.
    why: String,
    was_up: bool,
    /// The address at which its loss was said last; none where it is reached, or was not said.
    said: Option<String>,
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// It is not reached; for how long.
    Lost(Duration),
    /// It is reached again; after how long.
    Regained(Duration),
}

impl Standing {
    pub(super) fn new(now: Instant) -> Standing {
        let why = "not dialled yet".to_owned();
        Standing { up: false, since: now, why, was_up: false, said: None }
    }

    /// Messages go through from now on.
    pub(super) fn rises(&mut self, now: Instant) -> Option<Line> {
        let line = self.said.take().map(|_| Line::Regained(now - self.since));
        *self = Standing { up: true, since: now, why: String::new(), was_up: true, said: None };
        line
    }

    /// The connection to an address broke, or a dial failed.
    pub(super) fn fails(&mut self, now: Instant, address: &str, why: String) -> Option<Line> {
        self.why = why;
        if self.up {
            self.up = false;
            self.since = now;
            return None;
        }
        let lasted = now - self.since;
        let is_new = self.said.as_deref() != Some(address);
        let says = is_new && (self.was_up || lasted >= START_PATIENCE);
        if says {
            self.said = Some(address.to_owned());
        }
        says.then_some(Line::Lost(lasted))
    }

    /// How long the present state has lasted, and why it is not reached.
    pub(super) fn reach(&self, now: Instant) -> Reach {
        Reach { up: self.up, lasted: now - self.since, why: self.why.clone() }
    }
}

/// How a node is reached at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Whether messages go through.
    pub up: bool,
    /// For how long it has been so.
    pub lasted: Duration,
    /// Why they do not; empty where they do.
    pub why: String,
}

/// What an error says, and what the errors below it say: the outermost alone is often "transport error".
pub(super) fn reason(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        below = error.source();
    }
    text
}

/// What a stream's end says.
pub(super) fn told(status: &tonic::Status) -> String {
    let below = std::error::Error::source(status).map(reason);
    let said = status.message();
    match below {
        // What is below begins with what is above it.
        Some(below) if below.starts_with(said) => below,
        Some(below) if !said.contains(&below) => format!("{said}: {below}"),
        _ => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn fails(node: &mut Standing, at: Instant, why: &str) -> Option<Line> {
        node.fails(at, "db1:7402", why.to_owned())
    }

    #[test]
    fn losing_and_regaining_a_node_is_one_line_each() {
        let begin = Instant::now();
        let mut node = Standing::new(begin);
        assert_eq!(node.rises(begin), None);
        // The connection breaks and is there again: no loss.
        assert_eq!(fails(&mut node, begin + S, "reset"), None);
        assert_eq!(node.rises(begin + 2 * S), None);
        // It breaks, and every dial after it fails.
        assert_eq!(fails(&mut node, begin + 10 * S, "reset"), None);
        assert_eq!(fails(&mut node, begin + 11 * S, "refused"), Some(Line::Lost(S)));
        assert_eq!(fails(&mut node, begin + 12 * S, "refused"), None);
        let elsewhere = node.fails(begin + 20 * S, "db9:7402", "refused".to_owned());
        assert_eq!(elsewhere, Some(Line::Lost(10 * S)));
        assert_eq!(node.fails(begin + 21 * S, "db9:7402", "refused".to_owned()), None);
        let reach = node.reach(begin + 30 * S);
        assert_eq!(reach, Reach { up: false, lasted: 20 * S, why: "refused".to_owned() });
        assert_eq!(node.rises(begin + 40 * S), Some(Line::Regained(30 * S)));
        let reach = node.reach(begin + 41 * S);
        assert_eq!(reach, Reach { up: true, lasted: S, why: String::new() });
        assert_eq!(node.rises(begin + 41 * S), None);
    }

    #[test]
    fn a_node_that_was_never_reached_is_named_after_a_while() {
        let begin = Instant::now();
        let mut node = Standing::new(begin);
        assert_eq!(fails(&mut node, begin + S, "refused"), None);
        assert_eq!(fails(&mut node, begin + 2 * S, "refused"), None);
        let said = fails(&mut node, begin + START_PATIENCE, "refused");
        assert_eq!(said, Some(Line::Lost(START_PATIENCE)));
        assert_eq!(fails(&mut node, begin + 4 * S, "refused"), None);
        assert_eq!(node.rises(begin + 5 * S), Some(Line::Regained(5 * S)));
    }

    #[test]
    fn a_reason_says_what_the_system_says() {
        #[derive(Debug, thiserror::Error)]
        #[error("transport error")]
        struct Transport(#[source] std::io::Error);
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = Transport(refused);
        assert_eq!(reason(&error), "transport error: connection refused");
        let status = tonic::Status::from_error(Box::new(error));
        assert_eq!(told(&status), "transport error: connection refused");
        assert_eq!(told(&tonic::Status::unavailable("no more")), "no more");
    }
}
