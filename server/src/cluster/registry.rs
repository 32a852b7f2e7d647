//! What the system range holds of the cluster: the registry of its nodes, the index of its ranges'
//! descriptors, its settings. It follows what the memberships say, and decides nothing:
//! `docs/decisions/2026-11-29-membership-is-the-truth.md`.
//!
//! ```text
//!   node/ID      where the node was heard of last      follows the address book
//!   range/ID     the range's descriptor                follows what its membership entries have made of it
//!   setting/cluster_version                            the highest format that may be used
//!   retention/KEYSPACE/PREFIX              for how many seconds versions of such keys are kept; the prefix in hex
//!   time-servers                           the nodes that alone are to have time servers, where that is set
//!   drain/ID     true: the node is to be told that it is drained; it could not be reached when that was asked
//! ```
//!
//! Keys of the keyspace `system`, ids as twenty decimal digits. The range's leader writes what it knows and the range
//! does not, as ordinary compare-and-set writes, so that no newer record is overwritten. Every node reads its own
//! replica, which may be behind, and takes what is new. So addresses and routes from before a node went down, or of
//! nodes that it has never met, reach it too.
//!
//! # Invariants
//!
//! * No decision depends on it: the truth about replicas is the Raft membership, that about addresses the nodes
//!   themselves. What is here only ever gets newer: by the node's start, by the descriptor's generation.
//! * A node that does not know the cluster's version stops.
//! * Every member has a replica of every range, so the leader of the system range knows every
//!   descriptor that was applied.
//!
//! # On a crash
//!
//! What was not written is written by the next leader: it compares anew each time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::state::NodeState;
use crate::{
    error::OpError,
    ids::{KeyspaceId, NodeId, RequestId},
    peer::CLUSTER_VERSION,
    range::{
        replica::Replica,
        request::{Condition, Lifetime, Reply, ReplySink, Write, WriteKind},
    },
    size::Size,
    storage::{
        self, Direction,
        format::{codec, descriptor::Descriptor, node::AddressRecord},
        keys,
        mvcc::{self, PageLimit},
    },
    time::{Timestamp, local::Instant},
};

/// Between two looks of every node.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);
/// Records that one round writes at most; the others follow in the next.
const ROUND_WRITES_MAX: usize = 256;
/// Records of one page of the range.
const PAGE_RECORDS: Size = Size::new("registry-page-records", 1_024, 1);
const PAGE_BYTES: usize = 1 << 20;

/// What the system range holds, as one replica has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// The nodes, each with the version of its record.
    pub nodes: BTreeMap<u64, (Timestamp, AddressRecord)>,
    /// The ranges.
    pub ranges: BTreeMap<u64, (Timestamp, Descriptor)>,
    /// The settings, by name.
    pub settings: BTreeMap<String, (Timestamp, String)>,
    /// Nodes that are to be told that they are drained, or not any more.
    pub drains: BTreeMap<u64, (Timestamp, bool)>,
    /// Seconds for which versions are kept, by keyspace and prefix.
    pub retention: BTreeMap<(u32, Vec<u8>), (Timestamp, u32)>,
    /// The nodes that alone are to have time servers; none set, or no node: wherever they belong.
    pub time_servers: Option<(Timestamp, Vec<u64>)>,
}

/// What a record is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Node(u64),
    Range(u64),
    Setting(String),
    Drain(u64),
    Retention(u32, Vec<u8>),
    TimeServers,
}

const VERSION_SETTING: &str = "cluster_version";

impl Name {
    pub(crate) fn key(&self) -> String {
        match self {
            Name::Node(id) => format!("node/{id:020}"),
            Name::Range(id) => format!("range/{id:020}"),
            Name::Setting(name) => format!("setting/{name}"),
            Name::Drain(id) => format!("drain/{id:020}"),
            Name::TimeServers => "time-servers".to_owned(),
            Name::Retention(keyspace, prefix) => {
                let hex: String = prefix.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("retention/{keyspace:010}/{hex}")
            }
        }
    }

