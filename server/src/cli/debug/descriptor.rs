//! The descriptor of a range as JSON: `debug range` and `debug registry` print it alike.

use quintet_client::v1::RangeDescriptor;
use serde_json::{Map, Value, json};

use crate::cli::output::insert_bytes;

/// Bounds, generation, and which replica is on which node.
pub(super) fn json(descriptor: &RangeDescriptor) -> Value {
    let mut object = Map::new();
    object.insert("range".to_owned(), descriptor.range_id.into());
    insert_bytes(&mut object, "start", &descriptor.start);
    insert_bytes(&mut object, "end", &descriptor.end);
    object.insert("generation".to_owned(), descriptor.generation.into());
    let places = descriptor.replicas.iter();
    let places: Vec<_> = places
        .map(|place| json!({ "replica_id": place.replica_id, "node_id": place.node_id }))
        .collect();
    object.insert("replicas".to_owned(), places.into());
    object.insert("next_replica".to_owned(), descriptor.next_replica.into());
    object.into()
}
