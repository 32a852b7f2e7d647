//! `KV.Scan`: a stream of pages for languages without a client library of ours.
//!
//! The first page fixes the moment that all of them show (`router/scan.rs` for a scan over several
//! ranges). From then on the ranges behind it are read ahead, [`PARTS_AT_ONCE`] at the same time, and
//! told in the order of the scan:
//!
//! ```text
//!   range      2        3        4        5        6 …
//!   page    is sent | waits  | waits  | is asked |
//! ```
//!
//! # Bounds
//!
//! One page is held for each part that is read ahead, and asked for only while the client takes pages:
//! for a client that takes none nothing more is read, and one that goes takes what is under way with
//! it. A scan whose limit one page can satisfy reads nothing ahead. Pages that wait count against the bounds
//! of the connection and of the node ([`Budget`]); while there is no room, no page is read.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, future::BoxFuture};
use quintet_proto::v1::{self, Code, session_request::Op, session_response::Result as Body};
use tonic::Status;

use super::{
    budget::Budget,
    call::call,
    line::Line,
    status::{stamp, status, unexpected},
};
use crate::{
    router::{Router, parts::SpanParts},
    size::Size,
    time::local::sleep,
};

/// Ranges that are read at the same time.
const PARTS_AT_ONCE: Size = Size::new("scan-parts-at-once", 4, 1);

/// Between two looks whether there is room for a page.
const BUDGET_PAUSE: Duration = Duration::from_millis(25);

type Page = Result<v1::ScanResponse, Status>;

/// Pages of a scan, in its order.
pub(super) struct Pages {
    router: Arc<Router>,
    line: Option<Arc<Line>>,
    /// As asked. `limit` counts down, `at` is set by the first page.
    scan: v1::ScanRequest,
    limited: bool,
    /// In the order of the scan; they follow on each other.
    parts: VecDeque<Part>,
    /// What comes behind them; none while the span is not divided.
    rest: Option<SpanParts>,
}

/// A part of the span that is read page by page: it lies in one range, unless ranges have changed.
struct Part {
    /// The bound that the scan comes from moves as pages arrive. Empty is open.
    start: Bytes,
    end: Bytes,
    asked: Option<BoxFuture<'static, Page>>,
    page: Option<Page>,
    /// Of the page, from when it is asked for until it is sent.
    budget: Option<Arc<Budget>>,
    /// No further page is to be asked for.
    ended: bool,
}

impl Pages {
    /// The pages of a scan.
    pub(super) fn new(
        router: Arc<Router>,
        line: Option<Arc<Line>>,
        scan: v1::ScanRequest,
    ) -> Pages {
        let whole = Part::new(scan.start.clone(), scan.end.clone());
        let (parts, limited) = (VecDeque::from([whole]), scan.limit > 0);
        let mut pages = Pages { router, line, scan, limited, parts, rest: None };
        if pages.scan.at > 0 {
            pages.divide();
        }
        pages
    }

    /// Divides what is left of the only part by the borders of ranges.
    fn divide(&mut self) {
        let Some(part) = self.parts.front_mut().filter(|part| !part.ended) else { return };
        let (start, end) = (part.start.clone(), part.end.clone());
        let left = v1::ScanRequest { start, end, ..self.scan.clone() };
        let Some(mut rest) = self.router.parts_of(&left) else { return };
        if let Some((start, end)) = rest.next() {
            (part.start, part.end) = (start, end);
            self.rest = Some(rest);
        }
    }

    /// Asks for the pages that are due, and takes those that have arrived.
    fn advance(&mut self, cx: &mut Context<'_>) {
        let page_max = u64::from(self.router.limits().scan_page_records_max);
        let little = self.limited && self.scan.limit <= page_max;
        let at_once = if little { 1 } else { PARTS_AT_ONCE.get() };
        while self.parts.len() < at_once
            && let Some((start, end)) = self.rest.as_mut().and_then(Iterator::next)
        {
            self.parts.push_back(Part::new(start, end));
        }
        for (place, part) in self.parts.iter_mut().take(at_once).enumerate() {
            if part.page.is_none() && part.asked.is_none() && !part.ended {
                let (start, end) = (part.start.clone(), part.end.clone());
                let request = v1::ScanRequest { start, end, ..self.scan.clone() };
                let budget = Budget::ahead(self.router.admission().clone(), self.line.clone());
                part.budget = Some(budget.clone());
                part.asked = Some(Box::pin(ask(self.router.clone(), request, budget)));
            }
            if let (0, Some(budget)) = (place, &part.budget) {
                budget.is_due();
            }
            let Some(asked) = &mut part.asked else { continue };
            if let Poll::Ready(page) = asked.as_mut().poll(cx) {
                part.asked = None;
                part.take(page, self.scan.reverse);
            }
        }
    }

    /// What the client is told of a page of the first part.
    fn tell(&mut self, mut page: v1::ScanResponse) -> v1::ScanResponse {
        let reverse = self.scan.reverse;
        page.context = stamp(&self.router);
        let more = self.parts.len() > 1 || self.rest.as_ref().is_some_and(SpanParts::is_left);
        if let Some(part) = self.parts.front().filter(|part| part.ended && more) {
            // The end of a part is not the end of the scan.
            page.next = if reverse { part.start.clone() } else { part.end.clone() };
        }
        let is_first = self.scan.at == 0;
        // Further pages name the moment, which may be a little old.
        (self.scan.at, self.scan.stale_ms) = (page.at, 0);
        if self.limited {
            let limit = usize::try_from(self.scan.limit).unwrap_or(usize::MAX);
            cut(&mut page, limit, reverse);
            self.scan.limit -= page.records.len() as u64;
            if self.scan.limit == 0 {
                self.end();
                return page;
            }
        }
        if is_first {
            self.divide();
        }
        page
    }

