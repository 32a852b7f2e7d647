//! The closed loop: clients, what they do, what is measured.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use hdrhistogram::Histogram;
use quintet_client::{Client, Error};
use tokio::{task::JoinSet, time::Instant};

use super::{Operation, cpu::Meter};
use crate::cli::{connect::connect as connect_one, exit::Failure};

/// Before measuring: connections, leaders and caches settle.
const WARM_UP: Duration = Duration::from_secs(1);
/// Keys written at a time while filling.
const FILL_IN_FLIGHT: usize = 256;
/// Longest latency told apart.
const LATENCY_US_MAX: u64 = 600 * 1_000_000;
/// After an error a client pauses, so that a cluster that is down is not asked in a busy loop.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// What to do.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) clients: usize,
    pub(super) seconds: Duration,
    pub(super) operation: Operation,
    pub(super) value_bytes: usize,
    pub(super) keys: usize,
    pub(super) server_pids: Vec<u32>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Measured {
    /// Of successful operations, in microseconds.
    pub(super) latency: Histogram<u64>,
    pub(super) errors: u64,
    /// The first of the errors.
    pub(super) error: Option<String>,
    pub(super) took: Duration,
    pub(super) client_cpu: Option<Duration>,
    pub(super) server_cpu: Option<Duration>,
}

impl Measured {
    pub(super) fn operations_a_second(&self) -> f64 {
        self.latency.len() as f64 / self.took.as_secs_f64()
    }

    pub(super) fn client_cpu_us_an_operation(&self) -> Option<f64> {
        self.us_an_operation(self.client_cpu)
    }

    pub(super) fn server_cpu_us_an_operation(&self) -> Option<f64> {
        self.us_an_operation(self.server_cpu)
    }

    fn us_an_operation(&self, cpu: Option<Duration>) -> Option<f64> {
        (!self.latency.is_empty()).then_some(cpu?.as_secs_f64() * 1e6 / self.latency.len() as f64)
    }
}

/// Two digits are enough, and a thousand clients have a histogram each.
pub(super) fn new_histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 2, 2).expect("constant bounds are valid");
    histogram.auto(true);
    histogram
}

/// Adds a latency. The histogram grows as needed; its own `saturating_record` would not.
pub(super) fn record(histogram: &mut Histogram<u64>, us: u64) {
    histogram.record(us.clamp(1, LATENCY_US_MAX)).expect("the histogram grows as needed");
}

/// Instances of the client library; each begins with another node.
pub(super) async fn connect(
    addresses: &[String],
    connections: usize,
    timeout: Duration,
) -> Result<Vec<Client>, Failure> {
    let mut clients = Vec::new();
    let mut nodes = addresses.to_vec();
    for _ in 0..connections {
        clients.push(connect_one(nodes.clone(), timeout).await?);
        nodes.rotate_left(1);
    }
    Ok(clients)
}

impl Load {
    /// Writes every key once.
    pub(super) async fn fill(&self, clients: &[Client]) -> Result<(), Failure> {
        let value = self.value();
        stream::iter((0..self.keys).zip(clients.iter().cycle()))
            .map(|(index, client)| client.put(key(index), value.clone()))
            .buffer_unordered(FILL_IN_FLIGHT)
            .try_for_each(async |_| Ok(()))
            .await?;
        Ok(())
    }

    /// Warms up, measures, and waits for the operations that are under way.
    pub(super) async fn run(&self, clients: &[Client]) -> Result<Measured, Failure> {
        let load = Arc::new(self.clone());
        let from = Instant::now() + WARM_UP;
        let until = from + self.seconds;
        let mut tasks = JoinSet::new();
        for client in clients.iter().cycle().take(self.clients) {
            tasks.spawn(Arc::clone(&load).run_client(client.clone(), from, until));
        }
        tokio::time::sleep_until(from).await;
        let meter = Meter::start(&self.server_pids);
        tokio::time::sleep_until(until).await;
        let (client_cpu, server_cpu) = meter.read();

        let mut measured = Measured {
            latency: new_histogram(),
            errors: 0,
            error: None,
            took: self.seconds,
            client_cpu,
            server_cpu,
        };
        while let Some(ended) = tasks.join_next().await {
            let one =
                ended.map_err(|error| Failure::internal(format!("a client ended: {error}")))?;
            measured.add(one)?;
        }
        Ok(measured)
    }

