//! `KV.Watch`: the versions of a span as they are written, in order, without a gap and without one twice.
//!
//! ```text
//!   feed.rs   one task per watch: asks the ranges, sends what is complete, says how far it has come
//!   parts.rs  the ranges' changes in one order, pure
//! ```
//!
//! A page of a range comes from any replica (`range/changes.rs`), this node's own as a rule. The task keeps where each
//! range stands, and a page of each; no replica keeps anything of it. So what a watch has sent is all that has to be
//! known to go on with it elsewhere, and its client knows that.
//!
//! # Bounds
//!
//! * `limits.watches_max` of a node; [`PARTS_MAX`](parts::PARTS_MAX) ranges each.
//! * A page of each range, and [`FRAMES_MAX`] messages that the client has not taken: all of it counts as answers that
//!   wait do, for the node and for the connection ([`Budget`](super::budget::Budget)). Where there is no room for a
//!   page that the others wait for, theirs are set down, to be asked for again (`parts.rs`).
//! * A client that takes none of these messages for [`SLOW_MAX`](feed::SLOW_MAX), 20 to 30 s after it read something,
//!   is told so, and where it was: it can come again. That is sooner than what is encoded is let go (`outgoing.rs`), so
//!   that all that was sent before arrives whole.
//!
//! On a crash the stream breaks, and its client goes on at another node.

mod feed;
mod parts;

use std::{net::SocketAddr, sync::Arc};

use futures::stream;
use parking_lot::Mutex;
use quintet_proto::v1::{self, session_request::Op};
use tokio::sync::mpsc;
use tonic::Status;

use self::feed::{Following, Frame};
use super::{line::Line, status::status};
use crate::{
    error::OpError,
    ops::metrics::WatchEnd,
    router::{
        Router,
        watches::{Feed, OpenWatch},
    },
    time::Timestamp,
    wire::{self, Outbound},
};

/// Messages that wait for the client to take them.
const FRAMES_MAX: usize = 4;

/// Messages of a watch.
pub(super) type Changes = Outbound<v1::WatchResponse>;

/// Opens a watch: its messages are the returned stream.
pub(super) fn open(
    router: Arc<Router>,
    (line, from): (Option<Arc<Line>>, Option<SocketAddr>),
    mut asked: v1::WatchRequest,
) -> Result<Changes, Status> {
    if router.peers().identity().cluster.is_empty() {
        return Err(status(router.peers().no_cluster()));
    }
    let (start, end) = check(&router, &asked).map_err(status)?;
    let seam = router.peers().wire().cloned();
    if !asked.key.is_empty() {
        // A span like any other: from the key to what is right behind it.
        asked.start = std::mem::take(&mut asked.key);
        asked.end = [&asked.start[..], &[0]].concat().into();
    }
    // One that begins now begins above what is known to be published.
    let resolved = match asked.after {
        0 => router.oracle().now(),
        _ => feed::asked_position(&asked).floor(),
    };
    let open = router.watches().open(Feed { start, end, resolved }).map_err(status)?;
    let (frames, taken) = mpsc::channel::<Frame>(FRAMES_MAX);
    let end = Arc::<Mutex<Option<Status>>>::default();
    let told = end.clone();
    tokio::spawn(async move {
        let gone = frames.clone();
        let following = Following::new(router.clone(), line, asked, frames).run();
        let ended = tokio::select! {
            biased;
            () = gone.closed() => (WatchEnd::ClientGone, None),
            ended = following => ended,
        };
        let (why, error) = ended;
        router.metrics().watch.ended(why).inc();
        tracing::debug!(?why, ?error, "a watch ended");
        *told.lock() = error.map(status);
    });
    let taking = Taking { taken, open, handed_over: Timestamp::ZERO, end };
    let messages = stream::unfold(Some(taking), async |taking| taking?.next().await);
    Ok(wire::answers(seam.as_ref(), from, Box::pin(messages)))
}

/// The transport's end of a watch. It is open for as long as the transport has something of it to send.
struct Taking {
    taken: mpsc::Receiver<Frame>,
    open: OpenWatch,
    /// What the last message says to be complete.
    handed_over: Timestamp,
    end: Arc<Mutex<Option<Status>>>,
}

type Next = (Result<v1::WatchResponse, Status>, Option<Taking>);

impl Taking {
    async fn next(mut self) -> Option<Next> {
        // Who asks for the next message has sent the one before.
        self.open.has_come(self.handed_over);
        match self.taken.recv().await {
            // It is encoded next, and counts as what it is then.
            Some(Frame { message, .. }) => {
                self.handed_over = Timestamp(message.resolved);
                Some((Ok(message), Some(self)))
            }
            None => {
                let end = self.end.lock().take()?;
                Some((Err(end), None))
            }
        }
    }
}

/// The stored keys that a watch follows, from the first to below the second, where it makes sense.
fn check(router: &Router, asked: &v1::WatchRequest) -> Result<(Vec<u8>, Vec<u8>), OpError> {
    let page = v1::WatchRequest { after: asked.after.max(1), ..asked.clone() };
    if asked.after == 0 && !asked.after_key.is_empty() {
        let message = "the watch names a key and no moment: set 'after' with 'after_key'";
        return Err(OpError::invalid(message));
    }
    let (start, end) = stored(router, page)?;
    if start >= end {
        let message = "no key can be in the span that is to be watched, because it ends where it begins or lies \
                       outside of the prefix; name keys";
        return Err(OpError::invalid(message));
    }
    Ok((start, end))
}

/// The stored keys that a page is of.
fn stored(router: &Router, page: v1::WatchRequest) -> Result<(Vec<u8>, Vec<u8>), OpError> {
    let mut request = v1::SessionRequest { id: 0, op: Some(Op::Watch(page)) };
    let decoded = router.decoder().decode(&mut request)?;
    let changes = decoded.into_changes().ok_or_else(|| OpError::invalid("it is no watch"))?;
    Ok((changes.start, changes.end))
}
