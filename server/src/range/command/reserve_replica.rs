//! A replica id is given to whoever asked, and to nobody else, now or later.

use std::sync::Arc;

use super::outcome::Applied;
use crate::storage::format::descriptor::Descriptor;

/// Reserves the next replica id of a range.
pub(super) fn apply(descriptor: &mut Arc<Descriptor>) -> Applied {
    let reserved = descriptor.next_replica;
    // A peer's nonsense at the birth of a replica; no range gives that many ids.
    let Some(next) = reserved.0.checked_add(1) else { return Applied::ReEvaluate };
    Arc::make_mut(descriptor).next_replica.0 = next;
    Applied::Replica(reserved)
}
