//! The node's figures, for Prometheus.
//!
//! Everything is an atomic behind a handle that is resolved once: counting an operation is an
//! array index and three additions, without a lock or a look-up by label. Figures that are kept
//! elsewhere (engine figures, queue lengths) are copied into gauges when a scrape asks.
//!
//! Names are `quintet_…`, with the unit last: `_seconds`, `_bytes`, `_total` for counters. Every
//! figure has a help text; a test checks both.

mod connections;
mod histogram;
mod labels;
mod operations;
mod queues;
mod ranges;
mod snapshots;
#[cfg(all(test, not(madsim)))]
mod strict;
mod text;
mod time;
mod watch;

use std::{fmt, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge},
    registry::{Metric, Registry},
};

pub use self::{
    connections::ConnectionMetrics,
    histogram::Histogram,
    operations::OperationMetrics,
    queues::{Held, Queue},
    ranges::RangeMetrics,
    snapshots::SnapshotMetrics,
    text::Format,
    time::TimeMetrics,
    watch::{WatchEnd, WatchMetrics},
};
use self::{connections::Connections, labels::Chosen, ranges::Ranges};
use super::{operation::Operation, requests::RequestLog};
use crate::{
    ids::{NodeId, RangeId},
    placement::locality::Locality,
};

/// A figure that goes up and down.
pub type Gauge = gauge::Gauge<u64, AtomicU64>;
/// Seconds that grow and shrink, below zero too.
pub type SecondsGauge = gauge::Gauge<f64, AtomicU64>;

/// All figures of a node. Cheap to share: put it into an `Arc`.
pub struct Metrics {
    registry: Registry,
    operations: [OperationMetrics; Operation::ALL.len()],
    queues: [Gauge; Queue::ALL.len()],
    ranges: Ranges,
    engine: Family<EngineLabels, Gauge>,
    /// Names requests that failed or were slow.
    pub request_log: RequestLog,

