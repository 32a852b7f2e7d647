//! What the clients do: each one operation after the other, chosen by the scenario's mix, recorded
//! in one history. The items of a batch are operations of their own, each of a process of its own: they are
//! asked at the same time.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use parking_lot::Mutex;
use quintet_client::{Client, Condition, Error, PutOptions, ScanOptions, Version, Versioned};
use tokio::time::sleep;

use crate::{
    history::{Call, Entry, History, Outcome, Record, Reply},
    random::{between, random},
    scenario::{Mix, Workload},
};

/// The keys of the acknowledged set begin so.
pub const INSERT_PREFIX: &str = "set/";

/// The keys that expire begin so.
pub const TTL_PREFIX: &str = "ttl/";

/// Registers of a batch, and as many new keys.
const BATCH_KEYS_MAX: u64 = 4;

/// What all clients of a run share.
pub struct Shared {
    /// What they asked and saw.
    pub history: Mutex<History>,
    /// Set when they shall end.
    pub stop: AtomicBool,
    /// Acknowledged writes.
    pub commits: AtomicU64,
    /// Which client each process was, by the order in which clients came.
    pub clients: Mutex<BTreeMap<u64, u64>>,
    callers: AtomicU64,
    processes: AtomicU64,
    inserts: AtomicU64,
}

impl Shared {
    /// Nothing asked yet.
    pub fn new() -> Arc<Shared> {
        Arc::new(Shared {
            history: Mutex::new(History::new()),
            stop: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            clients: Mutex::default(),
            callers: AtomicU64::new(0),
            processes: AtomicU64::new(0),
            inserts: AtomicU64::new(0),
        })
    }

    /// A process number that nobody had, for a client: after an unknown outcome it goes on as another.
    fn process(&self, client: u64) -> u64 {
        let process = self.processes.fetch_add(1, Ordering::Relaxed);
        self.clients.lock().insert(process, client);
        process
    }
}

