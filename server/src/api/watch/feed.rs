//! One watch at work: its ranges are asked, what is complete is sent, and how far that goes.
//!
//! ```text
//!   every range that holds nothing is asked, a few at a time ─> what all have come to is sent ─┐
//!            ^                                                                                │
//!            └── at once where there was something, else after [`POLL`] <─────────────────────┘
//! ```
//!
//! A range that has nothing new by this node's own replica is not asked at all; that is so most of the time
//! ([`Router::nothing_new`]). One that can't be asked is asked again; a watch that gets no further for
//! [`STUCK_MAX`] ends, for another node may get on.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream};
use quintet_proto::v1::{
    self, Code, RetryClass, session_request::Op, session_response::Result as Body,
};
use tokio::sync::mpsc;

use super::{
    FRAMES_MAX,
    parts::{PARTS_MAX, Part, Parts, Rest, bounded, too_many},
    stored,
};
use crate::{
    api::{budget::Budget, call::call, line::Line, status::stamp},
    error::OpError,
    ops::metrics::WatchEnd,
    router::{Router, watches},
    size::Size,
    storage::changes::Position,
    time::{
        Timestamp,
        local::{Instant, sleep, timeout},
        ms_u32,
        oracle::handle::NoTime,
    },
};

/// How long a client may take none of the messages that wait for it.
pub(super) const SLOW_MAX: Duration = Duration::from_secs(20);
/// How long ago it read something at most when that is noticed: until as many messages wait some seconds pass, and the
/// transport holds some.
const READ_NOTHING_MAX: Duration = Duration::from_secs(30);
/// Ranges that are asked at the same time.
const PARTS_AT_ONCE: usize = 4;
/// How often is looked for something new: twice as often as moments are closed.
const POLL: Duration = Duration::from_millis(50);
/// How long nothing is told at most.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How long a page may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a watch may get no further.
const STUCK_MAX: Duration = Duration::from_secs(10);
/// Changes of a message, and their bytes, but one change.
const FRAME_CHANGES_MAX: Size = Size::new("watch-frame-changes", 1_000, 1);
const FRAME_BYTES_MAX: usize = 1 << 20;

/// A message, and the room that it takes until it is encoded.
pub(super) struct Frame {
    pub(super) message: v1::WatchResponse,
    _budget: Arc<Budget>,
}

/// Why a watch ended, and what its client is told.
pub(super) type Ended = (WatchEnd, Option<OpError>);

/// What came of asking all parts.
#[derive(Default)]
struct Round {
    /// A part that holds the others up has come further, or is being looked through.
    moved: bool,
    /// There were changes.
    brought: bool,
    /// There was no room for a page.
    lacks_room: bool,
    /// What failed last that may be asked again.
    failed: Option<OpError>,
}

/// A watch.
pub(super) struct Following {
    router: Arc<Router>,
    line: Option<Arc<Line>>,
    /// As asked, a span.
    asked: v1::WatchRequest,
    frames: mpsc::Sender<Frame>,
    /// What was told of how far it has come, and when something was told.
    told: Timestamp,
    told_at: Instant,
    /// When it has come further.
    came_at: Instant,
}

impl Following {
    pub(super) fn new(
        router: Arc<Router>,
        line: Option<Arc<Line>>,
        asked: v1::WatchRequest,
        frames: mpsc::Sender<Frame>,
    ) -> Following {
        let now = Instant::now();
        let told = Timestamp::ZERO;
        Following { router, line, asked, frames, told, told_at: now, came_at: now }
    }

    /// Follows until something ends it.
    pub(super) async fn run(mut self) -> Ended {
        let router = self.router.clone();
        tokio::select! {
            biased;
            // Whatever it waits for.
            () = router.watches().stopped() => {
                (WatchEnd::Stopping, Some(watches::stopping()))
            }
            Err(ended) = self.follow() => ended,
        }
    }

