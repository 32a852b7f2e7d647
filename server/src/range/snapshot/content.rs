//! The records of a range, in one fixed order, in steps that do not hold anybody up.
//!
//! The span's families come first, then what is remembered of requests, then the range's own records.
//! What is remembered is stored by request, not by key: the whole family is walked through and filtered
//! by anchor. Applied record and descriptor are not part of it; they travel in the head.

use std::ops::ControlFlow;

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    ids::RangeId,
    planted::{self, Bug},
    size::Size,
    storage::{
        Family,
        engine::{Error, Reader},
        format::{
            codec,
            descriptor::Descriptor,
            snapshot::{ChunkRecord, ContentRecord},
        },
        keys::{self, MetaKind},
    },
};

/// Families whose keys begin with `enc(key)`: a span is a part of them.
pub const SPANNED: [Family; 4] = [Family::Data, Family::Lock, Family::Txn, Family::Mark];
/// The order of the families.
const PARTS: [Family; 6] =
    [Family::Data, Family::Lock, Family::Txn, Family::Mark, Family::Dedup, Family::Meta];
/// Records that one step looks at, and their bytes: a few milliseconds.
const STEP_RECORDS_MAX: Size = Size::new("snapshot-step-records", 4_096, 1);
const STEP_BYTES_MAX: usize = 256 << 10;
/// What a record adds to a chunk beside key and value, at most.
const RECORD_OVERHEAD_BYTES: usize = 16;

/// Where a walk stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    part: usize,
    key: Vec<u8>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There may be more.
    More,
    /// The visitor did not take the record at which the cursor stands now.
    Stopped,
    /// There is nothing behind the cursor.
    End,
}

/// Takes a record, or does not: `false` ends the step in front of it.
pub type Take<'a> = dyn FnMut(Family, &[u8], &[u8]) -> bool + 'a;

/// Visits a bounded number of a range's records from the cursor on and moves it.
pub fn step(
    reader: &dyn Reader,
    of: &Descriptor,
    cursor: &mut Cursor,
    take: &mut Take<'_>,
) -> Result<Step, Error> {
    let Some(&family) = PARTS.get(cursor.part) else { return Ok(Step::End) };
    let (first, end) = match family {
        Family::Dedup => (Vec::new(), Vec::new()),
        Family::Meta => (own_records(of.range), keys::prefix_end(&own_records(of.range))),
        _ => (of.start.clone(), of.end.clone()),
    };
    let start = first.max(std::mem::take(&mut cursor.key));
    let (mut records, mut bytes, mut next) = (0, 0, None);
    reader.scan_once(family, &start, &end, &mut |key, value| {
        if records >= STEP_RECORDS_MAX.get() || bytes >= STEP_BYTES_MAX {
            let mut from = key.to_vec();
            if planted::active(Bug::StepSkipsBorder) {
                // The careless hand: "that one was done".
                from.push(0);
            }
            next = Some((from, Step::More));
            return ControlFlow::Break(());
        }
        records += 1;
        bytes += key.len() + value.len();
        if belongs(of, family, key) && !take(family, key, value) {
            next = Some((key.to_vec(), Step::Stopped));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    match next {
        Some((key, step)) => {
            cursor.key = key;
            Ok(step)
        }
        None => {
            cursor.part += 1;
            Ok(if cursor.part < PARTS.len() { Step::More } else { Step::End })
        }
    }
}

/// Whether a stored record is a part of a range's content.
pub fn belongs(of: &Descriptor, family: Family, key: &[u8]) -> bool {
    match family {
        Family::Data | Family::Lock | Family::Txn | Family::Mark => of.contains(key),
        Family::Dedup => keys::dedup_anchor(key).is_some_and(|anchor| of.contains(anchor)),
        Family::Meta => is_own_record(of.range, key),
        Family::Log | Family::Staged => false,
    }
}

/// What the keys of a range's own records begin with.
pub fn own_records(range: RangeId) -> Vec<u8> {
    range.0.to_be_bytes().to_vec()
}

/// Whether a key is that of one of a range's own records that are part of its content.
pub fn is_own_record(range: RangeId, key: &[u8]) -> bool {
    let kind = key.strip_prefix(&own_records(range)[..]).and_then(|kind| kind.first());
    kind.is_some_and(|kind| !in_head(*kind))
}

/// Whether a kind of the range's own records travels in the head, or not at all.
fn in_head(kind: u8) -> bool {
    [MetaKind::Applied, MetaKind::Descriptor, MetaKind::Installing]
        .into_iter()
        .any(|head| head as u8 == kind)
}

/// The chunk that begins at the cursor, which moves to the next one; none at the end. A chunk is larger
/// than `bytes_max` only where a single record is.
pub async fn chunk(
    reader: &dyn Reader,
    of: &Descriptor,
    cursor: &mut Cursor,
    bytes_max: usize,
) -> Result<Option<Vec<u8>>, Error> {
    let (mut records, mut bytes) = (Vec::new(), 0);
    loop {
        let stepped = step(reader, of, cursor, &mut |family, key, value| {
            let size = key.len() + value.len() + RECORD_OVERHEAD_BYTES;
            if !records.is_empty() && bytes + size > bytes_max {
                return false;
            }
            bytes += size;
            records.push((family, key.to_vec(), value.to_vec()));
            true
        })?;
        match stepped {
            Step::More => tokio::task::yield_now().await,
            Step::Stopped => break,
            Step::End if records.is_empty() => return Ok(None),
            Step::End => break,
        }
    }
    if planted::active(Bug::SnapshotDropsLastKey) {
        records.pop();
    }
    let records = records.iter().map(|(family, key, value)| ContentRecord {
        family: *family as u8,
        key,
        value,
    });
    Ok(Some(codec::encode(&ChunkRecord { records: records.collect() })))
}

/// Family, key and value.
pub type Record<'a> = (Family, &'a [u8], &'a [u8]);

/// The records of a chunk; an error where one is not of this range.
pub fn records<'a>(of: &Descriptor, chunk: &'a [u8]) -> Result<Vec<Record<'a>>, Error> {
    let chunk: ChunkRecord<'a> = codec::decode_borrowed(chunk)?;
    let mut out = Vec::with_capacity(chunk.records.len());
    for record in chunk.records {
        let family = Family::ALL.get(usize::from(record.family)).copied();
        let Some(family) = family.filter(|family| belongs(of, *family, record.key)) else {
            return Err(Error::Corrupt(format!(
                "a raft snapshot of {} with a record of another range or kind: family {}, key {:x?}",
                of.range, record.family, record.key
            )));
        };
        out.push((family, record.key, record.value));
    }
    Ok(out)
}

/// The checksum over the checksums of chunks, one chunk further.
pub fn sum_with(sum: u64, chunk: u64) -> u64 {
    let mut both = [0; 16];
    let (first, second) = both.split_at_mut(8);
    first.copy_from_slice(&sum.to_le_bytes());
    second.copy_from_slice(&chunk.to_le_bytes());
    xxh3_64(&both)
}
