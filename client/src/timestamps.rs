//! Timestamps: callers that wait at the same moment share a request.
//!
//! A timestamp has to be from a round that began after it was asked for, and may be that of others who asked meanwhile.
//! So who comes while a request is under way waits for the next one, with all the others who came (`gathering.rs`):
//! however many tasks of a program ask, its node is asked once a round trip.
//!
//! # Invariants
//!
//! * A request is sent after everybody whom it serves has asked.
//! * A caller that goes away keeps nobody waiting: requests are tasks of their own, which end with all whom they serve.

use quintet_proto::v1::{self, session_request::Op};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    caller::Caller,
    client::Client,
    error::Error,
    gathering::{Turn, Waiter},
    pending::Answer,
    types::Version,
};

impl Client {
    /// A timestamp of the cluster: above the version of every write that was acknowledged before this was called, and
    /// above every timestamp that was given before, to whomever; below the version of every write that begins after it
    /// is returned. No clock is trusted for that: a majority of the time servers is asked. (Where a majority of them
    /// was lost for good and an operator has begun time anew, one that was used for nothing may not be known.) Two that
    /// are asked for at the same time may be equal. What was written by then can be read at it
    /// ([`snapshot`](Self::snapshot)).
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
        let timeout = self.caller.timeout;
        match tokio::time::timeout(timeout, self.asked()).await {
            Ok(told) => told,
            Err(_) => {
                let mut words = format!("no answer within {timeout:?}");
                let causes = self.caller.attachment.pool.last_errors();
                if !causes.is_empty() {
                    words.push_str("; ");
                    words.push_str(&causes);
                }
                Err(Error::DeadlineExceeded(words))
            }
        }
    }

    async fn asked(&self) -> Result<Version, Error> {
        let gathering = &self.caller.attachment.gathering;
        loop {
            let (waiter, told) = oneshot::channel();
            if let Some(turn) = gathering.add(waiter, self.caller.timeout, Instant::now()) {
                // No keyspace of one of them counts for all.
                tokio::spawn(serve(self.caller.with_keyspace(String::new()), turn));
            }
            if let Ok(told) = told.await {
                return told;
            }
            // The runtime that ran the request has ended.
            tokio::task::yield_now().await;
        }
    }
}

/// Serves those who wait, and then all who came meanwhile, until nobody is there.
async fn serve(caller: Caller, first: Turn) {
    let mut next = Some(first);
    while let Some(mut turn) = next {
        let asking = caller.with_timeout(turn.patience);
        let told = tokio::select! {
            told = ask(&asking) => Some(told),
            () = gone(&mut turn.waiting) => None,
        };
        if let Some(told) = told {
            for waiter in std::mem::take(&mut turn.waiting) {
                // Who waited may have gone.
                waiter.send(told.clone()).ok();
            }
        }
        // Those who ask again at once share the next one.
        tokio::task::yield_now().await;
        next = turn.next(Instant::now());
    }
}

/// Until nobody waits any more.
async fn gone(waiting: &mut [Waiter]) {
    for waiter in waiting {
        waiter.closed().await;
    }
}

async fn ask(caller: &Caller) -> Result<Version, Error> {
    match caller.call(Op::Timestamp(v1::TimestampRequest::default())).await? {
        Answer::Timestamp(told) => Ok(Version(told.timestamp)),
        _ => Err(Error::mismatch()),
    }
}
