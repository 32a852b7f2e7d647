//! The closed loop: every client has one operation under way, and begins the next when that is answered.
//!
//! Clients share a few connections, as the tasks of a real program would. There is no think time: throughput is
//! the number of clients over the mean latency. What counts are operations that end in the measured time,
//! which begins after [`WARM_UP`]: those that began before it and end in it count, those that end after it do
//! not, so that no operation counts twice and none is counted without its end. CPU time is that of the same
//! interval.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use super::{
    cpu::Meter,
    keys::{COUNTER, key},
    latency,
};

/// Connections that clients share where nothing else is said.
pub(crate) const CONNECTIONS_DEFAULT: usize = 16;

/// Before measuring: connections, leaders and caches settle.
const WARM_UP: Duration = Duration::from_secs(1);
/// Keys written at a time while filling.
const FILL_IN_FLIGHT: usize = 256;
/// After an error a client pauses, so that a cluster that is down is not asked in a busy loop.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// One connection to what is loaded. Clones share the connection.
pub(crate) trait System: Clone + Send + 'static {
    /// Why an operation failed.
    type Error: fmt::Display + Send;

    /// Writes a key.
    fn put(
        &mut self,
        key: Bytes,
        value: Bytes,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Reads a key, linearizably.
    fn get(&mut self, key: Bytes) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Adds one to the number that a key holds.
    fn increment(&mut self, key: Bytes) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Takes a timestamp.
    fn timestamp(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Operation {
    /// Writes only
    Put,
    /// Linearizable reads only
    Get,
    /// Every other operation a write
    Mixed,
    /// Increments of one key, the same for all clients
    Increment,
    /// Timestamps, and no keys
    Timestamp,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::Mixed => "mixed",
            Operation::Increment => "increment",
            Operation::Timestamp => "timestamp",
        }
    }

    /// Whether the keys have to be there.
    pub(crate) fn reads(self) -> bool {
        matches!(self, Operation::Get | Operation::Mixed)
    }
}

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) clients: usize,
    pub(crate) connections: usize,
    pub(crate) seconds: Duration,
    pub(crate) operation: Operation,
    pub(crate) value_bytes: usize,
    pub(crate) keys: usize,
    pub(crate) server_pids: Vec<u32>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Of successful operations, in microseconds.
    pub(crate) latency: Histogram<u64>,
    pub(crate) errors: u64,
    /// The first of the errors.
    pub(crate) error: Option<String>,
    /// The longest that a client was without an operation that succeeds, from the end of one to that of the next,
    /// whenever that was.
    pub(crate) gap: Duration,
    pub(crate) took: Duration,
    pub(crate) client_cpu: Option<Duration>,
    pub(crate) server_cpu: Option<Duration>,
}

impl Load {
    /// Writes every key once.
    ///
    /// # Errors
    /// The first that an operation ends with.
    pub(crate) async fn fill<S: System>(&self, systems: &[S]) -> Result<(), S::Error> {
        let value = self.value();
        stream::iter((0..self.keys).zip(systems.iter().cycle()))
            .map(|(index, system)| {
                let (mut system, value) = (system.clone(), value.clone());
                async move { system.put(key(index), value).await }
            })
            .buffer_unordered(FILL_IN_FLIGHT)
            .try_for_each(async |()| Ok(()))
            .await
    }

    /// Warms up, measures, and waits for the operations that are under way.
    ///
    /// # Errors
    /// This program is at fault. Operations that fail are counted.
    pub(crate) async fn run<S: System>(&self, systems: &[S]) -> Result<Measured, String> {
        let load = Arc::new(self.clone());
        let from = Instant::now() + WARM_UP;
        let until = from + self.seconds;
        let mut tasks = JoinSet::new();
        for system in systems.iter().cycle().take(self.clients) {
            tasks.spawn(Arc::clone(&load).run_client(system.clone(), from, until));
        }
        tokio::time::sleep_until(from).await;
        let meter = Meter::start(&self.server_pids);
        tokio::time::sleep_until(until).await;
        let (client_cpu, server_cpu) = meter.read();

        let mut measured = Measured {
            latency: latency::histogram(),
            errors: 0,
            error: None,
            gap: Duration::ZERO,
            took: self.seconds,
            client_cpu,
            server_cpu,
        };
        while let Some(ended) = tasks.join_next().await {
            measured.add(ended.map_err(|error| format!("a client ended: {error}"))?)?;
        }
        Ok(measured)
    }

