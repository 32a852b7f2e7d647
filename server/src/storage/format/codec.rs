//! Encoding and decoding of stored records; the one user of bincode.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::storage::engine::Error;

/// The format version that this build writes.
pub const FORMAT: u8 = 1;
/// Room for what a record has beside keys and values.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// Encodes a stored record.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    encode_sized(record, 0)
}

/// As [`encode`], of a record that takes about `bytes` bytes: with room for them from the start.
pub fn encode_sized<T: Serialize>(record: &T, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + RECORD_OVERHEAD_BYTES);
    out.push(FORMAT);
    let written =
        bincode::serde::encode_into_std_write(record, &mut out, bincode::config::standard());
    // Writing to memory fails only if the type cannot be serialized at all: a programming error.
    assert!(written.is_ok(), "unencodable record: {written:?}");
    out
}

/// Decodes a stored record that owns its bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let body = check(bytes)?;
    let (record, read) = bincode::serde::decode_from_slice(body, bincode::config::standard())
        .map_err(|error| Error::Corrupt(format!("undecodable record: {error}")))?;
    complete::<T>(body, read)?;
    Ok(record)
}

/// Decodes a stored record that borrows from the bytes.
pub fn decode_borrowed<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    let body = check(bytes)?;
    let (record, read) =
        bincode::serde::borrow_decode_from_slice(body, bincode::config::standard())
            .map_err(|error| Error::Corrupt(format!("undecodable record: {error}")))?;
    complete::<T>(body, read)?;
    Ok(record)
}

fn check(bytes: &[u8]) -> Result<&[u8], Error> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => Ok(body),
        Some((version, _)) => Err(Error::Corrupt(format!(
            "record of format {version}, this build knows {FORMAT}: start a newer build"
        ))),
        None => Err(Error::Corrupt("empty record".to_owned())),
    }
}

fn complete<T>(body: &[u8], read: usize) -> Result<(), Error> {
    if read == body.len() {
        return Ok(());
    }
    let (name, left) = (std::any::type_name::<T>(), body.len() - read);
    Err(Error::Corrupt(format!("{left} bytes behind a {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings and drained nodes are stored as what they are, without a type of their own.
    #[test]
    fn plain_values() {
        assert_eq!(encode(&true), [1, 1]);
        assert_eq!(encode(&false), [1, 0]);
        assert_eq!(encode(&"0.1".to_owned()), *b"\x01\x030.1");
        assert!(decode::<bool>(&[1, 1]).expect("decodes"));
        assert_eq!(decode::<String>(b"\x01\x030.1").expect("decodes"), "0.1");
    }

    #[test]
    fn other_formats_are_refused() {
        type Vote = (u64, u64, bool);
        let newer = decode::<Vote>(&[2, 7, 2, 1]).expect_err("format 2");
        assert!(newer.to_string().contains("newer build"), "{newer}");
        assert!(decode::<Vote>(&[]).is_err());
        assert!(decode::<Vote>(&[1, 7, 2]).is_err(), "cut short");
        assert!(decode::<Vote>(&[1, 7, 2, 1, 0]).is_err(), "something behind it");
        assert_eq!(decode::<Vote>(&[1, 7, 2, 1]).expect("decodes"), (7, 2, true));
    }
}
