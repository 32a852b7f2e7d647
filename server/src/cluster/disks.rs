//! What nodes say of their disks, and what is said of this node's own in words.
//!
//! What a disk is good for is decided in [`crate::storage::disk`], looked at by `upkeep/disk.rs`, and told to
//! the others with every ping. A node that was not heard of yet is taken for one whose disk is well.

use quintet_proto::v1;

use crate::{placement::disk::Condition, storage::disk::Disk};

/// What a node said last of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DiskNews {
    pub(super) condition: Condition,
    pub(super) free_bytes: u64,
}

impl DiskNews {
    pub(super) fn of(disk: &Disk) -> DiskNews {
        DiskNews { condition: disk.condition(), free_bytes: disk.free_bytes() }
    }

    /// As a ping tells it. What a later version calls by another number is well: it does not say no.
    pub(super) fn from_wire(condition: v1::DiskCondition, free_bytes: u64) -> DiskNews {
        let condition = match condition {
            v1::DiskCondition::NearlyFull => Condition::NearlyFull,
            v1::DiskCondition::Hung => Condition::Hung,
            v1::DiskCondition::Unspecified | v1::DiskCondition::Well => Condition::Well,
        };
        DiskNews { condition, free_bytes }
    }

    pub(super) fn condition_to_wire(self) -> v1::DiskCondition {
        match self.condition {
            Condition::Well => v1::DiskCondition::Well,
            Condition::NearlyFull => v1::DiskCondition::NearlyFull,
            Condition::Hung => v1::DiskCondition::Hung,
        }
    }
}

/// What is wrong with this node's disk, in words; none where it is well.
pub(super) fn trouble(disk: &Disk) -> Option<String> {
    match disk.condition() {
        Condition::Well => None,
        Condition::NearlyFull => Some(format!(
            "the disk is nearly full, {} MiB are free: the node leads only what no node with space can; \
             add disk space",
            disk.free_bytes() >> 20
        )),
        Condition::Hung if disk.hangs() => {
            Some("the disk does not answer: nothing can be written on this node".to_owned())
        }
        Condition::Hung => Some(
            "the disk did not answer until a moment ago: the node takes no leaders yet".to_owned(),
        ),
    }
}
