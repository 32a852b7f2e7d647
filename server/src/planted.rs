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
    /// A vote is kept in memory only.
    VoteNotPersisted,
    /// A sync of the log that failed is taken for one that did not.
    FsyncErrorSwallowed,
    /// Of the last record of a torn log what is there is taken for the whole.
    TornTailAccepted,
    /// How far the log is applied is stored before what its entries did, not with it.
    AppliedNotAtomic,
    /// Apply takes what the replica's own clock says for the newest version.
    ApplyByLocalState,
    /// A leader shows what it has proposed before that is committed.
    UncommittedReadable,
    /// A refusal rests on a write of the same entry, which is not committed yet.
    RefusalByUncommitted,
    /// A write is acknowledged once it is in the leader's log.
    AcknowledgedBeforeCommit,
    /// The log is truncated up to what is applied, durable or not.
    LogTruncatedTooFar,
    /// One confirmation of leadership serves the reads of the two seconds that follow it.
    StaleLeaderRead,
    /// A node confirms claims of leadership without looking at what its replicas have voted.
    ClaimsAnsweredBlindly,
    /// The leader's own vote counts for its claim as it was when the claim was made.
    OwnVoteCountedEarly,
    /// What is remembered of requests goes while they can still be repeated.
    DedupCollectedEarly,
    /// The refusal of a later attempt is not stored: a delayed first attempt acts after it.
    RefusalNotStored,
    /// A request and its repetition go into one entry.
    RequestTwiceInEntry,
    /// A page of a scan is answered although versions of its moment may have been collected.
    CollectedReadable,
    /// A raft snapshot is installed over what the replica had, not in its place.
    SnapshotOverOldState,
    /// A full disk refuses a repetition before anybody looks whether the request was done, and for good.
    FullDiskDenies,
    /// A leader that no majority answers goes on sending heartbeats to those that it reaches.
    LonelyLeaderHoldsOn,
    /// A leader is handed home to whoever answers the leader, whomever that one reaches, again and again.
    HomeHoweverLonely,
    /// A page that is full where its range ends says that the scan is over.
    ScanEndsWithRange,
    /// Backwards, the next page begins below the key that it should begin with.
    ReverseScanSkipsKey,
    /// A vote is answered once it is handed to the disk, before it is synced.
    VoteBeforeSync,
    /// A truncation is told to Raft once it is handed to the disk, before it is synced.
    TruncationBeforeSync,
    /// A batch that is done lets go of its first key alone: who waits for the others waits for ever.
    BatchReleasesAnchor,
    /// A write behind which the link to the leader broke is told not to have begun, where its caller gave it
    /// so little time that nobody could ask again.
    LostIsTooLate,
    /// A request that is too old to be remembered is done, once more perhaps.
    ExpiredRequestActs,
    /// The next step of reading a range for a raft snapshot begins behind the record before which the last
    /// one ended.
    StepSkipsBorder,
    /// A unary call that runs out of time says that nothing was done.
    UnaryTimeoutIsRefusal,
    /// A page of a deletion removes what was written after its moment, too.
    RemovalOfNewer,
    /// A page of a deletion that is not the last one leaves its last key.
    RemovalSkipsLast,
    /// A key that expires is shown for two seconds after its time.
    ExpiryShownLate,
    /// An increment of a key that expires leaves it without an expiry.
    IncrementDropsExpiry,
    /// A put that keeps the expiry of what was there leaves none.
    KeptExpiryDropped,
    /// Persist says that it is done, and the key keeps its expiry.
    PersistForgotten,
    /// What says "absent" is collected before the older versions that it covers.
    BaseCollectedFirst,
    /// A leader whose disk is nearly full stays where it is and refuses writes.
    FullDiskKeepsLeaders,
    /// What is asked of a leader whose disk does not answer waits for that disk.
    HungDiskKeepsRequests,
    /// A node that does not reach a leader asks nobody who does.
    CutGatewayGivesUp,
    /// A request for a timestamp joins a round whose messages are sent already.
    RequestJoinsSentRound,
    /// A time server answers before the bound above its clock is on its disk.
    TimeNotSynced,
    /// A time server that lost its disk goes on under its id, in the same epoch.
    TimeServerReplacedInPlace,
    /// What a round was answered in an epoch counts for it in the next one.
    EarlierAttemptCounts,
    /// What a proposer was answered before its restart counts after it.
    EarlierLifeCounts,
    /// Timestamps that are left of a block go to requests that came after its round began.
    OldBlockIssued,
    /// A round that met higher clocks issues a block above them without telling any server.
    TimeNotWrittenBack,
    /// A round that met higher clocks goes above the highest, not above what a majority told.
    LargestTimeTaken,
    /// A time server answers in an epoch before it is told where that begins.
    UnseededAnswers,
    /// A change of the time servers fences the newest epoch that was begun, and none before it.
    NewestEpochFencedOnly,
    /// Time servers are declared lost that only the leader of the system range does not hear.
    LostByOneWord,
    /// A write of a time server's bound that was begun earlier is stored over a later one.
    TimeBoundLowered,
    /// A scan takes what its node knows to be published for its moment, and asks for no round.
    ScanAtKnown,
    /// A client that asks for a timestamp is told what is known to be published.
    TimestampAtKnown,
    /// A write takes a timestamp from a round that had begun before it had its key to itself.
    TimestampBeforeLatch,
    /// A write takes its timestamp from its leader's own clock.
    LeaderLocalTimestamp,
    /// The guard over a write's key is up only once its timestamp is known.
    GuardAfterRound,
    /// Reads do not wait for writes that are on their way.
    GetIgnoresGuards,
    /// A scan takes its moment from its node's own clock, and no time server knows of it.
    ReadTimestampUnpublished,
    /// A new leader serves before it has applied what earlier leaders acknowledged.
    LeaderServesUnprepared,
    /// A leader closes moments at or below which writes are on their way.
    ClosedIgnoresGuards,
    /// A leader closes moments without asking whether it leads still.
    ClosedUnconfirmed,
    /// A replica shows a closed moment before it has applied what is at or below it.
    ClosedNotApplied,
    /// Versions are collected that somebody holds.
    GcBelowHold,
    /// A feed that has fallen behind finds collected what it has not told yet.
    FeedNotHeld,
    /// A feed goes on at its position instead of behind it.
    FeedResumesOneOff,
    /// Where a feed stands is a timestamp, whichever keys of that have come.
    FeedForgetsKey,
    /// The list of recent versions is taken for whole after the oldest of them were dropped.
    FeedListForgetsFloor,
    /// The list of recent versions outlives the state that it is of.
    FeedListOutlivesState,
    /// A feed goes on while one of its ranges is behind.
    FeedIgnoresLaggingRange,
    /// One node's clock gives all timestamps, and a write takes its own where it is asked for, before it sets out for
    /// the leader of its range: the anomaly of `docs/time.md`.
    NaiveTimeServer,
    /// A proposer that has just begun takes the median of the clocks that it hears first for that of all.
    FirstClocksBelieved,
    /// A replica serves a read of what its leader would show before it has applied the log as far as the leader said.
    FollowerReadUnapplied,
    /// A leader says how far a replica has to apply the log while writes of the key are on their way.
    FollowerReadIgnoresGuards,
    /// A leader says how far a replica has to apply the log without asking whether it leads still.
    FollowerReadUnconfirmed,
    /// How old a closed moment is counts from when the replica heard of it.
    StaleSinceHeard,
}

