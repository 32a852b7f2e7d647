//! Watches: the versions of a key or a span as they are written, in order, over failures of nodes and connections.
//!
//! A watch is one gRPC stream to one node, beside the sessions: it has no end and no deadline, and flow control of its
//! own, so that a slow reader holds up nothing else. Where the stream breaks, says that the node can't go on, or says
//! nothing for longer than a node may, it is opened anew, at the next node, from the position that was *handed to the
//! caller* last: what had arrived and was not yet taken comes again, what was taken does not.
//!
//! ```text
//!   Idle ──> Connecting ──> Open ─── change, resolved, change … ──> the caller
//!    ^            │           │
//!    └── Pausing <┴── broken, silent, refused for now        refused for good ──> the caller, and the end
//! ```
//!
//! Only an error that no node and no later moment mends ends it ([`is_final`]). Nothing is spawned: a watch that is not
//! read holds what the transport holds (4 MiB), and a message.

mod standing;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, future::BoxFuture};
use quintet_proto::v1;
use tokio::time::{Instant, Sleep};
use tonic::codec::Streaming;

use self::standing::Standing;
use crate::{
    caller::Caller,
    error::Error,
    scan::ScanOptions,
    types::{Version, VersionKept},
};

/// A node tells how far it has come every second; one that says nothing for this long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How long after that a caller who waits has noticed it.
const SILENCE_NOTICED: Duration = Duration::from_millis(500);
/// How long a node may say nothing after a caller has begun to read again.
const SILENCE_PROLONGED: Duration = Duration::from_secs(2);

/// What a watch brings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Watched {
    /// A version that was written.
    Change(Change),
    /// Every version of the watched keys that is at or below this one, and above where the watch began, has been handed
    /// over before this item, and none that is at or below it will come after it, whatever is still written: what the
    /// changes so far make of a state at the beginning is the state at this moment. It rises from item to item, is
    /// no version of a key as a rule, and comes about once a second while nothing is written.
    Resolved(Version),
}

/// A version of a key, as a watch brings it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// What was written: a value, or that the key was removed. A key that expires is absent from then on, and no
    /// further change says so.
    pub written: VersionKept,
}

/// Where a watch stands: what came up to there does not come again. To be kept where another process shall go on
/// ([`Watch::from`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct WatchPosition {
    /// Every version below it has come.
    pub version: Version,
    /// Of this version what is at or below this key; `None`: all of it.
    pub key: Option<Bytes>,
}

impl WatchPosition {
    /// A position that was kept: its fields.
    #[must_use]
    pub fn new(version: Version, key: Option<Bytes>) -> Self {
        Self { version, key }
    }
}

/// A watch: a stream of [`Watched`] without an end. From [`Client::watch_key`], [`Client::watch_prefix`] and
/// [`Client::watch_range`].
///
/// [`Client::watch_key`]: crate::Client::watch_key
/// [`Client::watch_prefix`]: crate::Client::watch_prefix
/// [`Client::watch_range`]: crate::Client::watch_range
///
/// Changes come in the order of (version, key): none is left out, none comes twice, whatever nodes and connections
/// fail meanwhile; it goes on by itself for as long as it is read. It ends after an error that trying again does not
/// mend: [`Error::VersionCollected`] where it was so far behind that versions which it has not brought are not kept any
/// more, [`Error::InvalidArgument`], also where no key can be in the range, [`Error::WrongCluster`].
#[must_use = "a watch does nothing until it is read"]
pub struct Watch {
    caller: Caller,
    /// `None`: no key can be in it.
    span: Option<(Bytes, Bytes)>,
    standing: Standing,
    phase: Phase,
    /// When the node will have said nothing for too long; set while something of it is waited for.
    silence: Option<Silence>,
    /// In a row.
    failures: u32,
    /// Streams that were opened.
    attempts: usize,
}

enum Phase {
    Idle,
    Connecting(BoxFuture<'static, Result<Streaming<v1::WatchResponse>, Error>>),
    Open(Box<Streaming<v1::WatchResponse>>),
    Pausing(Pin<Box<Sleep>>),
    Ended,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("span", &self.span)
            .field("position", &self.standing.position())
            .finish_non_exhaustive()
    }
}

impl Watch {
    pub(crate) fn new(caller: Caller, span: ScanOptions) -> Self {
        Self {
            caller,
            span: span.into_span(),
            standing: Standing::default(),
            phase: Phase::Idle,
            silence: None,
            failures: 0,
            attempts: 0,
        }
    }

