//! Where clients had better send what this node has to forward.

use bytes::Bytes;
use quintet_proto::v1;

use crate::{
    ids::KeyspaceId,
    storage::{format::descriptor::Descriptor, keys},
};

/// The keyspaces that clients know, and their names on the wire.
const KEYSPACES: [(KeyspaceId, &str); 2] =
    [(KeyspaceId::DEFAULT, ""), (KeyspaceId::REDIS, "redis")];

/// The route of a range for clients, one a keyspace that it has keys of. A range of the keyspace
/// `system` has none.
pub(crate) fn client_routes(descriptor: &Descriptor, leader_address: &str) -> Vec<v1::Route> {
    let in_keyspace = |(keyspace, name): (KeyspaceId, &str)| {
        let first = keys::keyspace_start(keyspace);
        let end = keys::keyspace_start(KeyspaceId(keyspace.0 + 1));
        let outside =
            (!descriptor.end.is_empty() && descriptor.end <= first) || descriptor.start >= end;
        (!outside).then(|| v1::Route {
            keyspace: name.to_owned(),
            start: bound(keyspace, &descriptor.start),
            end: bound(keyspace, &descriptor.end),
            range_id: descriptor.range.0,
            generation: descriptor.generation.0,
            leader_address: leader_address.to_owned(),
        })
    };
    KEYSPACES.into_iter().filter_map(in_keyspace).collect()
}

/// A bound of a range as a key of a keyspace; empty where it lies outside.
pub(super) fn bound(keyspace: KeyspaceId, stored: &[u8]) -> Bytes {
    match keys::decode(stored) {
        Some((of, key, [])) if of == keyspace => Bytes::from(key),
        _ => Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, RangeId, ReplicaId};

    #[test]
    fn a_range_over_two_keyspaces_has_a_route_in_each() {
        let descriptor = |start: Vec<u8>, end: Vec<u8>| Descriptor {
            range: RangeId(7),
            start,
            end,
            generation: Generation(3),
            replicas: Vec::new(),
            next_replica: ReplicaId(1),
        };
        let last = descriptor(keys::encode(KeyspaceId::DEFAULT, b"m").to_vec(), Vec::new());
        let found = client_routes(&last, "a:1");
        let spans: Vec<_> = found
            .iter()
            .map(|route| (route.keyspace.as_str(), route.start.as_ref(), route.end.as_ref()))
            .collect();
        assert_eq!(spans, [("", &b"m"[..], &b""[..]), ("redis", b"", b"")]);
        let system = descriptor(Vec::new(), keys::keyspace_start(KeyspaceId::DEFAULT));
        assert_eq!(client_routes(&system, "a:1"), []);
        let first = descriptor(
            keys::keyspace_start(KeyspaceId::DEFAULT),
            keys::encode(KeyspaceId::DEFAULT, b"m").to_vec(),
        );
        assert_eq!(client_routes(&first, "a:1").len(), 1);
        assert_eq!(client_routes(&first, "a:1")[0].end, "m");
    }
}
