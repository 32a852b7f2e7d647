//! The real thing beside the simulation: five real processes on RocksDB, killed and stopped under load.
//!
//! The simulation replaces disks, network, clocks and threads; what stands in for them can be wrong in the
//! same way as the product. So the same clients ([`crate::client`], [`crate::workload`]) work here against
//! `quintet start` processes, the same judges ([`crate::judge`]) read the same history, and the faults are the
//! system's own:
//! `kill -9` of one node, of two, of all at once, of one that has only just started; SIGSTOP and SIGCONT.
//!
//! ```text
//! form five nodes, eight ranges of data                          cluster.rs, node.rs
//! round: wait, kill or stop, wait, start, all nodes are back,    rounds.rs
//!        a write is acknowledged within 10 s
//! heal:  a write within 10 s, last reads, judges, equal replicas
//! ```
//!
//! The seed decides who suffers what and when, and what clients ask for; how the processes interleave it
//! does not decide. A seed that failed need not fail again.
//!
//! Invariants: nothing but 127.0.0.1 is listened on; every process that was started is ended by its own id,
//! also on an error, a panic and Ctrl-C (`node.rs`). `kill -9` takes the process, not the machine: what the
//! system holds in its page cache survives, so a missing sync is found by the simulation and the engine
//! suite, not here.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, anyhow};
use parking_lot::Mutex;
use quintet_client::Client;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

pub use self::setup::Setup;
use self::{
    cluster::Cluster,
    setup::{End, LOOK_PAUSE},
};
use crate::{
    client::{Caller, Recording, Seams},
    history::{Call, History, Op, OpOutcome},
    judge::Verdict,
    scenario::Scenario,
    workload::{self, Pace, Section, Workloads},
};

mod ahead;
pub(crate) mod cluster;
pub mod command;
pub(crate) mod node;
mod rounds;
mod setup;

/// What nodes and clients are.
const LOAD: &str = include_str!("crashtest/load.toml");
/// From the return of all nodes until a write must have been acknowledged.
const HEAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How much later than its deadline a call may end, on a busy machine.
const LATE: Duration = Duration::from_secs(10);

/// What came of it.
pub struct Report {
    /// Whether everything held.
    pub verdict: Verdict,
    /// What the clients asked and saw.
    pub history: History,
    /// Acknowledged writes.
    pub commits: u64,
    /// Operations of unknown outcome.
    pub unknown: u64,
    /// Raft snapshots that nodes were sent.
    pub snapshots: usize,
}

/// Runs the test; a line a round goes to standard output. `Err`: it could not run.
pub async fn run(setup: &Setup) -> anyhow::Result<Report> {
    let scenario = Scenario::parse(LOAD).context("in crashtest/load.toml")?;
    let recording = Recording::new(seams(setup.seed));
    // Its nodes end where it is dropped: at the end of this function, however that is reached.
    let mut cluster = Cluster::prepare(setup, &scenario)?;
    let verdict = match drive(setup, &scenario, &mut cluster, &recording).await {
        Ok(verdict) => verdict,
        Err(End::Violation(why)) => Verdict::violation(why),
        Err(End::CouldNot(error)) => return Err(error),
    };
    let history = std::mem::take(&mut *recording.history.lock());
    let commits = recording.commits.load(Ordering::Relaxed);
    let unknown = recording.unknown.load(Ordering::Relaxed);
    Ok(Report { verdict, history, commits, unknown, snapshots: cluster.snapshots() })
}

fn seams(seed: u64) -> Seams {
    let started = Instant::now();
    // Not the generator of the rounds: what clients draw must not change who is killed.
    let random = Mutex::new(StdRng::seed_from_u64(!seed));
    Seams {
        now_ns: Arc::new(move || u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)),
        random: Arc::new(move || random.lock().random()),
        slowest_clock: 1.0,
    }
}