    /// One that is refused before any node is asked.
    pub(crate) fn refused(caller: Caller, why: &str) -> Self {
        Self { phase: refuse(why), ..Self::new(caller, ScanOptions::all()) }
    }

    /// Only versions above this one: that of a write, the `at` of a read or a scan, or a cluster time of a while ago.
    /// Without it only what is written after the watch was begun to be read. `Version(0)`: all versions there are; that
    /// is refused once some were collected. For before the first item.
    pub fn after(self, version: Version) -> Self {
        self.from(&WatchPosition::new(version, None))
    }

    /// Goes on where another watch of the same keys stood: [`position`](Self::position). For before the first item.
    pub fn from(mut self, position: &WatchPosition) -> Self {
        self.standing = Standing::at(position);
        self
    }

    /// Where it stands: behind the last item that was taken. `None` before the first, where it begins with what comes.
    #[must_use]
    pub fn position(&self) -> Option<&WatchPosition> {
        self.standing.position()
    }

    /// The next item, as [`StreamExt::next`] gives it; safe to be dropped while it waits.
    ///
    /// # Errors
    /// See [`Watch`]. After an error it has ended.
    pub async fn next(&mut self) -> Option<Result<Watched, Error>> {
        StreamExt::next(self).await
    }

    /// Opens a stream at the next node, from where the caller stands.
    fn connect(&mut self) -> Phase {
        let Some((start, end)) = self.span.clone() else {
            return refuse("no key can be in what is to be watched; name keys");
        };
        let caller = self.caller.clone();
        let pool = &caller.attachment.pool;
        let nodes = pool.addresses();
        let node = self.attempts.checked_rem(nodes.len()).and_then(|at| nodes.get(at)).cloned();
        self.attempts = self.attempts.wrapping_add(1);
        let (after, after_key) = self.standing.asks_after();
        let context = Some(caller.context());
        let request =
            v1::WatchRequest { context, start, end, after, after_key, ..Default::default() };
        let within = pool.connect_timeout();
        let connecting = async move {
            let Some(node) = node else {
                return Err(Error::Unavailable("no node is known".to_owned()));
            };
            let opening = async {
                let opened = caller.kv_at(&node).await?.watch(request).await;
                opened.map(tonic::Response::into_inner).map_err(|it| Error::from_status(&it))
            };
            let late = || Error::Unavailable(format!("{node} did not answer within {within:?}"));
            tokio::time::timeout(within, opening).await.unwrap_or_else(|_| Err(late()))
        };
        Phase::Connecting(connecting.boxed())
    }

    /// The stream is lost, or was refused. `Err`: for good.
    fn fail(&mut self, error: Error) -> Result<(), Error> {
        self.silence = None;
        if is_final(&error) {
            self.phase = Phase::Ended;
            return Err(error);
        }
        tracing::debug!(%error, "a watch goes on at another node");
        self.failures = self.failures.saturating_add(1);
        let pause = self.caller.attachment.pool.pacer.pause(self.failures);
        self.phase = Phase::Pausing(Box::pin(tokio::time::sleep(pause)));
        Ok(())
    }

    /// A message has arrived.
    fn take(&mut self, message: v1::WatchResponse) {
        self.failures = 0;
        let pool = &self.caller.attachment.pool;
        let context = message.context.as_ref();
        pool.clock.observe(context.map_or(0, |context| context.cluster_time));
        self.standing.take(message);
    }

    /// Waits for the next message. `Err`: the stream is lost.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<v1::WatchResponse, Error>> {
        let Phase::Open(stream) = &mut self.phase else {
            return Poll::Ready(Err(Error::Unavailable("no stream is open".to_owned())));
        };
        match stream.poll_next_unpin(cx) {
            Poll::Ready(message) => {
                self.silence = None;
                let ended = || Error::Unavailable("the node ended the watch".to_owned());
                Poll::Ready(match message {
                    Some(Ok(message)) => Ok(message),
                    Some(Err(status)) => Err(Error::from_status(&status)),
                    None => Err(ended()),
                })
            }
            Poll::Pending => {
                ready!(self.silence.get_or_insert_with(Silence::begin).poll(cx));
                let text = format!("the node said nothing of the watch for {SILENCE_MAX:?}");
                Poll::Ready(Err(Error::Unavailable(text)))
            }
        }
    }
}

