//! How far a range's log may go.
//!
//! ```text
//!    gone      held by all replicas        what a lagging one needs
//!   |--------|---------------------------|--------------------------------------| end
//!            ^ purged                    ^ held by all, less what is kept all the same
//!                                            ^ the log is larger than its retention: up to here, all the same;
//!                                              who needs it is sent a raft snapshot
//!   never beyond  * what a crash would leave applied here
//!                 * a raft snapshot from which a replica still has to catch up
//! ```
//!
//! # Invariants
//!
//! * What the data engine has not made durable stays in the log: after a crash it is applied again
//!   ([`Replica::truncate_log`]; planted bug `log-truncated-too-far`).
//! * A log that is larger than its retention shrinks again even where a replica is down, and is not cut at every look
//!   for it ([`wanted`]).
//!
//! # On a crash
//!
//! A truncation is one batch of the log engine (`raft/log_store.rs`): done or not begun.

use super::{error::ReplicaError, replica::Replica};
use crate::{
    failpoint,
    ids::ReplicaId,
    size::Size,
    storage::{self, format::applied::AppliedRecord},
    time::local::Instant,
};

/// Truncated entries that a log keeps all the same, for followers that are a little behind.
const LOG_KEPT_ENTRIES: Size = Size::new("log-kept-entries", 1_000, 5);
/// A log is truncated once this many entries can go.
const TRUNCATE_ENTRIES_MIN: Size = Size::new("truncate-entries", 5_000, 10);
/// What goes of a log that is larger than its retention is at least this part of the retention.
const RETENTION_STEP: u64 = 4;

/// What of a log should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    /// Up to this index.
    upto: u64,
    /// At once, also where the data engine has to be flushed for it. It flushes by itself, and mostly soon enough:
    /// what is only surplus waits for it a while.
    is_urgent: bool,
}

/// What of a log that is purged up to `purged` should go, by what all replicas hold of it and by its size; of more
/// than its retention everything up to `index_before` may go.
fn wanted(
    purged: u64,
    held_by_all: u64,
    (bytes, retention_bytes): (u64, u64),
    index_before: impl FnOnce() -> Option<u64>,
) -> Option<Wanted> {
    let held = held_by_all.saturating_sub(LOG_KEPT_ENTRIES.get() as u64);
    let held = Some(held).filter(|held| *held >= purged + TRUNCATE_ENTRIES_MIN.get() as u64);
    let over = bytes.saturating_sub(retention_bytes);
    let surplus = Some(over).filter(|over| *over > retention_bytes / RETENTION_STEP);
    let surplus = surplus.and_then(|_| index_before());
    let upto = held.max(surplus)?;
    Some(Wanted { upto, is_urgent: held.is_some() || over > retention_bytes })
}

impl Replica {
    /// Truncates the log below what every replica holds, and, where it is larger than `retention_bytes`,
    /// also below what a lagging one needs: that one is sent a raft snapshot. Always only below what this
    /// replica's data engine has made durable, and not behind a raft snapshot from which a replica still has to
    /// catch up.
    pub async fn truncate_log(
        &self,
        held_by_all: u64,
        retention_bytes: u64,
    ) -> Result<(), ReplicaError> {
        let purged = self.log.purged_index();
        let index_before = || self.log.index_before(retention_bytes);
        let size = (self.log.bytes(), retention_bytes);
        let Some(Wanted { upto: wanted, is_urgent }) =
            wanted(purged, held_by_all, size, index_before)
        else {
            return Ok(());
        };
        let progress = self.raft.progress();
        self.shared.outbox.release(wanted, |replica: ReplicaId| progress.matched(replica));
        let wanted =
            self.shared.outbox.held_from(Instant::now()).map_or(wanted, |from| wanted.min(from));
        if wanted <= purged {
            return Ok(());
        }
        let durable = |record: AppliedRecord| record.applied.map_or(0, |at| at.index);
        if durable(self.shared.state.durable()?) < wanted && is_urgent {
            failpoint::hit("data.before-flush");
            self.shared.state.engine().sync().await?;
            failpoint::hit("data.after-flush");
        }
        let upto = wanted.min(durable(self.shared.state.durable()?));
        if upto <= purged {
            return Ok(());
        }
        tracing::debug!(
            range = %self.range, purged, upto, held_by_all, bytes = self.log.bytes(), "truncating"
        );
        self.raft.truncate(upto).await.map_err(ReplicaError::Group)
    }

    /// Lets go of what raft snapshots left behind and nobody wants any more.
    pub fn collect_snapshots(&self) -> Result<(), storage::Error> {
        let now = Instant::now();
        self.shared.outbox.drop_idle(now);
        let state = &self.shared.state;
        self.shared.inbox.collect(&**state.engine(), self.range, state.applied_index(), now)
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;

    fn of(purged: u64, held_by_all: u64, bytes: u64) -> Option<Wanted> {
        wanted(purged, held_by_all, (bytes, 1_000), || Some(8_000))
    }

    #[test]
    fn what_all_hold_goes_but_for_a_few_entries_and_once_it_is_worth_it() {
        assert_eq!(of(0, 6_000, 900), Some(Wanted { upto: 5_000, is_urgent: true }));
        assert_eq!(of(0, 5_999, 900), None);
        assert_eq!(of(1_000, 6_000, 900), None);
    }

    #[test]
    fn a_log_larger_than_its_retention_goes_whoever_needs_it() {
        assert_eq!(of(0, 0, 1_250), None, "less than a step over it");
        assert_eq!(of(0, 0, 1_251), Some(Wanted { upto: 8_000, is_urgent: false }));
        assert_eq!(of(0, 0, 2_001), Some(Wanted { upto: 8_000, is_urgent: true }));
        // The one that lets more go counts.
        assert_eq!(of(0, 11_000, 1_251), Some(Wanted { upto: 10_000, is_urgent: true }));
        assert_eq!(of(0, 6_000, 1_251), Some(Wanted { upto: 8_000, is_urgent: true }));
    }
}