async fn drive(
    setup: &Setup,
    scenario: &Scenario,
    cluster: &mut Cluster,
    recording: &Arc<Recording>,
) -> Result<Verdict, End> {
    cluster.form(scenario).await?;
    let workloads = Arc::new(Workloads::of(&scenario.workload));
    if let Some(preparation) = workloads.setup() {
        let client = Client::builder().nodes(cluster.addresses()).timeout(HEAL_TIMEOUT);
        let client = client.connect().await.context("the setup")?;
        preparation.run(Caller::new(recording.clone(), client)).await?;
    }
    let mut workers = work(cluster, &scenario.workload, &workloads, recording).await?;
    let nodes = scenario.topology.nodes.len() as u64;
    let rounds = rounds::plan(setup.seed, setup.rounds, nodes);
    for (number, round) in (1..).zip(&rounds) {
        sleep(round.moment).await;
        cluster.suffer(round).await?;
        goes_on(recording).await?;
        if let Some(ended) = workers.try_join_next() {
            return Err(End::CouldNot(anyhow!("a client ended: {ended:?}")));
        }
        let (events, commits) = (recording.history.lock().events().len(), &recording.commits);
        println!(
            "round {number}/{}: {round}; {} operations, {} writes acknowledged, {} unknown",
            setup.rounds,
            events / 2,
            commits.load(Ordering::Relaxed),
            recording.unknown.load(Ordering::Relaxed)
        );
    }
    recording.stop.store(true, Ordering::Release);
    let patience = Duration::from_millis(scenario.workload.operation_timeout_ms) + LATE;
    match timeout(patience, workers.join_all()).await {
        Ok(_) => heal(setup, scenario, cluster, &workloads, recording).await,
        Err(_) => Err(End::Violation(format!("a client's call has no end within {patience:?}"))),
    }
}

/// Starts the clients, each attached to the nodes in an order of its own.
async fn work(
    cluster: &Cluster,
    workload: &Section,
    workloads: &Arc<Workloads>,
    recording: &Arc<Recording>,
) -> anyhow::Result<JoinSet<()>> {
    let deadline = Duration::from_millis(workload.operation_timeout_ms);
    let pace = Pace { think_time_ms_max: workload.think_time_ms_max, steps: None };
    let mut workers = JoinSet::new();
    for index in 0..workload.clients {
        let mut nodes = cluster.addresses();
        let first = usize::try_from(index)? % nodes.len().max(1);
        nodes.rotate_left(first);
        let client = Client::builder().nodes(nodes).timeout(deadline).connect().await;
        let caller = Caller::new(recording.clone(), client.context("a client")?);
        workers.spawn(workload::work(caller, workloads.clone(), pace));
    }
    Ok(workers)
}

/// Waits for an acknowledged write.
async fn goes_on(recording: &Recording) -> Result<(), End> {
    let before = recording.commits.load(Ordering::Relaxed);
    let until = Instant::now() + HEAL_TIMEOUT;
    while recording.commits.load(Ordering::Relaxed) == before {
        if Instant::now() >= until {
            return Err(End::Violation(format!(
                "no write is acknowledged within {HEAL_TIMEOUT:?} after all nodes were back"
            )));
        }
        sleep(LOOK_PAUSE).await;
    }
    Ok(())
}

/// All nodes are up: a write, the last reads, the judges, equal replicas.
async fn heal(
    setup: &Setup,
    scenario: &Scenario,
    cluster: &mut Cluster,
    workloads: &Arc<Workloads>,
    recording: &Arc<Recording>,
) -> Result<Verdict, End> {
    let client = Client::builder().nodes(cluster.addresses()).timeout(HEAL_TIMEOUT);
    let client = client.connect().await.context("no node can be connected to after all rounds")?;
    if setup.prove {
        let ops = recording.history.lock().operations();
        remove_one(&client, &ops).await?;
    }
    let mut caller = Caller::new(recording.clone(), client);
    let written = workload::first_write(&mut caller, HEAL_TIMEOUT).await;
    let read = workload::last_reads(caller, workloads.clone()).await;
    let ops = recording.history.lock().operations();
    let (workloads, skew_ns) = (workloads.clone(), skew_ns(scenario, &ops));
    let judging = tokio::task::spawn_blocking(move || workloads.judge(&ops, skew_ns));
    let judged = judging.await.context("a judge")?;
    // The system range comes on top.
    let equal = match cluster.equal(scenario.split_points.len() + 2).await {
        Ok(()) => Verdict::Holds,
        Err(End::Violation(why)) => Verdict::violation(why),
        Err(could_not) => return Err(could_not),
    };
    Ok(written.and(read).and(judged).and(equal))
}

/// By how much the moment of an expiry may differ from where real time has it: by what clocks differ, and by what
/// cluster time was ahead of them.
fn skew_ns(scenario: &Scenario, ops: &[Op]) -> u64 {
    let clocks = Duration::from_millis(2 * scenario.clocks.offset_ms_max);
    u64::try_from((clocks + ahead::ahead(ops)).as_nanos()).unwrap_or(u64::MAX)
}

