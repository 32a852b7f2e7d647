//! Asks through the client library, and says in the history's words what came of it.
//!
//! The library repeats what has to be repeated. Some operations of the history are several of its calls: an append is
//! a read and a compare-and-set, a deletion of a prefix goes on where it broke off.

use std::{sync::Arc, time::Duration};

use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, try_join_all},
};
use quintet_client::{
    BatchWriter, Client, Condition, Error, HeldSnapshot, PutOptions, Scan, ScanOptions, Version,
    Versioned,
};
use tokio::time::sleep;

use super::recording::{Ended, Recording};
use crate::history::{Call, Entry, OpOutcome, PageAsked, Paged, Record, Reply};

/// Before a deletion goes on that broke off.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// Which state a read of the past shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// That of a moment.
    At(u64),
    /// One that is at most so old.
    Stale(Duration),
}

/// What was shown, and how old it was.
pub(super) type Looked = (Paged, Duration);

fn options(ttl_ms: Option<u64>) -> PutOptions {
    let options = PutOptions::new();
    ttl_ms.map_or(options, |ms| options.ttl(Duration::from_millis(ms)))
}

fn record(state: Versioned) -> Record {
    Record { value: String::from_utf8_lossy(&state.value).into_owned(), version: state.version.0 }
}

/// A record of a scan, in the history's words.
fn entry(found: &quintet_client::Record) -> Entry {
    Entry {
        key: String::from_utf8_lossy(&found.key).into_owned(),
        value: String::from_utf8_lossy(&found.value).into_owned(),
        version: found.version.0,
    }
}

/// What came of it, in the history's words. Errors are noted, refused conditions left out.
fn ended(call: &Call, asked: Result<Reply, Error>) -> Ended {
    let code = match &asked {
        Ok(_) | Err(Error::Conflict { .. }) => None,
        Err(error) => Some(error.code()),
    };
    let outcome = match asked {
        Ok(reply) => OpOutcome::Ok(reply),
        Err(Error::Conflict { current, .. }) => OpOutcome::Refused(current.map(record)),
        Err(error) if error.maybe_committed() => OpOutcome::Unknown,
        Err(error) => {
            tracing::debug!(?call, %error, "not done");
            OpOutcome::Failed
        }
    };
    (outcome, code)
}

/// The list that a key holds: numbers with a space between; an absent one is empty.
fn elements(state: Option<&Versioned>) -> Result<Vec<u64>, Error> {
    let Some(state) = state else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(&state.value);
    let parsed: Result<Vec<u64>, _> = text.split(' ').map(str::parse).collect();
    parsed.map_err(|error| Error::Protocol(format!("{text:?} is no list: {error}")))
}

/// A client of the client library.
pub(super) struct Library {
    recording: Arc<Recording>,
    client: Client,
}

/// Writes of several keys at the same time. Those without an outcome are let go of where it is dropped.
pub(super) struct Writer(BatchWriter);

impl Writer {
    /// Begins to write one of them; what is returned is how that ended.
    pub(super) async fn write(&self, key: &str, call: &Call) -> BoxFuture<'static, Ended> {
        let (Call::Write { value, .. } | Call::Insert { value }) = call else {
            unreachable!("the library's batches are of writes")
        };
        let told = self.0.write_tracked(key, value).await;
        let call = call.clone();
        let written = |version: Version| Reply::Written { version: version.0 };
        async move { ended(&call, told.await.map(written)) }.boxed()
    }
}

/// A key at a moment, in the history's words.
fn shown_at(key: &str, at: u64, found: Option<Versioned>) -> Paged {
    let records = found.into_iter().map(|found| Entry {
        key: key.to_owned(),
        value: String::from_utf8_lossy(&found.value).into_owned(),
        version: found.version.0,
    });
    Paged { at, records: records.collect(), next: None }
}

/// One key at a moment that is held.
pub(super) async fn look_held(held: &HeldSnapshot, key: &str) -> Result<Paged, Error> {
    Ok(shown_at(key, held.at().0, held.get(key.to_owned()).await?))
}

impl Library {
    pub(super) fn new(recording: Arc<Recording>, client: Client) -> Library {
        Library { recording, client }
    }