    /// One client: an operation after the other. Counts those that end in the measured time.
    async fn run_client<S: System>(
        self: Arc<Self>,
        mut system: S,
        from: Instant,
        until: Instant,
    ) -> One {
        let value = self.value();
        let mut one = One {
            latency: latency::histogram(),
            errors: 0,
            error: None,
            gap: Duration::ZERO,
            served: from,
        };
        let mut writes = rand::random::<bool>();
        loop {
            let begun = Instant::now();
            if begun >= until {
                one.gap = one.gap.max(until.saturating_duration_since(one.served));
                return one;
            }
            let key = key(rand::random_range(0..self.keys));
            let result = match self.operation {
                Operation::Put => system.put(key, value.clone()).await,
                Operation::Get => system.get(key).await,
                Operation::Mixed => {
                    writes = !writes;
                    match writes {
                        true => system.put(key, value.clone()).await,
                        false => system.get(key).await,
                    }
                }
                Operation::Increment => system.increment(COUNTER).await,
                Operation::Timestamp => system.timestamp().await,
            };
            let ended = Instant::now();
            if result.is_ok() && ended >= from {
                one.gap = one.gap.max(ended - one.served);
                one.served = ended;
            }
            if ended < from || ended >= until {
                continue;
            }
            match result {
                Ok(()) => latency::record(&mut one.latency, ended - begun),
                Err(error) => {
                    one.errors += 1;
                    one.error.get_or_insert_with(|| error.to_string());
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    /// Random, so that compression does not make it smaller than it is.
    fn value(&self) -> Bytes {
        (0..self.value_bytes).map(|_| rand::random::<u8>()).collect()
    }
}

/// What one client saw.
struct One {
    latency: Histogram<u64>,
    errors: u64,
    error: Option<String>,
    gap: Duration,
    /// When an operation succeeded last.
    served: Instant,
}

impl Measured {
    fn add(&mut self, one: One) -> Result<(), String> {
        self.latency.add(&one.latency).map_err(|error| format!("cannot add latencies: {error}"))?;
        self.errors += one.errors;
        self.error = self.error.take().or(one.error);
        self.gap = self.gap.max(one.gap);
        Ok(())
    }

    pub(crate) fn operations_a_second(&self) -> f64 {
        self.latency.len() as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn client_cpu_us_an_operation(&self) -> Option<f64> {
        self.us_an_operation(self.client_cpu)
    }

    pub(crate) fn server_cpu_us_an_operation(&self) -> Option<f64> {
        self.us_an_operation(self.server_cpu)
    }

    fn us_an_operation(&self, cpu: Option<Duration>) -> Option<f64> {
        (!self.latency.is_empty()).then_some(cpu?.as_secs_f64() * 1e6 / self.latency.len() as f64)
    }

    /// For programs, `bench-compare` among them.
    pub(crate) fn json(&self, load: &Load) -> Value {
        json!({
            "op": load.operation.name(),
            "clients": load.clients,
            "connections": load.connections,
            "keys": load.keys,
            "value_bytes": load.value_bytes,
            "seconds": self.took.as_secs_f64(),
            "operations": self.latency.len(),
            "ops_per_s": self.operations_a_second(),
            "p50_us": self.latency.value_at_quantile(0.5),
            "p99_us": self.latency.value_at_quantile(0.99),
            "max_us": self.latency.max(),
            "gap_us": self.gap.as_micros() as u64,
            "errors": self.errors,
            "first_error": self.error,
            "client_cpu_us_per_op": self.client_cpu_us_an_operation(),
            "server_cpu_us_per_op": self.server_cpu_us_an_operation(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use super::*;

    fn load(operation: Operation) -> Load {
        Load {
            clients: 3,
            connections: 1,
            seconds: Duration::from_millis(500),
            operation,
            value_bytes: 5,
            keys: 1_000,
            server_pids: Vec::new(),
        }
    }

    /// Remembers what was written, and how many writes were under way at a time.
    #[derive(Clone, Default)]
    struct Memory {
        written: Arc<Mutex<BTreeMap<Bytes, usize>>>,
        under_way: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
    }

    impl System for Memory {
        type Error = String;

        async fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), String> {
            assert_eq!(value.len(), 5);
            let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(under_way, Ordering::Relaxed);
            tokio::task::yield_now().await;
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            *self.written.lock().expect("no panic").entry(key).or_default() += 1;
            Ok(())
        }

        async fn get(&mut self, _: Bytes) -> Result<(), String> {
            Err("no reads here".to_owned())
        }

        async fn increment(&mut self, key: Bytes) -> Result<(), String> {
            *self.written.lock().expect("no panic").entry(key).or_default() += 1;
            tokio::task::yield_now().await;
            Ok(())
        }

        async fn timestamp(&mut self) -> Result<(), String> {
            Err("no timestamps here".to_owned())
        }
    }

    #[tokio::test]
    async fn filling_writes_every_key_once_and_not_all_at_a_time() {
        let memory = Memory::default();
        load(Operation::Get).fill(&[memory.clone(), memory.clone()]).await.expect("written");
        let written = memory.written.lock().expect("no panic");
        assert_eq!(written.len(), 1_000);
        assert!(written.values().all(|times| *times == 1));
        assert_eq!(memory.most.load(Ordering::Relaxed), FILL_IN_FLIGHT);
    }

    #[tokio::test]
    async fn every_client_has_one_operation_under_way_and_errors_are_counted() {
        let (memory, load) = (Memory::default(), load(Operation::Mixed));
        let measured = load.run(std::slice::from_ref(&memory)).await.expect("measured");
        assert_eq!(memory.most.load(Ordering::Relaxed), 3);
        let written: usize = memory.written.lock().expect("no panic").values().sum();
        let counted = measured.latency.len();
        assert!((1..written as u64).contains(&counted), "the warm-up does not count: {counted}");
        assert!(measured.errors > 0, "{measured:?}");
        let json = measured.json(&load);
        assert!(measured.gap > Duration::ZERO && measured.gap < load.seconds, "{measured:?}");
        assert_eq!((&json["op"], &json["clients"]), (&json!("mixed"), &json!(3)));
        assert_eq!(json["first_error"], "no reads here");
    }

    #[tokio::test]
    async fn one_counter_takes_all_increments() {
        let (memory, load) = (Memory::default(), load(Operation::Increment));
        let measured = load.run(std::slice::from_ref(&memory)).await.expect("measured");
        let written = memory.written.lock().expect("no panic");
        assert_eq!(written.keys().collect::<Vec<_>>(), [&COUNTER]);
        assert!((1..written[&COUNTER] as u64).contains(&measured.latency.len()), "{measured:?}");
    }

    #[test]
    fn clients_add_up() {
        let mut sum = Measured {
            latency: latency::histogram(),
            errors: 0,
            error: None,
            gap: Duration::ZERO,
            took: Duration::from_secs(1),
            client_cpu: None,
            server_cpu: None,
        };
        for us in [1, 1000, latency::US_MAX] {
            let mut one = latency::histogram();
            latency::record(&mut one, Duration::from_micros(us));
            let (error, gap) = (Some(us.to_string()), Duration::from_micros(us));
            sum.add(One { latency: one, errors: 1, error, gap, served: Instant::now() })
                .expect("added");
        }
        assert_eq!(sum.latency.len(), 3);
        assert_eq!((sum.errors, sum.gap), (3, Duration::from_micros(latency::US_MAX)));
        assert_eq!(sum.error.as_deref(), Some("1"));
        let max = sum.latency.max();
        assert!(max.abs_diff(latency::US_MAX) < latency::US_MAX / 50, "{max}");
        assert_eq!(sum.client_cpu_us_an_operation(), None);
    }
}
