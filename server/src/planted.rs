//! Planted bugs: mistakes that the simulation must be able to find, so that its silence means
//! something.
//!
//! Without the cargo feature `planted-bugs` every question here is answered `false` at compile
//! time. The feature does not compile outside the simulation, so no release can carry it. Which bug
//! is active is chosen at run time: one build serves all.

#[cfg(all(feature = "planted-bugs", not(madsim)))]
compile_error!("the feature `planted-bugs` is for the simulation only: build with --cfg madsim");

/// A mistake that a careless hand would make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The log acknowledges entries before they are synced.
    AckBeforeFsync,
    /// A leader reads without asking whether it leads still.
    ReadUnconfirmed,
    /// Nobody looks whether a request was done before.
    RetryAppliedTwice,
    /// Whether a key has expired is decided by the wall clock of the node that serves the read.
    ExpiryByReplicaClock,
    /// A result that was evaluated under an earlier leadership is applied under a later one.
    StaleEvaluationApplied,
    /// A scan over several ranges takes the moment of one of them for that of all.
    ScanByOneRange,
    /// A replica serves keys that are not in its range.
    StaleRouteAccepted,
    /// A restarted leader resumes its term before it has applied its log again.
    TermResumedAfterRestart,
    /// The last record of each chunk of a raft snapshot is left out.
    SnapshotDropsLastKey,
    /// A raft snapshot is installed without what is remembered of requests.
    SnapshotWithoutDedup,
    /// A node that lost its disk takes the cluster's plan as it is, its old replicas with it.
    WipedNodeUnderOldReplicaId,
}

impl Bug {
    /// Every planted bug and its name on the command line.
    pub const ALL: [(&'static str, Bug); 11] = [
        ("ack-before-fsync", Bug::AckBeforeFsync),
        ("expiry-by-replica-clock", Bug::ExpiryByReplicaClock),
        ("read-unconfirmed", Bug::ReadUnconfirmed),
        ("retry-applied-twice", Bug::RetryAppliedTwice),
        ("stale-evaluation-applied", Bug::StaleEvaluationApplied),
        ("scan-by-one-range", Bug::ScanByOneRange),
        ("stale-route-accepted", Bug::StaleRouteAccepted),
        ("term-resumed-after-restart", Bug::TermResumedAfterRestart),
        ("snapshot-drops-last-key", Bug::SnapshotDropsLastKey),
        ("snapshot-without-dedup", Bug::SnapshotWithoutDedup),
        ("wiped-node-under-old-replica-id", Bug::WipedNodeUnderOldReplicaId),
    ];

    /// The bug of a name.
    pub fn by_name(name: &str) -> Option<Bug> {
        Bug::ALL.iter().find(|(known, _)| *known == name).map(|(_, bug)| *bug)
    }
}

#[cfg(feature = "planted-bugs")]
static ACTIVE: std::sync::OnceLock<Bug> = std::sync::OnceLock::new();

/// Switches a bug on for the rest of the process.
#[cfg(feature = "planted-bugs")]
pub fn activate(bug: Bug) {
    ACTIVE.get_or_init(|| bug);
}

/// Whether a bug is active.
#[inline]
pub fn active(bug: Bug) -> bool {
    #[cfg(feature = "planted-bugs")]
    return ACTIVE.get() == Some(&bug);
    #[cfg(not(feature = "planted-bugs"))]
    {
        let _ = bug;
        false
    }
}
