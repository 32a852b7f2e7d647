//! What a node's disk is good for at the moment: whether it has space, and whether it answers.
//!
//! Both are no errors of the engines. A disk that is nearly full still takes what followers must write;
//! it should not take on what clients ask. A disk that *hangs* (a frozen file system, a controller that
//! resets) returns no error and no answer: whoever waits for it waits, and nothing else tells. So the
//! node looks at both, again and again (`upkeep/disk.rs`), and this module decides what is seen.
//!
//! ```text
//!   log writer --- asks, answers --> Disk <--- a look every LOOK_INTERVAL, with the free space
//!                                     |
//!            hangs? (now) <-----------+-----------> condition (held for a while)
//!       executor, reads, heartbeats, readyz         who may lead, status, metrics
//! ```
//!
//! # Invariants
//!
//! * A condition does not flap: space has to be more than was missing before it counts again
//!   ([`FreeSpace::is_ample`]), and a disk that hung has to answer for [`TRUSTED_AFTER`].
//! * How long the disk has not answered is counted in looks, not read from a clock: a node that stood
//!   still itself blames no disk.

use std::{
    sync::atomic::{
        AtomicBool, AtomicU8, AtomicU64,
        Ordering::{Acquire, Release},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::engine::FreeSpace;
use crate::placement::disk::Condition;

/// Between two looks at the disk.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// The most time that a look counts as, however late it comes: the node may have stood still.
const LOOK_COUNTS_MAX: Duration = Duration::from_millis(200);
/// How long a disk that hung has to answer before it is trusted with leaders again.
pub const TRUSTED_AFTER: Duration = Duration::from_secs(5);

/// Decides what is seen, look by look.
#[derive(Debug)]
struct Watch {
    /// A write that takes this long shows that the disk hangs.
    hung_after: Duration,
    /// The write under way at the last look, and for how long it has been seen.
    waits: Option<(u64, Duration)>,
    /// How long the disk has answered since it hung; none: it never did, or long ago.
    answers_for: Option<Duration>,
    is_nearly_full: bool,
}

impl Watch {
    fn new(hung_after: Duration) -> Watch {
        Watch { hung_after, waits: None, answers_for: None, is_nearly_full: false }
    }

    /// A look, `since_last` after the one before; at the write that waits for the disk, by a number that no other one
    /// has; and at the free space, where that was asked for.
    fn look(&mut self, since_last: Duration, under_way: Option<u64>, space: Option<FreeSpace>) {
        let counts = since_last.min(LOOK_COUNTS_MAX);
        self.waits = under_way.map(|write| match self.waits {
            Some((same, waited)) if same == write => (write, waited + counts),
            _ => (write, Duration::ZERO),
        });
        self.answers_for = match self.answers_for {
            _ if self.hangs() => Some(Duration::ZERO),
            Some(answers_for) if answers_for + counts < TRUSTED_AFTER => Some(answers_for + counts),
            _ => None,
        };
        if let Some(space) = space {
            self.is_nearly_full = match self.is_nearly_full {
                true => !space.is_ample(),
                false => space.is_short(),
            };
        }
    }

    /// Whether it does not answer now.
    fn hangs(&self) -> bool {
        self.waits.is_some_and(|(_, waited)| waited >= self.hung_after)
    }

    fn condition(&self) -> Condition {
        match () {
            () if self.answers_for.is_some() => Condition::Hung,
            () if self.is_nearly_full => Condition::NearlyFull,
            () => Condition::Well,
        }
    }
}

/// A node's disk as the node sees it; shared by all that ask.
#[derive(Debug)]
pub struct Disk {
    /// Writes that were asked for.
    asked: AtomicU64,
    /// How many of these were answered; in their order.
    answered: AtomicU64,
    hangs: AtomicBool,
    condition: AtomicU8,
    free_bytes: AtomicU64,
    watch: Mutex<Watch>,
}

impl Disk {
    /// One on which a write that takes `hung_after` shows that it hangs.
    pub fn new(hung_after: Duration) -> Disk {
        Disk {
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            hangs: AtomicBool::new(false),
            condition: AtomicU8::new(Condition::Well as u8),
            free_bytes: AtomicU64::new(u64::MAX),
            watch: Mutex::new(Watch::new(hung_after)),
        }
    }

    /// Somebody waits for a write from now on.
    pub fn asks(&self) {
        self.asked.fetch_add(1, Release);
    }

    /// The oldest `writes` of the writes asked for are done, or have failed.
    pub fn answers(&self, writes: u64) {
        self.answered.fetch_add(writes, Release);
    }

    /// Takes a look, `since_last` after the one before; what the disk was good for until then, and is now.
    pub fn look(
        &self,
        since_last: Duration,
        space: impl FnOnce() -> FreeSpace,
    ) -> (Condition, Condition) {
        // In this order: what is answered was asked for.
        let answered = self.answered.load(Acquire);
        let under_way = Some(answered).filter(|answered| self.asked.load(Acquire) > *answered);
        // Asking a disk that does not answer may take for ever.
        let space = (!self.hangs()).then(space);
        if let Some(space) = space {
            self.free_bytes.store(space.bytes, Release);
        }
        let before = self.condition();
        let mut watch = self.watch.lock();
        watch.look(since_last, under_way, space);
        self.hangs.store(watch.hangs(), Release);
        self.condition.store(watch.condition() as u8, Release);
        (before, watch.condition())
    }

    /// Whether the disk does not answer at the moment: what waits for it had better go elsewhere.
    pub fn hangs(&self) -> bool {
        self.hangs.load(Acquire)
    }

    /// What it is good for.
    pub fn condition(&self) -> Condition {
        let number = usize::from(self.condition.load(Acquire));
        Condition::ALL.get(number).copied().unwrap_or_default()
    }

    /// Free bytes when they were last asked for.
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const KEPT: u64 = 128 << 20;

    fn free(bytes: u64) -> FreeSpace {
        FreeSpace { bytes, kept_bytes: KEPT }
    }

    fn looks(disk: &Disk, seconds: f64) -> Condition {
        for _ in 0..(seconds / LOOK_INTERVAL.as_secs_f64()).round() as u32 {
            disk.look(LOOK_INTERVAL, || free(u64::MAX));
        }
        disk.condition()
    }

    #[test]
    fn a_write_that_takes_a_second_shows_that_the_disk_hangs() {
        let disk = Disk::new(SECOND);
        disk.asks();
        assert_eq!(looks(&disk, 1.0), Condition::Well);
        assert!(!disk.hangs());
        assert_eq!(looks(&disk, 0.1), Condition::Hung);
        assert!(disk.hangs());
        // It answers, and yet is not trusted at once.
        disk.answers(1);
        assert_eq!(looks(&disk, 0.1), Condition::Hung);
        assert!(!disk.hangs());
        assert_eq!(looks(&disk, TRUSTED_AFTER.as_secs_f64() - 0.2), Condition::Hung);
        assert_eq!(looks(&disk, 0.1), Condition::Well);
    }

    #[test]
    fn many_quick_writes_are_no_hang() {
        let disk = Disk::new(SECOND);
        for _ in 0..100 {
            // The next one is under way at the next look already.
            disk.asks();
            looks(&disk, 0.3);
            disk.answers(1);
            disk.asks();
        }
        assert_eq!(disk.condition(), Condition::Well);
    }

    #[test]
    fn a_node_that_stood_still_blames_no_disk() {
        let disk = Disk::new(SECOND);
        disk.asks();
        looks(&disk, 0.3);
        disk.look(Duration::from_secs(60), || free(u64::MAX));
        assert!(!disk.hangs());
    }

    #[test]
    fn a_disk_at_the_edge_of_full_does_not_flap() {
        let disk = Disk::new(SECOND);
        let look = |bytes| disk.look(LOOK_INTERVAL, || free(bytes)).1;
        assert_eq!(look(KEPT), Condition::Well);
        assert_eq!(look(KEPT - 1), Condition::NearlyFull);
        assert_eq!(look(KEPT + 1), Condition::NearlyFull);
        assert_eq!(look(KEPT + (32 << 20) - 1), Condition::NearlyFull);
        assert_eq!(look(KEPT + (32 << 20)), Condition::Well);
        assert_eq!(disk.free_bytes(), KEPT + (32 << 20));
    }

    #[test]
    fn nothing_kept_free_is_never_short() {
        let none = FreeSpace { bytes: 0, kept_bytes: 0 };
        assert!(!none.is_short() && none.is_ample());
        // However much is kept, a little more than that is ample.
        let much = FreeSpace { bytes: (1 << 40) + (32 << 20), kept_bytes: 1 << 40 };
        assert!(much.is_ample());
    }

    #[test]
    fn a_disk_that_hangs_is_not_asked_for_its_space() {
        let disk = Disk::new(SECOND);
        disk.asks();
        looks(&disk, 1.2);
        disk.look(LOOK_INTERVAL, || panic!("it is asked"));
    }
}
