//! The names, apart from the code that uses them: scenario files are checked against them without a
//! node being built.

/// Every point: its name, and what is done when it is passed.
pub const ALL: [(&str, &str); 24] = [
    ("log.before-write", "a batch of the log is put together and not written"),
    ("log.after-write", "a batch of the log is written and not synced"),
    ("log.after-sync", "a batch of the log is synced and not acknowledged"),
    ("log.before-truncate", "entries that lost an election are to be removed"),
    ("log.after-truncate", "they are removed"),
    ("log.before-purge", "the beginning of a log, which is not needed any more, is to be removed"),
    ("log.after-purge", "it is removed"),
    ("vote.before-write", "a vote is decided and not written"),
    ("vote.after-sync", "a vote is on disk and nobody was told"),
    ("apply.before-batch", "committed entries are evaluated and not applied"),
    ("apply.after-batch", "they are applied, and whoever asked was not told"),
    ("data.before-flush", "the data engine is to be flushed, so that a log can be truncated"),
    ("data.after-flush", "it is flushed, and the log is not truncated"),
    ("snapshot.after-chunk", "a chunk of a raft snapshot is staged and not acknowledged"),
    ("snapshot.before-commit", "a raft snapshot is staged, its installation is not certain"),
    ("snapshot.after-commit", "its installation is certain, and not begun"),
    ("snapshot.mid-install", "a part of its content has taken the place of the old one"),
    ("snapshot.before-swap", "all of its content has; what the replica has applied is not noted"),
    ("snapshot.after-swap", "that is noted and durable, and Raft was not told"),
    ("plan.before-write", "a cluster's plan is taken, or made, and not on disk"),
    ("plan.after-write", "it is on disk, and its replicas are not started"),
    ("replace.after-reserve", "a replica id is reserved, and the node is not offered it"),
    ("replace.before-hold", "a replica is offered, and not noted on disk"),
    ("replace.after-hold", "it is noted, and not started"),
];
