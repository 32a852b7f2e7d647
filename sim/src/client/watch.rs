//! Feeds: each step of one is recorded as an operation, from the position where it stood to the one that it has come
//! to. Which keys are followed is for the workload (`sim/src/workload/watches.rs`).
//!
//! A feed outlives its steps: the next one reads on in the same stream, or is another process to the cluster, which
//! knows nothing but the position.

use std::time::Duration;

use quintet_client::{Client, Error, ScanOptions, Version, Watch, WatchPosition, Watched};
use tokio::time::{Instant, sleep, timeout};

use super::caller::Caller;
use crate::history::{Call, Changed, OpOutcome, Reply, WatchAsked, WatchSeen};

/// How long a feed may take to come to its end once all faults have ended.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(30);

/// How a step of a feed goes.
#[derive(Clone, Copy, Debug)]
pub struct Follow {
    /// How long it is read.
    pub lasts: Duration,
    /// By another process, from the position.
    pub is_anew: bool,
    /// How long the reader pauses after each item.
    pub pause: Duration,
    /// How long the client's machine takes nothing from the network then; the feed is read on behind that.
    pub lapse: Duration,
    /// Of one key, and no prefix of keys.
    pub is_key: bool,
}

/// How long a feed is read behind a lapse.
const BEHIND_LAPSE: Duration = Duration::from_secs(3);
/// Between two looks whether a run is over.
const LAPSE_STEP: Duration = Duration::from_millis(250);

/// Until when a feed is read.
#[derive(Clone, Copy)]
enum Until {
    /// For a while.
    Over(Instant),
    /// Until everything at or below a version has come.
    Resolved(Version),
}

/// A watch that begins there.
fn open(client: &Client, of: &str, at: &WatchAsked) -> Watch {
    let watch = match at.is_key {
        true => client.watch_key(of.to_owned()),
        false => client.watch_prefix(of.to_owned()),
    };
    let key = Some(at.after_key.clone().into()).filter(|_| !at.after_key.is_empty());
    match at.after {
        0 => watch,
        after => watch.from(&WatchPosition::new(Version(after), key)),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Caller {
    /// Follows the keys with a prefix for a while, from where this client stands with them.
    ///
    /// # Panics
    /// Where the feed ends: it goes on through whatever happens, and its scenario keeps versions for as long as feeds
    /// are set aside.
    pub async fn follow(&mut self, prefix: &str, follow: Follow) {
        let Some(library) = self.library() else {
            self.call("key/0", Call::Read).await;
            return;
        };
        let client = library.client().clone();
        let (recording, number) = self.recording();
        let at = recording.feed(number, prefix);
        let kept = self.watches.remove(prefix).filter(|_| !follow.is_anew && at.is_some());
        let is_key = follow.is_key;
        let at = at.unwrap_or(WatchAsked { is_key, ..WatchAsked::default() });
        let mut watch = kept.unwrap_or_else(|| open(&client, prefix, &at));
        let until = Until::Over(Instant::now() + follow.lasts);
        let stands = self.read_on(prefix, at, &mut watch, until, follow.pause).await;
        let mut stands =
            stands.unwrap_or_else(|error| panic!("a feed of {prefix:?} ends: {error}"));
        if let Some(at) = stands.clone().filter(|_| !follow.lapse.is_zero()) {
            let (shut, recording) = (self.shut(), self.recording().0.clone());
            let until = Instant::now() + follow.lapse;
            while Instant::now() < until && !recording.is_over() {
                sleep(LAPSE_STEP).await;
            }
            drop(shut);
            let until = Until::Over(Instant::now() + BEHIND_LAPSE);
            let behind = self.read_on(prefix, at, &mut watch, until, follow.pause).await;
            let lapse = follow.lapse;
            stands = behind.unwrap_or_else(|error| {
                panic!("a feed of {prefix:?} whose reader took nothing for {lapse:?} ends: {error}")
            });
        }
        let (recording, number) = self.recording();
        recording.set_feed(number, prefix, stands.clone());
        if stands.is_some() {
            self.watches.insert(prefix.to_owned(), watch);
        }
    }

    /// Reads all feeds of a prefix to their end, whoever has followed them. `Err` says why one does not come there.
    pub async fn catch_up(&mut self, prefix: &str) -> Result<(), String> {
        let Some(library) = self.library() else { return Err("unary calls know no feeds".into()) };
        let client = library.client().clone();
        let (recording, _) = self.recording();
        let feeds = recording.feeds_of(prefix);
        for at in feeds {
            // Everything that was acknowledged is at or below it.
            let page = client.scan_page(&ScanOptions::all().limit(1), None).await;
            let page = page.map_err(|error| error.to_string())?;
            let mut watch = open(&client, prefix, &at);
            let until = Until::Resolved(page.at);
            let reading = self.read_on(prefix, at, &mut watch, until, Duration::ZERO);
            match timeout(CATCH_UP_TIMEOUT, reading).await {
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => return Err("nothing has come".to_owned()),
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err(format!("it takes longer than {CATCH_UP_TIMEOUT:?}")),
            }
        }
        Ok(())
    }

    /// Reads a feed and records what it brought; where it stands then, none where nothing has come yet. `Err`: it has
    /// ended.
    async fn read_on(
        &mut self,
        prefix: &str,
        at: WatchAsked,
        watch: &mut Watch,
        until: Until,
        pause: Duration,
    ) -> Result<Option<WatchAsked>, Error> {
        self.begins(prefix, &Call::Watch(at.clone()));
        let (mut from, mut changes, mut failed) = (at.after, Vec::new(), None);
        let is_key = at.is_key;
        loop {
            let left = match until {
                Until::Over(at) => at.saturating_duration_since(Instant::now()),
                Until::Resolved(_) => CATCH_UP_TIMEOUT,
            };
            if left.is_zero() || (matches!(until, Until::Over(_)) && self.is_over()) {
                break;
            }
            match timeout(left, watch.next()).await {
                Ok(Some(Ok(Watched::Change(change)))) => changes.push(Changed {
                    key: text(&change.key),
                    version: change.written.version.0,
                    value: change.written.value.as_deref().map(text),
                }),
                Ok(Some(Ok(Watched::Resolved(version)))) => {
                    if from == 0 {
                        from = version.0;
                    }
                    if matches!(until, Until::Resolved(wanted) if version >= wanted) {
                        break;
                    }
                }
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => {
                    failed = Some(error);
                    break;
                }
                Ok(None) => break,
                Err(_) => break,
            }
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
        let Some(stands) = watch.position().filter(|_| from > 0) else {
            self.ends(OpOutcome::Failed);
            return failed.map_or(Ok(None), Err);
        };
        let (upto, upto_key) =
            (stands.version.0, stands.key.as_deref().map_or_else(String::new, text));
        let stands = WatchAsked { after: upto, after_key: upto_key.clone(), is_key };
        self.ends(OpOutcome::Ok(Reply::Watched(WatchSeen { from, changes, upto, upto_key })));
        failed.map_or(Ok(Some(stands)), Err)
    }
}
