//! A deletion of a range: pages, each of them one request, that all remove what was there at one moment.
//!
//! The moment is that of a scan of the whole range. A page removes only keys whose newest version is not above
//! it: pages that are done late, again, or after an error never remove what was written since.

use std::fmt;

use bytes::Bytes;
use quintet_proto::v1;

use crate::{caller::Caller, error::Error, scan::ScanOptions, types::Version};

/// A deletion under way. From [`Client::delete_range`], [`Client::delete_prefix`] and
/// [`Client::delete_everything`].
///
/// [`Client::delete_range`]: crate::Client::delete_range
/// [`Client::delete_prefix`]: crate::Client::delete_prefix
/// [`Client::delete_everything`]: crate::Client::delete_everything
///
/// A page removes up to a thousand keys of one range of the cluster, atomically and exactly once, however often it
/// was retried. The whole is not atomic: while it goes on, and after an error, other clients see some keys gone and
/// others not. The client's timeout applies to each page.
///
/// ```no_run
/// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
/// let mut deletion = client.delete_prefix("log/");
/// while deletion.step().await? {
///     println!("{} so far", deletion.deleted());
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a deletion does nothing until it is run"]
pub struct RangeDeletion {
    caller: Caller,
    /// What is left; `None` where that is nothing.
    left: Option<(Bytes, Bytes)>,
    everything: bool,
    limit: Option<u64>,
    /// 0 before it is known.
    at: u64,
    deleted: u64,
}

impl fmt::Debug for RangeDeletion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangeDeletion")
            .field("left", &self.left)
            .field("limit", &self.limit)
            .field("at", &self.at)
            .field("deleted", &self.deleted)
            .finish_non_exhaustive()
    }
}

impl RangeDeletion {
    pub(crate) fn new(caller: Caller, span: ScanOptions, everything: bool) -> Self {
        Self { caller, left: span.into_span(), everything, limit: None, at: 0, deleted: 0 }
    }

    /// The largest number of keys to remove.
    pub fn limit(mut self, keys: u64) -> Self {
        self.limit = Some(keys);
        self
    }

    /// Removes only what was written at this version or before. The version comes from a scan ([`Scan::at`]) or
    /// an earlier deletion ([`moment`](Self::moment)). Without it everything goes that was acknowledged before the
    /// deletion begins.
    ///
    /// [`Scan::at`]: crate::Scan::at
    pub fn at(mut self, version: Version) -> Self {
        self.at = version.0;
        self
    }

    /// Removes page after page until all is done. Returns how many keys were removed.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a range without bounds; else those of [`Client::put`](crate::Client::put),
    /// for one page. The pages before it are done. Called again, it goes on with the page that failed.
    /// [`deleted`](Self::deleted) does not count the keys of a page with an unknown outcome.
    pub async fn run(&mut self) -> Result<u64, Error> {
        while self.step().await? {}
        Ok(self.deleted)
    }

    /// Removes one page. Returns whether there may be more.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn step(&mut self) -> Result<bool, Error> {
        if self.limit.is_some_and(|limit| self.deleted >= limit) {
            self.left = None;
        }
        let Some((start, end)) = self.left.clone() else { return Ok(false) };
        if start.is_empty() && end.is_empty() && !self.everything {
            return Err(Error::InvalidArgument(
                "the deletion has no bounds; delete_everything removes all keys".to_owned(),
            ));
        }
        if self.at == 0 {
            self.at = self.take_moment(&start, &end).await?;
        }
        let request = v1::DeleteRangeRequest {
            context: None,
            start: start.clone(),
            end: end.clone(),
            prefix: Bytes::new(),
            everything: self.everything,
            limit: self.limit.map_or(0, |limit| limit - self.deleted),
            at: self.at,
        };
        let page = self.caller.delete_page(request).await?;
        self.deleted += page.deleted;
        self.left = match page.next {
            next if next.is_empty() => None,
            next if next > start => Some((next, end)),
            _ => return Err(Error::Protocol("a deletion does not advance".to_owned())),
        };
        Ok(self.left.is_some())
    }

    /// Keys that were removed so far.
    #[must_use]
    pub fn deleted(&self) -> u64 {
        self.deleted
    }

    /// The version up to which it removes; `None` before it has begun.
    #[must_use]
    pub fn moment(&self) -> Option<Version> {
        (self.at != 0).then_some(Version(self.at))
    }

    /// Above everything that was acknowledged by now; what is written later is above it.
    async fn take_moment(&self, start: &Bytes, end: &Bytes) -> Result<u64, Error> {
        let scan = v1::ScanRequest {
            start: start.clone(),
            end: end.clone(),
            keys_only: true,
            ..v1::ScanRequest::default()
        };
        match self.caller.scan_page(scan).await?.at {
            0 => Err(Error::Protocol("a page of a scan does not say its version".to_owned())),
            at => Ok(at),
        }
    }
}