    /// One client: an operation after the other. Counts those that end in the measured time.
    async fn run_client(self: Arc<Self>, client: Client, from: Instant, until: Instant) -> One {
        let value = self.value();
        let mut one = One { latency: new_histogram(), errors: 0, error: None };
        let mut writes = rand::random::<bool>();
        loop {
            let begun = Instant::now();
            if begun >= until {
                return one;
            }
            writes = match self.operation {
                Operation::Put => true,
                Operation::Get => false,
                Operation::Mixed => !writes,
            };
            let result = self.operate(&client, writes, &value).await;
            let ended = Instant::now();
            if ended < from || ended >= until {
                continue;
            }
            match result {
                Ok(()) => {
                    let us = u64::try_from((ended - begun).as_micros()).unwrap_or(u64::MAX);
                    record(&mut one.latency, us);
                }
                Err(error) => {
                    one.errors += 1;
                    one.error.get_or_insert_with(|| error.to_string());
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    async fn operate(&self, client: &Client, write: bool, value: &Bytes) -> Result<(), Error> {
        let key = key(rand::random_range(0..self.keys));
        match write {
            true => client.put(key, value.clone()).await.map(drop),
            false => client.get(key).await.map(drop),
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
}

impl Measured {
    fn add(&mut self, one: One) -> Result<(), Failure> {
        self.latency
            .add(&one.latency)
            .map_err(|error| Failure::internal(format!("cannot add latencies: {error}")))?;
        self.errors += one.errors;
        self.error = self.error.take().or(one.error);
        Ok(())
    }
}

/// What all keys of benches begin with.
pub(super) const PREFIX: &str = "bench/";

/// Spread evenly over `bench/00000000` to `bench/ffffffff`, whatever their number is, so that ranges
/// which divide that evenly are equally busy.
pub(super) fn key(index: usize) -> Bytes {
    format!("{PREFIX}{:08x}", spread(index)).into()
}

/// Multiplication by an odd number: no two of the first 2^32 are alike (Knuth, volume 3, section 6.4).
fn spread(index: usize) -> u32 {
    (index as u32).wrapping_mul(0x9E37_79B1)
}

/// Keys that divide those of every load into equal parts.
pub(crate) fn split_points(parts: u32) -> Vec<Bytes> {
    let point = |part: u32| (u64::from(part) << 32) / u64::from(parts.max(1));
    (1..parts).map(|part| format!("{PREFIX}{:08x}", point(part)).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spread_over_equal_parts() {
        let points = split_points(8);
        let mut counts = [0_u32; 8];
        for index in 0..10_000 {
            let key = key(index);
            counts[points.iter().filter(|point| **point <= key).count()] += 1;
        }
        assert!(counts.iter().all(|count| (1_200..1_300).contains(count)), "{counts:?}");
    }

    #[test]
    fn clients_add_up() {
        let mut sum = Measured {
            latency: new_histogram(),
            errors: 0,
            error: None,
            took: Duration::from_secs(1),
            client_cpu: None,
            server_cpu: None,
        };
        for us in [1, 1000, LATENCY_US_MAX] {
            let mut latency = new_histogram();
            record(&mut latency, us);
            let error = Some(us.to_string());
            sum.add(One { latency, errors: 1, error }).expect("added");
        }
        assert_eq!(sum.latency.len(), 3);
        assert_eq!(sum.errors, 3);
        assert_eq!(sum.error.as_deref(), Some("1"));
        let max = sum.latency.max();
        assert!(max.abs_diff(LATENCY_US_MAX) < LATENCY_US_MAX / 50, "{max}");
        assert_eq!(sum.client_cpu_us_an_operation(), None);
    }
}
