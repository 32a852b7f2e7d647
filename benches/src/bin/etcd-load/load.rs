//! The closed loop. It mirrors `server/src/cli/bench/load.rs`, constants included: change both.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use etcd_client::{Client, ConnectOptions, Error, KvClient};
use hdrhistogram::Histogram;
use tokio::{task::JoinSet, time::Instant};

use super::{Operation, cpu::Meter};

/// Before measuring: connections, leaders and caches settle.
const WARM_UP: Duration = Duration::from_secs(1);
/// Keys written at a time while filling.
const FILL_IN_FLIGHT: usize = 256;
/// Longest latency told apart.
const LATENCY_US_MAX: u64 = 600 * 1_000_000;
/// After an error a client pauses, so that a cluster that is down is not asked in a busy loop.
const ERROR_PAUSE: Duration = Duration::from_millis(10);
/// How long an operation may take; the default of `quintet bench`.
const TIMEOUT: Duration = Duration::from_secs(10);

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
    pub(super) fn us_an_operation(&self, cpu: Option<Duration>) -> Option<f64> {
        (!self.latency.is_empty()).then_some(cpu?.as_secs_f64() * 1e6 / self.latency.len() as f64)
    }
}

/// One HTTP/2 connection each; each goes to another member.
pub(super) async fn connect(
    endpoints: &[String],
    connections: usize,
) -> anyhow::Result<Vec<KvClient>> {
    let mut clients = Vec::new();
    for endpoint in endpoints.iter().cycle().take(connections) {
        let options = ConnectOptions::new().with_timeout(TIMEOUT).with_tcp_keepalive(TIMEOUT);
        let client = Client::connect([endpoint], Some(options)).await;
        clients.push(client.with_context(|| format!("cannot connect to {endpoint}"))?.kv_client());
    }
    Ok(clients)
}

impl Load {
    /// Writes every key once.
    pub(super) async fn fill(&self, clients: &[KvClient]) -> anyhow::Result<()> {
        let value = self.value();
        let mut tasks = JoinSet::new();
        for (index, client) in (0..self.keys).zip(clients.iter().cycle()) {
            if tasks.len() >= FILL_IN_FLIGHT
                && let Some(ended) = tasks.join_next().await
            {
                ended??;
            }
            let (mut client, value) = (client.clone(), value.clone());
            tasks.spawn(async move { client.put(key(index), value, None).await.map(drop) });
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Warms up, measures, and waits for the operations that are under way.
    pub(super) async fn run(&self, clients: &[KvClient]) -> anyhow::Result<Measured> {
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
            let one = ended.context("a client ended")?;
            measured.latency.add(&one.latency)?;
            measured.errors += one.errors;
            measured.error = measured.error.take().or(one.error);
        }
        Ok(measured)
    }

    /// One client: an operation after the other. Counts those that end in the measured time.
    async fn run_client(
        self: Arc<Self>,
        mut client: KvClient,
        from: Instant,
        until: Instant,
    ) -> One {
        let value = self.value();
        let mut one = One { latency: new_histogram(), errors: 0, error: None };
        loop {
            let begun = Instant::now();
            if begun >= until {
                return one;
            }
            let result = self.operate(&mut client, &value).await;
            let ended = Instant::now();
            if ended < from || ended >= until {
                continue;
            }
            match result {
                Ok(()) => {
                    let us = u64::try_from((ended - begun).as_micros()).unwrap_or(u64::MAX);
                    let us = us.clamp(1, LATENCY_US_MAX);
                    one.latency.record(us).expect("the histogram grows as needed");
                }
                Err(error) => {
                    one.errors += 1;
                    one.error.get_or_insert_with(|| error.to_string());
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    async fn operate(&self, client: &mut KvClient, value: &[u8]) -> Result<(), Error> {
        let key = key(rand::random_range(0..self.keys));
        match self.operation {
            Operation::Put => client.put(key, value, None).await.map(drop),
            // the other two never come here
            Operation::Get | Operation::Load | Operation::Scan => {
                client.get(key, None).await.map(drop)
            }
        }
    }

    /// Random, so that compression does not make it smaller than it is.
    fn value(&self) -> Vec<u8> {
        (0..self.value_bytes).map(|_| rand::random::<u8>()).collect()
    }
}

/// What one client saw.
struct One {
    latency: Histogram<u64>,
    errors: u64,
    error: Option<String>,
}

/// Two digits are enough, and a thousand clients have a histogram each.
fn new_histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 2, 2).expect("constant bounds are valid");
    histogram.auto(true);
    histogram
}

pub(super) fn key(index: usize) -> Vec<u8> {
    format!("bench/{:08x}", (index as u32).wrapping_mul(0x9E37_79B1)).into_bytes()
}
