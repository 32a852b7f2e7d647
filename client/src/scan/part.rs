//! A part of a scan: a span of keys that is read by itself, page by page. The scan asks
//! for the pages; here is what a page changes.
//!
//! Invariant: each page moves the bound of what is left inward, or is the last. A node that answers otherwise
//! is refused as one that breaks the protocol, because such a scan would never end. Checked in
//! [`Part::take`].

use std::collections::VecDeque;

use bytes::Bytes;
use futures::future::BoxFuture;
use quintet_proto::v1;

use crate::{
    error::Error,
    types::{Record, Version, detach, expiry},
};

/// What a record takes beside its key and value.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// A part of the span that is read by itself.
#[derive(Default)]
pub(super) struct Part {
    /// The bounds move as pages arrive.
    pub(super) start: Bytes,
    /// Exclusive; empty is the end of the keyspace.
    pub(super) end: Bytes,
    pub(super) records: VecDeque<v1::Record>,
    /// Bytes of these.
    pub(super) bytes: usize,
    pub(super) page: Option<Page>,
    /// No further page is to be fetched.
    pub(super) ended: bool,
}

/// A page that was asked for.
pub(super) struct Page {
    /// The limit that it was asked with; 0 is none.
    pub(super) limit: u64,
    pub(super) answer: BoxFuture<'static, Result<v1::ScanResponse, Error>>,
}

impl Part {
    /// Takes over a page and moves the bound to where the next one begins; the version that it shows.
    pub(super) fn take(
        &mut self,
        page: v1::ScanResponse,
        limit: u64,
        reverse: bool,
    ) -> Result<u64, Error> {
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

pub(super) fn bytes_of(record: &v1::Record) -> usize {
    let value = record.state.as_ref().map_or(0, |state| state.value.len());
    record.key.len() + value + RECORD_OVERHEAD_BYTES
}

/// A record as callers have it: it does not hold on to the page that it came in.
pub(super) fn told(record: v1::Record) -> Record {
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