/// A silence of a node, until it is too long.
struct Silence {
    until: Instant,
    sleep: Pin<Box<Sleep>>,
    /// The caller read nothing when it was over, and it was prolonged once.
    is_prolonged: bool,
}

impl Silence {
    fn begin() -> Silence {
        Silence::of(SILENCE_MAX, false)
    }

    fn of(lasts: Duration, is_prolonged: bool) -> Silence {
        let (until, sleep) = (Instant::now() + lasts, Box::pin(tokio::time::sleep(lasts)));
        Silence { until, sleep, is_prolonged }
    }

    /// Ready once it is too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Who had waited would have been told when it was over: the caller has read nothing since, and what has come
        // meanwhile may be on its way to him. Once: nodes speak every second.
        if !self.is_prolonged && Instant::now() >= self.until + SILENCE_NOTICED {
            *self = Silence::of(SILENCE_PROLONGED, true);
        }
        self.sleep.as_mut().poll(cx)
    }
}

fn refuse(why: &str) -> Phase {
    let error = Err(Error::InvalidArgument(why.to_owned()));
    Phase::Connecting(std::future::ready(error).boxed())
}

/// Whether another node, or the same one later, would say the same: the caller has to change something. All else is
/// some node's or some moment's, an answer that can't be read as well, which may be of a node that is being replaced.
fn is_final(error: &Error) -> bool {
    matches!(error, Error::InvalidArgument(_) | Error::VersionCollected(_) | Error::WrongCluster(_))
}

impl Stream for Watch {
    type Item = Result<Watched, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(item) = this.standing.hand_over() {
                return Poll::Ready(Some(Ok(item)));
            }
            let lost = match &mut this.phase {
                Phase::Ended => return Poll::Ready(None),
                Phase::Idle => {
                    this.phase = this.connect();
                    continue;
                }
                Phase::Pausing(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    this.phase = Phase::Idle;
                    continue;
                }
                Phase::Connecting(connecting) => match ready!(connecting.as_mut().poll(cx)) {
                    Ok(stream) => {
                        this.phase = Phase::Open(Box::new(stream));
                        continue;
                    }
                    Err(error) => error,
                },
                Phase::Open(_) => match ready!(this.poll_message(cx)) {
                    Ok(message) => {
                        this.take(message);
                        continue;
                    }
                    Err(error) => error,
                },
            };
            if let Err(error) = this.fail(lost) {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks once, as a caller that waits for a moment only; whether the silence is too long.
    async fn looks(silence: &mut Silence) -> bool {
        std::future::poll_fn(|cx| Poll::Ready(silence.poll(cx).is_ready())).await
    }

    #[tokio::test]
    async fn a_silence_ends_however_seldom_its_caller_looks() {
        let (lasts, missed) = (Duration::from_millis(10), SILENCE_NOTICED * 2);
        let mut silence = Silence::of(lasts, false);
        assert!(!looks(&mut silence).await);
        tokio::time::sleep(lasts * 2).await;
        assert!(looks(&mut silence).await, "who waits is told");
        let mut silence = Silence::of(lasts, false);
        tokio::time::sleep(missed).await;
        assert!(!looks(&mut silence).await, "what has come meanwhile may be on its way");
        assert!(silence.is_prolonged && silence.until <= Instant::now() + SILENCE_PROLONGED);
        let mut prolonged = Silence::of(lasts, true);
        tokio::time::sleep(missed).await;
        assert!(looks(&mut prolonged).await, "and is there by then");
    }

    #[test]
    fn only_what_the_caller_has_to_mend_ends_a_watch() {
        let text = || "x".to_owned();
        let ends = [
            Error::InvalidArgument(text()),
            Error::VersionCollected(text()),
            Error::WrongCluster(text()),
        ];
        assert!(ends.iter().all(is_final));
        let goes_on = [
            Error::Unavailable(text()),
            Error::DeadlineExceeded(text()),
            Error::Overloaded { retry_after: None },
            Error::SlowConsumer(text()),
            Error::Storage(text()),
            Error::Protocol(text()),
            Error::NotInitialized(text()),
            Error::EmptyNode(text()),
            Error::UnknownOutcome(text()),
            Error::Expired,
        ];
        assert!(!goes_on.iter().any(is_final));
    }
}