impl Bug {
    /// Every planted bug and its name on the command line.
    pub const ALL: [(&'static str, Bug); 85] = [
        ("ack-before-fsync", Bug::AckBeforeFsync),
        ("expiry-by-replica-clock", Bug::ExpiryByReplicaClock),
        ("read-unconfirmed", Bug::ReadUnconfirmed),
        ("retry-applied-twice", Bug::RetryAppliedTwice),
        ("stale-evaluation-applied", Bug::StaleEvaluationApplied),
        ("stale-route-accepted", Bug::StaleRouteAccepted),
        ("term-resumed-after-restart", Bug::TermResumedAfterRestart),
        ("snapshot-drops-last-key", Bug::SnapshotDropsLastKey),
        ("snapshot-without-dedup", Bug::SnapshotWithoutDedup),
        ("wiped-node-under-old-replica-id", Bug::WipedNodeUnderOldReplicaId),
        ("vote-not-persisted", Bug::VoteNotPersisted),
        ("fsync-error-swallowed", Bug::FsyncErrorSwallowed),
        ("torn-tail-accepted", Bug::TornTailAccepted),
        ("applied-not-atomic", Bug::AppliedNotAtomic),
        ("apply-by-local-state", Bug::ApplyByLocalState),
        ("uncommitted-readable", Bug::UncommittedReadable),
        ("refusal-by-uncommitted", Bug::RefusalByUncommitted),
        ("acknowledged-before-commit", Bug::AcknowledgedBeforeCommit),
        ("log-truncated-too-far", Bug::LogTruncatedTooFar),
        ("stale-leader-read", Bug::StaleLeaderRead),
        ("claims-answered-blindly", Bug::ClaimsAnsweredBlindly),
        ("own-vote-counted-early", Bug::OwnVoteCountedEarly),
        ("dedup-collected-early", Bug::DedupCollectedEarly),
        ("refusal-not-stored", Bug::RefusalNotStored),
        ("request-twice-in-entry", Bug::RequestTwiceInEntry),
        ("collected-readable", Bug::CollectedReadable),
        ("snapshot-over-old-state", Bug::SnapshotOverOldState),
        ("full-disk-denies", Bug::FullDiskDenies),
        ("lonely-leader-holds-on", Bug::LonelyLeaderHoldsOn),
        ("home-however-lonely", Bug::HomeHoweverLonely),
        ("scan-ends-with-range", Bug::ScanEndsWithRange),
        ("reverse-scan-skips-key", Bug::ReverseScanSkipsKey),
        ("vote-before-sync", Bug::VoteBeforeSync),
        ("truncation-before-sync", Bug::TruncationBeforeSync),
        ("batch-releases-anchor", Bug::BatchReleasesAnchor),
        ("lost-is-too-late", Bug::LostIsTooLate),
        ("expired-request-acts", Bug::ExpiredRequestActs),
        ("step-skips-border", Bug::StepSkipsBorder),
        ("unary-timeout-is-refusal", Bug::UnaryTimeoutIsRefusal),
        ("removal-of-newer", Bug::RemovalOfNewer),
        ("removal-skips-last", Bug::RemovalSkipsLast),
        ("expiry-shown-late", Bug::ExpiryShownLate),
        ("increment-drops-expiry", Bug::IncrementDropsExpiry),
        ("kept-expiry-dropped", Bug::KeptExpiryDropped),
        ("persist-forgotten", Bug::PersistForgotten),
        ("base-collected-first", Bug::BaseCollectedFirst),
        ("full-disk-keeps-leaders", Bug::FullDiskKeepsLeaders),
        ("hung-disk-keeps-requests", Bug::HungDiskKeepsRequests),
        ("cut-gateway-gives-up", Bug::CutGatewayGivesUp),
        ("request-joins-sent-round", Bug::RequestJoinsSentRound),
        ("time-not-synced", Bug::TimeNotSynced),
        ("time-server-replaced-in-place", Bug::TimeServerReplacedInPlace),
        ("earlier-attempt-counts", Bug::EarlierAttemptCounts),
        ("earlier-life-counts", Bug::EarlierLifeCounts),
        ("old-block-issued", Bug::OldBlockIssued),
        ("time-not-written-back", Bug::TimeNotWrittenBack),
        ("largest-time-taken", Bug::LargestTimeTaken),
        ("unseeded-answers", Bug::UnseededAnswers),
        ("newest-epoch-fenced-only", Bug::NewestEpochFencedOnly),
        ("lost-by-one-word", Bug::LostByOneWord),
        ("time-bound-lowered", Bug::TimeBoundLowered),
        ("scan-at-known", Bug::ScanAtKnown),
        ("timestamp-at-known", Bug::TimestampAtKnown),
        ("timestamp-before-latch", Bug::TimestampBeforeLatch),
        ("leader-local-timestamp", Bug::LeaderLocalTimestamp),
        ("guard-after-round", Bug::GuardAfterRound),
        ("get-ignores-guards", Bug::GetIgnoresGuards),
        ("read-timestamp-unpublished", Bug::ReadTimestampUnpublished),
        ("leader-serves-unprepared", Bug::LeaderServesUnprepared),
        ("closed-ignores-guards", Bug::ClosedIgnoresGuards),
        ("closed-unconfirmed", Bug::ClosedUnconfirmed),
        ("closed-not-applied", Bug::ClosedNotApplied),
        ("gc-below-hold", Bug::GcBelowHold),
        ("feed-not-held", Bug::FeedNotHeld),
        ("feed-resumes-one-off", Bug::FeedResumesOneOff),
        ("feed-forgets-key", Bug::FeedForgetsKey),
        ("feed-list-forgets-floor", Bug::FeedListForgetsFloor),
        ("feed-list-outlives-state", Bug::FeedListOutlivesState),
        ("feed-ignores-lagging-range", Bug::FeedIgnoresLaggingRange),
        ("naive-time-server", Bug::NaiveTimeServer),
        ("first-clocks-believed", Bug::FirstClocksBelieved),
        ("follower-read-unapplied", Bug::FollowerReadUnapplied),
        ("follower-read-ignores-guards", Bug::FollowerReadIgnoresGuards),
        ("follower-read-unconfirmed", Bug::FollowerReadUnconfirmed),
        ("stale-since-heard", Bug::StaleSinceHeard),
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
