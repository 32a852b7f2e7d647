//! Puts a raft snapshot in the place of a replica's state, at once as far as anyone can see.
//!
//! ```text
//!   1  all chunks are staged and checked                 (receive.rs)
//!   2  the marker is written and synced                  commit()    the commit point
//!   3  the old content goes, chunk by chunk the new one  complete()
//!      comes
//!   4  one batch: applied record, descriptor; marker and
//!      chunks are removed. Synced before anyone is told
//! ```
//!
//! Steps 3 and 4 are the same however often they are begun: a replica that is opened with the marker
//! there does them from the start, before anything else.

use std::{collections::BTreeSet, ops::ControlFlow};

use super::{
    content,
    stage::{self, SYNC_BYTES, Ticket},
};
use crate::{
    failpoint,
    ids::RangeId,
    planted::{self, Bug},
    size::Size,
    storage::{
        Batch, Engine, Family,
        engine::Error,
        format::{codec, descriptor::Descriptor, snapshot::InstallRecord},
        keys::{self, MetaKind},
    },
};

/// Records of the dedup family that one step looks at.
const CLEAR_RECORDS_MAX: Size = Size::new("snapshot-clear-records", 4_096, 1);
/// Above every key that can be stored: a keyspace id and 8 KiB, none of it escaped.
const KEY_END_BYTES: usize = 4 + 8 * 1024 + 4;

/// Makes it certain that the replica's state will be what is staged. `old` is its descriptor so far.
pub async fn commit(
    engine: &dyn Engine,
    ticket: &Ticket,
    old: &Descriptor,
) -> Result<InstallRecord, Error> {
    let new = &ticket.head.descriptor;
    let clear: BTreeSet<_> =
        [old, new].into_iter().map(|span| (span.start.clone(), span.end.clone())).collect();
    let record = InstallRecord {
        head: ticket.head.clone(),
        chunks: ticket.chunks,
        clear: clear.into_iter().collect(),
    };
    let mut batch = Batch::new();
    let key = keys::range_meta(new.range, MetaKind::Installing);
    batch.put(Family::Meta, key, codec::encode(&record));
    failpoint::hit("snapshot.before-commit");
    engine.write(batch)?;
    engine.sync().await?;
    failpoint::hit("snapshot.after-commit");
    Ok(record)
}

/// The installation of a range's replica that was committed and did not end.
pub fn pending(engine: &dyn Engine, range: RangeId) -> Result<Option<InstallRecord>, Error> {
    let marker = engine.get(Family::Meta, &keys::range_meta(range, MetaKind::Installing))?;
    marker.map(|bytes| codec::decode(&bytes)).transpose()
}

/// Ends an installation that a crash has interrupted; whether there was one. To be called before the
/// replica's state is looked at.
pub async fn recover(engine: &dyn Engine, range: RangeId) -> Result<bool, Error> {
    let Some(record) = pending(engine, range)? else { return Ok(false) };
    tracing::info!(
        %range, snapshot = format_args!("{:032x}", record.head.id), chunks = record.chunks,
        "the installation of a raft snapshot was interrupted: completed now"
    );
    complete(engine, &record).await?;
    Ok(true)
}

/// Does what was committed. Durable when this returns; may be begun any number of times.
pub async fn complete(engine: &dyn Engine, record: &InstallRecord) -> Result<(), Error> {
    let of = &record.head.descriptor;
    // The careless hand: "newer versions hide what was there".
    if !planted::active(Bug::SnapshotOverOldState) {
        clear_spans(engine, record)?;
    }
    clear_remembered(engine, record).await?;
    clear_own_records(engine, of.range)?;
    let mut unsynced = 0;
    for number in 0..record.chunks {
        let chunk = stage::chunk(engine, of.range, number)?;
        unsynced += chunk.len();
        let mut batch = Batch::new();
        for (family, key, value) in content::records(of, &chunk)? {
            if family == Family::Dedup && planted::active(Bug::SnapshotWithoutDedup) {
                continue;
            }
            batch.put(family, key.to_vec(), value.to_vec());
        }
        drop(chunk);
        engine.write(batch)?;
        failpoint::hit("snapshot.mid-install");
        if unsynced >= SYNC_BYTES {
            unsynced = 0;
            engine.sync().await?;
        } else {
            tokio::task::yield_now().await;
        }
    }
    let mut batch = Batch::new();
    let own = |kind| keys::range_meta(of.range, kind);
    batch.put(Family::Meta, own(MetaKind::Applied), codec::encode(&record.head.applied));
    batch.put(Family::Meta, own(MetaKind::Descriptor), codec::encode(of));
    batch.delete(Family::Meta, own(MetaKind::Installing));
    stage::remove(&mut batch, of.range);
    failpoint::hit("snapshot.before-swap");
    engine.write(batch)?;
    engine.sync().await?;
    failpoint::hit("snapshot.after-swap");
    Ok(())
}

fn clear_spans(engine: &dyn Engine, record: &InstallRecord) -> Result<(), Error> {
    let mut batch = Batch::new();
    for (start, end) in &record.clear {
        let end = if end.is_empty() { vec![0xFF; KEY_END_BYTES] } else { end.clone() };
        for family in content::SPANNED {
            batch.delete_range(family, start.clone(), end.clone());
        }
    }
    engine.write(batch)
}

/// What is remembered of requests is stored by request: the spans' records stand anywhere.
async fn clear_remembered(engine: &dyn Engine, record: &InstallRecord) -> Result<(), Error> {
    let lies_in = |anchor: &[u8]| {
        record
            .clear
            .iter()
            .any(|(start, end)| anchor >= &start[..] && (end.is_empty() || anchor < &end[..]))
    };
    let mut start = Vec::new();
    loop {
        let (mut batch, mut records, mut next) = (Batch::new(), 0, None);
        engine.scan_once(Family::Dedup, &start, &[], &mut |key, _| {
            if records >= CLEAR_RECORDS_MAX.get() {
                next = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            records += 1;
            if keys::dedup_anchor(key).is_some_and(lies_in) {
                batch.delete(Family::Dedup, key.to_vec());
            }
            ControlFlow::Continue(())
        })?;
        if !batch.is_empty() {
            engine.write(batch)?;
        }
        let Some(next) = next else { return Ok(()) };
        start = next;
        tokio::task::yield_now().await;
    }
}

/// The range's own records, but for those that the last batch writes.
fn clear_own_records(engine: &dyn Engine, range: RangeId) -> Result<(), Error> {
    let mut batch = Batch::new();
    let prefix = content::own_records(range);
    engine.scan_once(Family::Meta, &prefix, &keys::prefix_end(&prefix), &mut |key, _| {
        if content::is_own_record(range, key) {
            batch.delete(Family::Meta, key.to_vec());
        }
        ControlFlow::Continue(())
    })?;
    if batch.is_empty() { Ok(()) } else { engine.write(batch) }
}
