//! What `kv` commands print of keys.
//!
//! Text output is the bare value; JSON has `key` and `value` (`key_base64`, `value_base64` where the bytes are
//! not UTF-8) and `version`, a string: versions do not fit into the numbers of most JSON readers. Of a key
//! that expires it has `expires_at` too, a time of the cluster in the form of a version.

use quintet_client::Version;
use serde_json::{Map, Value};

use super::common::Common;
use crate::cli::{
    exit::Failure,
    output::{Format, Output, escape, insert_bytes},
};

/// What a write is answered with.
pub(super) fn written(common: &Common, key: &[u8], version: Version) -> Result<(), Failure> {
    let mut out = Output::new();
    match common.output {
        Format::Text => out.line(format!("version {version}"))?,
        Format::Json => out.json(&object(key, None, version).into())?,
    }
    out.flush()
}

/// The failure of a read whose key does not exist.
pub(super) fn no_such_key(key: &[u8]) -> Failure {
    Failure::absent(format!("there is no key \"{}\"", escape(key)))
}

/// A key, its value where that is told, and its version.
pub(super) fn object(key: &[u8], value: Option<&[u8]>, version: Version) -> Map<String, Value> {
    let mut object = Map::new();
    insert_bytes(&mut object, "key", key);
    if let Some(value) = value {
        insert_bytes(&mut object, "value", value);
    }
    object.insert("version".to_owned(), version.to_string().into());
    object
}

/// Adds when a key expires.
pub(super) fn expiring(
    mut object: Map<String, Value>,
    expires_at: Option<Version>,
) -> Map<String, Value> {
    if let Some(expires_at) = expires_at {
        object.insert("expires_at".to_owned(), expires_at.to_string().into());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_strings_in_json() {
        let json = Value::from(object(b"k", Some(b"v"), Version(u64::MAX)));
        assert_eq!(json.to_string(), r#"{"key":"k","value":"v","version":"18446744073709551615"}"#);
    }
}
