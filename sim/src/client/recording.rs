//! What all clients of a run share: the history that they record, what is counted of it, and numbers that nobody had.
//!
//! One of these is there for a run. It also says when the clients shall end, and keeps some moments of the past that
//! any client was shown, for others to ask for. Randomness and time come from the seams, so that a seed is one run.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use super::seams::Seams;
use crate::history::{Call, History, OpOutcome, WatchAsked};

/// Errors that are noted; what comes later is not.
const ERRORS_MAX: usize = 200_000;
/// Moments of the past that are kept.
const MOMENTS_MAX: usize = 64;

/// How something ended that was asked, in the history's words; and the code of the error, if it is one that is noted.
pub(super) type Ended = (OpOutcome, Option<&'static str>);

/// What all clients of a run share.
pub struct Recording {
    /// What they asked and saw.
    pub history: Mutex<History>,
    /// Set when they shall end.
    pub stop: AtomicBool,
    /// Acknowledged writes.
    pub commits: AtomicU64,
    /// Operations of unknown outcome.
    pub unknown: AtomicU64,
    /// Which client each process was, by the order in which clients came.
    pub clients: Mutex<BTreeMap<u64, u64>>,
    callers: AtomicU64,
    processes: AtomicU64,
    /// By name, the next number of [`Recording::unique`].
    numbers: Mutex<BTreeMap<&'static str, u64>>,
    errors: Mutex<Vec<(u64, &'static str)>>,
    /// Moments of the past that were shown, the newest ones; bounded by [`MOMENTS_MAX`].
    moments: Mutex<VecDeque<u64>>,
    /// Where the feeds stand that clients follow, by client and prefix.
    feeds: Mutex<BTreeMap<(u64, String), WatchAsked>>,
    seams: Seams,
}

impl Recording {
    /// Nothing asked yet.
    pub fn new(seams: Seams) -> Arc<Recording> {
        Arc::new(Recording {
            history: Mutex::new(History::new()),
            stop: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            clients: Mutex::default(),
            callers: AtomicU64::new(0),
            processes: AtomicU64::new(0),
            numbers: Mutex::default(),
            errors: Mutex::default(),
            moments: Mutex::default(),
            feeds: Mutex::default(),
            seams,
        })
    }

    /// What clients take from around them.
    pub fn seams(&self) -> Seams {
        self.seams.clone()
    }

    /// When calls ended with which error, refused conditions left out.
    pub fn errors(&self) -> Vec<(u64, &'static str)> {
        self.errors.lock().clone()
    }

    /// Whether clients shall end.
    pub(super) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// The time of the history.
    pub(super) fn now_ns(&self) -> u64 {
        (self.seams.now_ns)()
    }

    pub(super) fn random(&self) -> u64 {
        (self.seams.random)()
    }

    /// A number in `[least, most]`.
    pub(super) fn between(&self, least: u64, most: u64) -> u64 {
        self.seams.between(least, most)
    }

    /// A number that nobody in this run had under this name, from 0.
    pub(super) fn unique(&self, name: &'static str) -> u64 {
        let mut numbers = self.numbers.lock();
        let next = numbers.entry(name).or_default();
        *next += 1;
        *next - 1
    }

    /// The number of a new client.
    pub(super) fn caller(&self) -> u64 {
        self.callers.fetch_add(1, Ordering::Relaxed)
    }

    /// A process number that nobody had, for a client: after an unknown outcome it goes on as another.
    pub(super) fn process(&self, client: u64) -> u64 {
        let process = self.processes.fetch_add(1, Ordering::Relaxed);
        self.clients.lock().insert(process, client);
        process
    }

    /// The process that goes on where one has had an outcome that nobody knows.
    pub(super) fn next_process(&self, client: u64) -> u64 {
        self.unknown.fetch_add(1, Ordering::Relaxed);
        self.process(client)
    }

    /// A moment of the past was shown.
    pub(super) fn keep_moment(&self, moment: u64) {
        let mut moments = self.moments.lock();
        if moments.len() >= MOMENTS_MAX {
            moments.pop_front();
        }
        moments.push_back(moment);
    }

    /// One of the moments that were shown, by a drawn number; none where there is none.
    pub(super) fn moment(&self, drawn: u64) -> Option<u64> {
        let moments = self.moments.lock();
        let index = drawn.checked_rem(moments.len() as u64)?;
        moments.get(usize::try_from(index).ok()?).copied()
    }

    /// Where a client's feed stands; none: it has none.
    pub(super) fn feed(&self, client: u64, prefix: &str) -> Option<WatchAsked> {
        self.feeds.lock().get(&(client, prefix.to_owned())).cloned()
    }

    /// A client's feed stands there by now; none: it has ended.
    pub(super) fn set_feed(&self, client: u64, prefix: &str, stands: Option<WatchAsked>) {
        let (mut feeds, whose) = (self.feeds.lock(), (client, prefix.to_owned()));
        match stands {
            Some(stands) => drop(feeds.insert(whose, stands)),
            None => drop(feeds.remove(&whose)),
        }
    }

    /// All feeds of a prefix, whoever follows them.
    pub(super) fn feeds_of(&self, prefix: &str) -> Vec<WatchAsked> {
        let feeds = self.feeds.lock();
        feeds.iter().filter(|((_, of), _)| of == prefix).map(|(_, at)| at.clone()).collect()
    }

    /// Counts an acknowledged write.
    pub(super) fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that a process asks. The time is read under the history's lock, so that it never falls.
    pub(super) fn invoke(&self, process: u64, key: &str, call: &Call) {
        let mut history = self.history.lock();
        history.invoke(process, (self.seams.now_ns)(), key, call);
    }

    /// Records what a process was told, and notes the error if it is one.
    pub(super) fn complete(&self, process: u64, (outcome, error): &Ended) {
        if let Some(code) = error {
            self.note_error(code);
        }
        let mut history = self.history.lock();
        history.complete(process, (self.seams.now_ns)(), outcome);
    }

    fn note_error(&self, code: &'static str) {
        let mut errors = self.errors.lock();
        if errors.len() < ERRORS_MAX {
            errors.push(((self.seams.now_ns)(), code));
        }
    }
}