    async fn follow(&mut self) -> Result<Infallible, Ended> {
        let mut parts = self.begin().await?;
        loop {
            let round = self.ask_all(&mut parts).await?;
            // What waits for its client is not stuck: that is for `send` to judge.
            let waits = round.lacks_room && self.frames.capacity() < FRAMES_MAX;
            if round.moved || waits {
                self.came_at = Instant::now();
            } else if self.came_at.elapsed() >= STUCK_MAX {
                let why = round.failed.map(|it| it.message);
                let why = why.unwrap_or_else(|| "no moment of it is closed".to_owned());
                let message = format!(
                    "a range of the watch does not get on for {} s ({why}); watch again from where this ended, at \
                     another node",
                    STUCK_MAX.as_secs()
                );
                return Err((WatchEnd::Unavailable, Some(OpError::unavailable(message))));
            }
            let sent = self.send_due(&mut parts).await?;
            self.tell_progress(&parts).await?;
            if !sent && !round.brought {
                sleep(POLL).await;
            }
        }
    }

    /// Finds out where it begins, tells that, and divides the span.
    async fn begin(&mut self) -> Result<Parts, Ended> {
        let oracle = self.router.oracle().clone();
        let known = oracle.now();
        let mut now = known;
        if self.asked.after == 0 || self.asked.after > known.0 {
            let round = timeout(STUCK_MAX, oracle.round()).await;
            let round = round.unwrap_or(Err(NoTime::Silent));
            let block = round.map_err(|why| (WatchEnd::Unavailable, Some(OpError::from(why))))?;
            now = block.last();
        }
        if self.asked.after > now.0 {
            let message = "the moment after which the watch begins is yet to come: take a version, or a 'resolved'";
            return Err((WatchEnd::Invalid, Some(OpError::invalid(message))));
        }
        if self.asked.after == 0 {
            self.asked.after = now.0;
        }
        let at = asked_position(&self.asked);
        self.send(Vec::new(), 0, at.floor()).await?;
        self.divide(&at).map_err(|error| (WatchEnd::Invalid, Some(error)))
    }

    /// The parts of the span, each at a position.
    fn divide(&self, at: &Position) -> Result<Parts, OpError> {
        let scan = v1::ScanRequest {
            context: self.asked.context.clone(),
            start: self.asked.start.clone(),
            end: self.asked.end.clone(),
            prefix: self.asked.prefix.clone(),
            ..v1::ScanRequest::default()
        };
        let spans = self.router.parts_of(&scan);
        let spans = spans.ok_or_else(|| OpError::invalid("the span makes no sense"))?;
        let parts = bounded(spans)?.into_iter().map(|span| self.part(span, at.clone()));
        parts.collect::<Result<_, _>>().map(Parts)
    }

    fn part(&self, span: (Bytes, Bytes), at: Position) -> Result<Part, OpError> {
        let stored = self.stored(span.clone())?;
        Ok(Part::new(span, stored, at))
    }

    /// The stored keys of a part.
    fn stored(&self, span: (Bytes, Bytes)) -> Result<(Vec<u8>, Vec<u8>), OpError> {
        stored(&self.router, self.page(span, &Position::behind(Timestamp(1))))
    }

    /// What asks for the next page of a part.
    fn page(&self, (start, end): (Bytes, Bytes), at: &Position) -> v1::WatchRequest {
        let context = self.asked.context.clone().unwrap_or_default();
        let timeout_ms = ms_u32(PAGE_TIMEOUT);
        v1::WatchRequest {
            context: Some(v1::RequestContext { timeout_ms, ..context }),
            start,
            end,
            prefix: self.asked.prefix.clone(),
            after: at.at.0,
            after_key: at.key.clone().unwrap_or_default(),
            ..v1::WatchRequest::default()
        }
    }

