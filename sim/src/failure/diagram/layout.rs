//! Where lanes and moments are in the diagram.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Concern, Failure, Shown, Window};

/// Where time begins.
pub(super) const TOP: f64 = 40.0;
/// Clients that get a lane.
const CLIENTS_MAX: usize = 10;
const NODE_PITCH: f64 = 118.0;
const CLIENT_PITCH: f64 = 74.0;
/// A client with an operation that the judge names has words beside it.
const NAMED_PITCH: f64 = 240.0;
/// Characters of those words.
const NAME_CHARS_MAX: usize = 32;
const HEIGHT_MIN: f64 = 700.0;
const HEIGHT_MAX: f64 = 6_000.0;
const PIXELS_A_MS: f64 = 14.0;

/// The measures of one diagram, in pixels.
pub(super) struct Layout {
    pub(super) window: Window,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) faults_x: f64,
    nodes: BTreeMap<u64, f64>,
    /// Clients that have a lane, and where.
    pub(super) clients: BTreeMap<u64, f64>,
}

impl Layout {
    /// Lanes for all nodes and the clients that matter, and how many clients have none.
    pub(super) fn new(
        failure: &Failure<'_>,
        window: Window,
        operations: &[Shown],
    ) -> (Layout, usize) {
        let faults_x = 92.0;
        let mut x = faults_x + 76.0;
        let mut nodes = BTreeMap::new();
        for node in &failure.scenario.topology.nodes {
            nodes.insert(node.id, x);
            x += NODE_PITCH;
        }
        let within = operations
            .iter()
            .filter(|shown| window.meets(shown.op.invoke_ns, shown.told_ns.unwrap_or(u64::MAX)));
        // Those with most concern first.
        let mut concern: BTreeMap<u64, Concern> = BTreeMap::new();
        for shown in within {
            let known = concern.entry(shown.client).or_insert(Concern::None);
            *known = (*known).max(shown.concern);
        }
        let mut order: Vec<(u64, Concern)> = concern.into_iter().collect();
        order.sort_by_key(|(client, concern)| (std::cmp::Reverse(*concern), *client));
        let left_out = order.len().saturating_sub(CLIENTS_MAX);
        order.truncate(CLIENTS_MAX);
        let chosen: BTreeSet<(u64, Concern)> = order.into_iter().collect();
        let mut clients = BTreeMap::new();
        for (client, concern) in chosen {
            clients.insert(client, x);
            x += if concern == Concern::Named { NAMED_PITCH } else { CLIENT_PITCH };
        }
        let span_ms = (window.to_ns - window.from_ns) as f64 / 1e6;
        let height = (span_ms * PIXELS_A_MS).clamp(HEIGHT_MIN, HEIGHT_MAX) + TOP + 20.0;
        (Layout { window, width: x + 20.0, height, faults_x, nodes, clients }, left_out)
    }

    /// Where a moment is, kept inside.
    pub(super) fn y(&self, at_ns: u64) -> f64 {
        let Window { from_ns, to_ns } = self.window;
        let share =
            (at_ns.clamp(from_ns, to_ns) - from_ns) as f64 / (to_ns - from_ns).max(1) as f64;
        TOP + share * (self.height - TOP - 20.0)
    }

    /// A stretch of time, never so short that it can't be seen.
    pub(super) fn between(&self, from_ns: u64, to_ns: u64) -> (f64, f64) {
        let (from, to) = (self.y(from_ns), self.y(to_ns));
        (from, to.max(from + 1.5))
    }

    pub(super) fn node_x(&self, node: u64) -> Option<f64> {
        self.nodes.get(&node).copied()
    }

    pub(super) fn client_x(&self, client: u64) -> Option<f64> {
        self.clients.get(&client).copied()
    }
}

/// As much of some words as has room.
pub(super) fn short(words: &str) -> String {
    match words.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.to_owned(),
    }
}
