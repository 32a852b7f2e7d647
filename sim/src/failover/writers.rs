//! Those who write all the time, some in each range, and when their writes were acknowledged.
//!
//! A gap lies between the last write before a loss and the first one after it, of any writer of the range. It counts
//! only where the range had taken writes just before the loss.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use parking_lot::Mutex;
use quintet_client::Client;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

/// Writers of a range, each with a client of its own: one that waits for a lost node must not be taken for
/// a range that takes no writes.
const OF_A_RANGE: u32 = 3;
/// Between two writes of one.
const PAUSE: Duration = Duration::from_millis(10);
/// A write is given up after this, and the next one begins.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// A range that acknowledged nothing for this long before a loss tells nothing.
const RECENT: Duration = Duration::from_secs(1);

/// What keys of a range of data begin with; ranges are counted from 1.
pub(super) fn prefix(range: u32) -> String {
    format!("failover/{range:02}/")
}

/// A loss, and the writes around it.
#[derive(Clone, Copy)]
struct Around {
    loss: Instant,
    /// The last one before it.
    before: Option<Instant>,
    /// The first one after it, once there is one.
    after: Option<Instant>,
}

/// When a range acknowledged writes.
#[derive(Default)]
struct Acknowledged {
    newest: Mutex<Option<Instant>>,
    /// What is waited for.
    watched: Mutex<Option<Around>>,
    told: Notify,
}

impl Acknowledged {
    fn note(&self, at: Instant) {
        if let Some(around) = &mut *self.watched.lock()
            && at > around.loss
            && around.after.is_none()
        {
            around.after = Some(at);
            self.told.notify_one();
        }
        *self.newest.lock() = Some(at);
    }

    /// From now on the first write after a loss is waited for.
    fn watch(&self, loss: Instant) {
        let mut watched = self.watched.lock();
        *watched = Some(Around { loss, before: *self.newest.lock(), after: None });
    }

    /// The last one before and the first one after the loss; waits for it.
    async fn around(&self) -> (Option<Instant>, Instant) {
        loop {
            let watched = *self.watched.lock();
            if let Some(Around { before, after: Some(after), .. }) = watched {
                return (before, after);
            }
            self.told.notified().await;
        }
    }
}

/// The writers; they end with this.
pub(super) struct Writers {
    ranges: BTreeMap<u32, Arc<Acknowledged>>,
    _tasks: JoinSet<()>,
}

impl Writers {
    /// Begins to write in each range.
    pub(super) async fn start(nodes: Vec<String>, ranges: u32) -> anyhow::Result<Writers> {
        let mut tasks = JoinSet::new();
        let mut all = BTreeMap::new();
        let number = Arc::new(AtomicU64::new(0));
        for range in 1..=ranges {
            let acknowledged = Arc::new(Acknowledged::default());
            for writer in 0..OF_A_RANGE {
                let mut nodes = nodes.clone();
                let first = (range + writer) as usize % nodes.len().max(1);
                nodes.rotate_left(first);
                let client = Client::builder().nodes(nodes).timeout(WRITE_TIMEOUT).connect().await;
                let client = client.context("a writer can't connect")?;
                let key = format!("{}{writer}", prefix(range));
                tasks.spawn(write(client, key, number.clone(), acknowledged.clone()));
            }
            all.insert(range, acknowledged);
        }
        Ok(Writers { ranges: all, _tasks: tasks })
    }

    /// For how long some ranges acknowledged nothing around a loss that has just begun.
    pub(super) async fn gaps(
        &self,
        ranges: &[u32],
        loss: Instant,
        patience: Duration,
    ) -> anyhow::Result<BTreeMap<u32, Duration>> {
        let watched = self.ranges.iter().filter(|(range, _)| ranges.contains(range));
        let watched: Vec<_> = watched.collect();
        for (_, acknowledged) in &watched {
            acknowledged.watch(loss);
        }
        let mut gaps = BTreeMap::new();
        for (range, acknowledged) in watched {
            let around = timeout_at(loss + patience, acknowledged.around()).await;
            let (before, after) = around
                .with_context(|| format!("range {range} takes no writes for {patience:?}"))?;
            let before = before.filter(|before| loss.saturating_duration_since(*before) < RECENT);
            let before =
                before.with_context(|| format!("range {range} took no writes before the loss"))?;
            gaps.insert(*range, after - before);
        }
        ensure!(gaps.len() == ranges.len(), "nobody writes in some of ranges {ranges:?}");
        Ok(gaps)
    }
}

async fn write(client: Client, key: String, number: Arc<AtomicU64>, range: Arc<Acknowledged>) {
    loop {
        let value = number.fetch_add(1, Ordering::Relaxed).to_string();
        // What is not acknowledged is what this is about.
        if client.put(key.as_str(), value).await.is_ok() {
            range.note(Instant::now());
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gap_lies_between_the_last_write_before_and_the_first_after() {
        let range = Arc::new(Acknowledged::default());
        let ms = Duration::from_millis;
        let start = Instant::now();
        for at in [0, 10, 20] {
            range.note(start + ms(at));
        }
        let mut ranges = BTreeMap::new();
        ranges.insert(1, range.clone());
        let writers = Writers { ranges, _tasks: JoinSet::new() };
        let told = tokio::spawn({
            let range = range.clone();
            async move {
                while range.watched.lock().is_none() {
                    tokio::task::yield_now().await;
                }
                // Acknowledged while the loss began.
                range.note(start + ms(24));
                range.note(start + ms(1_320));
                range.note(start + ms(1_330));
            }
        });
        let gaps = writers.gaps(&[1], start + ms(25), Duration::from_secs(10)).await.expect("gaps");
        told.await.expect("told");
        assert_eq!(gaps, BTreeMap::from([(1, ms(1_300))]));
        assert!(writers.gaps(&[1, 2], start + ms(1_340), ms(0)).await.is_err());
    }
}