    /// What it asks through.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Writes keys at once, which expire after `ttl_ms`, if they do.
    pub(super) fn writer(&self, ttl_ms: Option<u64>) -> Writer {
        let writer = self.client.batch_writer();
        let writer = match ttl_ms {
            Some(ms) => writer.ttl(Duration::from_millis(ms)),
            None => writer,
        };
        Writer(writer.start().expect("within the limits"))
    }

    /// Asks and waits for the answer. A read of all registers pauses before it takes the next one.
    pub(super) async fn ask(&self, key: &str, call: &Call, pause_ms_max: u64) -> Ended {
        let client = &self.client;
        let key = key.to_owned();
        let written = |version: Version| Reply::Written { version: version.0 };
        let kept = |version: Option<Version>| Reply::Expired {
            version: version.map_or(0, |version| version.0),
        };
        let asked = match call {
            Call::Read => client.get(key).await.map(|state| Reply::Read(state.map(record))),
            Call::Write { value, ttl_ms } => {
                client.put_with(key, value.clone(), options(*ttl_ms)).await.map(written)
            }
            Call::Insert { value } => client.put(key, value.clone()).await.map(written),
            Call::Cas { expected, value, ttl_ms, keep_ttl } => {
                let condition = match expected {
                    0 => Condition::Absent,
                    expected => Condition::Version(Version(*expected)),
                };
                let options = match keep_ttl {
                    true => PutOptions::new().keep_ttl(),
                    false => options(*ttl_ms),
                };
                let options = options.condition(condition);
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
            Call::Expire { ttl_ms: Some(ms) } => {
                client.expire(key, Duration::from_millis(*ms)).await.map(kept)
            }
            Call::Expire { ttl_ms: None } => client.persist(key).await.map(kept),
            Call::Scan => {
                self.scan(client.scan(ScanOptions::prefix(key)), 0).await.map(Reply::Scanned)
            }
            Call::ReadAll => {
                // With a limit nothing is fetched ahead: a slow reader asks late.
                let options = ScanOptions::prefix(key).limit(u64::MAX);
                self.scan(client.scan(options), pause_ms_max).await.map(Reply::Scanned)
            }
            Call::Page(asked) => self.page(asked).await.map(Reply::Paged),
            Call::Sweep => self.sweep(&key).await,
            Call::Timestamp => self.timestamp().await.map(|at| Reply::Timestamp { version: at.0 }),
            Call::Watch(_) => unreachable!("a feed is followed by `Caller::follow`"),
            Call::Append { element } => self.append(key, *element).await.map(|_| Reply::Appended),
            Call::List => {
                client.get(key).await.and_then(|state| elements(state.as_ref())).map(Reply::Listed)
            }
        };
        match (call, ended(call, asked)) {
            // The list was another one meanwhile: nothing is appended, now or later.
            (Call::Append { .. }, (OpOutcome::Refused(_), none)) => (OpOutcome::Failed, none),
            (_, ended) => ended,
        }
    }

    /// Asks the replica of the node that it is attached to, which need not lead.
    pub(super) async fn ask_follower(&self, key: &str, call: &Call) -> Ended {
        let (follower, key) = (self.client.from_follower(), key.to_owned());
        let asked = match call {
            Call::Read => follower.get(key).await.map(|state| Reply::Read(state.map(record))),
            Call::Scan | Call::ReadAll => {
                self.scan(follower.scan(ScanOptions::prefix(key)), 0).await.map(Reply::Scanned)
            }
            _ => unreachable!("only reads are for followers"),
        };
        ended(call, asked)
    }

    /// Takes some at the same moment, so that they share requests; which of them counts is a matter of chance, and all
    /// have to do.
    async fn timestamp(&self) -> Result<Version, Error> {
        let taken = try_join_all((0..3).map(|_| self.client.timestamp())).await?;
        let chance = taken.iter().fold(0, |sum: u64, at| sum.wrapping_add(at.0 >> 12)) as usize;
        Ok(taken[chance % taken.len()])
    }

    /// Removes all keys that begin so; goes on where it broke off, until it is done or the work ends.
    async fn sweep(&self, prefix: &str) -> Result<Reply, Error> {
        let mut deletion = self.client.delete_prefix(prefix);
        loop {
            let done = deletion.run().await;
            // A page may not have been begun without a moment.
            let at = deletion.moment();
            match done {
                Ok(deleted) => {
                    return Ok(Reply::Swept { at: at.map_or(0, |at| at.0), deleted });
                }
                Err(error) if at.is_none() => return Err(error),
                Err(_) if !self.recording.is_over() => {}
                Err(error) => {
                    let why = format!("broken off: {error}");
                    return Err(Error::UnknownOutcome(why));
                }
            }
            sleep(SWEEP_PAUSE).await;
        }
    }

    /// Reads the list and writes it back with one more, if it is the same still.
    async fn append(&self, key: String, element: u64) -> Result<Version, Error> {
        let state = self.client.get(key.clone()).await?;
        let mut list = elements(state.as_ref())?;
        list.push(element);
        let condition = match &state {
            None => Condition::Absent,
            Some(state) => Condition::Version(state.version),
        };
        let text = list.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        self.client.put_with(key, text, PutOptions::new().condition(condition)).await
    }

    /// Takes all records, with a pause after each.
    async fn scan(&self, mut scan: Scan, pause_ms_max: u64) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        while let Some(found) = scan.next().await {
            let found = found?;
            entries.push(entry(&found));
            if pause_ms_max > 0 && !self.recording.is_over() {
                let pause = self.recording.between(0, pause_ms_max * 1_000);
                sleep(Duration::from_micros(pause)).await;
            }
        }
        Ok(entries)
    }