    node: Family<NodeLabels, Gauge>,
    /// Connections to the gRPC ports.
    pub connections: Connections,
    /// Sessions that clients hold open.
    pub sessions_open: Gauge,
    /// Requests that clients have in flight.
    pub requests_in_flight: Gauge,
    /// Bytes of answers that wait to be taken.
    pub answers_waiting: Gauge,
    /// Answers of which nothing was taken for too long.
    pub answers_let_go: Counter,
    /// Requests refused because the node had as much under way as it takes on.
    pub requests_refused: Counter,
    /// Operations sent on to the node that leads their range.
    pub forwarded: Counter,
    /// Requests that came by a route that is out of date, refused here.
    pub stale_routes: Counter,
    /// Requests of this node that another one refused as misrouted, and that were sent on.
    pub corrected: Counter,
    /// Repeated requests answered with the stored result of the first.
    pub dedup_hits: Counter,
    /// Proposals refused at apply and evaluated again.
    pub reevaluations: Counter,
    /// Versions removed because no read can ask for them any more.
    pub versions_collected: Counter,
    /// How long ago the earliest moment is that this node holds; 0: it holds none.
    pub versions_held: SecondsGauge,
    /// Proposals handed to Raft and not yet applied.
    pub proposals_in_flight: Gauge,
    /// Syncs of the log.
    pub log_syncs: Counter,
    /// Entries that one sync made durable.
    pub log_sync_entries: Histogram,
    /// Ranges whose entries one sync made durable.
    pub log_sync_ranges: Histogram,
    /// What a sync took.
    pub log_sync_latency: Histogram,
    /// Leadership confirmations; many reads share one.
    pub read_confirmations: Counter,
    /// Rounds of messages that confirm leadership.
    pub leadership_rounds: Counter,
    /// Leaders of this node that gave up because no majority answered them.
    pub leaders_stepped_down: Counter,
    /// Handovers of a leader that were not begun, failed or were undone.
    pub handovers_failed: Counter,
    /// Links to other nodes that are up.
    pub peer_links_up: Gauge,
    /// Links dialled again after a fault.
    pub peer_redials: Counter,
    /// Reads of the past that a replica of this node served by itself.
    pub closed_reads: Counter,
    /// Reads of keys and pages that a replica of this node served without leading its range.
    pub reads_without_leading: Counter,
    /// Reads of the newest state that a replica of this node served behind its leader.
    pub follower_reads: Counter,
    /// Reads that were to be served so and went to the leader.
    pub follower_reads_forwarded: Counter,
    /// Watches of clients.
    pub watch: WatchMetrics,
    /// The timestamp oracle.
    pub time: TimeMetrics,
    /// Bytes from other nodes.
    pub peer_bytes_received: Counter,
    /// Bytes to other nodes.
    pub peer_bytes_sent: Counter,
    /// Known nodes that are live, this one included.
    pub nodes_live: Gauge,
    /// 1 while the node's disk is nearly full.
    pub disk_nearly_full: Gauge,
    /// 1 while the node's disk does not answer, and for a moment after that.
    pub disk_hung: Gauge,
    /// Raft snapshots.
    pub snapshots: SnapshotMetrics,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EngineLabels {
    engine: &'static str,
    name: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NodeLabels {
    node: u64,
    city: Chosen,
    room: Chosen,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// All figures at zero.
    pub fn new() -> Metrics {
        let mut registry = Registry::default();
        #[cfg(not(madsim))]
        registry.register_collector(Box::new(super::process::ProcessMetrics));
        let r = registry.sub_registry_with_prefix("quintet");

        let build = Family::<BuildLabels, Gauge>::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        r.register("build_info", "Always 1; the label is the version of the program", build);

        Metrics {
            operations: operations::operations(r),
            queues: queues::queues(r),
            ranges: Ranges::new(r),
            request_log: RequestLog::default(),
            engine: add(r, "engine", "Figures of the storage engines by engine and name"),
            node: add(r, "node_info", "Always 1; the labels say which node this is, and where"),
            connections: Connections::new(r),
            sessions_open: add(r, "sessions_open", "Sessions that clients hold open"),
            requests_in_flight: add(
                r,
                "requests_in_flight",
                "Requests of clients that are not answered yet",
            ),
            answers_waiting: add(
                r,
                "answers_waiting_bytes",
                "Bytes of answers that clients have not taken yet",
            ),
            answers_let_go: add(
                r,
                "answers_let_go",
                "Answers let go because their client took nothing of them for 30 s",
            ),
            requests_refused: add(
                r,
                "requests_refused",
                "Requests refused as overloaded because the node had as much under way as it takes on",
            ),
            forwarded: add(
                r,
                "forwarded_operations",
                "Operations sent on to the node that leads their range",
            ),
            stale_routes: add(
                r,
                "stale_routes",
                "Requests refused here because their route was out of date",
            ),
            corrected: add(
                r,
                "corrected_routes",
                "Requests that another node refused as misrouted and that were sent on from here",
            ),
            dedup_hits: add(
                r,
                "dedup_hits",
                "Repeated requests answered with the stored result of the first",
            ),
            reevaluations: add(
                r,
                "reevaluations",
                "Proposals that apply refused and that were evaluated again",
            ),
            versions_collected: add(
                r,
                "versions_collected",
                "Versions removed because no read can ask for them any more",
            ),
            versions_held: add(
                r,
                "versions_held_seconds",
                "How long ago the earliest moment is that this node keeps from being collected, for callers and feeds; \
                 0 where it is none",
            ),
            proposals_in_flight: add(
                r,
                "proposals_in_flight",
                "Proposals handed to Raft and not yet applied",
            ),
            log_syncs: add(r, "log_syncs", "Syncs of the log of all ranges"),
            log_sync_entries: with(
                r,
                "log_sync_entries",
                "Entries that one sync of the log made durable",
                Histogram::of_counts(),
            ),
            log_sync_ranges: with(
                r,
                "log_sync_ranges",
                "Ranges whose entries one sync of the log made durable",
                Histogram::of_counts(),
            ),
            log_sync_latency: with(
                r,
                "log_sync_seconds",
                "Time that one sync of the log took",
                Histogram::of_durations(),
            ),
            read_confirmations: add(
                r,
                "read_confirmations",
                "Confirmations of a range's leadership for reads; many reads share one",
            ),
            leadership_rounds: add(
                r,
                "leadership_rounds",
                "Rounds of messages that confirm leadership for reads; many ranges share one",
            ),
            leaders_stepped_down: add(
                r,
                "leaders_stepped_down",
                "Leaders of this node that gave up because no majority answered them",
            ),
            handovers_failed: add(
                r,
                "handovers_failed",
                "Handovers of a leader that were not begun because the other node reaches no majority, \
                 failed, or were undone",
            ),
            peer_links_up: add(r, "peer_links_up", "Links to other nodes that are up"),
            closed_reads: add(
                r,
                "closed_reads",
                "Reads of the past that replicas of this node served by themselves, leaders or not",
            ),
            reads_without_leading: add(
                r,
                "reads_without_leading",
                "Reads of keys and pages that replicas of this node served without leading their ranges",
            ),
            follower_reads: add(
                r,
                "follower_reads",
                "Reads of the newest state that replicas of this node served without leading, by an index \
                 of their leaders",
            ),
            follower_reads_forwarded: add(
                r,
                "follower_reads_forwarded",
                "Reads that were asked of a follower and were left to the leader: that is here, or the \
                 replica of this node could not serve them",
            ),
            watch: WatchMetrics::new(r),
            time: TimeMetrics::new(r),
            peer_redials: add(r, "peer_redials", "Links to other nodes dialled again"),
            peer_bytes_received: add(
                r,
                "peer_received_bytes",
                "Bytes of messages from other nodes",
            ),
            peer_bytes_sent: add(r, "peer_sent_bytes", "Bytes of messages to other nodes"),
            nodes_live: add(r, "nodes_live", "Known nodes that are live, this one included"),
            disk_nearly_full: add(
                r,
                "disk_nearly_full",
                "1 while less is free on the disk of the node than it keeps free",
            ),
            disk_hung: add(
                r,
                "disk_hung",
                "1 while the disk of the node does not answer, and for a moment after that",
            ),
            snapshots: SnapshotMetrics::new(r),
            registry,
        }
    }

    /// The handle of a kind of operation.
    pub fn operation(&self, operation: Operation) -> &OperationMetrics {
        let [
            get,
            put,
            delete,
            increment,
            expire,
            batch_get,
            batch_put,
            put_many,
            scan,
            delete_range,
            history,
            watch,
            timestamp,
        ] = &self.operations;
        match operation {
            Operation::Get => get,
            Operation::Put => put,
            Operation::Delete => delete,
            Operation::Increment => increment,
            Operation::Expire => expire,
            Operation::BatchGet => batch_get,
            Operation::BatchPut => batch_put,
            Operation::PutMany => put_many,
            Operation::Scan => scan,
            Operation::DeleteRange => delete_range,
            Operation::History => history,
            Operation::Watch => watch,
            Operation::Timestamp => timestamp,
        }
    }

    /// The depth of a queue, to be raised and lowered, or set at a scrape.
    pub fn queue(&self, queue: Queue) -> &Gauge {
        let [session, forward, propose, read, log, peer, peer_bulk] = &self.queues;
        match queue {
            Queue::Session => session,
            Queue::Forward => forward,
            Queue::Propose => propose,
            Queue::Read => read,
            Queue::Log => log,
            Queue::Peer => peer,
            Queue::PeerBulk => peer_bulk,
        }
    }

    /// The handle of a range; makes its figures appear. To be called once a replica, not once an
    /// operation.
    pub fn range(&self, range: RangeId) -> RangeMetrics {
        self.ranges.get(range)
    }

    /// Takes a range's figures away, when its replica has left the node.
    pub fn forget_range(&self, range: RangeId) {
        self.ranges.forget(range);
    }

    /// Says which node this is.
    pub fn set_node(&self, node: NodeId, locality: &Locality) {
        let (city, room) = (Chosen(locality.city.clone()), Chosen(locality.room.clone()));
        self.node.get_or_create(&NodeLabels { node: node.0, city, room }).set(1);
    }

    /// Copies an engine's figures, as [`crate::storage::Engine`] gives them.
    pub fn set_engine(&self, engine: &'static str, figures: &[(&'static str, u64)]) {
        for (name, value) in figures {
            self.engine.get_or_create(&EngineLabels { engine, name }).set(*value);
        }
    }

