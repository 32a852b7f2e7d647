//! Room on the disk that removed records took: it comes back where it is asked for.

use std::time::Duration;

use quintet_server::storage::{Batch, Durability, Engine, Family, Reader, rocks::RocksEngine};

use crate::subject::small_options;

const RECORDS: u32 = 512;
const VALUE_BYTES: usize = 16 << 10;
/// For files that nobody needs any more to go.
const TIMEOUT: Duration = Duration::from_secs(20);

fn key(n: u32) -> Vec<u8> {
    format!("k{n:06}").into_bytes()
}

/// Bytes that do not get smaller by compression.
fn noise(mut seed: u64) -> Vec<u8> {
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    (0..VALUE_BYTES / 8).flat_map(|_| next().to_be_bytes()).collect()
}

#[tokio::test]
async fn the_space_of_what_was_removed_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let engine = RocksEngine::open(dir.path(), Durability::Flush, small_options()).unwrap();
    for n in 0..RECORDS {
        let mut batch = Batch::new();
        batch.put(Family::Data, key(n), noise(u64::from(n) + 1));
        batch.put(Family::Dedup, key(n), b"stays".to_vec());
        engine.write(batch).unwrap();
    }
    engine.sync().await.unwrap();
    let before = engine.disk_bytes();
    assert!(before > u64::from(RECORDS) * VALUE_BYTES as u64, "{before}");
    let mut batch = Batch::new();
    (0..RECORDS).for_each(|n| batch.delete(Family::Data, key(n)));
    engine.write(batch).unwrap();
    engine.reclaim(Family::Data, &key(0), &key(RECORDS)).await.unwrap();
    let begun = tokio::time::Instant::now();
    while engine.disk_bytes() > before / 8 {
        assert!(begun.elapsed() < TIMEOUT, "{} of {before} bytes are left", engine.disk_bytes());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(engine.get(Family::Dedup, &key(7)).unwrap().is_some());
}