    /// Asks every part that holds nothing. While that takes long, what may go out does, and progress is told.
    async fn ask_all(&mut self, parts: &mut Parts) -> Result<Round, Ended> {
        let (least, mut round) = (parts.seen(), Round::default());
        let mut asked = Vec::new();
        for (index, part) in parts.0.iter_mut().enumerate().filter(|(_, part)| part.is_empty()) {
            let is_due = !part.seen.is_above(&least);
            if let Some(resolved) = self.nothing_new(part) {
                round.moved |= part.comes_to(resolved) && is_due;
                continue;
            }
            let page = self.page((part.start.clone(), part.end.clone()), &part.seen);
            asked.push((index, page, is_due));
        }
        if asked.iter().any(|(_, _, is_due)| *is_due) {
            // What waits for its turn must not keep out what it waits for.
            let due = self.budget();
            due.is_due();
            while due.is_full() && parts.set_down() {}
        }
        let budgets: Vec<_> = asked.iter().map(|_| self.budget()).collect();
        let router = self.router.clone();
        let asking =
            stream::iter(asked.into_iter().zip(budgets)).map(|((index, page, is_due), budget)| {
                let router = &router;
                async move { (index, is_due, ask(router, page, is_due, budget).await) }
            });
        let (mut pages, mut rests) = (pin!(asking.buffer_unordered(PARTS_AT_ONCE)), Vec::new());
        loop {
            let left = PROGRESS_INTERVAL.saturating_sub(self.told_at.elapsed());
            let Ok(next) = timeout(left, pages.next()).await else {
                if rests.is_empty() {
                    self.send_due(parts).await?;
                    self.tell_progress(parts).await?;
                } else {
                    // A rest is no part yet, and holds the others up: only that the node is there is told.
                    self.send(Vec::new(), 0, self.told).await?;
                }
                continue;
            };
            let Some((index, is_due, page)) = next else { break };
            let Some(part) = parts.0.get_mut(index) else { continue };
            match page {
                Ok((page, budget)) => {
                    let (at, end) = (part.seen.clone(), part.end.clone());
                    round.brought |= !page.changes.is_empty();
                    // Looking through the range is getting on, too.
                    let looks = page.is_looked_for;
                    match part.take(page, budget) {
                        Rest::Nothing => {}
                        Rest::From(start) => rests.push((index, (start, end), at.clone())),
                        Rest::All => round.failed = Some(OpError::stale_route()),
                    }
                    round.moved |= is_due && (looks || part.seen.is_above(&at));
                }
                Err(error) if error.retry_class() == RetryClass::Never && !is_late(&error) => {
                    let why = match error.code {
                        Code::VersionCollected => WatchEnd::Collected,
                        Code::InvalidArgument | Code::WrongCluster => WatchEnd::Invalid,
                        _ => WatchEnd::Unavailable,
                    };
                    return Err((why, Some(error)));
                }
                Err(error) => {
                    round.lacks_room |= error.code == Code::Overloaded;
                    round.failed = Some(error);
                }
            }
        }
        self.divide_further(parts, rests).map_err(|error| (WatchEnd::Invalid, Some(error)))?;
        Ok(round)
    }

    /// The closed moment that a part has come to, where its replica here has nothing new of it.
    fn nothing_new(&self, part: &Part) -> Option<Timestamp> {
        let (start, end) = &part.stored;
        let is_whole = part.seen.key.is_none();
        is_whole.then(|| self.router.nothing_new((start, end), &part.seen)).flatten()
    }

    /// Parts that turned out to lie in several ranges: each of these rests becomes a part of its own, from the position
    /// that was asked for.
    fn divide_further(
        &self,
        parts: &mut Parts,
        mut rests: Vec<(usize, (Bytes, Bytes), Position)>,
    ) -> Result<(), OpError> {
        // Behind the part that they are of, the last one first: places stay what they are.
        rests.sort_unstable_by_key(|(index, ..)| std::cmp::Reverse(*index));
        for (index, span, at) in rests {
            if parts.0.len() >= PARTS_MAX {
                return Err(too_many());
            }
            if let Some(part) = parts.0.get_mut(index) {
                part.stored = self.stored((part.start.clone(), part.end.clone()))?;
            }
            parts.0.insert(index + 1, self.part(span, at)?);
        }
        Ok(())
    }

