//! One client: what it asks goes to the cluster by its door, and is recorded.
//!
//! The order of things is part of what a seed means: a call is recorded as asked before it leaves, and what came of
//! it is recorded before the client does anything else. Each client knows what it was told last of a key
//! ([`Caller::seen`]): compare-and-sets ask for that version.

use std::{collections::BTreeMap, sync::Arc};

use futures::{FutureExt, future};
use quintet_client::{Client, Watch};

use super::{
    library::Library,
    recording::{Ended, Recording},
    unary::Unary,
};
use crate::history::{Call, OpOutcome, Reply};

/// Keys that one unary call reads.
const READ_MAX: u64 = 4;

/// How a client asks.
enum Door {
    Library(Library),
    Unary(Unary),
}

/// One client: its connection, and what it knows.
pub struct Caller {
    recording: Arc<Recording>,
    door: Door,
    /// Which of the run's clients it is.
    number: u64,
    process: u64,
    /// Processes for the items of batches.
    others: Vec<u64>,
    /// Versions last seen.
    seen: BTreeMap<String, u64>,
    /// The feeds that it follows, by prefix.
    pub(super) watches: BTreeMap<String, Watch>,
    window: Option<Window>,
}

/// Says whether a client's machine takes what arrives from the network.
pub type Window = Arc<dyn Fn(bool) + Send + Sync>;

/// The machine takes nothing until this is dropped.
pub(super) struct Shut(Option<Window>);

impl Drop for Shut {
    fn drop(&mut self) {
        if let Some(window) = &self.0 {
            window(true);
        }
    }
}

impl Caller {
    /// A client of the run, which asks through the client library.
    pub fn new(recording: Arc<Recording>, client: Client) -> Caller {
        let library = Library::new(recording.clone(), client);
        Caller::by(recording, Door::Library(library))
    }

    /// One that makes unary calls.
    pub fn unary(recording: Arc<Recording>, unary: Unary) -> Caller {
        Caller::by(recording, Door::Unary(unary))
    }

    fn by(recording: Arc<Recording>, door: Door) -> Caller {
        let number = recording.caller();
        let process = recording.process(number);
        let (others, seen, watches) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let window = None;
        Caller { recording, door, number, process, others, seen, watches, window }
    }

    /// It can keep its machine from taking what arrives.
    #[must_use]
    pub fn with_window(self, window: Window) -> Caller {
        Caller { window: Some(window), ..self }
    }

    /// Its machine takes nothing that arrives, until what is returned is dropped.
    pub(super) fn shut(&self) -> Shut {
        if let Some(window) = &self.window {
            window(false);
        }
        Shut(self.window.clone())
    }

    /// Whether it makes unary calls.
    pub fn is_unary(&self) -> bool {
        matches!(self.door, Door::Unary(_))
    }

    /// The client library, where it asks through that.
    pub(super) fn library(&self) -> Option<&Library> {
        match &self.door {
            Door::Library(library) => Some(library),
            Door::Unary(_) => None,
        }
    }

    /// A moment of the past that was shown to some client of the run, by a drawn number.
    pub fn moment(&self, drawn: u64) -> Option<u64> {
        self.recording.moment(drawn)
    }

    /// A moment of the past was shown: it may be asked for again.
    pub fn keep_moment(&self, moment: u64) {
        self.recording.keep_moment(moment);
    }

    /// Has time servers on these nodes alone, or on all where it names none.
    pub async fn place_time_servers(&mut self, nodes: &[u64]) {
        if let Some(library) = self.library() {
            library.place_time_servers(nodes).await;
        }
    }

    /// What all clients of the run share, and which of them this is.
    pub(super) fn recording(&self) -> (&Arc<Recording>, u64) {
        (&self.recording, self.number)
    }

    /// The time of the history.
    pub(super) fn now_ns(&self) -> u64 {
        self.recording.now_ns()
    }

    /// See [`Seams::slowest_clock`](super::seams::Seams::slowest_clock).
    pub(super) fn slowest_clock(&self) -> f64 {
        self.recording.seams().slowest_clock
    }

    /// Records that it asks something.
    pub(super) fn begins(&self, key: &str, call: &Call) {
        self.recording.invoke(self.process, key, call);
    }

    /// Records what came of it.
    pub(super) fn ends(&self, outcome: OpOutcome) {
        self.recording.complete(self.process, &(outcome, None));
    }

    /// Whether it shall end.
    pub fn is_over(&self) -> bool {
        self.recording.is_over()
    }

    /// 64 random bits.
    pub fn random(&self) -> u64 {
        self.recording.random()
    }

    /// A number in `[least, most]`.
    pub fn between(&self, least: u64, most: u64) -> u64 {
        self.recording.between(least, most)
    }

    /// A number that no client of the run had under this name, from 0.
    pub fn unique(&self, name: &'static str) -> u64 {
        self.recording.unique(name)
    }

