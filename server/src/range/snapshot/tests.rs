//! Raft snapshots on the memory engine. Here is what all of them need:
//! `tests/chunks.rs` is about content, `tests/installation.rs` about every step of an installation,
//! `tests/conversation.rs` about both ends of a stream.

mod chunks;
mod conversation;
mod installation;

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture};
use proptest::prelude::*;
use quintet_proto::internal::v1::{self as wire, snapshot_message::Kind};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    limits::Transfers,
    receive::{Inbox, Target, receive},
    send::Sending,
    source::{Outbox, Source},
    stage::{Stage, Ticket},
    *,
};
use crate::{
    ids::{Generation, NodeId, RangeId, ReplicaId, RequestId, TimeDomain},
    ops::metrics::Metrics,
    peer::{ClusterIdentity, Peers, SnapshotPipe},
    range::state::RangeState,
    seams::SystemClock,
    storage::{
        Batch, Direction, Engine, Family,
        engine::{Error, Reader, Visit},
        format::{
            applied::AppliedRecord,
            codec,
            descriptor::Descriptor,
            gc::GcThresholds,
            node::AddressRecord,
            raft::{Membership, Position},
            request::{DedupRecord, Outcome},
            snapshot::{ChunkRecord, ContentRecord},
        },
        keys::{self, MetaKind},
        memory::{MemoryDisk, MemoryEngine},
    },
    time::{
        Timestamp,
        local::Instant,
        oracle::{handle::Oracle, membership::Epochs},
    },
};

const RANGE: RangeId = RangeId(2);

fn descriptor(start: &[u8], end: &[u8]) -> Descriptor {
    Descriptor {
        range: RANGE,
        start: start.to_vec(),
        end: end.to_vec(),
        generation: Generation(3),
        replicas: vec![(ReplicaId(1), NodeId(1)), (ReplicaId(2), NodeId(2))],
        next_replica: ReplicaId(3),
    }
}

fn applied(index: u64) -> AppliedRecord {
    AppliedRecord {
        applied: Some(Position { term: 3, index }),
        membership: Membership {
            configs: vec![vec![ReplicaId(1), ReplicaId(2)]],
            replicas: vec![(ReplicaId(1), NodeId(1)), (ReplicaId(2), NodeId(2))],
        },
        membership_at: Some(Position { term: 1, index: 0 }),
        newest: Timestamp(index),
        gc: GcThresholds::default(),
        dedup_threshold: Timestamp(0),
        time_domain: TimeDomain(0),
        time_servers: Epochs::default(),
    }
}

fn open(disk: &MemoryDisk) -> Arc<dyn Engine> {
    MemoryEngine::of_test(disk)
}

fn dedup_key(anchor: &[u8], sequence: u64) -> Vec<u8> {
    keys::dedup(anchor, RequestId { origin_room: 1, client: u128::from(sequence % 3), sequence })
}

fn remembered(sequence: u64) -> Vec<u8> {
    codec::encode(&DedupRecord {
        first_attempt: Timestamp(sequence),
        hash: 1,
        at: Timestamp(sequence),
        outcome: Outcome::Written,
    })
}

/// Everything that an engine stores.
type State = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

fn all(engine: &dyn Engine) -> State {
    let mut state = State::new();
    for family in Family::ALL {
        engine
            .scan(family, &[], &[], Direction::Forward, &mut |key, value| {
                state.insert((family, key.to_vec()), value.to_vec());
                ControlFlow::Continue(())
            })
            .expect("scanned");
    }
    state
}

/// Stores a state of `[a, m)` at an index: `count` keys and as many requests, and others' records.
fn fill(engine: &dyn Engine, index: u64, count: u64, value: &[u8]) {
    let mut batch = Batch::new();
    for n in 0..count {
        let key = format!("b{n:05}");
        let data = [key.as_bytes(), &[0, 1], &[n as u8; 8]].concat();
        batch.put(Family::Data, data, [value, &n.to_le_bytes()].concat());
        batch.put(Family::Dedup, dedup_key(key.as_bytes(), index + n), remembered(index + n));
    }
    batch.put(Family::Lock, format!("c{index}").into_bytes(), value.to_vec());
    batch.put(Family::Txn, format!("d{index}").into_bytes(), value.to_vec());
    batch.put(Family::Mark, format!("e{index}").into_bytes(), value.to_vec());
    let own = [content::own_records(RANGE), vec![9, index as u8]].concat();
    batch.put(Family::Meta, own, value.to_vec());
    // Of another range of the node.
    batch.put(Family::Data, b"z\0\x0112345678".to_vec(), b"other".to_vec());
    batch.put(Family::Dedup, dedup_key(b"z", 1), remembered(1));
    batch.put(Family::Meta, keys::range_meta(RangeId(3), MetaKind::Applied), b"other".to_vec());
    let own = |kind| keys::range_meta(RANGE, kind);
    batch.put(Family::Meta, own(MetaKind::Applied), codec::encode(&applied(index)));
    batch.put(Family::Meta, own(MetaKind::Descriptor), codec::encode(&descriptor(b"a", b"m")));
    engine.write(batch).expect("written");
}

/// An engine with a state that is durable.
fn filled(index: u64, count: u64, value: &[u8]) -> (MemoryDisk, Arc<dyn Engine>) {
    let disk = MemoryDisk::new();
    let engine = open(&disk);
    fill(&*engine, index, count, value);
    engine.sync().now_or_never().expect("instant").expect("synced");
    (disk, engine)
}

fn state_of(engine: &Arc<dyn Engine>) -> Arc<RangeState> {
    let (oracle, _asked) = Oracle::new(Arc::new(SystemClock));
    RangeState::open(&descriptor(b"a", b"m"), engine.clone(), oracle, Arc::default())
        .expect("opened")
}

fn source(engine: &Arc<dyn Engine>, chunk_bytes: usize) -> Source {
    Source::read(engine, RANGE, 77, chunk_bytes).expect("read").expect("there is a state")
}

/// Sends all chunks without a network.
async fn staged(from: &Source, to: &Arc<dyn Engine>) -> Result<Ticket, Error> {
    let mut stage = Stage::open(to.clone(), from.head())?;
    while let Some(chunk) = from.chunk(stage.next()).await? {
        content::records(&from.head().descriptor, &chunk.records).expect("of this range");
        stage.add(chunk.records.to_vec(), chunk.checksum)?;
    }
    assert_eq!(from.total().await, Some((stage.next(), stage.checksum())));
    Ok(stage.ticket())
}

/// What is left of a range when nothing of it is staged or under way.
fn settled(engine: &dyn Engine) -> State {
    let mut state = all(engine);
    state.retain(|(family, _), _| *family != Family::Staged);
    state
}