    /// Room for a page, before its turn.
    fn budget(&self) -> Arc<Budget> {
        Budget::ahead(self.router.admission().clone(), self.line.clone())
    }

    /// Sends what may go out; whether there was something.
    async fn send_due(&mut self, parts: &mut Parts) -> Result<bool, Ended> {
        let mut sent = false;
        loop {
            let batch = parts.take((FRAME_CHANGES_MAX.get(), FRAME_BYTES_MAX));
            let Some(last) = batch.changes.last() else { return Ok(sent) };
            let last = last.version.as_ref().map_or(0, |version| version.version);
            let resolved = match batch.is_full {
                true => Timestamp(last.saturating_sub(1)),
                false => parts.seen().floor(),
            };
            let is_full = batch.is_full;
            self.send(batch.changes, batch.bytes, resolved).await?;
            sent = true;
            if !is_full {
                return Ok(true);
            }
        }
    }

    /// Tells how far it has come, where nothing was told for a while: also where that is no further, for its client
    /// goes to another node where it hears nothing. All that may go out was sent.
    async fn tell_progress(&mut self, parts: &Parts) -> Result<(), Ended> {
        if self.told_at.elapsed() < PROGRESS_INTERVAL {
            return Ok(());
        }
        self.send(Vec::new(), 0, parts.seen().floor()).await
    }

    /// Sends a message.
    async fn send(
        &mut self,
        changes: Vec<v1::Change>,
        bytes: usize,
        resolved: Timestamp,
    ) -> Result<(), Ended> {
        let resolved = resolved.max(self.told);
        let count = changes.len() as u64;
        let budget = Budget::new(self.router.admission().clone(), self.line.clone());
        budget.hold(bytes);
        let message = v1::WatchResponse {
            context: stamp(&self.router),
            changes,
            resolved: resolved.0,
            ..v1::WatchResponse::default()
        };
        let frame = Frame { message, _budget: budget };
        let began = Instant::now();
        match timeout(SLOW_MAX, self.frames.send(frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err((WatchEnd::ClientGone, None)),
            Err(_) => return Err((WatchEnd::SlowConsumer, Some(self.too_slow()))),
        }
        self.router.metrics().watch.changes.inc_by(count);
        (self.told, self.told_at) = (resolved, Instant::now());
        // Who waits for its client is not stuck.
        self.came_at += began.elapsed();
        Ok(())
    }

    fn too_slow(&self) -> OpError {
        let message = format!(
            "the client took nothing of the watch for {} to {} s; everything up to {} was sent: watch again from the \
             last message",
            SLOW_MAX.as_secs(),
            READ_NOTHING_MAX.as_secs(),
            self.told.0
        );
        OpError::new(Code::SlowConsumer, message)
    }
}

/// Where a watch begins that names a moment.
pub(super) fn asked_position(asked: &v1::WatchRequest) -> Position {
    let key = Some(asked.after_key.clone()).filter(|key| !key.is_empty());
    Position { at: Timestamp(asked.after), key }
}

/// Whether a page took too long: it is asked for again.
fn is_late(error: &OpError) -> bool {
    matches!(error.code, Code::DeadlineExceeded)
}

/// One page. It waits for no room: there may be some in the next round, and others get on meanwhile.
async fn ask(
    router: &Arc<Router>,
    page: v1::WatchRequest,
    is_due: bool,
    budget: Arc<Budget>,
) -> Result<(v1::WatchResponse, Arc<Budget>), OpError> {
    if is_due {
        budget.is_due();
    }
    if budget.is_full() {
        return Err(OpError::overloaded("too many bytes of answers wait"));
    }
    match call(router, Op::Watch(page), &budget).await? {
        Body::Watch(page) => Ok((page, budget)),
        _ => Err(OpError::unavailable("an answer of another kind")),
    }
}