    /// Everything, in one of the formats.
    pub fn render(&self, format: Format) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(16 * 1024);
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(match format {
            Format::OpenMetrics => text,
            Format::Plain => text::plain(&text),
        })
    }
}

/// Registers a figure and returns the handle.
fn with<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    with(registry, name, help, M::default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quintet_proto::v1::{self, Code};

    use super::*;
    use crate::ops::operation::OperationOutcome;

    #[test]
    fn enums_count_from_zero_in_the_order_of_their_lists() {
        for (i, (operation, _)) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, i);
        }
        for (i, (outcome, _)) in OperationOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, i);
        }
        for (i, (queue, _)) in Queue::ALL.into_iter().enumerate() {
            assert_eq!(queue as usize, i);
        }
    }

    #[test]
    fn shows_what_was_counted() {
        let metrics = Metrics::new();
        let put = metrics.operation(Operation::Put);
        put.done(OperationOutcome::Ok, Duration::from_millis(2));
        put.done(OperationOutcome::Ok, Duration::from_millis(3));
        put.done(OperationOutcome::Unknown, Duration::from_secs(5));
        assert_eq!(put.count(OperationOutcome::Ok), 2);
        metrics.queue(Queue::Log).set(7);
        metrics.range(RangeId(2)).term.set(4);
        metrics.set_engine("log", &[("memtable_bytes", 99)]);
        metrics.log_sync_entries.observe(3);
        let text = metrics.render(Format::OpenMetrics).expect("text");
        for line in [
            "quintet_operations_total{operation=\"put\",outcome=\"ok\"} 2",
            "quintet_operations_total{operation=\"put\",outcome=\"unknown\"} 1",
            "quintet_operation_seconds_count{operation=\"put\"} 3",
            "quintet_queue_depth{queue=\"log\"} 7",
            "quintet_range_term{range=\"2\"} 4",
            "quintet_engine{engine=\"log\",name=\"memtable_bytes\"} 99",
            "quintet_log_sync_entries_bucket{le=\"4.0\"} 1",
            "quintet_log_sync_entries_bucket{le=\"+Inf\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_forgotten_range_is_gone_and_can_come_back_at_zero() {
        let metrics = Metrics::new();
        metrics.range(RangeId(7)).term.set(4);
        // The same figures for everybody who asks.
        assert_eq!(metrics.range(RangeId(7)).term.get(), 4);
        metrics.forget_range(RangeId(7));
        assert!(!metrics.render(Format::OpenMetrics).expect("text").contains("range=\"7\""));
        assert_eq!(metrics.range(RangeId(7)).term.get(), 0);
    }

    #[test]
    fn every_figure_has_help_and_a_name_of_ours() {
        let metrics = Metrics::new();
        // Families without members are left out of the text.
        metrics.range(RangeId(1));
        metrics.set_engine("log", &[("x", 1)]);
        let text = metrics.render(Format::OpenMetrics).expect("text");
        let named = |kind: &str| -> Vec<&str> {
            text.lines().filter_map(|l| l.strip_prefix(kind)?.split(' ').next()).collect()
        };
        let (help, types) = (named("# HELP "), named("# TYPE "));
        assert_eq!(help, types);
        assert!(help.len() >= 27, "{help:?}");
        let ours = |name: &&str| name.starts_with("quintet_") || name.starts_with("process_");
        assert!(help.iter().all(ours), "{help:?}");
    }

    /// A node whose every family has members, in a room of a hostile name.
    #[cfg(not(madsim))]
    fn full() -> Metrics {
        let metrics = Metrics::new();
        metrics.range(RangeId(1));
        metrics.set_engine("log", &[("x", 1)]);
        metrics.connections.of("client").limit.set(9);
        let locality =
            Locality { city: "c\"} 1\n# EOF".to_owned(), room: "back\\slash".to_owned() };
        metrics.set_node(NodeId(3), &locality);
        metrics
    }

    #[cfg(not(madsim))]
    #[test]
    fn a_quote_in_the_name_of_a_room_leaves_the_page_readable() {
        let metrics = full();
        let pages = [Format::Plain, Format::OpenMetrics].map(|format| {
            let page = metrics.render(format).expect("text");
            strict::read(&page, format).unwrap_or_else(|why| panic!("{why} in\n{page}"))
        });
        for samples in &pages {
            let (_, labels, _) =
                samples.iter().find(|(name, ..)| name == "quintet_node_info").expect("the node");
            let told: Vec<_> = labels.iter().map(|(_, value)| &**value).collect();
            assert_eq!(told, ["3", "c\"} 1\n# EOF", "back\\slash"]);
        }
        // The same series in both formats: a dashboard need not know which was asked for.
        let names = pages.map(|samples| {
            samples.into_iter().map(|(name, labels, _)| (name, labels)).collect::<Vec<_>>()
        });
        assert_eq!(names[0], names[1]);
    }

    #[cfg(not(madsim))]
    #[test]
    fn a_node_says_what_it_is_built_of_and_how_the_process_does() {
        let page = full().render(Format::Plain).expect("text");
        let samples = strict::read(&page, Format::Plain).expect("read");
        let value = |name: &str| {
            samples.iter().find(|(sample, ..)| sample == name).unwrap_or_else(|| panic!("{name}")).2
        };
        assert_eq!(value("quintet_build_info"), 1.0);
        assert_eq!(value("quintet_connections_limit"), 9.0);
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") >= 3.0);
        assert!(value("process_start_time_seconds") > 1.577e9);
    }

    #[test]
    fn what_may_have_happened_is_unknown_whatever_its_code() {
        let error = |code: Code, maybe_committed| v1::Error {
            code: code.into(),
            maybe_committed,
            ..v1::Error::default()
        };
        assert_eq!(OperationOutcome::of(&error(Code::Conflict, false)), OperationOutcome::Refused);
        assert_eq!(
            OperationOutcome::of(&error(Code::DeadlineExceeded, false)),
            OperationOutcome::Unavailable
        );
        assert_eq!(
            OperationOutcome::of(&error(Code::DeadlineExceeded, true)),
            OperationOutcome::Unknown
        );
    }
}