    fn end(&mut self) {
        self.parts.clear();
        self.rest = None;
    }
}

/// Leaves out what is beyond the limit; `next` is where that would be.
fn cut(page: &mut v1::ScanResponse, limit: usize, reverse: bool) {
    let Some(beyond) = page.records.get(limit) else { return };
    // Backwards `next` is a bound above what comes next.
    let last = limit.checked_sub(1).and_then(|last| page.records.get(last));
    let next = if reverse { last.map_or(&page.next, |last| &last.key) } else { &beyond.key };
    page.next = next.clone();
    page.records.truncate(limit);
}

async fn ask(router: Arc<Router>, request: v1::ScanRequest, budget: Arc<Budget>) -> Page {
    loop {
        // A scan takes as long as its client: it waits, and does not fail, while others fill the node.
        while budget.is_full() {
            sleep(BUDGET_PAUSE).await;
        }
        match call(&router, Op::Scan(request.clone()), &budget).await {
            Ok(Body::Scan(page)) => return Ok(page),
            Ok(_) => return Err(unexpected()),
            Err(error) if error.code == Code::Overloaded && budget.is_full() => {}
            Err(error) => return Err(status(error)),
        }
    }
}

impl Part {
    fn new(start: Bytes, end: Bytes) -> Part {
        Part { start, end, asked: None, page: None, budget: None, ended: false }
    }

    /// Takes a page, and moves the bound to where the next one begins.
    fn take(&mut self, page: Page, reverse: bool) {
        let next = page.as_ref().map(|page| page.next.clone()).unwrap_or_default();
        let advances = match reverse {
            false => next > self.start,
            true => self.end.is_empty() || next < self.end,
        };
        self.page = Some(page);
        if next.is_empty() {
            self.ended = true;
        } else if !advances {
            // It would never end.
            self.page = Some(Err(Status::internal("a page of the scan does not advance")));
            self.ended = true;
        } else if reverse {
            self.ended = !self.start.is_empty() && next <= self.start;
            if !self.ended {
                self.end = next;
            }
        } else {
            self.ended = !self.end.is_empty() && next >= self.end;
            if !self.ended {
                self.start = next;
            }
        }
    }
}

impl Stream for Pages {
    type Item = Page;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Page>> {
        loop {
            self.advance(cx);
            let Some(part) = self.parts.front_mut() else { return Poll::Ready(None) };
            match part.page.take() {
                Some(Ok(page)) => {
                    let budget = part.budget.take();
                    // It is encoded next, and counts as what it is then.
                    drop(budget);
                    let page = self.tell(page);
                    // The next one is on its way while this one is sent.
                    self.advance(cx);
                    return Poll::Ready(Some(Ok(page)));
                }
                Some(Err(status)) => {
                    self.end();
                    return Poll::Ready(Some(Err(status)));
                }
                None if part.ended => {
                    self.parts.pop_front();
                }
                None => return Poll::Pending,
            }
        }
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;

    fn page(keys: &[&'static str], next: &'static str) -> v1::ScanResponse {
        let records = keys.iter().map(|key| v1::Record { key: Bytes::from(*key), state: None });
        v1::ScanResponse {
            records: records.collect(),
            next: Bytes::from(next),
            ..v1::ScanResponse::default()
        }
    }

    #[test]
    fn what_a_limit_cuts_off_is_where_the_scan_goes_on() {
        let cut = |keys: &[&'static str], next, limit, reverse| {
            let mut page = page(keys, next);
            cut(&mut page, limit, reverse);
            let keys: Vec<_> = page.records.into_iter().map(|record| record.key).collect();
            (keys.len(), page.next)
        };
        assert_eq!(cut(&["a", "b", "c"], "d", 2, false), (2, Bytes::from("c")));
        assert_eq!(cut(&["c", "b", "a"], "", 2, true), (2, Bytes::from("b")));
        assert_eq!(cut(&["a", "b"], "d", 2, false), (2, Bytes::from("d")));
        assert_eq!(cut(&["a", "b"], "", 9, false), (2, Bytes::new()));
    }

    #[test]
    fn a_part_ends_at_its_bound_and_must_advance() {
        let part = || Part::new(Bytes::from("c"), Bytes::from("m"));
        let took = |next, reverse| {
            let mut part = part();
            part.take(Ok(page(&["d"], next)), reverse);
            let well = part.page.as_ref().is_some_and(Result::is_ok);
            (part.ended, well, part.start, part.end)
        };
        let (c, m) = (Bytes::from("c"), Bytes::from("m"));
        assert_eq!(took("e", false), (false, true, Bytes::from("e"), m.clone()));
        assert_eq!(took("e", true), (false, true, c.clone(), Bytes::from("e")));
        for (next, reverse, well) in [
            ("m", false, true),
            ("", false, true),
            ("c", false, false),
            ("c", true, true),
            ("", true, true),
            ("m", true, false),
        ] {
            assert_eq!(took(next, reverse), (true, well, c.clone(), m.clone()), "{next} {reverse}");
        }
        let mut failed = part();
        failed.take(Err(Status::internal("x")), false);
        assert!(failed.ended && failed.page.is_some_and(|page| page.is_err()));
    }
}
