//! Answers on their way out: the bodies of gRPC's responses, counted until the peer has taken them.
//!
//! An answer is encoded as a whole and stays in memory until the peer's flow control lets it go: with the
//! peer, how long that takes. So every body of the client port is wrapped. It hands its bytes over in
//! pieces ([`PIECE_BYTES`]), asks its connection for room first ([`Line`]), counts what is left against the
//! node's bound ([`Budget`]), and if the peer takes nothing for [`STALL_MAX`] all of it is let go: the call
//! ends with `RESOURCE_EXHAUSTED`, the connection and its other calls go on.
//!
//! ```text
//!   made ─── Budget ───> encoded ─── pieces ───> HTTP/2, 1 MiB a connection ──> socket
//!            counted             counted, let go after 30 s                (HTTP/2's own pings)
//! ```
//!
//! Why not by the connection alone: one call that nobody reads must not end the others, and HTTP/2 asks a
//! body for nothing while the peer's window is shut, so that a body can't end itself. The watch
//! ([`Outgoing::watch`]) takes what it holds away from it.
//!
//! # Invariants
//!
//! * A body that its inner one is awaited for is not stalled: nothing is there to be taken.
//! * What is counted is given back when the body goes, or is let go.
//!
//! Not in the simulation, whose network has no bodies.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::{TryFutureExt, future::BoxFuture};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tonic::{Status, body::Body, transport::server::TcpConnectInfo};
use tower::{Layer, Service};

use super::{
    budget::{Budget, Made},
    line::Line,
};
use crate::{
    router::admission::Admission,
    time::local::{Instant, sleep},
};

/// What goes to the HTTP/2 layer at once.
const PIECE_BYTES: usize = 64 << 10;
/// How long a peer may take nothing of an answer.
const STALL_MAX: Duration = Duration::from_secs(30);
/// How often that is looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Where a request came from.
#[derive(Clone)]
pub(crate) struct Arrival {
    pub(crate) line: Arc<Line>,
    pub(crate) tcp: TcpConnectInfo,
}

/// All bodies on their way out.
pub(crate) struct Outgoing {
    admission: Arc<Admission>,
    next: AtomicU64,
    bodies: Mutex<BTreeMap<u64, Weak<Mutex<State>>>>,
}

impl Outgoing {
    pub(crate) fn new(admission: Arc<Admission>) -> Arc<Outgoing> {
        Arc::new(Outgoing { admission, next: AtomicU64::new(0), bodies: Mutex::default() })
    }

    /// Lets go what peers do not take; never ends.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            sleep(WATCH_INTERVAL).await;
            self.let_go(Instant::now());
        }
    }

    fn let_go(&self, now: Instant) {
        let bodies: Vec<_> = self.bodies.lock().values().filter_map(Weak::upgrade).collect();
        for state in bodies {
            // One that is locked is just being taken.
            let gone = state.try_lock().and_then(|mut state| state.let_go_if_stalled(now));
            if gone.is_some() {
                self.admission.answer_let_go();
                tracing::debug!("an answer was let go: the client takes none of it");
            }
        }
    }

    fn body(self: &Arc<Self>, inner: Body, made: Option<Made>, line: Option<Arc<Line>>) -> Counted {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(Mutex::new(State {
            rest: Bytes::new(),
            kept: Budget::with(self.admission.clone(), line.clone(), usize::MAX),
            held: Some(Held { inner, made }),
            taken: Instant::now(),
            awaits_inner: false,
            end: None,
        }));
        self.bodies.lock().insert(id, Arc::downgrade(&state));
        Counted { id, state, line, outgoing: self.clone() }
    }
}

/// A response's body.
pub(crate) struct Counted {
    id: u64,
    state: Arc<Mutex<State>>,
    line: Option<Arc<Line>>,
    outgoing: Arc<Outgoing>,
}

struct State {
    /// Of the frame that is handed over piece by piece.
    rest: Bytes,
    /// Counts the rest.
    kept: Budget,
    /// `None` once all is said, or let go.
    held: Option<Held>,
    /// When the peer last took something.
    taken: Instant,
    awaits_inner: bool,
    /// What is said instead of what was let go.
    end: Option<Status>,
}

struct Held {
    inner: Body,
    made: Option<Made>,
}

impl State {
    /// Lets go what is held if the peer takes nothing of it.
    fn let_go_if_stalled(&mut self, now: Instant) -> Option<(Option<Held>, Bytes)> {
        let waits = !self.rest.is_empty() || self.held.as_ref().is_some_and(|h| h.made.is_some());
        if !waits || self.awaits_inner || now.saturating_duration_since(self.taken) < STALL_MAX {
            return None;
        }
        self.end = Some(Status::resource_exhausted(
            "nothing of the answer was taken for 30 s; ask again, and read it",
        ));
        self.kept.release(self.rest.len());
        Some((self.held.take(), std::mem::take(&mut self.rest)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.outgoing.bodies.lock().remove(&self.id);
        if let Some(line) = &self.line {
            line.forget(self.id);
        }
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut state = self.state.lock();
        let state = &mut *state;
        loop {
            if let Some(end) = state.end.take() {
                let mut trailers = http::HeaderMap::new();
                end.add_header(&mut trailers)?;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            if !state.rest.is_empty() {
                if self.line.as_ref().is_some_and(|line| !line.has_room(self.id, cx)) {
                    return Poll::Pending;
                }
                let piece = state.rest.split_to(state.rest.len().min(PIECE_BYTES));
                state.kept.release(piece.len());
                if let Some(line) = &self.line {
                    line.handed_over(piece.len());
                }
                state.taken = Instant::now();
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            let Some(held) = &mut state.held else { return Poll::Ready(None) };
            state.awaits_inner = true;
            let frame = ready!(Pin::new(&mut held.inner).poll_frame(cx));
            state.awaits_inner = false;
            state.taken = Instant::now();
            let Some(frame) = frame.transpose()? else {
                state.held = None;
                return Poll::Ready(None);
            };
            match frame.into_data() {
                Ok(data) => {
                    state.kept.hold(data.len());
                    state.rest = data;
                    // It is encoded: from now on the bytes count.
                    held.made.take_if(|made| !made.is_stream);
                }
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.state.lock();
        let is_over = state.held.as_ref().is_none_or(|held| held.inner.is_end_stream());
        state.end.is_none() && state.rest.is_empty() && is_over
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.state.lock();
        match &state.held {
            Some(held) if state.rest.is_empty() => held.inner.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

/// Counts the bodies of all services of a port.
#[derive(Clone)]
pub(crate) struct CountedLayer(pub(crate) Arc<Outgoing>);

impl<S> Layer<S> for CountedLayer {
    type Service = CountedService<S>;

    fn layer(&self, inner: S) -> CountedService<S> {
        CountedService { inner, outgoing: self.0.clone() }
    }
}

/// See [`CountedLayer`].
#[derive(Clone)]
pub(crate) struct CountedService<S> {
    inner: S,
    outgoing: Arc<Outgoing>,
}

impl<S, B> Service<http::Request<B>> for CountedService<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Counted>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let line = request.extensions().get::<Arrival>().cloned().map(|arrival| {
            // Where tonic looks for the peer's address.
            request.extensions_mut().insert(arrival.tcp);
            // Where the doors look for what their answers share.
            request.extensions_mut().insert(arrival.line.clone());
            arrival.line
        });
        let outgoing = self.outgoing.clone();
        Box::pin(self.inner.call(request).map_ok(move |mut response| {
            let made = response.extensions_mut().remove::<Made>();
            response.map(|inner| outgoing.body(inner, made, line))
        }))
    }
}