    /// A value that says who writes it, and that hardly anybody else writes.
    pub fn value(&self) -> String {
        format!("{}-{:x}", self.process, self.random() & 0xFFFF_FFFF)
    }

    /// The version at which it saw a key last; 0: absent, or never.
    pub fn seen(&self, key: &str) -> u64 {
        self.seen.get(key).copied().unwrap_or(0)
    }

    /// Asks something and records what came of it.
    pub async fn call(&mut self, key: &str, call: Call) -> OpOutcome {
        self.call_slowly(key, call, 0).await
    }

    /// As [`Caller::call`]; a read of all registers pauses before it takes the next one.
    pub async fn call_slowly(&mut self, key: &str, call: Call, pause_ms_max: u64) -> OpOutcome {
        self.recording.invoke(self.process, key, &call);
        let ended = match &self.door {
            Door::Library(library) => library.ask(key, &call, pause_ms_max).await,
            Door::Unary(unary) => unary.ask(key, &call).await,
        };
        self.noted(key, ended)
    }

    /// As [`Caller::call`], of a read: by the replica of the node that is asked, whoever leads.
    pub async fn call_follower(&mut self, key: &str, call: Call) -> OpOutcome {
        self.recording.invoke(self.process, key, &call);
        let ended = match &self.door {
            Door::Library(library) => library.ask_follower(key, &call).await,
            Door::Unary(unary) => unary.ask_follower(key, &call).await,
        };
        self.noted(key, ended)
    }

    /// Records what came of a call, and keeps what was learnt of the key.
    fn noted(&mut self, key: &str, ended: Ended) -> OpOutcome {
        self.recording.complete(self.process, &ended);
        let (outcome, _) = ended;
        match &outcome {
            OpOutcome::Ok(Reply::Written { version } | Reply::Incremented { version, .. }) => {
                self.recording.committed();
                self.seen.insert(key.to_owned(), *version);
            }
            OpOutcome::Ok(Reply::Appended | Reply::Swept { .. }) => self.recording.committed(),
            OpOutcome::Ok(Reply::Expired { version: 0 }) => {
                self.seen.insert(key.to_owned(), 0);
            }
            OpOutcome::Ok(Reply::Expired { version }) => {
                self.recording.committed();
                self.seen.insert(key.to_owned(), *version);
            }
            OpOutcome::Ok(Reply::Deleted { .. }) => {
                self.recording.committed();
                self.seen.insert(key.to_owned(), 0);
            }
            OpOutcome::Ok(Reply::Read(state)) | OpOutcome::Refused(state) => {
                let version = state.as_ref().map_or(0, |state| state.version);
                self.seen.insert(key.to_owned(), version);
            }
            OpOutcome::Unknown => self.process = self.recording.next_process(self.number),
            _ => {}
        }
        outcome
    }

    /// Reads a key, one of `keys` that are numbered. Whoever makes unary calls now and then reads several of them in
    /// one: only there is such a call.
    pub async fn read(&mut self, key: String, keys: u64) {
        if self.is_unary() && self.random().is_multiple_of(4) {
            let prefix = key.trim_end_matches(|digit: char| digit.is_ascii_digit());
            let read = |number| (format!("{prefix}{number}"), Call::Read);
            let items = (0..keys.clamp(1, READ_MAX)).map(read).collect();
            return self.batch(items, None).await;
        }
        self.call(&key, Call::Read).await;
    }

    /// Writes keys at once, or reads them where it makes unary calls, and records what came of each. The items are
    /// operations of their own, each of a process of its own: they are asked at the same time.
    pub async fn batch(&mut self, items: Vec<(String, Call)>, ttl_ms: Option<u64>) {
        while self.others.len() < items.len() {
            self.others.push(self.recording.process(self.number));
        }
        let asked = || items.iter().zip(&self.others);
        let writer;
        let answers: Vec<future::BoxFuture<'_, Ended>> = match &self.door {
            Door::Library(library) => {
                // Kept until all have ended: dropped, it would let go of those that have not.
                writer = library.writer(ttl_ms);
                let mut answers = Vec::with_capacity(items.len());
                for ((key, call), process) in asked() {
                    self.recording.invoke(*process, key, call);
                    answers.push(writer.write(key, call).await);
                }
                answers
            }
            Door::Unary(unary) => {
                for ((key, call), process) in asked() {
                    self.recording.invoke(*process, key, call);
                }
                let ended = unary.batch(&items).await;
                ended.into_iter().map(|ended| future::ready(ended).boxed()).collect()
            }
        };
        for (((key, _), process), answer) in items.iter().zip(&mut self.others).zip(answers) {
            let ended = answer.await;
            self.recording.complete(*process, &ended);
            match ended {
                (OpOutcome::Ok(Reply::Written { version }), _) => {
                    self.recording.committed();
                    self.seen.insert(key.clone(), version);
                }
                (OpOutcome::Unknown, _) => *process = self.recording.next_process(self.number),
                _ => {}
            }
        }
    }
}
