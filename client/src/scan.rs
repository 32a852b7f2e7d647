//! A scan: keys in order, page by page, all pages at the version of the first.
//!
//! Once the version is known, ranges are read at the same time, each page by page, and told in order. A scan
//! with a limit does not read ahead: most of what it would fetch would be thrown away.
//!
//! ```text
//! options.rs  what to scan        part.rs  one range of it, page by page
//! page.rs     single pages, for callers that keep no stream
//! ```
//!
//! Nothing is spawned: pages that are being fetched are futures that the reader polls, so that a scan which is
//! dropped asks for nothing more.

mod options;
mod page;
mod part;

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures::Stream;

pub(crate) use self::page::page;
use self::part::{Page, Part, bytes_of, told};
pub use self::{options::ScanOptions, page::ScanPage};
use crate::{
    caller::Caller,
    error::Error,
    types::{Record, Version},
};

/// Parts of a scan, one per range, that are read at the same time.
const PARTS_AT_ONCE: usize = 4;
/// Bytes of keys and values of a part that may wait while its next page is fetched. The parts behind the
/// one that is being read fill up to it meanwhile, so that all of them are read at the same time.
const BYTES_AHEAD_MAX: usize = 4 << 20;
/// While records wait, pages that are fetched ahead are looked after once per this number of records.
const LOOK_AFTER_RECORDS: usize = 64;
/// Borders of ranges that a scan looks for at a time.
const BORDERS_MAX: usize = 64;

/// A scan under way: a stream of records. From [`Client::scan`](crate::Client::scan).
///
/// Pages are fetched ahead of the reader: the next one of the range that is being read, and those of the next four
/// ranges where the client knows their borders. Each range holds 4 MiB and a page at most. A scan with a
/// [`limit`](Self::limit) fetches one page at a time. After an error the stream ends.
///
/// [`limit`](Self::limit), [`reverse`](Self::reverse) and [`keys_only`](Self::keys_only) are for
/// before the first record; called later they change nothing that was fetched.
#[must_use = "a scan does nothing until it is read"]
pub struct Scan {
    caller: Caller,
    /// The limit counts down.
    options: ScanOptions,
    /// In the order of the scan; empty once it has ended.
    parts: VecDeque<Part>,
    /// The version that all pages show; 0 before the first.
    at: u64,
    /// What is left was divided where ranges begin, which is done once, when the version is known.
    is_divided: bool,
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
    pub(crate) fn new(caller: Caller, options: ScanOptions) -> Self {
        let whole =
            Part { start: options.start.clone(), end: options.end.clone(), ..Part::default() };
        let parts = if options.empty { VecDeque::new() } else { VecDeque::from([whole]) };
        Self { caller, options, parts, at: 0, is_divided: false }
    }

    /// A scan of a moment that is known.
    pub(crate) fn at_moment(caller: Caller, options: ScanOptions, at: Version) -> Self {
        Scan { at: at.0, ..Scan::new(caller, options) }
    }

    /// The largest number of records that the stream yields.
    pub fn limit(mut self, limit: u64) -> Self {
        self.options = self.options.limit(limit);
        self
    }

    /// In descending order, from the end to the start.
    pub fn reverse(mut self) -> Self {
        self.options = self.options.reverse();
        self
    }

    /// Keys and versions only: values are empty.
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
        if self.at != 0 && !self.is_divided {
            self.is_divided = true;
            self.divide();
        }
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
            let caller = self.caller.clone();
            let answer = Box::pin(async move { caller.scan_page(request).await });
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
        self.at = at;
        Ok(())
    }

    /// Divides what is left of the span where ranges are known to begin, so that they are read at the
    /// same time.
    fn divide(&mut self) {
        if self.options.limit.is_some() {
            return;
        }
        let Some(last) = self.parts.back_mut().filter(|part| !part.ended) else { return };
        let mut borders = self.caller.borders(&last.start, &last.end, BORDERS_MAX);
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