    /// One key as it was; none where it was not answered, or by the newest state.
    pub(super) async fn look_back(&self, key: &str, back: Back) -> Option<Looked> {
        let (found, at, stale) = match back {
            Back::At(at) => {
                let found = self.client.snapshot(Version(at)).get(key.to_owned()).await.ok()?;
                (found, at, Duration::ZERO)
            }
            Back::Stale(most) => {
                let shown = self.client.stale(most).get(key.to_owned()).await.ok()?;
                (shown.found, shown.at?.0, shown.stale)
            }
        };
        Some((shown_at(key, at, found), stale))
    }

    /// Sets for how long versions of keys are kept.
    pub(super) async fn set_retention(&self, prefix: &str, retention: Duration) {
        if let Err(error) = self.client.set_retention(prefix.to_owned(), Some(retention)).await {
            tracing::debug!(%error, "retention not set");
        }
    }

    /// Has time servers on these nodes alone, or on all.
    pub(super) async fn place_time_servers(&self, nodes: &[u64]) {
        if let Err(error) = self.client.place_time_servers(nodes).await {
            tracing::debug!(?nodes, %error, "time servers not placed");
        }
    }

    /// Holds a moment of the keys with a prefix; none where no node could.
    pub(super) async fn hold(&self, prefix: &str, at: u64) -> Option<HeldSnapshot> {
        let held = self.client.snapshot(Version(at)).hold(ScanOptions::prefix(prefix)).await;
        held.inspect_err(|error| tracing::debug!(%error, "moment not held")).ok()
    }

    /// One page.
    async fn page(&self, asked: &PageAsked) -> Result<Paged, Error> {
        let mut options = match (&*asked.start, &*asked.end) {
            ("", "") => ScanOptions::all(),
            (start, "") => ScanOptions::range(start..),
            (start, end) => ScanOptions::range(start..end),
        };
        if asked.reverse {
            options = options.reverse();
        }
        if asked.keys_only {
            options = options.keys_only();
        }
        if asked.limit > 0 {
            options = options.limit(asked.limit);
        }
        let at = (asked.at > 0).then_some(Version(asked.at));
        let page = self.client.scan_page(&options, at).await?;
        let next = page.next.map(|left| {
            let (start, end) = left.bounds();
            String::from_utf8_lossy(if asked.reverse { end } else { start }).into_owned()
        });
        Ok(Paged { at: page.at.0, records: page.records.iter().map(entry).collect(), next })
    }
}