fn now_ns() -> u64 {
    u64::try_from(madsim::time::TimeHandle::current().elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn options(ttl_ms: Option<u64>) -> PutOptions {
    let options = PutOptions::new();
    ttl_ms.map_or(options, |ms| options.ttl(Duration::from_millis(ms)))
}

fn record(state: Versioned) -> Record {
    Record { value: String::from_utf8_lossy(&state.value).into_owned(), version: state.version.0 }
}

fn outcome(call: &Call, asked: Result<Reply, Error>) -> Outcome {
    match asked {
        Ok(reply) => Outcome::Ok(reply),
        Err(Error::Conflict { current, .. }) => Outcome::Refused(current.map(record)),
        Err(error) if error.maybe_committed() => Outcome::Unknown,
        Err(error) => {
            tracing::debug!(?call, %error, "not done");
            Outcome::Failed
        }
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
    /// Choices that it makes before it stops.
    left: Option<u64>,
}

/// What a client does next.
enum Chosen {
    /// One operation on a key.
    One(String, Call),
    /// Writes of several keys, which expire after so many milliseconds, if they do.
    Batch(Vec<(String, Call)>, Option<u64>),
}

impl Caller {
    /// A client of the run.
    pub fn new(shared: Arc<Shared>, client: Client) -> Caller {
        let number = shared.callers.fetch_add(1, Ordering::Relaxed);
        let process = shared.process(number);
        let (others, seen) = (Vec::new(), BTreeMap::new());
        Caller { shared, client, number, process, others, seen, left: None }
    }

    /// It stops after so many operations or batches.
    pub fn limit(mut self, operations: Option<u64>) -> Caller {
        self.left = operations;
        self
    }

    /// Works until told to stop.
    pub async fn work(mut self, workload: Workload) {
        while !self.shared.stop.load(Ordering::Acquire) && self.left != Some(0) {
            self.left = self.left.map(|left| left - 1);
            match self.choose(&workload) {
                Chosen::One(key, call) => drop(self.call(&key, call).await),
                Chosen::Batch(items, ttl_ms) => self.batch(items, ttl_ms).await,
            }
            let pause = between(0, workload.think_time_ms_max * 1_000);
            sleep(Duration::from_micros(pause)).await;
        }
    }

    fn choose(&self, workload: &Workload) -> Chosen {
        // A draw less where no scenario asks for it: seeds keep their meaning.
        let batch = u64::from(workload.mix.batch);
        if batch > 0 && random() % workload.mix.total() < batch {
            return self.choose_batch(workload);
        }
        let (key, call) = self.choose_one(workload);
        Chosen::One(key, call)
    }

    /// Some keys in a row, so that some of them are in one range: registers, or keys that expire, and new
    /// ones of the acknowledged set.
    fn choose_batch(&self, workload: &Workload) -> Chosen {
        let value = || format!("{}-{:x}", self.process, random() & 0xFFFF_FFFF);
        let expiring = workload.mix.expiring() > 0 && random().is_multiple_of(2);
        let ttl_ms = expiring.then(|| between(workload.ttl_ms_min, workload.ttl_ms_max));
        let prefix = if expiring { TTL_PREFIX } else { "key/" };
        let keys = workload.keys.max(1);
        let (first, count) = (random() % keys, between(1, keys.min(BATCH_KEYS_MAX)));
        let key = |offset| format!("{prefix}{}", (first + offset) % keys);
        let write = |offset| (key(offset), Call::Write { value: value(), ttl_ms });
        let mut items: Vec<_> = (0..count).map(write).collect();
        if !expiring && workload.mix.insert > 0 {
            let inserts = between(0, BATCH_KEYS_MAX);
            items.extend((0..inserts).map(|_| self.insert(value())));
        }
        Chosen::Batch(items, ttl_ms)
    }

    fn insert(&self, value: String) -> (String, Call) {
        let number = self.shared.inserts.fetch_add(1, Ordering::Relaxed);
        (format!("{INSERT_PREFIX}{number:08}"), Call::Insert { value })
    }

    fn choose_one(&self, workload: &Workload) -> (String, Call) {
        let register = format!("key/{}", random() % workload.keys.max(1));
        let counter = format!("counter/{}", random() % workload.keys.max(1));
        let value = || format!("{}-{:x}", self.process, random() & 0xFFFF_FFFF);
        let Mix {
            get,
            put,
            cas,
            delete,
            increment,
            insert,
            scan,
            put_ttl,
            cas_ttl,
            get_ttl,
            batch,
        } = workload.mix;
        let mut left = random() % (workload.mix.total() - u64::from(batch)).max(1);
        let mut falls = |weight: u32| {
            let hit = left < u64::from(weight);
            left = left.saturating_sub(u64::from(weight));
            hit
        };
        if falls(get) {
            (register, Call::Read)
        } else if falls(put) {
            (register, Call::Write { value: value(), ttl_ms: None })
        } else if falls(cas) {
            let expected = self.seen.get(&register).copied().unwrap_or(0);
            (register, Call::Cas { expected, value: value(), ttl_ms: None })
        } else if falls(delete) {
            (register, Call::Delete { expected: None })
        } else if falls(increment) {
            (counter, Call::Increment { delta: 1 })
        } else if falls(put_ttl + cas_ttl + get_ttl) {
            self.choose_expiring(workload, value())
        } else if falls(scan) {
            (INSERT_PREFIX.to_owned(), Call::Scan)
        } else {
            debug_assert!(insert > 0);
            self.insert(value())
        }
    }

    fn choose_expiring(&self, workload: &Workload, value: String) -> (String, Call) {
        let key = format!("{TTL_PREFIX}{}", random() % workload.keys.max(1));
        let Mix { put_ttl, cas_ttl, .. } = workload.mix;
        let drawn = random() % workload.mix.expiring().max(1);
        // The least of three: many that expire soon, and some that live longer than clocks differ.
        let (least, most) = (workload.ttl_ms_min, workload.ttl_ms_max);
        let ttl = (0..3).map(|_| between(least, most)).min();
        let expected = self.seen.get(&key).copied().unwrap_or(0);
        if drawn < u64::from(put_ttl) {
            (key, Call::Write { value, ttl_ms: ttl })
        } else if drawn < u64::from(put_ttl) + u64::from(cas_ttl) {
            (key, Call::Cas { expected, value, ttl_ms: ttl })
        } else {
            (key, Call::Read)
        }
    }

    /// Asks something and records what came of it.
    pub async fn call(&mut self, key: &str, call: Call) -> Outcome {
        self.shared.history.lock().invoke(self.process, now_ns(), key, &call);
        let outcome = self.ask(key, &call).await;
        self.shared.history.lock().complete(self.process, now_ns(), &outcome);
        match &outcome {
            Outcome::Ok(Reply::Written { version } | Reply::Incremented { version, .. }) => {
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
            Outcome::Unknown => self.process = self.shared.process(self.number),
            _ => {}
        }
        outcome
    }

    /// Writes keys at once and records what came of each.
    async fn batch(&mut self, items: Vec<(String, Call)>, ttl_ms: Option<u64>) {
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
            self.shared.history.lock().invoke(*process, now_ns(), key, call);
            outcomes.push(writer.write_tracked(key, value).await);
        }
        for (((key, call), process), told) in items.iter().zip(&mut self.others).zip(outcomes) {
            let written = told.await.map(|version| Reply::Written { version: version.0 });
            let outcome = outcome(call, written);
            self.shared.history.lock().complete(*process, now_ns(), &outcome);
            match outcome {
                Outcome::Ok(Reply::Written { version }) => {
                    self.shared.commits.fetch_add(1, Ordering::Relaxed);
                    self.seen.insert(key.clone(), version);
                }
                Outcome::Unknown => *process = self.shared.process(self.number),
                _ => {}
            }
        }
    }

    async fn ask(&self, key: &str, call: &Call) -> Outcome {
        let client = &self.client;
        let key = key.to_owned();
        let written = |version: Version| Reply::Written { version: version.0 };
        let asked = match call {
            Call::Read => client.get(key).await.map(|state| Reply::Read(state.map(record))),
            Call::Write { value, ttl_ms } => {
                client.put_with(key, value.clone(), options(*ttl_ms)).await.map(written)
            }
            Call::Insert { value } => client.put(key, value.clone()).await.map(written),
            Call::Cas { expected, value, ttl_ms } => {
                let condition = match expected {
                    0 => Condition::Absent,
                    expected => Condition::Version(Version(*expected)),
                };
                let options = options(*ttl_ms).condition(condition);
                client.put_with(key, value.clone(), options).await.map(written)
            }
            Call::Delete { expected: None } => client
                .delete(key)
                .await
                .map(|version| Reply::Deleted { version: version.map_or(0, |version| version.0) }),
            Call::Delete { expected: Some(expected) } => client
                .delete_if(key, Version(*expected))
                .await
                .map(|version| Reply::Deleted { version: version.0 }),
            Call::Increment { delta } => client
                .increment(key, *delta)
                .await
                .map(|sum| Reply::Incremented { number: sum.value, version: sum.version.0 }),
            Call::Scan => self.scan(key).await.map(Reply::Scanned),
        };
        outcome(call, asked)
    }

    async fn scan(&self, prefix: String) -> Result<Vec<Entry>, Error> {
        let mut scan = self.client.scan(ScanOptions::prefix(prefix));
        let mut entries = Vec::new();
        while let Some(found) = scan.next().await {
            let found = found?;
            entries.push(Entry {
                key: String::from_utf8_lossy(&found.key).into_owned(),
                value: String::from_utf8_lossy(&found.value).into_owned(),
                version: found.version.0,
            });
        }
        Ok(entries)
    }
}
