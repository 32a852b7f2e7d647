//! Figures of the node's replicas, one set per range.
//!
//! A replica gets its handle once and keeps it: setting a figure is one store, without a look-up by label. Two handles
//! of one range are clones of each other, so that a replica that is started again goes on with the same counters.
//! A new figure has four places here: the handle, the families, `get` and `forget`. What `forget` leaves out would be
//! exported for a range that the node does not have any more.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{Gauge, SecondsGauge, add};
use crate::ids::RangeId;

/// The handle of one range's replica on this node. Clones share their figures.
#[derive(Clone, Debug, Default)]
pub struct RangeMetrics {
    /// Raft's term.
    pub term: Gauge,
    /// Id of the node that leads; 0 if none is known now.
    pub leader_node: Gauge,
    /// 1 where this node leads, as a majority has confirmed.
    pub is_leader: Gauge,
    /// Whole seconds since a leader was confirmed.
    pub leader_silent: Gauge,
    /// Last index of the log.
    pub last_index: Gauge,
    /// Last index that is applied.
    pub applied_index: Gauge,
    /// Entries of the log that are kept.
    pub log_entries: Gauge,
    /// Entries that the furthest replica is behind; 0 where this node does not lead.
    pub lag_entries: Gauge,
    /// Terms in which this replica was seen to lead.
    pub elections_won: Counter,
    /// How old the newest moment is that this node's replica can show by itself.
    pub closed_age: SecondsGauge,
    /// Bytes of entries that the log has here.
    pub log_bytes: Gauge,
    last_won_term: Arc<AtomicU64>,
}

impl RangeMetrics {
    /// This replica leads in a term; counts each term once.
    pub fn leads_in(&self, term: u64) {
        if self.last_won_term.fetch_max(term, Relaxed) < term {
            self.elections_won.inc();
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RangeLabels {
    range: u64,
}

/// The figures of all ranges with a replica on the node.
pub(super) struct Ranges {
    handles: Mutex<BTreeMap<RangeId, RangeMetrics>>,
    term: Family<RangeLabels, Gauge>,
    leader_node: Family<RangeLabels, Gauge>,
    is_leader: Family<RangeLabels, Gauge>,
    leader_silent: Family<RangeLabels, Gauge>,
    last_index: Family<RangeLabels, Gauge>,
    applied_index: Family<RangeLabels, Gauge>,
    log_entries: Family<RangeLabels, Gauge>,
    lag_entries: Family<RangeLabels, Gauge>,
    elections_won: Family<RangeLabels, Counter>,
    log_bytes: Family<RangeLabels, Gauge>,
    closed_age: Family<RangeLabels, SecondsGauge>,
}

impl Ranges {
    pub(super) fn new(r: &mut Registry) -> Ranges {
        Ranges {
            handles: Mutex::default(),
            term: add(r, "range_term", "Raft term of the range's replica here"),
            leader_node: add(
                r,
                "range_leader_node",
                "Node that leads the range; 0 if none was confirmed within the time of an election",
            ),
            is_leader: add(
                r,
                "range_is_leader",
                "1 where this node leads the range and a majority has confirmed it lately",
            ),
            leader_silent: add(
                r,
                "range_leader_silent_seconds",
                "Whole seconds since a leader of the range was confirmed here; since the start if none was",
            ),
            last_index: add(r, "range_last_index", "Last index of the range's log here"),
            applied_index: add(r, "range_applied_index", "Last index of the range applied here"),
            log_entries: add(r, "range_log_entries", "Entries that the range's log keeps here"),
            lag_entries: add(
                r,
                "range_lag_entries",
                "Entries that the furthest replica of the range is behind; 0 where this node does not lead",
            ),
            elections_won: add(
                r,
                "range_elections_won",
                "Terms in which the replica here was seen to lead; looked at once a second",
            ),
            closed_age: add(
                r,
                "range_closed_age_seconds",
                "How old the newest moment of the range is at most that the replica of this node can show without asking the leader; where it can show none, how long the node has run",
            ),
            log_bytes: add(r, "range_log_bytes", "Bytes of entries in the range's log here"),
        }
    }

    pub(super) fn get(&self, range: RangeId) -> RangeMetrics {
        let labels = RangeLabels { range: range.0 };
        let make = || RangeMetrics {
            term: self.term.get_or_create_owned(&labels),
            leader_node: self.leader_node.get_or_create_owned(&labels),
            is_leader: self.is_leader.get_or_create_owned(&labels),
            leader_silent: self.leader_silent.get_or_create_owned(&labels),
            last_index: self.last_index.get_or_create_owned(&labels),
            applied_index: self.applied_index.get_or_create_owned(&labels),
            log_entries: self.log_entries.get_or_create_owned(&labels),
            lag_entries: self.lag_entries.get_or_create_owned(&labels),
            elections_won: self.elections_won.get_or_create_owned(&labels),
            log_bytes: self.log_bytes.get_or_create_owned(&labels),
            closed_age: self.closed_age.get_or_create_owned(&labels),
            last_won_term: Arc::default(),
        };
        self.handles.lock().entry(range).or_insert_with(make).clone()
    }

    pub(super) fn forget(&self, range: RangeId) {
        let labels = RangeLabels { range: range.0 };
        self.handles.lock().remove(&range);
        self.term.remove(&labels);
        self.leader_node.remove(&labels);
        self.is_leader.remove(&labels);
        self.leader_silent.remove(&labels);
        self.last_index.remove(&labels);
        self.applied_index.remove(&labels);
        self.log_entries.remove(&labels);
        self.lag_entries.remove(&labels);
        self.elections_won.remove(&labels);
        self.log_bytes.remove(&labels);
        self.closed_age.remove(&labels);
    }
}
