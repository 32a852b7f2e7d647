//! Golden bytes: says in a test which bytes a record has, and has always had.

use std::fmt::Debug;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::codec::{decode, decode_borrowed, encode};

/// Bytes as a golden test writes them.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(golden: &str) -> Vec<u8> {
    (0..golden.len() / 2)
        .map(|i| u8::from_str_radix(&golden[2 * i..2 * i + 2], 16).expect("hex"))
        .collect()
}

/// Encodes to exactly these bytes, and these bytes decode to it.
pub(super) fn holds<T>(record: &T, golden: &str)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    assert_eq!(hex(&encode(record)), golden, "{record:?}");
    assert_eq!(&decode::<T>(&bytes_of(golden)).expect("decodes"), record);
}

/// The same of a record that borrows from the bytes.
pub(super) fn holds_borrowed<T>(record: &T, golden: &str)
where
    T: Serialize + Deserialize<'static> + PartialEq + Debug,
{
    assert_eq!(hex(&encode(record)), golden, "{record:?}");
    // A few bytes that live as long as the tests: what borrows from them is compared with what was built.
    let bytes: &'static [u8] = Box::leak(bytes_of(golden).into_boxed_slice());
    assert_eq!(&decode_borrowed::<T>(bytes).expect("decodes"), record);
}
