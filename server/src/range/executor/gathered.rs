//! Gathered: requests that came while proposals were under way, or before the node's next turn.
//!
//! They go into one log entry together (edge batching): an entry costs every node about as much as ten requests,
//! whether it carries one or a thousand.

use std::collections::VecDeque;

use crate::range::{
    cadence::{Cadence, Turn, Wait},
    request::Write,
};

/// Proposals under way at once. While they are, requests gather into the next one.
const PROPOSALS_IN_FLIGHT_MAX: usize = 2;

/// What waits for the next entry, in order.
#[derive(Default)]
pub(super) struct Gathered {
    ready: VecDeque<Write>,
    /// What is ready waits for the node's next turn.
    waits: Option<Wait>,
}

impl Gathered {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ready.len()
    }

    /// The turn that they wait for.
    pub(super) fn waits(&self) -> Option<Wait> {
        self.waits
    }

    /// More, behind those that are there.
    pub(super) fn extend(&mut self, more: impl IntoIterator<Item = Write>) {
        self.ready.extend(more);
    }

    /// Some that were here before, in front of all others.
    pub(super) fn return_to_front(
        &mut self,
        again: impl IntoIterator<Item = Write, IntoIter: DoubleEndedIterator>,
    ) {
        for write in again.into_iter().rev() {
            self.ready.push_front(write);
        }
    }

    /// The next one.
    pub(super) fn pop(&mut self) -> Option<Write> {
        self.ready.pop_front()
    }

    /// All of them.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Write> {
        self.ready.drain(..)
    }

    /// Whether what is ready goes into an entry now, or gathers. A second proposal beside one under
    /// way must be as large as that: two half-full ones are better than a full one and a sliver, again and again.
    pub(super) fn may_go(
        &mut self,
        cadence: &Cadence,
        (proposals, requests): (usize, usize),
    ) -> bool {
        self.waits = None;
        match proposals {
            _ if self.ready.is_empty() => false,
            0 => match cadence.turn() {
                Turn::Now => true,
                Turn::Later(wait) => {
                    self.waits = Some(wait);
                    false
                }
            },
            under_way => {
                under_way < PROPOSALS_IN_FLIGHT_MAX
                    && self.ready.len() >= requests
                    && cadence.allows_second()
            }
        }
    }
}
