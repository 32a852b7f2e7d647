//! A snapshot that stays readable: the moment is held by the cluster for as long as somebody reads it.
//!
//! A call to one node is open meanwhile, and the node sees to it that no range collects versions of the moment. Where
//! the call breaks, it is made again at another node; ranges go on to keep the moment until then.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use quintet_proto::v1;
use tokio::task::JoinHandle;
use tonic::Streaming;

use crate::{
    caller::Caller, deadline::timeout_ms, error::Error, past::Snapshot, scan::ScanOptions,
};

/// The node says something every ten seconds: one that says nothing for fifteen seconds is gone.
const SILENCE_MAX: Duration = Duration::from_secs(15);

impl Snapshot {
    /// Holds the moment of some keys: their versions stay readable there for as long as the result lives, however
    /// short their retention is. For reads that take long, such as a backup. Of the options only the keys count.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// use futures::TryStreamExt;
    /// use quintet_client::ScanOptions;
    /// let all = ScanOptions::all();
    /// let now = client.put("backup/begun", "").await?;
    /// let held = client.snapshot(now).hold(all.clone()).await?;
    /// let mut records = held.scan(all);
    /// while let Some(record) = records.try_next().await? {
    ///     // slowly
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::VersionCollected`] where the moment is further back than versions are kept,
    /// [`Error::InvalidArgument`] where it is yet to come, or no key can be in the span; [`Error::Unavailable`] or
    /// [`Error::DeadlineExceeded`] if no node could hold it in time.
    pub async fn hold(&self, keys: ScanOptions) -> Result<HeldSnapshot, Error> {
        let Some((start, end)) = keys.into_span() else {
            let text = "no key can be in what is to be held; name keys".to_owned();
            return Err(Error::InvalidArgument(text));
        };
        let request = v1::HoldSnapshotRequest {
            context: None,
            start,
            end,
            prefix: Default::default(),
            at: self.at().0,
        };
        let caller = self.caller.clone();
        let held = tokio::time::timeout(caller.timeout, open(&caller, &request));
        let held = held.await.unwrap_or_else(|_| {
            let text = format!("the moment was not held within {:?}", caller.timeout);
            Err(Error::DeadlineExceeded(text))
        })?;
        let is_lost = Arc::<AtomicBool>::default();
        let keeping = tokio::spawn(keep(caller, request, held, is_lost.clone()));
        Ok(HeldSnapshot { snapshot: self.clone(), is_lost, keeping })
    }
}

/// Reads of one moment that is held for as long as this lives. From [`Snapshot::hold`].
#[derive(Debug)]
pub struct HeldSnapshot {
    snapshot: Snapshot,
    is_lost: Arc<AtomicBool>,
    keeping: JoinHandle<()>,
}

impl HeldSnapshot {
    /// Whether the moment is readable no more, because no node could be reached to hold it for more than half a minute.
    /// Reads say so too: [`Error::VersionCollected`].
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Relaxed)
    }
}

impl Deref for HeldSnapshot {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl Drop for HeldSnapshot {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

type Messages = Streaming<v1::HoldSnapshotResponse>;

/// Has a node hold the moment: the first of the pool's that can.
async fn open(caller: &Caller, request: &v1::HoldSnapshotRequest) -> Result<Messages, Error> {
    let pool = &caller.attachment.pool;
    let mut last = Error::Unavailable("no node is known".to_owned());
    for address in pool.addresses() {
        let held = async {
            let context =
                v1::RequestContext { timeout_ms: timeout_ms(caller.timeout), ..caller.context() };
            let request = v1::HoldSnapshotRequest { context: Some(context), ..request.clone() };
            let told = caller.kv_at(&address).await?.hold_snapshot(request).await;
            let mut messages = told.map_err(|status| Error::from_status(&status))?.into_inner();
            match messages.message().await.map_err(|status| Error::from_status(&status))? {
                Some(_) => Ok(messages),
                None => Err(Error::Unavailable(format!("{address} ended the call at once"))),
            }
        };
        match held.await {
            Ok(messages) => return Ok(messages),
            Err(error @ (Error::VersionCollected(_) | Error::InvalidArgument(_))) => {
                return Err(error);
            }
            // Also that a node is of another cluster: the others may not be.
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Keeps the moment held, at whichever node, until it is lost or nobody wants it any more.
async fn keep(
    caller: Caller,
    request: v1::HoldSnapshotRequest,
    mut held: Messages,
    is_lost: Arc<AtomicBool>,
) {
    loop {
        // Until the node goes, or says nothing.
        while let Ok(Ok(Some(_))) = tokio::time::timeout(SILENCE_MAX, held.message()).await {}
        let mut failures = 0;
        held = loop {
            match tokio::time::timeout(caller.timeout, open(&caller, &request)).await {
                Ok(Ok(messages)) => break messages,
                Ok(Err(Error::VersionCollected(_))) => return is_lost.store(true, Relaxed),
                Ok(Err(_)) | Err(_) => {
                    failures += 1;
                    tokio::time::sleep(caller.attachment.pool.pacer.pause(failures)).await;
                }
            }
        };
    }
}
