//! Reads of the past: a moment that is over, a state that may be a little old, and the versions of a key.
//!
//! Gets of the first two kinds are answered by the node that the client is attached to, or another one that is as near,
//! where its replica knows enough: no way to another room or city, no load on the leader. Where it does not, it asks
//! the leader. Pages of scans and the versions of a key come from the node that leads the range.
//!
//! ```text
//!   snapshot(at)   every read shows the same moment, whenever it is asked for and whoever answers  (held.rs: for long)
//!   stale(max)     every read shows some moment that is at most so old, and says which
//!   history(key)   the versions of a key that are kept
//! ```

use std::time::Duration;

use bytes::Bytes;
use quintet_proto::v1::{self, session_request::Op};

use crate::{
    caller::Caller,
    client::Client,
    error::Error,
    pending::Answer,
    scan::{Scan, ScanOptions},
    types::{IntoBytes, Shown, Version, VersionKept, Versioned},
};

/// Versions of one answer to [`Client::history`], where the node gives as many.
const HISTORY_PAGE: u32 = 1_000;

impl Client {
    /// Reads that all show one moment: a version, the [`at`](Shown::at) of another answer, or a cluster time of a while
    /// ago ([`Client::cluster_time`]).
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// let before = client.put("key", "old").await?;
    /// client.put("key", "new").await?;
    /// let then = client.snapshot(before);
    /// assert_eq!(then.get("key").await?.map(|found| found.value), Some("old".into()));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn snapshot(&self, at: Version) -> Snapshot {
        Snapshot { caller: self.caller.clone(), at }
    }

    /// Reads of a state that is at most so old, at least 1 ms. Each answer says how old it is, and never is it older:
    /// where the node can't tell, it asks the leader. Another node may answer the next one, with a state from before:
    /// whoever must not see that asks for a [`snapshot`](Self::snapshot) at the `at` that he was told, or for the
    /// newest state.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// use std::time::Duration;
    /// let shown = client.stale(Duration::from_secs(5)).get("key").await?;
    /// println!("{:?}, as of {:?} ago", shown.found, shown.stale);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stale(&self, max: Duration) -> StaleReads {
        StaleReads { caller: self.caller.clone(), max }
    }

    /// The versions of a key that are kept, newest first, removals among them, each with the request that wrote it. No
    /// more than `limit`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn history(
        &self,
        key: impl IntoBytes,
        limit: usize,
    ) -> Result<Vec<VersionKept>, Error> {
        let key = key.into_bytes();
        let (mut versions, mut before) = (Vec::<VersionKept>::new(), 0);
        while versions.len() < limit {
            let left = u32::try_from(limit - versions.len()).unwrap_or(u32::MAX);
            let request = v1::HistoryRequest {
                context: None,
                key: key.clone(),
                before,
                limit: left.min(HISTORY_PAGE),
            };
            let Answer::History(page) = self.caller.call(Op::History(request)).await? else {
                return Err(Error::mismatch());
            };
            let last = page.versions.last().map(|version| version.version);
            versions.extend(page.versions.into_iter().map(VersionKept::from_wire));
            match last.filter(|last| page.more && *last != before) {
                Some(last) => before = last,
                None => break,
            }
        }
        Ok(versions)
    }
}

/// Reads of one moment. From [`Client::snapshot`]; cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) caller: Caller,
    at: Version,
}

impl Snapshot {
    /// The moment.
    #[must_use]
    pub fn at(&self) -> Version {
        self.at
    }

    /// The value that a key had, or `None` if it was absent.
    ///
    /// # Errors
    /// [`Error::VersionCollected`] where the moment is further back than versions are kept,
    /// [`Error::InvalidArgument`] where it is yet to come; else as [`Client::get`].
    pub async fn get(&self, key: impl IntoBytes) -> Result<Option<Versioned>, Error> {
        let at = self.at.0;
        let get = v1::GetRequest { key: key.into_bytes(), at, ..v1::GetRequest::default() };
        match self.caller.call(Op::Get(get)).await? {
            Answer::Get(found) => Ok(Versioned::from_wire(found.state)),
            _ => Err(Error::mismatch()),
        }
    }

    /// Keys in order, as [`Client::scan`] gives them, at the moment.
    pub fn scan(&self, options: ScanOptions) -> Scan {
        Scan::at_moment(self.caller.clone(), options, self.at)
    }
}

/// Reads of a state that may be a little old. From [`Client::stale`]; cheap to clone.
#[derive(Clone, Debug)]
pub struct StaleReads {
    caller: Caller,
    max: Duration,
}

impl StaleReads {
    /// How old a state may be.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The value of a key, and of which moment that is.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get(&self, key: impl IntoBytes) -> Result<Shown, Error> {
        let stale_ms = u64::try_from(self.max.as_millis()).unwrap_or(u64::MAX).max(1);
        let key: Bytes = key.into_bytes();
        let get = v1::GetRequest { key, stale_ms, ..v1::GetRequest::default() };
        match self.caller.call(Op::Get(get)).await? {
            Answer::Get(found) => Ok(Shown {
                at: (found.at != 0).then_some(Version(found.at)),
                stale: Duration::from_millis(found.stale_ms),
                found: Versioned::from_wire(found.state),
            }),
            _ => Err(Error::mismatch()),
        }
    }
}
