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

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream};
use quintet_proto::v1::{
    self, Code, RetryClass, session_request::Op, session_response::Result as Body,
};
use tokio::sync::mpsc;

use super::{
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

/// How long a client may take nothing.
pub(super) const SLOW_MAX: Duration = Duration::from_secs(20);
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
/// Between two looks whether there is room for a page.
const BUDGET_PAUSE: Duration = Duration::from_millis(25);
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
            let before = parts.seen();
            let failed = self.ask_all(&mut parts).await?;
            let seen = parts.seen();
            let advanced = seen.is_above(&before);
            if advanced {
                self.came_at = Instant::now();
            } else if self.came_at.elapsed() >= STUCK_MAX {
                let why = failed.map_or("no moment of it is closed".to_owned(), |it| it.message);
                let message = format!(
                    "a range of the watch does not get on for {} s ({why}); watch again from where this ended, at \
                     another node",
                    STUCK_MAX.as_secs()
                );
                return Err((WatchEnd::Unavailable, Some(OpError::unavailable(message))));
            }
            let sent = self.send_due(&mut parts).await?;
            // Also where it is not further: its client goes to another node where it hears nothing.
            if self.told_at.elapsed() >= PROGRESS_INTERVAL {
                self.send(Vec::new(), 0, seen.floor()).await?;
            }
            if !sent && !advanced {
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

    fn part(&self, (start, end): (Bytes, Bytes), at: Position) -> Result<Part, OpError> {
        let page = self.page((start.clone(), end.clone()), &at);
        let stored = stored(&self.router, page)?;
        Ok(Part::new((start, end), stored, at))
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

    /// Asks every part that holds nothing. What failed of them, where something did that may be asked again.
    async fn ask_all(&mut self, parts: &mut Parts) -> Result<Option<OpError>, Ended> {
        let least = parts.seen();
        let mut asked = Vec::new();
        for (index, part) in parts.0.iter_mut().enumerate().filter(|(_, part)| part.is_empty()) {
            let (start, end) = &part.stored;
            let is_whole = part.seen.key.is_none();
            let nothing = is_whole.then(|| self.router.nothing_new((start, end), &part.seen));
            if let Some(Some(resolved)) = nothing {
                part.comes_to(resolved);
                continue;
            }
            let page = self.page((part.start.clone(), part.end.clone()), &part.seen);
            asked.push((index, page, !part.seen.is_above(&least)));
        }
        let router = &self.router;
        let pages = stream::iter(asked)
            .map(|(index, page, is_due)| async move { (index, ask(router, page, is_due).await) });
        let pages: Vec<_> = pages.buffered(PARTS_AT_ONCE).collect().await;
        let (mut failed, mut rests) = (None, Vec::new());
        for (index, page) in pages {
            let Some(part) = parts.0.get_mut(index) else { continue };
            let (at, end) = (part.seen.clone(), part.end.clone());
            match page.map(|(page, budget)| part.take(page, budget)) {
                Ok(Rest::Nothing) => {}
                Ok(Rest::From(start)) => rests.push((index, (start, end), at)),
                Ok(Rest::All) => failed = Some(OpError::stale_route()),
                Err(error) if error.retry_class() == RetryClass::Never && !is_late(&error) => {
                    let why = match error.code {
                        Code::VersionCollected => WatchEnd::Collected,
                        Code::InvalidArgument | Code::WrongCluster => WatchEnd::Invalid,
                        _ => WatchEnd::Unavailable,
                    };
                    return Err((why, Some(error)));
                }
                Err(error) => failed = Some(error),
            }
        }
        // Behind the part that they are of, the last one first: places stay what they are.
        for (index, span, at) in rests.into_iter().rev() {
            let invalid = |error| (WatchEnd::Invalid, Some(error));
            if parts.0.len() >= PARTS_MAX {
                return Err(invalid(too_many()));
            }
            let shrunk = parts.0.get(index).map(|part| (part.start.clone(), part.end.clone()));
            if let (Some(span), Some(part)) = (shrunk, parts.0.get_mut(index)) {
                let page = v1::WatchRequest {
                    context: self.asked.context.clone(),
                    start: span.0,
                    end: span.1,
                    prefix: self.asked.prefix.clone(),
                    after: 1,
                    ..v1::WatchRequest::default()
                };
                part.stored = stored(&self.router, page).map_err(invalid)?;
            }
            let rest = self.part(span, at).map_err(invalid)?;
            parts.0.insert(index + 1, rest);
        }
        Ok(failed)
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
            "the client took nothing of the watch for {} s; everything up to {} was sent: watch again from the last \
             message",
            SLOW_MAX.as_secs(),
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

/// One page. What is not due waits for nobody: its room is that of those that are.
async fn ask(
    router: &Arc<Router>,
    page: v1::WatchRequest,
    is_due: bool,
) -> Result<(v1::WatchResponse, Arc<Budget>), OpError> {
    // It is no client's connection that is filled by what waits for other ranges.
    let budget = Budget::ahead(router.admission().clone(), None);
    if is_due {
        budget.is_due();
    }
    let began = Instant::now();
    while budget.is_full() {
        if !is_due || began.elapsed() >= PAGE_TIMEOUT {
            return Err(OpError::overloaded("too many bytes of answers wait"));
        }
        sleep(BUDGET_PAUSE).await;
    }
    match call(router, Op::Watch(page), &budget).await? {
        Body::Watch(page) => Ok((page, budget)),
        _ => Err(OpError::unavailable("an answer of another kind")),
    }
}
