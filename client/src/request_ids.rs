//! Ids of requests: the one place of the library where they are made.
//!
//! A write is done exactly once because all copies of it carry the same id, by which the cluster remembers it.
//! An id has the room that the client attached to first, 16 random bytes of the client, and a number that
//! rises. A read has none: done twice it does no harm.
//!
//! Invariant: no two writes have the same id. Within a client the number sees to that; between clients the
//! random bytes do (hence the warning at [`Builder::seed`](crate::Builder::seed)). A client keeps nothing on
//! disk: after a crash its successor draws other bytes.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quintet_proto::v1;
use rand::{RngExt, rngs::StdRng};

/// The ids of one client, all its clones together.
#[derive(Debug)]
pub(crate) struct RequestIds {
    /// 16 random bytes, new for each client.
    client: Bytes,
    next: AtomicU64,
}

impl RequestIds {
    /// Draws the client's part.
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        let client: [u8; 16] = rng.random();
        Self { client: Bytes::copy_from_slice(&client), next: AtomicU64::new(1) }
    }

    /// An id that no request has yet.
    pub(crate) fn next(&self, origin_room: u32) -> v1::RequestId {
        let sequence = self.next.fetch_add(1, Ordering::Relaxed);
        v1::RequestId { origin_room, client: self.client.clone(), sequence }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn ids_differ_within_a_client_and_between_clients() {
        let ids = |seed| RequestIds::draw(&mut StdRng::seed_from_u64(seed));
        let (one, other) = (ids(1), ids(2));
        let (first, second) = (one.next(3), one.next(3));
        assert_eq!((first.origin_room, first.client.len(), first.sequence), (3, 16, 1));
        assert_eq!((&second.client, second.sequence), (&first.client, 2));
        assert_ne!(other.next(3).client, first.client);
    }
}