    fn parse(key: &[u8]) -> Option<Name> {
        let key = std::str::from_utf8(key).ok()?;
        if key == "time-servers" {
            return Some(Name::TimeServers);
        }
        match key.split_once('/')? {
            ("node", id) => id.parse().ok().map(Name::Node),
            ("range", id) => id.parse().ok().map(Name::Range),
            ("setting", name) => Some(Name::Setting(name.to_owned())),
            ("drain", id) => id.parse().ok().map(Name::Drain),
            ("retention", of) => {
                let (keyspace, hex) = of.split_once('/')?;
                let bytes = hex
                    .as_bytes()
                    .chunks(2)
                    .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
                Some(Name::Retention(keyspace.parse().ok()?, bytes.collect::<Option<_>>()?))
            }
            _ => None,
        }
    }
}

impl Registry {
    /// Reads it from a replica of the system range, as far as that has applied it. Records of a kind that
    /// this build does not know are stepped over.
    ///
    /// # Errors
    /// Where the engine can't be read, or a record can't be decoded.
    pub fn read(replica: &Replica) -> Result<Registry, storage::Error> {
        let mut registry = Registry::default();
        let end = keys::keyspace_start(KeyspaceId(KeyspaceId::SYSTEM.0 + 1));
        let mut start = keys::keyspace_start(KeyspaceId::SYSTEM);
        let limit =
            PageLimit { records: PAGE_RECORDS.get(), bytes: PAGE_BYTES, versions: usize::MAX };
        loop {
            let engine = &**replica.shared.state.engine();
            // No record of it expires.
            let newest = Timestamp::MAX;
            let page = mvcc::scan(engine, (&start, &end), newest, Direction::Forward, limit)?;
            for (stored, version) in page.records {
                let Some((_, key, _)) = keys::decode(&stored) else { continue };
                registry.take(&key, version.at, &version.value)?;
            }
            match page.next {
                Some(next) => start = next,
                None => return Ok(registry),
            }
        }
    }

    fn take(&mut self, key: &[u8], at: Timestamp, value: &[u8]) -> Result<(), storage::Error> {
        match Name::parse(key) {
            Some(Name::Node(id)) => {
                self.nodes.insert(id, (at, codec::decode(value)?));
            }
            Some(Name::Range(id)) => {
                self.ranges.insert(id, (at, codec::decode(value)?));
            }
            Some(Name::Setting(name)) => {
                self.settings.insert(name, (at, codec::decode(value)?));
            }
            Some(Name::Drain(id)) => {
                self.drains.insert(id, (at, codec::decode(value)?));
            }
            Some(Name::TimeServers) => self.time_servers = Some((at, codec::decode(value)?)),
            Some(Name::Retention(keyspace, prefix)) => {
                self.retention.insert((keyspace, prefix), (at, codec::decode(value)?));
            }
            None => {}
        }
        Ok(())
    }

    /// What it has to be told by a leader that knows these: each with the value and the version that it
    /// takes the place of.
    pub(crate) fn news(
        &self,
        nodes: &[AddressRecord],
        ranges: &[Descriptor],
    ) -> Vec<(Name, Bytes, Option<Timestamp>)> {
        let mut news = Vec::new();
        for node in nodes {
            let known = self.nodes.get(&node.node.0);
            if known.is_none_or(|(_, known)| known.epoch < node.epoch) {
                let value = Bytes::from(codec::encode(node));
                news.push((Name::Node(node.node.0), value, known.map(|(at, _)| *at)));
            }
        }
        for range in ranges {
            let known = self.ranges.get(&range.range.0);
            if known.is_none_or(|(_, known)| known.generation < range.generation) {
                let value = Bytes::from(codec::encode(range));
                news.push((Name::Range(range.range.0), value, known.map(|(at, _)| *at)));
            }
        }
        if !self.settings.contains_key(VERSION_SETTING) {
            let value = Bytes::from(codec::encode(&CLUSTER_VERSION.to_string()));
            news.push((Name::Setting(VERSION_SETTING.to_owned()), value, None));
        }
        news.truncate(ROUND_WRITES_MAX);
        news
    }

