//! A scan: keys in order, page by page, all pages at the version of the first.
//!
//! Once the version is known, ranges are read at the same time, each page by page, and told in order.
//!
//! A prefix is turned into its range here, so that every page, whichever way the scan runs, is the
//! same request with one bound moved. `page.rs` has single pages, for who keeps no stream.

use std::{
    collections::VecDeque,
    fmt,
    ops::{Bound, RangeBounds},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{Stream, future::BoxFuture};
use quintet_proto::v1;

pub use self::page::ScanPage;
use crate::{
    client::Client,
    error::Error,
    types::{IntoBytes, Record, Version, detach, expiry},
};

mod page;

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

    /// First key and end, as the wire has them; `None`: no key can be in it.
    pub(crate) fn into_span(self) -> Option<(Bytes, Bytes)> {
        (!self.empty).then_some((self.start, self.end))
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

    /// Its first key, empty where it begins with the keyspace; and its end, exclusive, empty where it goes on
    /// to the end of the keyspace. With those a scan can be taken up again elsewhere.
    pub fn bounds(&self) -> (&[u8], &[u8]) {
        (&self.start, &self.end)
    }

    /// The request for a page at a version, 0 for a fresh one.
    fn request(&self, at: u64) -> v1::ScanRequest {
        v1::ScanRequest {
            context: None,
            start: self.start.clone(),
            end: self.end.clone(),
            reverse: self.reverse,
            limit: self.limit.unwrap_or(0),
            keys_only: self.keys_only,
            at,
            prefix: Bytes::new(),
        }
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

/// Parts of a scan, one a range, that are read at the same time.
const PARTS_AT_ONCE: usize = 4;
/// Bytes of keys and values of a part that may wait while its next page is fetched. The parts behind the
/// one that is being read fill up to it meanwhile, so that all of them are read at the same time.
const BYTES_AHEAD_MAX: usize = 4 << 20;
/// What a record takes beside its key and value.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// While records wait, what is fetched ahead is looked after at every so many of them.
const LOOK_AFTER_RECORDS: usize = 64;
/// Borders of ranges that a scan looks for at a time.
const BORDERS_MAX: usize = 64;

/// A scan under way: a stream of records. From [`Client::scan`].
///
/// Pages are fetched ahead of the reader: the next one of the range that is being read, and those of
/// the next [`PARTS_AT_ONCE`] ranges where it is known where they begin; of each of them no more than 4 MiB
/// and a page are held. A scan with a [`limit`](Self::limit) fetches one page at a time. After an error the
/// stream ends.
/// [`limit`](Self::limit), [`reverse`](Self::reverse) and [`keys_only`](Self::keys_only) are for
/// before the first record; called later they change nothing that was fetched.
#[must_use = "a scan does nothing until it is read"]
pub struct Scan {
    client: Client,
    /// The limit counts down.
    options: ScanOptions,
    /// In the order of the scan; empty once it has ended.
    parts: VecDeque<Part>,
    /// The version that all pages show; 0 before the first.
    at: u64,
}

/// A part of the span that is read by itself.
#[derive(Default)]
struct Part {
    /// The bounds move as pages arrive.
    start: Bytes,
    /// Exclusive; empty is the end of the keyspace.
    end: Bytes,
    records: VecDeque<v1::Record>,
    /// Bytes of these.
    bytes: usize,
    page: Option<Page>,
    /// No further page is to be fetched.
    ended: bool,
}

struct Page {
    /// The limit that it was asked with; 0 is none.
    limit: u64,
    answer: BoxFuture<'static, Result<v1::ScanResponse, Error>>,
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("options", &self.options)
            .field("at", &self.at)
            .field("parts", &self.parts.len())
            .finish_non_exhaustive()
    }
}

impl Scan {
    pub(crate) fn new(client: Client, options: ScanOptions) -> Self {
        let whole =
            Part { start: options.start.clone(), end: options.end.clone(), ..Part::default() };
        let parts = if options.empty { VecDeque::new() } else { VecDeque::from([whole]) };
        Self { client, options, parts, at: 0 }
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

    /// Begins pages that are to be fetched by now.
    fn fetch(&mut self) {
        let ahead = self.at != 0 && self.options.limit.is_none();
        let at_once = if ahead { PARTS_AT_ONCE } else { 1 };
        for part in self.parts.iter_mut().take(at_once) {
            if part.ended || part.page.is_some() || (!part.records.is_empty() && !ahead) {
                continue;
            }
            if part.bytes > BYTES_AHEAD_MAX {
                continue;
            }
            let limit = self.options.limit.unwrap_or(0);
            let (start, end) = (part.start.clone(), part.end.clone());
            let request = ScanOptions { start, end, ..self.options.clone() }.request(self.at);
            let client = self.client.clone();
            let answer = Box::pin(async move { client.ask_page(request).await });
            part.page = Some(Page { limit, answer });
        }
    }

    /// Takes pages that have arrived. `Err` ends the scan.
    fn take(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let mut at = self.at;
        for part in &mut self.parts {
            let Some(page) = &mut part.page else { continue };
            let Poll::Ready(answer) = page.answer.as_mut().poll(cx) else { continue };
            let limit = page.limit;
            part.page = None;
            let answer = answer?;
            let is_full = limit > 0 && answer.records.len() as u64 == limit;
            at = part.take(answer, limit, self.options.reverse)?;
            part.ended |= is_full;
        }
        if self.at == 0 && at != 0 {
            self.at = at;
            self.divide();
        }
        Ok(())
    }

    /// Divides what is left of the span where ranges are known to begin, so that they are read at the
    /// same time.
    fn divide(&mut self) {
        if self.options.limit.is_some() {
            return;
        }
        let Some(last) = self.parts.back_mut().filter(|part| !part.ended) else { return };
        let mut borders = self.client.borders(&last.start, &last.end, BORDERS_MAX);
        if self.options.reverse {
            borders.reverse();
        }
        for border in borders {
            let Some(last) = self.parts.back_mut() else { return };
            let next = match self.options.reverse {
                false => Part {
                    start: border.clone(),
                    end: std::mem::replace(&mut last.end, border),
                    ..Part::default()
                },
                true => Part {
                    end: border.clone(),
                    start: std::mem::replace(&mut last.start, border),
                    ..Part::default()
                },
            };
            self.parts.push_back(next);
        }
    }
}

impl Part {
    /// Takes over a page and moves the bound to where the next one begins; the version that it shows.
    fn take(&mut self, page: v1::ScanResponse, limit: u64, reverse: bool) -> Result<u64, Error> {
        let count = page.records.len() as u64;
        if limit > 0 && count > limit {
            return Err(Error::Protocol(
                "a page of a scan has more records than were asked for".to_owned(),
            ));
        }
        self.bytes += page.records.iter().map(bytes_of).sum::<usize>();
        self.records.extend(page.records);
        if page.next.is_empty() {
            self.ended = true;
        } else if reverse {
            let advances = self.end.is_empty() || page.next < self.end;
            self.end = advancing(page.next, advances)?;
            self.ended = !self.start.is_empty() && self.end <= self.start;
        } else {
            let advances = page.next > self.start;
            self.start = advancing(page.next, advances)?;
            self.ended = !self.end.is_empty() && self.start >= self.end;
        }
        if !self.ended && page.at == 0 {
            return Err(Error::Protocol("a page of a scan does not say its version".to_owned()));
        }
        Ok(page.at)
    }
}

fn bytes_of(record: &v1::Record) -> usize {
    let value = record.state.as_ref().map_or(0, |state| state.value.len());
    record.key.len() + value + RECORD_OVERHEAD_BYTES
}

/// A record as callers have it: it does not hold on to the page that it came in.
fn told(record: v1::Record) -> Record {
    let state = record.state.unwrap_or_default();
    Record {
        key: detach(record.key),
        value: detach(state.value),
        version: Version(state.version),
        expires_at: expiry(state.expires_at),
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
            if self.options.limit == Some(0) {
                self.parts.clear();
            }
            let waiting = self.parts.front().map_or(0, |part| part.records.len());
            if waiting.is_multiple_of(LOOK_AFTER_RECORDS) {
                self.fetch();
                if let Err(error) = self.take(cx) {
                    self.parts.clear();
                    return Poll::Ready(Some(Err(error)));
                }
            }
            let Some(part) = self.parts.front_mut() else { return Poll::Ready(None) };
            if let Some(record) = part.records.pop_front() {
                part.bytes -= bytes_of(&record);
                if let Some(left) = &mut self.options.limit {
                    *left = left.saturating_sub(1);
                }
                return Poll::Ready(Some(Ok(told(record))));
            }
            match (part.ended, &part.page) {
                (true, _) => {
                    self.parts.pop_front();
                }
                (false, Some(_)) => return Poll::Pending,
                // The page that has arrived was empty: on to the next.
                (false, None) => {}
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
