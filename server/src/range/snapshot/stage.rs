//! Chunks that were received, on disk until all are there.

use std::{ops::ControlFlow, sync::Arc};

use super::content::sum_with;
use crate::{
    ids::RangeId,
    storage::{
        Batch, Engine, Family,
        engine::{Error, Reader},
        format::{
            codec,
            snapshot::{SnapshotHead, StagedRecord},
        },
        keys,
    },
};

/// Bytes that are staged or installed before the data engine is flushed.
pub const SYNC_BYTES: usize = 16 << 20;

/// The right to install what is staged.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// Of what.
    pub head: SnapshotHead,
    /// How many chunks are staged.
    pub chunks: u64,
}

/// The staged chunks of a range's replica.
pub struct Stage {
    engine: Arc<dyn Engine>,
    record: StagedRecord,
}

impl Stage {
    /// Goes on with what is staged of this very raft snapshot, or begins anew.
    pub fn open(engine: Arc<dyn Engine>, head: &SnapshotHead) -> Result<Stage, Error> {
        let range = head.descriptor.range;
        if let Some(record) = find(&*engine, range)?.filter(|found| found.head == *head) {
            return Ok(Stage { engine, record });
        }
        let record = StagedRecord { head: head.clone(), chunks: 0, checksum: 0 };
        let mut batch = Batch::new();
        remove(&mut batch, range);
        batch.put(Family::Staged, keys::staged(range), codec::encode(&record));
        engine.write(batch)?;
        Ok(Stage { engine, record })
    }

    /// The number of the first chunk that is not there.
    pub fn next(&self) -> u64 {
        self.record.chunks
    }

    /// Over the checksums of the chunks that are there.
    pub fn checksum(&self) -> u64 {
        self.record.checksum
    }

    /// Takes the next chunk.
    pub fn add(&mut self, chunk: Vec<u8>, checksum: u64) -> Result<(), Error> {
        let range = self.record.head.descriptor.range;
        let next = StagedRecord {
            head: self.record.head.clone(),
            chunks: self.record.chunks + 1,
            checksum: sum_with(self.record.checksum, checksum),
        };
        let mut batch = Batch::new();
        batch.put(Family::Staged, keys::staged_chunk(range, self.record.chunks), chunk);
        batch.put(Family::Staged, keys::staged(range), codec::encode(&next));
        self.engine.write(batch)?;
        self.record = next;
        Ok(())
    }

    /// All chunks are there.
    pub fn ticket(self) -> Ticket {
        Ticket { head: self.record.head, chunks: self.record.chunks }
    }
}

/// How far a raft snapshot of a range has been received.
pub fn find(engine: &dyn Engine, range: RangeId) -> Result<Option<StagedRecord>, Error> {
    let record = engine.get(Family::Staged, &keys::staged(range))?;
    record.map(|bytes| codec::decode(&bytes)).transpose()
}

/// A chunk that is there.
pub fn chunk(engine: &dyn Reader, range: RangeId, number: u64) -> Result<Vec<u8>, Error> {
    let (mut found, start) = (None, keys::staged_chunk(range, number));
    engine.scan_once(Family::Staged, &start, &keys::staged_chunk(range, number + 1), &mut {
        |_: &[u8], chunk: &[u8]| {
            found = Some(chunk.to_vec());
            ControlFlow::Break(())
        }
    })?;
    found.ok_or_else(|| {
        Error::Corrupt(format!("chunk {number} of a raft snapshot of {range} is not there"))
    })
}

/// Adds to a batch that nothing of a range is staged any more.
pub fn remove(batch: &mut Batch, range: RangeId) {
    let start = keys::staged(range);
    batch.delete(Family::Staged, start.clone());
    batch.delete_range(
        Family::Staged,
        keys::staged_chunk(range, 0),
        keys::staged_chunk(range, u64::MAX),
    );
}
