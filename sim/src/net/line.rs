//! One direction of one stream: what is under way on it.
//!
//! Invariants: things leave in the order in which they came, and none before its time; times never
//! fall along the line.

use std::collections::VecDeque;

/// Bytes under way, or held, beyond which nothing more is taken: the sender waits then, as it would
/// for a full socket.
pub const BYTES_MAX: usize = 4 << 20;
/// Frames under way beyond which nothing more is taken.
pub const FRAMES_MAX: usize = 4_096;

/// What is under way, in order. Times are simulated microseconds.
#[derive(Debug)]
pub struct Line<T> {
    under_way: VecDeque<UnderWay<T>>,
    bytes: usize,
    /// When the last one arrives; nothing behind it does so earlier.
    last_us: u64,
    /// Nothing at all arrives before.
    held_until_us: u64,
}

#[derive(Debug)]
struct UnderWay<T> {
    arrives_us: u64,
    bytes: usize,
    what: T,
}

impl<T> Default for Line<T> {
    fn default() -> Line<T> {
        Line { under_way: VecDeque::new(), bytes: 0, last_us: 0, held_until_us: 0 }
    }
}

impl<T> Line<T> {
    /// Whether it takes more.
    pub fn has_room(&self) -> bool {
        self.bytes < BYTES_MAX && self.under_way.len() < FRAMES_MAX
    }

    /// Sends something that by itself would arrive at a moment; whatever is ahead of it comes first.
    pub fn send(&mut self, arrives_us: u64, bytes: usize, what: T) {
        self.last_us = self.last_us.max(arrives_us);
        self.bytes += bytes;
        self.under_way.push_back(UnderWay { arrives_us: self.last_us, bytes, what });
    }

    /// When the next one arrives.
    pub fn due_us(&self) -> Option<u64> {
        self.under_way.front().map(|first| first.arrives_us.max(self.held_until_us))
    }

    /// Takes the next one.
    pub fn take(&mut self) -> Option<T> {
        let first = self.under_way.pop_front()?;
        self.bytes -= first.bytes;
        Some(first.what)
    }

    /// Lets nothing arrive before a moment.
    pub fn hold(&mut self, until_us: u64) {
        self.held_until_us = self.held_until_us.max(until_us);
    }

    /// How many things are under way.
    pub fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Loses all but this number of the first ones.
    pub fn keep(&mut self, first: usize) {
        self.under_way.truncate(first);
        self.bytes = self.under_way.iter().map(|each| each.bytes).sum();
        self.last_us = self.under_way.back().map_or(0, |last| last.arrives_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_whatever_the_delays() {
        let mut line = Line::default();
        for (at, what) in [(50, 'a'), (20, 'b'), (90, 'c')] {
            line.send(at, 1, what);
        }
        let mut seen = Vec::new();
        while let Some(due) = line.due_us() {
            seen.push((due, line.take().unwrap()));
        }
        assert_eq!(seen, [(50, 'a'), (50, 'b'), (90, 'c')]);
    }

    #[test]
    fn what_is_held_comes_later_and_in_order() {
        let mut line = Line::default();
        line.send(10, 1, 'a');
        line.hold(100);
        line.send(40, 1, 'b');
        line.send(120, 1, 'c');
        line.hold(60);
        assert_eq!((line.due_us(), line.take()), (Some(100), Some('a')));
        assert_eq!((line.due_us(), line.take()), (Some(100), Some('b')));
        assert_eq!((line.due_us(), line.take()), (Some(120), Some('c')));
        assert_eq!((line.due_us(), line.take()), (None, None));
    }

    #[test]
    fn a_beginning_is_kept_when_the_rest_is_lost() {
        let mut line = Line::default();
        for (at, what) in [(10, 'a'), (20, 'b'), (30, 'c')] {
            line.send(at, 2, what);
        }
        line.keep(1);
        // What comes now may arrive as soon as what was kept.
        line.send(12, 0, '!');
        assert_eq!((line.due_us(), line.take()), (Some(10), Some('a')));
        assert_eq!((line.due_us(), line.take()), (Some(12), Some('!')));
        assert!(line.is_empty());
    }

    #[test]
    fn it_is_bounded_in_bytes_and_frames() {
        let mut line = Line::default();
        line.send(1, BYTES_MAX, ());
        assert!(!line.has_room());
        line.take();
        assert!(line.has_room());
        for _ in 0..FRAMES_MAX {
            line.send(1, 0, ());
        }
        assert!(!line.has_room());
        line.keep(3);
        assert_eq!((line.has_room(), line.len()), (true, 3));
    }
}
