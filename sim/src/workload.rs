//! What the clients do: each one operation after the other, chosen by the scenario's mix, recorded
//! in one history. The items of a batch are operations of their own, each of a process of its own: they are
//! asked at the same time.
//!
//! The same clients serve the simulation and real processes. What differs, the time of the history and
//! where randomness comes from, is handed in as [`Seams`]; the order of draws belongs to what a seed means.
//!
//! ```text
//! choose.rs   what a client does next
//! ask.rs      asks it through the client library and says what came of it
//! pages.rs    scans page by page, in every way
//! unary.rs    the same for clients that make raw gRPC calls
//! last.rs     after the faults: a write that must succeed, and the last reads of the judges
//! ```

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use quintet_client::Client;
use tokio::time::sleep;

use self::{choose::Chosen, unary::Unary};
use crate::{
    history::{Call, History, Outcome, Reply},
    scenario::Workload,
};

mod ask;
mod choose;
mod last;
mod pages;
pub mod unary;

/// The registers, keys that are overwritten and removed, begin so.
pub const REGISTER_PREFIX: &str = "key/";

/// The keys of the acknowledged set begin so.
pub const INSERT_PREFIX: &str = "set/";

/// The keys that expire begin so.
pub const TTL_PREFIX: &str = "ttl/";

/// The numbers that expire begin so.
pub const TTL_SUM_PREFIX: &str = "ttl/sum/";

/// The lists begin so.
pub const LIST_PREFIX: &str = "list/";

/// Errors that are noted; what comes later is not.
const ERRORS_MAX: usize = 200_000;