/// Removes an acknowledged insert, and nobody writes that down.
async fn remove_one(client: &Client, ops: &[Op]) -> anyhow::Result<()> {
    let mut inserts = ops
        .iter()
        .filter(|op| matches!((&op.call, &op.outcome), (Call::Insert { .. }, OpOutcome::Ok(_))));
    let key = &inserts.next().context("nothing was inserted: take more rounds")?.key;
    client.delete(key).await.with_context(|| format!("can't delete {key}"))?;
    println!("proof: {key} is removed behind the history's back");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Entry, Event, Kind, Operation, PageAsked, Paged, Reply, Value};

    /// A history for all judges: inserts, an increment, an append, a register, a page, and a last scan.
    fn recorded() -> History {
        let mut history = History::new();
        let mut entries = Vec::new();
        for number in 0..5_u64 {
            let (key, value) = (format!("set/{number:08}"), format!("value {number}"));
            history.invoke(1, number, &key, &Call::Insert { value: value.clone() });
            history.complete(1, number, &OpOutcome::Ok(Reply::Written { version: number + 1 }));
            entries.push(Entry { key, version: number + 1, value });
        }
        history.invoke(2, 9, "counter/0", &Call::Increment { delta: 1 });
        history.complete(2, 9, &OpOutcome::Ok(Reply::Incremented { number: 1, version: 7 }));
        history.invoke(2, 10, "counter/0", &Call::Read);
        let record = crate::history::Record { version: 7, value: "1".to_owned() };
        history.complete(2, 11, &OpOutcome::Ok(Reply::Read(Some(record))));
        history.invoke(3, 12, "list/0", &Call::Append { element: 4 });
        history.complete(3, 13, &OpOutcome::Ok(Reply::Appended));
        history.invoke(3, 14, "list/0", &Call::List);
        history.complete(3, 15, &OpOutcome::Ok(Reply::Listed(vec![4])));
        let (key, value) = ("key/0".to_owned(), "x".to_owned());
        history.invoke(3, 16, &key, &Call::Write { value: value.clone(), ttl_ms: None });
        history.complete(3, 17, &OpOutcome::Ok(Reply::Written { version: 8 }));
        history.invoke(3, 18, "key/", &Call::ReadAll);
        let all = vec![Entry { key, version: 8, value }];
        history.complete(3, 19, &OpOutcome::Ok(Reply::Scanned(all)));
        let (start, end) = ("set/".to_owned(), "set0".to_owned());
        let asked = PageAsked { start, end, ..PageAsked::default() };
        history.invoke(3, 20, "set/", &Call::Page(asked));
        let paged = Paged { at: 9, records: entries.clone(), next: None };
        history.complete(3, 21, &OpOutcome::Ok(Reply::Paged(paged)));
        history.invoke(1, 22, "set/", &Call::Scan);
        history.complete(1, 23, &OpOutcome::Ok(Reply::Scanned(entries)));
        history
    }

    /// The same, with a change to its last scan.
    fn with_last_scan(change: impl Fn(&mut Vec<Entry>)) -> History {
        let mut altered = History::new();
        for event in recorded().events() {
            let mut event: Event = event.clone();
            if let (Kind::Ok, Operation::Scan, Value::Entries(entries)) =
                (event.kind, event.f, &mut event.value)
            {
                change(entries);
            }
            altered.push(event).expect("still a history");
        }
        altered
    }

    fn judged(history: &History) -> Verdict {
        let scenario = Scenario::parse(LOAD).expect("a scenario");
        Workloads::of(&scenario.workload).judge(&history.operations(), 0)
    }

    #[test]
    fn a_lost_insert_is_a_violation() {
        assert_eq!(judged(&recorded()), Verdict::Holds);
        match judged(&with_last_scan(|entries| drop(entries.remove(2)))) {
            lost @ Verdict::Violation(_) => {
                let words = lost.to_string();
                assert!(words.contains("lost: ") && words.contains("set/00000002"), "{words}");
            }
            other => panic!("{other:?}"),
        }
        let changed = with_last_scan(|entries| entries[0].value = "else".to_owned());
        assert!(matches!(judged(&changed), Verdict::Violation(_)));
    }

    #[test]
    fn the_load_asks_for_every_judge() {
        let scenario = Scenario::parse(LOAD).expect("a scenario");
        let asks = |operation| scenario.workload.mix.weight(operation) > 0;
        let single = ["insert", "scan", "increment", "append", "list", "put", "read_all", "pages"];
        assert!(single.into_iter().all(asks));
        assert!(["put_ttl", "get_ttl", "cas_ttl"].into_iter().any(asks));
        assert_eq!(scenario.topology.nodes.len(), 5);
        assert_eq!(scenario.split_points.len() + 1, 8, "ranges of data");
    }
}
