//! A scan: keys in order, page by page, all pages at the version of the first.
//!
//! A prefix is turned into its range here, so that every page, whichever way the scan runs, is the
//! same request with one bound moved.

use std::{
    collections::VecDeque,
    fmt,
    ops::{Bound, RangeBounds},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::{Stream, future::BoxFuture};
use quintet_proto::v1;

use crate::{
    client::Client,
    error::Error,
    types::{IntoBytes, Record, Version, detach, expiry},
};

/// What to scan: which keys, in which direction, how many.
///
/// ```
/// use quintet_client::ScanOptions;
///
/// let users = ScanOptions::prefix("user/");
/// let some = ScanOptions::range("a".."m").limit(100);
/// let newest_first = ScanOptions::all().reverse().keys_only();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ScanOptions {
    start: Bytes,
    /// Exclusive; empty is the end of the keyspace.
    end: Bytes,
    /// No key can be in it.
    empty: bool,
    reverse: bool,
    keys_only: bool,
    limit: Option<u64>,
}

impl ScanOptions {
    /// All keys of the keyspace.
    pub fn all() -> Self {
        Self {
            start: Bytes::new(),
            end: Bytes::new(),
            empty: false,
            reverse: false,
            keys_only: false,
            limit: None,
        }
    }

    /// The keys that begin with these bytes.
    pub fn prefix(prefix: impl IntoBytes) -> Self {
        let start = prefix.into_bytes();
        Self { end: prefix_end(&start), start, ..Self::all() }
    }

    /// The keys of a range: `"a".."m"`, `"a"..="m"`, `"a"..` and so on.
    pub fn range<K: AsRef<[u8]>>(range: impl RangeBounds<K>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(key) => Bytes::copy_from_slice(key.as_ref()),
            Bound::Excluded(key) => after(key.as_ref()),
            Bound::Unbounded => Bytes::new(),
        };
        let (end, bounded) = match range.end_bound() {
            Bound::Included(key) => (after(key.as_ref()), true),
            Bound::Excluded(key) => (Bytes::copy_from_slice(key.as_ref()), true),
            Bound::Unbounded => (Bytes::new(), false),
        };
        let empty = bounded && start >= end;
        Self { start, end, empty, ..Self::all() }
    }

    /// At most so many records.
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// From the end to the start.
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// Without values.
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }
}

/// The first key after all keys that begin so; empty if there is none.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    end.into()
}

/// The first key after this one.
fn after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

/// A scan under way: a stream of records. From [`Client::scan`].
///
/// Pages are fetched when they are needed, one at a time. After an error the stream ends.
/// [`limit`](Self::limit), [`reverse`](Self::reverse) and [`keys_only`](Self::keys_only) are for
/// before the first record; called later they change nothing that was fetched.
#[must_use = "a scan does nothing until it is read"]
pub struct Scan {
    client: Client,
    /// The bounds move as pages arrive; the limit counts down.
    options: ScanOptions,
    records: VecDeque<v1::Record>,
    page: Option<BoxFuture<'static, Result<v1::ScanResponse, Error>>>,
    /// The version that all pages show; 0 before the first.
    at: u64,
    /// No further page is to be fetched.
    ended: bool,
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("options", &self.options)
            .field("at", &self.at)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl Scan {
    pub(crate) fn new(client: Client, options: ScanOptions) -> Self {
        let ended = options.empty;
        Self { client, options, records: VecDeque::new(), page: None, at: 0, ended }
    }

    /// At most so many records.
    pub fn limit(mut self, limit: u64) -> Self {
        self.options = self.options.limit(limit);
        self
    }

    /// From the end to the start.
    pub fn reverse(mut self) -> Self {
        self.options = self.options.reverse();
        self
    }

    /// Without values.
    pub fn keys_only(mut self) -> Self {
        self.options = self.options.keys_only();
        self
    }

    /// The version that all records show the state at; `None` before the first page has arrived.
    #[must_use]
    pub fn at(&self) -> Option<Version> {
        (self.at != 0).then_some(Version(self.at))
    }

    fn fetch(&self) -> BoxFuture<'static, Result<v1::ScanResponse, Error>> {
        let client = self.client.clone();
        let request = v1::ScanRequest {
            context: None,
            start: self.options.start.clone(),
            end: self.options.end.clone(),
            reverse: self.options.reverse,
            limit: self.options.limit.unwrap_or(0),
            keys_only: self.options.keys_only,
            at: self.at,
            prefix: Bytes::new(),
        };
        Box::pin(async move { client.scan_page(request).await })
    }

    /// Takes over a page and moves the bound to where the next one begins.
    fn take(&mut self, page: v1::ScanResponse) -> Result<(), Error> {
        let count = page.records.len() as u64;
        if let Some(left) = &mut self.options.limit {
            *left = left.checked_sub(count).ok_or_else(|| {
                Error::Protocol("a page of a scan has more records than were asked for".to_owned())
            })?;
        }
        self.records.extend(page.records);
        if page.next.is_empty() || self.options.limit == Some(0) {
            self.ended = true;
        } else if self.options.reverse {
            let advances = self.options.end.is_empty() || page.next < self.options.end;
            self.options.end = advancing(page.next, advances)?;
        } else {
            let advances = page.next > self.options.start;
            self.options.start = advancing(page.next, advances)?;
        }
        if !self.ended && page.at == 0 {
            return Err(Error::Protocol("a page of a scan does not say its version".to_owned()));
        }
        self.at = page.at;
        Ok(())
    }
}

/// A scan that does not advance would never end.
fn advancing(next: Bytes, advances: bool) -> Result<Bytes, Error> {
    if advances {
        return Ok(next);
    }
    Err(Error::Protocol("a scan does not advance".to_owned()))
}

impl Stream for Scan {
    type Item = Result<Record, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(record) = self.records.pop_front() {
                let state = record.state.unwrap_or_default();
                return Poll::Ready(Some(Ok(Record {
                    key: detach(record.key),
                    value: detach(state.value),
                    version: Version(state.version),
                    expires_at: expiry(state.expires_at),
                })));
            }
            if self.ended || self.options.limit == Some(0) {
                return Poll::Ready(None);
            }
            if self.page.is_none() {
                self.page = Some(self.fetch());
            }
            let Some(page) = &mut self.page else { return Poll::Ready(None) };
            let page = ready!(page.as_mut().poll(cx));
            self.page = None;
            if let Err(error) = page.and_then(|page| self.take(page)) {
                self.ended = true;
                self.records.clear();
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_range() {
        assert_eq!(prefix_end(b"ab"), "ac");
        assert_eq!(prefix_end(b"a\xff\xff"), "b");
        assert_eq!(prefix_end(b"\xff\xff"), "");
        assert_eq!(prefix_end(b""), "");
    }

    #[test]
    fn bounds_of_every_kind() {
        let bounds = |options: ScanOptions| (options.start, options.end, options.empty);
        let bytes = |text: &'static str| Bytes::from(text);
        assert_eq!(bounds(ScanOptions::range("a".."b")), (bytes("a"), bytes("b"), false));
        assert_eq!(bounds(ScanOptions::range("a"..="b")), (bytes("a"), bytes("b\0"), false));
        assert_eq!(bounds(ScanOptions::range("a"..)), (bytes("a"), bytes(""), false));
        assert_eq!(bounds(ScanOptions::range::<&str>(..)), (bytes(""), bytes(""), false));
        assert!(ScanOptions::range("b".."a").empty);
        assert!(ScanOptions::range(.."").empty, "nothing is below the empty key");
    }
}