    /// The nodes that are to be told that they are drained.
    pub(crate) fn to_drain(&self) -> BTreeSet<NodeId> {
        let wanted = self.drains.iter().filter(|(_, (_, drained))| *drained);
        wanted.map(|(id, _)| NodeId(*id)).collect()
    }

    /// Why this build must not go on in the cluster.
    pub(crate) fn refusal(&self) -> Option<String> {
        let (_, version) = self.settings.get(VERSION_SETTING)?;
        match version.parse::<u32>() {
            Ok(version) if version <= CLUSTER_VERSION => None,
            _ => Some(format!(
                "the cluster is at version {version}, this build of quintet knows up to \
                 {CLUSTER_VERSION}: start a newer one"
            )),
        }
    }
}

/// The nodes that alone are to have time servers, as a replica of the system range has it; none: all that belong there.
pub(crate) fn time_servers(replica: &Replica) -> Result<Vec<NodeId>, storage::Error> {
    let key = keys::encode(KeyspaceId::SYSTEM, Name::TimeServers.key().as_bytes());
    let found = mvcc::read(&**replica.shared.state.engine(), &key, Timestamp::MAX)?;
    let Some(found) = found else { return Ok(Vec::new()) };
    let nodes: Vec<u64> = codec::decode(&found.value)?;
    Ok(nodes.into_iter().map(NodeId).collect())
}

/// Notes, as the leader of the system range, that a node is to be told that it is drained, or that it is not
/// any more. Done when this returns `Ok`.
pub(crate) async fn order_drain(
    node_state: &NodeState,
    node: NodeId,
    drained: bool,
) -> Result<(), OpError> {
    let (replica, registry) = node_state.led_registry()?;
    let stands = registry.drains.get(&node.0);
    if stands.is_some_and(|(_, stands)| *stands) == drained {
        return Ok(());
    }
    let value = Some(Bytes::from(codec::encode(&drained)));
    let instead_of = stands.map(|(at, _)| *at);
    node_state.write_record(&replica, &Name::Drain(node.0), value, instead_of).await?;
    let unreadable = |error: storage::Error| OpError::unavailable(error.to_string());
    node_state.set_to_drain(Registry::read(&replica).map_err(unreadable)?.to_drain());
    Ok(())
}