/// What clients take from around them, simulated or real.
#[derive(Clone)]
pub struct Seams {
    /// Nanoseconds since some moment before the run; never fewer than before.
    pub now_ns: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// 64 random bits, from the run's seed.
    pub random: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// What all clients of a run share.
pub struct Shared {
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
    inserts: AtomicU64,
    elements: AtomicU64,
    errors: Mutex<Vec<(u64, &'static str)>>,
    seams: Seams,
}

impl Shared {
    /// Nothing asked yet.
    pub fn new(seams: Seams) -> Arc<Shared> {
        Arc::new(Shared {
            history: Mutex::new(History::new()),
            stop: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            clients: Mutex::default(),
            callers: AtomicU64::new(0),
            processes: AtomicU64::new(0),
            inserts: AtomicU64::new(0),
            elements: AtomicU64::new(1),
            errors: Mutex::default(),
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

    fn note_error(&self, code: &'static str) {
        let mut errors = self.errors.lock();
        if errors.len() < ERRORS_MAX {
            errors.push(((self.seams.now_ns)(), code));
        }
    }

    /// A process number that nobody had, for a client: after an unknown outcome it goes on as another.
    fn process(&self, client: u64) -> u64 {
        let process = self.processes.fetch_add(1, Ordering::Relaxed);
        self.clients.lock().insert(process, client);
        process
    }

    /// Records that a process asks. The time is read under the history's lock, so that it never falls.
    fn invoke(&self, process: u64, key: &str, call: &Call) {
        let mut history = self.history.lock();
        history.invoke(process, (self.seams.now_ns)(), key, call);
    }

    /// Records what a process was told.
    fn complete(&self, process: u64, outcome: &Outcome) {
        let mut history = self.history.lock();
        history.complete(process, (self.seams.now_ns)(), outcome);
    }

    /// The process that goes on where one has had an outcome that nobody knows.
    fn next_process(&self, client: u64) -> u64 {
        self.unknown.fetch_add(1, Ordering::Relaxed);
        self.process(client)
    }
}

/// One client: its connection, and what it knows.
pub struct Caller {
    shared: Arc<Shared>,
    client: Client,
    /// Which of the run's clients it is.
    number: u64,
    process: u64,
    /// Processes for the items of batches.
    others: Vec<u64>,
    /// Versions last seen.
    seen: BTreeMap<String, u64>,
    /// How it asks, where it makes unary calls; by the client library otherwise.
    unary: Option<Unary>,
    /// Choices that it makes before it stops.
    left: Option<u64>,
    /// See [`Workload::read_all_pause_ms_max`].
    read_all_pause_ms_max: u64,
    /// See [`Workload::page_pause_ms_max`].
    page_pause_ms_max: u64,
}

impl Caller {
    /// A client of the run.
    pub fn new(shared: Arc<Shared>, client: Client) -> Caller {
        let number = shared.callers.fetch_add(1, Ordering::Relaxed);
        let process = shared.process(number);
        let (others, seen) = (Vec::new(), BTreeMap::new());
        Caller {
            shared,
            client,
            number,
            process,
            others,
            seen,
            unary: None,
            left: None,
            read_all_pause_ms_max: 0,
            page_pause_ms_max: 0,
        }
    }

    /// It makes unary calls.
    pub fn by(mut self, unary: Option<Unary>) -> Caller {
        self.unary = unary;
        self
    }

    /// It stops after so many operations or batches.
    pub fn limit(mut self, operations: Option<u64>) -> Caller {
        self.left = operations;
        self
    }

    /// Works until told to stop.
    pub async fn work(mut self, workload: Workload) {
        self.read_all_pause_ms_max = workload.read_all_pause_ms_max;
        self.page_pause_ms_max = workload.page_pause_ms_max;
        while !self.shared.stop.load(Ordering::Acquire) && self.left != Some(0) {
            self.left = self.left.map(|left| left - 1);
            match self.choose(&workload) {
                Chosen::One(key, call) => drop(self.call(&key, call).await),
                Chosen::Batch(items, ttl_ms) => self.batch(items, ttl_ms).await,
                Chosen::Pages(pages) => drop(self.pages(pages).await),
            }
            let pause = self.between(0, workload.think_time_ms_max * 1_000);
            sleep(Duration::from_micros(pause)).await;
        }
    }

    fn random(&self) -> u64 {
        (self.shared.seams.random)()
    }

    /// A number in `[least, most]`.
    fn between(&self, least: u64, most: u64) -> u64 {
        least + self.random() % (most.saturating_sub(least) + 1)
    }

    /// Asks something and records what came of it.
    pub async fn call(&mut self, key: &str, call: Call) -> Outcome {
        self.shared.invoke(self.process, key, &call);
        let outcome = self.ask(key, &call).await;
        self.shared.complete(self.process, &outcome);
        match &outcome {
            Outcome::Ok(Reply::Written { version } | Reply::Incremented { version, .. }) => {
                self.shared.commits.fetch_add(1, Ordering::Relaxed);
                self.seen.insert(key.to_owned(), *version);
            }
            Outcome::Ok(Reply::Appended | Reply::Swept { .. }) => {
                self.shared.commits.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Ok(Reply::Expired { version: 0 }) => {
                self.seen.insert(key.to_owned(), 0);
            }
            Outcome::Ok(Reply::Expired { version }) => {
                self.shared.commits.fetch_add(1, Ordering::Relaxed);
                self.seen.insert(key.to_owned(), *version);
            }
            Outcome::Ok(Reply::Deleted { .. }) => {
                self.shared.commits.fetch_add(1, Ordering::Relaxed);
                self.seen.insert(key.to_owned(), 0);
            }
            Outcome::Ok(Reply::Read(state)) | Outcome::Refused(state) => {
                let version = state.as_ref().map_or(0, |state| state.version);
                self.seen.insert(key.to_owned(), version);
            }
            Outcome::Unknown => self.process = self.shared.next_process(self.number),
            _ => {}
        }
        outcome
    }

    /// Writes or reads keys at once and records what came of each.
    async fn batch(&mut self, items: Vec<(String, Call)>, ttl_ms: Option<u64>) {
        if self.unary.is_some() {
            return self.unary_batch(items).await;
        }
        let writer = self.client.batch_writer();
        let writer = match ttl_ms {
            Some(ms) => writer.ttl(Duration::from_millis(ms)),
            None => writer,
        };
        let writer = writer.start().expect("within the limits");
        while self.others.len() < items.len() {
            self.others.push(self.shared.process(self.number));
        }
        let mut outcomes = Vec::with_capacity(items.len());
        for ((key, call), process) in items.iter().zip(&self.others) {
            let (Call::Write { value, .. } | Call::Insert { value }) = call else { continue };
            self.shared.invoke(*process, key, call);
            outcomes.push(writer.write_tracked(key, value).await);
        }
        for (((key, call), process), told) in items.iter().zip(&mut self.others).zip(outcomes) {
            let written = told.await.map(|version| Reply::Written { version: version.0 });
            let outcome = ask::outcome(&self.shared, call, written);
            self.shared.complete(*process, &outcome);
            match outcome {
                Outcome::Ok(Reply::Written { version }) => {
                    self.shared.commits.fetch_add(1, Ordering::Relaxed);
                    self.seen.insert(key.clone(), version);
                }
                Outcome::Unknown => *process = self.shared.next_process(self.number),
                _ => {}
            }
        }
    }

    /// As [`Caller::batch`], in one call.
    async fn unary_batch(&mut self, items: Vec<(String, Call)>) {
        while self.others.len() < items.len() {
            self.others.push(self.shared.process(self.number));
        }
        for ((key, call), process) in items.iter().zip(&self.others) {
            self.shared.invoke(*process, key, call);
        }
        let Some(unary) = &self.unary else { return };
        let told = unary.batch(&items).await;
        for (((key, _), process), (outcome, code)) in items.iter().zip(&mut self.others).zip(told) {
            code.into_iter().for_each(|code| self.shared.note_error(code));
            self.shared.complete(*process, &outcome);
            match outcome {
                Outcome::Ok(Reply::Written { version }) => {
                    self.shared.commits.fetch_add(1, Ordering::Relaxed);
                    self.seen.insert(key.clone(), version);
                }
                Outcome::Unknown => *process = self.shared.next_process(self.number),
                _ => {}
            }
        }
    }
}
