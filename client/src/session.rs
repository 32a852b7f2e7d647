//! A live `Session` stream to one node, as callers see it: reserve, send, await the answer.
//!
//! The hot path of the library. A caller encodes its request straight into the frame that leaves
//! next, under one short lock; the stream's writer takes whole frames whenever the transport wants
//! one, so that requests queued meanwhile share a frame and one wake-up. Nothing is spawned for an
//! operation. (An mpsc channel of requests was rejected: a second queue, a second wake-up, and
//! encoding in the one task that is busiest.)
//!
//! Invariants:
//! - What is queued or in flight is bounded by permits: one per operation and one more for every
//!   16 KiB of it, as many as the server announced operations. They are taken in [`Session::reserve`]
//!   and given back when the answer comes, in [`Session::deliver`].
//! - A request is in `pending` before its bytes are in a frame, and nothing is added to either after
//!   `close`: each sent request is answered or learns of the loss.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures::{Stream, task::AtomicWaker};
use parking_lot::Mutex;
use prost::Message;
use quintet_proto::v1;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use crate::{
    pending::{Answer, Pending, Waiter},
    types::Limits,
};

/// A frame is closed once it has this length. With one value of the greatest size on top it stays below
/// the 4 MiB that gRPC servers accept by default.
const FRAME_BYTES_MAX: usize = 256 << 10;
/// Number of `requests` in `SessionRequests`.
const REQUESTS_TAG: u32 = 2;
/// An operation takes one permit more for each such part of its size.
const PERMIT_BYTES: usize = 16 << 10;
/// Bytes that a request has beside its key and value, roughly.
const REQUEST_OVERHEAD_BYTES: usize = 160;

/// A live stream, past its welcome.
#[derive(Debug)]
pub(crate) struct Session {
    /// Which node of the pool.
    pub(crate) node: usize,
    pub(crate) limits: Limits,
    /// Room that the client attached to first, for request ids.
    pub(crate) origin_room: u32,
    /// Incarnation of the cluster; 0 if there is none yet.
    pub(crate) incarnation: u64,
    lane: Arc<Lane>,
    permits: Semaphore,
    permits_max: u32,
}

/// The part that the writer shares.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    state: Mutex<LaneState>,
    writer: AtomicWaker,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct LaneState {
    closed: bool,
    pending: Pending,
    /// Encoded `SessionRequests`, the last one still growing.
    frames: VecDeque<BytesMut>,
}

/// Room in a session for one request.
#[derive(Debug)]
pub(crate) struct Reserved<'a> {
    permit: SemaphorePermit<'a>,
    permits: u32,
    bytes: usize,
}

impl Session {
    pub(crate) fn new(
        node: usize,
        lane: Arc<Lane>,
        limits: Limits,
        origin_room: u32,
        incarnation: u64,
    ) -> Self {
        let permits_max = u32::try_from(limits.session_in_flight_max).unwrap_or(u32::MAX);
        let permits_max = permits_max.clamp(1, 1 << 20);
        Self {
            node,
            limits,
            origin_room,
            incarnation,
            lane,
            permits: Semaphore::new(permits_max as usize),
            permits_max,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lane.closed.load(Ordering::Acquire)
    }

    /// Waits for room for a request with `bytes` bytes of key and value. `None`: the stream ended.
    pub(crate) async fn reserve(&self, bytes: usize) -> Option<Reserved<'_>> {
        let parts = u32::try_from(bytes / PERMIT_BYTES).unwrap_or(u32::MAX);
        let permits = parts.saturating_add(1).min(self.permits_max);
        let permit = self.permits.acquire_many(permits).await.ok()?;
        Some(Reserved { permit, permits, bytes })
    }

    /// Queues a request and gives it its id. `None`: the stream ended, nothing was sent. A receiver
    /// that fails later means that the stream was lost and the fate of the request is unknown.
    pub(crate) fn send(
        &self,
        reserved: Reserved<'_>,
        request: &mut v1::SessionRequest,
    ) -> Option<oneshot::Receiver<Answer>> {
        let (reply, answer) = oneshot::channel();
        let idle = {
            let mut state = self.lane.state.lock();
            if state.closed {
                return None;
            }
            request.id = state.pending.insert(Waiter { reply, permits: reserved.permits });
            let idle = state.frames.is_empty();
            state.push(request, reserved.bytes + REQUEST_OVERHEAD_BYTES);
            idle
        };
        reserved.permit.forget();
        if idle {
            self.lane.writer.wake();
        }
        Some(answer)
    }

    /// Hands answers to the calls that wait for them. Answers without a waiting call are dropped.
    pub(crate) fn deliver(&self, responses: Vec<v1::SessionResponse>) {
        let mut found = Vec::with_capacity(responses.len());
        let mut permits = 0;
        {
            let mut state = self.lane.state.lock();
            for response in responses {
                let Some(waiter) = state.pending.remove(response.id) else { continue };
                permits += waiter.permits as usize;
                // without a result the sender is dropped: the caller takes it for a lost answer
                if let Some(result) = response.result {
                    found.push((waiter.reply, result));
                }
            }
        }
        self.permits.add_permits(permits);
        for (reply, result) in found {
            // fails where the caller has given up, which is its right
            drop(reply.send(result));
        }
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.lane.state.lock().pending.is_empty()
    }

    /// Ends the stream: everything that waits learns of it, nothing more is sent.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.lane.close();
    }
}

impl Lane {
    /// Ends the stream.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let mut ended = LaneState { closed: true, ..LaneState::default() };
        std::mem::swap(&mut *self.state.lock(), &mut ended);
        ended.pending.clear();
        self.writer.wake();
    }
}

impl LaneState {
    fn push(&mut self, request: &v1::SessionRequest, bytes: usize) {
        let fits = |frame: &BytesMut| frame.len() + bytes <= FRAME_BYTES_MAX;
        if !self.frames.back().is_some_and(fits) {
            self.frames.push_back(BytesMut::with_capacity(bytes.max(4 << 10)));
        }
        if let Some(frame) = self.frames.back_mut() {
            // encoded repeated fields of a message may simply follow each other
            prost::encoding::message::encode(REQUESTS_TAG, request, frame);
        }
    }
}

/// The outgoing half: the hello, then frames as they fill. Ends when the lane is closed.
#[derive(Debug)]
pub(crate) struct Frames {
    hello: Option<Bytes>,
    lane: Arc<Lane>,
}

impl Frames {
    pub(crate) fn new(hello: v1::SessionHello, lane: Arc<Lane>) -> Self {
        let hello = v1::SessionRequests { hello: Some(hello), requests: Vec::new() };
        Self { hello: Some(hello.encode_to_vec().into()), lane }
    }
}

impl Stream for Frames {
    type Item = v1::SessionFrame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(body) = self.hello.take() {
            return Poll::Ready(Some(v1::SessionFrame { body }));
        }
        // before the look into the queue, or a wake-up between the two would be lost
        self.lane.writer.register(cx.waker());
        let mut state = self.lane.state.lock();
        match state.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(v1::SessionFrame { body: frame.freeze() })),
            None if state.closed => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}
