//! What a node keeps about itself, in the log engine under `0 | kind`: whose directory it is, the
//! cluster that it belongs to, its replicas beside those of the first plan, addresses of the others, what its time
//! server has promised.

use serde::de::DeserializeOwned;

use crate::{
    ids::{NodeId, TimeDomain},
    peer::ClusterIdentity,
    range::raft::log_writer::LogWriter,
    storage::{
        Direction, Engine, Family,
        engine::{Change, Error},
        format::{
            cluster::{ClusterRecord, ReplicaRecord},
            codec,
            node::{AddressRecord, Identity},
            time::TimeServerRecord,
        },
    },
    time::oracle::server::Record,
};

const IDENTITY: &[u8] = &[0, 1];
const CLUSTER: &[u8] = &[0, 2];
const ADDRESSES: &[u8] = &[0, 3];
const DRAINED: &[u8] = &[0, 4];
const REPLICAS: &[u8] = &[0, 5];
const TIME_SERVER: &[u8] = &[0, 6];

fn put(key: Vec<u8>, value: Vec<u8>) -> Change {
    Change::Put { family: Family::Log, key, value }
}

async fn write(writer: &LogWriter, changes: Vec<Change>) -> Result<(), Error> {
    writer.write(changes).await.map_err(|error| Error::Failed(error.to_string()))
}

/// Every record of a kind.
fn all<T: DeserializeOwned>(log: &dyn Engine, kind: &[u8]) -> Result<Vec<T>, Error> {
    let mut found = Vec::new();
    let end = crate::storage::keys::prefix_end(kind);
    log.scan(Family::Log, kind, &end, Direction::Forward, &mut |_, record| {
        found.push(codec::decode::<T>(record));
        std::ops::ControlFlow::Continue(())
    })?;
    found.into_iter().collect()
}

/// Claims the directory for a node, or finds it claimed by it, and counts the start.
///
/// A directory that is new is named by `random`.
pub async fn claim(
    log: &dyn Engine,
    writer: &LogWriter,
    node: NodeId,
    random: &(dyn Fn() -> u64 + Send + Sync),
) -> Result<Identity, Error> {
    let mut identity = match log.get(Family::Log, IDENTITY)? {
        Some(bytes) => codec::decode(&bytes)?,
        None => Identity { node, boots: 0, directory: random() },
    };
    if identity.node != node {
        return Err(Error::Open(format!(
            "the data directory belongs to node {}, this is node {}: set node.id or node.data_dir",
            identity.node.0, node.0
        )));
    }
    identity.boots += 1;
    write(writer, vec![put(IDENTITY.to_vec(), codec::encode(&identity))]).await?;
    Ok(identity)
}

/// The cluster that the node belongs to.
pub fn cluster(log: &dyn Engine) -> Result<Option<ClusterRecord>, Error> {
    log.get(Family::Log, CLUSTER)?.map(|bytes| codec::decode(&bytes)).transpose()
}

/// Joins a cluster, durably.
pub async fn join(writer: &LogWriter, cluster: &ClusterRecord) -> Result<(), Error> {
    write(writer, vec![put(CLUSTER.to_vec(), codec::encode(cluster))]).await
}

/// The replicas that the node holds beside those of its first plan.
pub fn replicas(log: &dyn Engine) -> Result<Vec<ReplicaRecord>, Error> {
    all(log, REPLICAS)
}

/// Holds a replica from now on, durably.
pub async fn hold(writer: &LogWriter, replica: &ReplicaRecord) -> Result<(), Error> {
    let mut key = REPLICAS.to_vec();
    key.extend_from_slice(&replica.birth.range.0.to_be_bytes());
    write(writer, vec![put(key, codec::encode(replica))]).await
}

/// Whether an operator has drained the node.
pub fn is_drained(log: &dyn Engine) -> Result<bool, Error> {
    let record = log.get(Family::Log, DRAINED)?;
    record.map_or(Ok(false), |bytes| codec::decode(&bytes))
}

/// Notes that an operator has drained the node, or undone it.
pub async fn set_drained(writer: &LogWriter, drained: bool) -> Result<(), Error> {
    write(writer, vec![put(DRAINED.to_vec(), codec::encode(&drained))]).await
}

fn time_server_key(time_domain: TimeDomain) -> Vec<u8> {
    let mut key = TIME_SERVER.to_vec();
    key.extend_from_slice(&time_domain.0.to_be_bytes());
    key
}

/// What this node's time server has promised.
pub fn time_server(log: &dyn Engine, time_domain: TimeDomain) -> Result<Record, Error> {
    let Some(bytes) = log.get(Family::Log, &time_server_key(time_domain))? else {
        return Ok(Record::default());
    };
    let stored: TimeServerRecord = codec::decode(&bytes)?;
    if stored.time_domain != time_domain {
        return Err(Error::Corrupt("the record of a time server is of another domain".to_owned()));
    }
    Ok(stored.record)
}

/// Promises something as a time server, durably.
pub async fn promise(
    writer: &LogWriter,
    time_domain: TimeDomain,
    record: Record,
) -> Result<(), Error> {
    let stored = codec::encode(&TimeServerRecord { time_domain, record });
    write(writer, vec![put(time_server_key(time_domain), stored)]).await
}

/// Id, incarnation and members of a cluster.
pub fn identity(cluster: &ClusterRecord) -> ClusterIdentity {
    ClusterIdentity {
        cluster: cluster.cluster.clone(),
        incarnation: cluster.incarnation,
        members: cluster.nodes.iter().copied().collect(),
    }
}

/// Where the other nodes were heard of last.
pub fn addresses(log: &dyn Engine) -> Result<Vec<AddressRecord>, Error> {
    all(log, ADDRESSES)
}

/// Notes where nodes are.
pub async fn keep(writer: &LogWriter, addresses: &[AddressRecord]) -> Result<(), Error> {
    let changes = addresses.iter().map(|address| {
        let mut key = ADDRESSES.to_vec();
        key.extend_from_slice(&address.node.0.to_be_bytes());
        put(key, codec::encode(address))
    });
    write(writer, changes.collect()).await
}
