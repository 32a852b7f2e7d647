//! Scans page by page, each page an operation of its own: in both directions, with limits of all sizes,
//! with values or without, of all keys or of some, going on at the version of the first page or at the
//! newest each time.

use std::{sync::atomic::Ordering, time::Duration};

use quintet_client::{Error, ScanOptions, Version};
use tokio::time::sleep;

use super::{Caller, INSERT_PREFIX, REGISTER_PREFIX, TTL_PREFIX, ask::entry};
use crate::{
    history::{Call, Outcome, PageAsked, Paged, Reply},
    scenario::Workload,
};

/// Pages of one scan: it ends then, wherever it is.
const PAGES_MAX: u64 = 12;
/// Pages of a scan of everything that is there in the end.
const ALL_PAGES_MAX: u64 = 100_000;
/// Records that one page is asked for.
const LIMIT_MAX: u64 = 5;

/// A scan that goes page by page.
pub(super) struct Pages {
    /// All of its keys begin so; empty: all keys.
    prefix: String,
    /// The first page. Its bounds lie within the prefix.
    first: PageAsked,
    /// All pages show the version of the first.
    is_kept: bool,
    pages_max: u64,
}

impl Pages {
    /// Scans of everything, both ways.
    pub(super) fn of_all(workload: &Workload) -> Vec<Pages> {
        let directions = if workload.mix.pages > 0 { &[false, true][..] } else { &[] };
        let of = |reverse: &bool| Pages {
            prefix: String::new(),
            first: PageAsked { reverse: *reverse, limit: LIMIT_MAX, ..PageAsked::default() },
            is_kept: true,
            pages_max: ALL_PAGES_MAX,
        };
        directions.iter().map(of).collect()
    }
}

/// The end of the keys that begin with some ASCII text; all of them begin so if it is empty.
fn prefix_end(prefix: &str) -> String {
    let mut end = prefix.to_owned();
    if let Some(last) = end.pop() {
        end.push(char::from_u32(u32::from(last) + 1).expect("ASCII"));
    }
    end
}

impl Caller {
    pub(super) fn choose_pages(&self, workload: &Workload) -> Pages {
        let mut prefixes = vec!["", REGISTER_PREFIX, REGISTER_PREFIX];
        if workload.mix.insert > 0 {
            prefixes.push(INSERT_PREFIX);
        }
        if workload.mix.expiring() > 0 {
            prefixes.extend([TTL_PREFIX, TTL_PREFIX]);
        }
        let drawn = self.random() % prefixes.len() as u64;
        let prefix = prefixes[usize::try_from(drawn).expect("few")].to_owned();
        let (mut start, mut end) = (prefix.clone(), prefix_end(&prefix));
        // Now and then between two keys.
        if prefix == REGISTER_PREFIX || prefix == TTL_PREFIX {
            let keys = workload.keys.max(1);
            let (low, high) = (self.random() % (2 * keys), self.random() % (2 * keys));
            if low < keys {
                start = format!("{prefix}{low}");
            }
            let bound = format!("{prefix}{high}");
            if high < keys && bound > start {
                end = bound;
            }
        }
        let limit = self.between(0, LIMIT_MAX);
        let flags = self.random();
        Pages {
            prefix,
            first: PageAsked {
                start,
                end,
                reverse: flags & 1 > 0,
                limit,
                keys_only: flags & 6 == 0,
                at: 0,
            },
            is_kept: flags & 8 > 0,
            pages_max: PAGES_MAX,
        }
    }

    /// Asks for page after page; what came of the last one.
    pub(super) async fn pages(&mut self, pages: Pages) -> Outcome {
        let Pages { prefix, first: mut asked, is_kept, pages_max } = pages;
        let mut left = pages_max;
        loop {
            let outcome = self.call(&prefix, Call::Page(asked.clone())).await;
            left -= 1;
            let Outcome::Ok(Reply::Paged(Paged { at, next, .. })) = &outcome else {
                return outcome;
            };
            let Some(next) = next.as_ref().filter(|_| left > 0) else { return outcome };
            let bound = if asked.reverse { &mut asked.end } else { &mut asked.start };
            bound.clone_from(next);
            asked.at = if is_kept { *at } else { 0 };
            if self.page_pause_ms_max > 0 && !self.shared.stop.load(Ordering::Acquire) {
                let pause = self.between(0, self.page_pause_ms_max * 1_000);
                sleep(Duration::from_micros(pause)).await;
            }
        }
    }

    /// One page.
    pub(super) async fn page(&self, asked: &PageAsked) -> Result<Paged, Error> {
        let mut options = match (&*asked.start, &*asked.end) {
            ("", "") => ScanOptions::all(),
            (start, "") => ScanOptions::range(start..),
            (start, end) => ScanOptions::range(start..end),
        };
        if asked.reverse {
            options = options.reverse();
        }
        if asked.keys_only {
            options = options.keys_only();
        }
        if asked.limit > 0 {
            options = options.limit(asked.limit);
        }
        let at = (asked.at > 0).then_some(Version(asked.at));
        let page = self.client.scan_page(&options, at).await?;
        let next = page.next.map(|left| {
            let (start, end) = left.bounds();
            String::from_utf8_lossy(if asked.reverse { end } else { start }).into_owned()
        });
        Ok(Paged { at: page.at.0, records: page.records.iter().map(entry).collect(), next })
    }
}