/// Writes a record or, where there is no value, removes it, if nobody else has by then.
pub(crate) fn write(
    node_state: &NodeState,
    replica: &Replica,
    request: RequestId,
    name: &Name,
    value: Option<Bytes>,
    instead_of: Option<Timestamp>,
    sink: Arc<dyn ReplySink>,
) {
    let condition = instead_of.map_or(Condition::Absent, Condition::Version);
    let kind = match value {
        Some(value) => WriteKind::Put { value, condition, life: Lifetime::Forever },
        None => WriteKind::Delete { condition },
    };
    replica.write(Write {
        key: keys::encode(KeyspaceId::SYSTEM, name.key().as_bytes()),
        kind,
        request,
        first_attempt: node_state.host().oracle.now(),
        later_attempt: false,
        refusal_not_remembered: true,
        // The id is used once, for this one attempt.
        hash: request.sequence,
        deadline: Instant::now() + INTERVAL,
        reply: Reply::uncounted(sink, request.sequence),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, RangeId, ReplicaId};

    fn node(id: u64, epoch: u64) -> AddressRecord {
        AddressRecord {
            node: NodeId(id),
            city: "c1".to_owned(),
            room: "a".to_owned(),
            internal: format!("127.0.0.1:{id}"),
            client: String::new(),
            http: String::new(),
            epoch,
            version: String::new(),
            directory: 0,
        }
    }

    fn range(id: u64, generation: u64) -> Descriptor {
        Descriptor {
            range: RangeId(id),
            start: vec![],
            end: vec![],
            generation: Generation(generation),
            replicas: Vec::new(),
            next_replica: ReplicaId(1),
        }
    }

    /// Writes what a leader would, and what it wrote.
    fn round(
        registry: &mut Registry,
        at: u64,
        nodes: &[AddressRecord],
        ranges: &[Descriptor],
    ) -> Vec<Name> {
        let news = registry.news(nodes, ranges);
        for (name, value, instead_of) in &news {
            let stood = match name {
                Name::Node(id) => registry.nodes.get(id).map(|(at, _)| *at),
                Name::Range(id) => registry.ranges.get(id).map(|(at, _)| *at),
                Name::Setting(name) => registry.settings.get(name).map(|(at, _)| *at),
                Name::Drain(_) | Name::Retention(..) | Name::TimeServers => None,
            };
            assert_eq!(stood, *instead_of, "{name:?}");
            registry.take(name.key().as_bytes(), Timestamp(at), value).unwrap();
        }
        news.into_iter().map(|(name, ..)| name).collect()
    }

    #[test]
    fn only_what_is_newer_is_written() {
        let mut registry = Registry::default();
        let written = round(&mut registry, 1, &[node(1, 1), node(2, 5)], &[range(1, 1)]);
        let setting = Name::Setting("cluster_version".to_owned());
        assert_eq!(written, [Name::Node(1), Name::Node(2), Name::Range(1), setting]);
        assert!(round(&mut registry, 2, &[node(1, 1), node(2, 4)], &[range(1, 1)]).is_empty());
        let written =
            round(&mut registry, 3, &[node(2, 6), node(1, 1)], &[range(1, 0), range(1, 2)]);
        assert_eq!(written, [Name::Node(2), Name::Range(1)]);
        assert_eq!(registry.nodes[&2], (Timestamp(3), node(2, 6)));
        assert_eq!(registry.ranges[&1], (Timestamp(3), range(1, 2)));
        assert_eq!(registry.settings["cluster_version"].1, "1");
    }

    #[test]
    fn a_node_that_could_not_be_told_is_told_until_that_is_taken_back() {
        let mut registry = Registry::default();
        let note = |registry: &mut Registry, id: u64, at: u64, drained: bool| {
            let key = Name::Drain(id).key();
            registry.take(key.as_bytes(), Timestamp(at), &codec::encode(&drained)).unwrap();
        };
        note(&mut registry, 3, 1, true);
        note(&mut registry, 4, 2, true);
        assert_eq!(registry.to_drain(), [3, 4].map(NodeId).into());
        note(&mut registry, 3, 3, false);
        assert_eq!(registry.to_drain(), [NodeId(4)].into());
    }

    #[test]
    fn retention_is_found_by_the_bytes_of_its_prefix() {
        let mut registry = Registry::default();
        for (prefix, seconds) in [(&b""[..], 60_u32), (b"s/\xff\0", 70)] {
            let key = Name::Retention(1, prefix.to_vec()).key();
            assert_eq!(Name::parse(key.as_bytes()), Some(Name::Retention(1, prefix.to_vec())));
            registry.take(key.as_bytes(), Timestamp(3), &codec::encode(&seconds)).unwrap();
        }
        assert_eq!(registry.retention[&(1, b"s/\xff\0".to_vec())], (Timestamp(3), 70));
        for strange in ["retention/1", "retention/1/0g", "retention/x/00"] {
            assert_eq!(Name::parse(strange.as_bytes()), None, "{strange}");
        }
    }

    #[test]
    fn unknown_cluster_versions_are_refused_and_unknown_records_are_not() {
        let mut registry = Registry::default();
        registry.take(b"policy/default", Timestamp(1), b"of a later release").unwrap();
        assert_eq!(registry, Registry::default());
        assert_eq!(registry.refusal(), None);
        let key = Name::Setting(VERSION_SETTING.to_owned()).key();
        for (version, refused) in [("1", false), ("2", true), ("one", true)] {
            let value = codec::encode(&version.to_owned());
            registry.take(key.as_bytes(), Timestamp(1), &value).unwrap();
            assert_eq!(registry.refusal().is_some(), refused, "{version}");
        }
        assert!(registry.take(b"node/1", Timestamp(1), b"rubbish").is_err());
    }
}
