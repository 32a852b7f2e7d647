//! Timestamps: callers that wait at the same moment share a request.
//!
//! A timestamp has to be from a round that began after it was asked for, and may be that of others who asked meanwhile.
//! So who comes while a request is under way waits for the next one, with all the others who came (`waiters.rs`):
//! however many tasks of a program ask, its node is asked once a round trip.
//!
//! # Invariants
//!
//! * A request is sent after everybody whom it serves has asked.
//! * A caller that goes away keeps nobody waiting: requests are tasks of their own.

use std::sync::Arc;

use quintet_proto::v1::{self, session_request::Op};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    attachment::Attachment, caller::Caller, client::Client, error::Error, pending::Answer,
    types::Version, waiters::Waiters,
};

impl Client {
    /// A timestamp of the cluster: above the version of every write that was acknowledged before this was called, and
    /// above every timestamp that was given before, to whomever; below the version of every write that begins after it
    /// is returned. No clock is trusted for that: a majority of the time servers is asked. Two that are asked for at
    /// the same time may be equal. What was written by then can be read at it ([`snapshot`](Self::snapshot)).
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// let now = client.timestamp().await?;
    /// assert!(client.put("key", "value").await? > now);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::DeadlineExceeded`] where too few time servers can be reached.
    pub async fn timestamp(&self) -> Result<Version, Error> {
        let (waiter, told) = oneshot::channel();
        let (waiters, timeout) = (&self.caller.attachment.waiters, self.caller.timeout);
        let first = waiters.add(waiter, timeout, Instant::now());
        if let Some(first) = first {
            tokio::spawn(serve(self.caller.clone(), first));
        }
        match tokio::time::timeout(timeout, told).await {
            Ok(Ok(told)) => told,
            // The runtime that ran the request has ended.
            Ok(Err(_)) => Err(Error::Unavailable("the request was given up".to_owned())),
            Err(_) => Err(Error::DeadlineExceeded(format!("no answer within {timeout:?}"))),
        }
    }
}

/// Serves those who wait, and then all who came meanwhile, until nobody is there.
async fn serve(caller: Caller, first: Waiters) {
    let mut serving = Serving { attachment: caller.attachment.clone(), is_over: false };
    let mut next = Some(first);
    while let Some(Waiters { waiting, patience }) = next {
        let told = ask(&caller.with_timeout(patience)).await;
        for waiter in waiting {
            // Who waited may have gone.
            waiter.send(told.clone()).ok();
        }
        // Those who ask again at once share the next one.
        tokio::task::yield_now().await;
        next = serving.next();
    }
}

async fn ask(caller: &Caller) -> Result<Version, Error> {
    match caller.call(Op::Timestamp(v1::TimestampRequest::default())).await? {
        Answer::Timestamp(told) => Ok(Version(told.timestamp)),
        _ => Err(Error::mismatch()),
    }
}

/// A task that serves, counted.
struct Serving {
    attachment: Arc<Attachment>,
    is_over: bool,
}

impl Serving {
    /// Who has come meanwhile. Nobody: the next who comes is served by another task.
    fn next(&mut self) -> Option<Waiters> {
        let next = self.attachment.waiters.next(Instant::now());
        self.is_over = next.is_none();
        next
    }
}

impl Drop for Serving {
    /// The task was dropped with its runtime, before it was through.
    fn drop(&mut self) {
        if !self.is_over {
            self.attachment.waiters.abandon();
        }
    }
}
