//! Looks at the write-ahead log's files before RocksDB replays them.
//!
//! In the mode that a log needs (`TolerateCorruptedTailRecords`) RocksDB takes several kinds of
//! damage at the end of a log file for a torn tail and cuts it silently: a record whose damaged
//! length reaches beyond the file, a block that reads as zeros. If that record, or whole records
//! behind it, had been acknowledged they would be gone without a word. Other damage makes it replay
//! for ever (11.8: one bit of a record's type turns it into the type of a recycled file). A crash
//! only ever takes bytes away from the end, or leaves zeros there; everything else is *damage*, and
//! the node must not start from it.
//!
//! The format (RocksDB's `db/log_format.h`): blocks of 32 KiB; records do not cross them; a record
//! is `masked crc32c (4) | length (2) | type (1) | payload`, integers little endian, the checksum
//! over type and payload; a block's last bytes are zeros where no header fits.

use std::path::Path;

use super::super::engine::Error;

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
/// How many bytes a search for whole records may check.
const SEARCH_BYTES_MAX: usize = 256 << 20;

/// Fails with [`Error::Corrupt`], which names the file and the place, if the log file is damaged
/// anywhere but by the loss of its end.
pub(super) fn check(path: &Path) -> Result<(), Error> {
    let bytes = std::fs::read(path)
        .map_err(|error| Error::Open(format!("can't read {}: {error}", path.display())))?;
    match damage(&bytes) {
        None => Ok(()),
        Some(at) => {
            Err(Error::Corrupt(format!("{}: write-ahead log damaged at byte {at}", path.display())))
        }
    }
}

/// Where a file is damaged other than by the loss of its end.
fn damage(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        let block_left = BLOCK_BYTES - at % BLOCK_BYTES;
        if block_left < HEADER_BYTES {
            at += block_left;
            continue;
        }
        match whole_record(bytes, at) {
            Some(length) => at += length,
            None => return (!is_torn(bytes, at)).then_some(at),
        }
    }
    None
}

/// Whether what is wrong with the record at `at` is only that the end of the file is missing, or
/// zeros.
fn is_torn(bytes: &[u8], at: usize) -> bool {
    let rest = rest_of_block(bytes, at);
    let is_missing = match header(rest) {
        None | Some((_, _, [])) => true,
        Some((_, length, body)) => length >= body.len() && at + rest.len() == bytes.len(),
    };
    let is_zero = rest.iter().take(HEADER_BYTES).all(|byte| *byte == 0);
    (is_missing || is_zero) && !was_whole(bytes, at) && !any_record_behind(bytes, at)
}

/// The bytes of the record at `at` up to the end of its block or of the file.
fn rest_of_block(bytes: &[u8], at: usize) -> &[u8] {
    let end = (at - at % BLOCK_BYTES + BLOCK_BYTES).min(bytes.len());
    bytes.get(at..end).unwrap_or_default()
}

/// The checksum and the length in a header, and what follows the length: type and payload.
fn header(record: &[u8]) -> Option<(u32, usize, &[u8])> {
    let (&crc, rest) = record.split_first_chunk::<4>()?;
    let (&length, body) = rest.split_first_chunk::<2>()?;
    let masked = u32::from_le_bytes(crc).wrapping_sub(0xa282_ead8);
    Some((masked.rotate_left(15), usize::from(u16::from_le_bytes(length)), body))
}

/// The length of the record at `at`, header included, if its checksum holds.
fn whole_record(bytes: &[u8], at: usize) -> Option<usize> {
    let (crc, length, body) = header(rest_of_block(bytes, at))?;
    let body = body.get(..1 + length)?;
    // Zeros are a hole in the file, and would pass as an empty record of type zero.
    (*body.first()? != 0 && crc32c::crc32c(body) == crc).then_some(HEADER_BYTES + length)
}

/// Whether the record at `at` has all of its bytes and only its length is wrong: the checksum does
/// not cover the length.
fn was_whole(bytes: &[u8], at: usize) -> bool {
    let Some((crc, _, body)) = header(rest_of_block(bytes, at)) else { return false };
    let mut sum = 0;
    body.iter().any(|byte| {
        sum = crc32c::crc32c_append(sum, std::slice::from_ref(byte));
        sum == crc
    })
}

/// Whether a whole record starts anywhere behind `at`. Where that takes too long to find out there
/// is a great deal behind it that no crash in the middle of a write leaves: yes.
fn any_record_behind(bytes: &[u8], at: usize) -> bool {
    let mut budget = SEARCH_BYTES_MAX;
    for other in at + 1..bytes.len() {
        let Some((_, length, body)) = header(rest_of_block(bytes, other)) else { continue };
        if body.len() > length && body.first() != Some(&0) {
            if budget < length || whole_record(bytes, other).is_some() {
                return true;
            }
            budget -= length;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(payload: &[u8]) -> Vec<u8> {
        let body = [&[1], payload].concat();
        let masked = crc32c::crc32c(&body).rotate_right(15).wrapping_add(0xa282_ead8);
        let length = payload.len() as u16;
        [&masked.to_le_bytes()[..], &length.to_le_bytes(), &body].concat()
    }

    fn log() -> (Vec<u8>, usize) {
        let mut bytes = Vec::new();
        let mut last = 0;
        for n in 0..2000_u32 {
            let next = record(&n.to_le_bytes().repeat(1 + n as usize % 17));
            let left = BLOCK_BYTES - bytes.len() % BLOCK_BYTES;
            if left < next.len() {
                // RocksDB splits a record here; zeros only fit where no header does.
                if left >= HEADER_BYTES {
                    bytes.extend(record(&vec![7; left - HEADER_BYTES]));
                } else {
                    bytes.resize(bytes.len() + left, 0);
                }
            }
            last = bytes.len();
            bytes.extend(next);
        }
        assert!(bytes.len() > 2 * BLOCK_BYTES);
        (bytes, last)
    }

    #[test]
    fn a_log_cut_anywhere_is_only_torn() {
        let (bytes, _) = log();
        assert_eq!(damage(&bytes), None);
        for cut in (0..bytes.len()).step_by(61).chain(bytes.len() - 80..bytes.len()) {
            assert_eq!(damage(&bytes[..cut]), None, "cut at {cut}");
        }
        let mut zeros = bytes.clone();
        zeros.resize(bytes.len() + 5000, 0);
        assert_eq!(damage(&zeros), None);
    }

    #[test]
    fn a_flipped_bit_with_records_behind_it_is_damage() {
        let (mut bytes, last) = log();
        for at in (0..last).step_by(997) {
            bytes[at] ^= 0x80;
            let found = damage(&bytes);
            // A block's unused end holds nothing that could be lost.
            let unused = BLOCK_BYTES - at % BLOCK_BYTES < HEADER_BYTES;
            assert!(unused || found.is_some_and(|found| found <= at), "{at}: {found:?}");
            bytes[at] ^= 0x80;
        }
    }

    #[test]
    fn any_flipped_bit_of_the_last_record_is_damage() {
        let (mut bytes, last) = log();
        for bit in last * 8..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(damage(&bytes), Some(last), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_hole_with_records_behind_it_is_damage() {
        let (mut bytes, last) = log();
        bytes[BLOCK_BYTES..BLOCK_BYTES + 512].fill(0);
        assert_eq!(damage(&bytes), Some(BLOCK_BYTES));
        bytes[last..].fill(0);
        assert_eq!(damage(&bytes[BLOCK_BYTES..]).map(|_| ()), Some(()));
    }
}
