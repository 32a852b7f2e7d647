//! A state, divided into chunks and put together again.

use super::*;

fn content_strategy() -> impl Strategy<Value = Vec<(u8, Vec<u8>, Vec<u8>)>> {
    let key = proptest::collection::vec(b'a'..b'q', 1..4);
    let value = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => proptest::collection::vec(any::<u8>(), 500..900),
    ];
    proptest::collection::vec((0_u8..6, key, value), 0..120)
}

fn store(content: &[(u8, Vec<u8>, Vec<u8>)], index: u64) -> Arc<dyn Engine> {
    let (_, engine) = filled(index, 3, b"x");
    let mut batch = Batch::new();
    for (at, (part, key, value)) in content.iter().enumerate() {
        let (family, key) = match part {
            0 => (Family::Data, key.clone()),
            1 => (Family::Lock, key.clone()),
            2 => (Family::Txn, key.clone()),
            3 => (Family::Mark, key.clone()),
            4 => (Family::Dedup, dedup_key(key, at as u64 * index)),
            _ => (Family::Meta, [content::own_records(RANGE), vec![20], key.clone()].concat()),
        };
        batch.put(family, key, value.clone());
    }
    engine.write(batch).expect("written");
    engine
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn chunks_reproduce_any_state(
        old in content_strategy(),
        new in content_strategy(),
        chunk_bytes in 40_usize..1_500,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("one");
        runtime.block_on(async {
            let (leader, follower) = (store(&new, 90), store(&old, 50));
            let of = descriptor(b"a", b"m");
            let source = source(&leader, chunk_bytes);
            let outside = |state: State| -> State {
                let is_outside = |family: Family, key: &[u8]| !content::belongs(&of, family, key)
                    && !key.starts_with(&content::own_records(RANGE));
                state.into_iter().filter(|((family, key), _)| is_outside(*family, key)).collect()
            };
            let inside = |state: State| -> State {
                state
                    .into_iter()
                    .filter(|((family, key), _)| content::belongs(&of, *family, key))
                    .collect()
            };
            let foreign = outside(all(&*follower));
            let ticket = staged(&source, &follower).await.expect("staged");
            // The leader goes on: what it sends is the state of one moment all the same.
            let sent = inside(all(&*leader));
            fill(&*leader, 120, 5, b"later");
            state_of(&follower).install(&ticket).await.expect("installed");
            assert_eq!(inside(all(&*follower)), sent);
            assert_eq!(outside(all(&*follower)), foreign);
        });
    }
}

#[tokio::test]
async fn a_chunk_read_again_is_the_same_chunk() {
    let (_, leader) = filled(90, 40, b"new");
    let source = source(&leader, 300);
    let mut chunks = Vec::new();
    while let Some(chunk) = source.chunk(chunks.len() as u64).await.expect("read") {
        chunks.push(chunk);
        fill(&*leader, 100 + chunks.len() as u64, 3, b"meanwhile");
    }
    assert!(chunks.len() > 10);
    assert!(chunks.iter().all(|chunk| chunk.records.len() <= 420), "bounded");
    for (number, chunk) in chunks.iter().enumerate().rev() {
        let again = source.chunk(number as u64).await.expect("read").expect("there");
        assert_eq!((again.records, again.checksum), (chunk.records.clone(), chunk.checksum));
    }
    assert!(source.chunk(1_000).await.expect("read").is_none());
}
