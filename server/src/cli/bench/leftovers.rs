//! What commands of `bench` leave in a cluster, and its removal.

use super::measure::keys::{PREFIX, key};
use crate::cli::{connect, deletion, exit::Failure};

/// Removes all keys of all loads; returns how many there were.
pub(super) async fn remove(connect: &connect::Args) -> Result<u64, Failure> {
    let mut removal = connect.client().await?.delete_prefix(PREFIX);
    deletion::to_the_end(&mut removal).await?;
    Ok(removal.deleted())
}

/// What a load of this many keys, with values of this size, leaves at most, in words.
pub(super) fn left(keys: usize, value_bytes: usize) -> String {
    let bytes = keys.saturating_mul(key(0).len() + value_bytes);
    let mb = bytes.div_ceil(1_000_000);
    format!("up to {keys} keys below {PREFIX}, {mb} MB of keys and values,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_says_what_it_leaves() {
        assert_eq!(left(10_000, 256), "up to 10000 keys below bench/, 3 MB of keys and values,");
    }
}
