//! Scans page by page, each page an operation of its own: in both directions, with limits of all sizes,
//! with values or without, of all keys or of some, going on at the version of the first page or at the
//! newest each time.
//!
//! Whoever makes unary calls takes all pages of the registers, as one operation.

use futures::future::BoxFuture;

use super::{
    contract::{LastRead, Place, Read, Turn, Workload},
    expiring::Expiring,
    keys::{INSERT_PREFIX, REGISTER_PREFIX, TTL_PREFIX},
    settings::Settings,
};
use crate::{
    client::{Caller, Walk},
    history::{Call, PageAsked},
    judge::Judge,
};

/// Pages of one scan: it ends then, wherever it is.
const PAGES_MAX: u64 = 12;
/// Pages of a scan of everything that is there in the end.
const ALL_PAGES_MAX: u64 = 100_000;
/// Records that one page is asked for.
const LIMIT_MAX: u64 = 5;

struct Pages {
    /// Scan keys page by page.
    pages: u64,
    /// Whoever does waits up to this long before the next page, but at the end.
    pause_ms_max: u64,
    registers: u64,
    has_inserts: bool,
    has_expiring: bool,
}

pub(super) fn of(settings: &mut Settings<'_>) -> Box<dyn Workload> {
    Box::new(Pages {
        pages: settings.weight("pages"),
        pause_ms_max: settings.number_or("page_pause_ms_max", 0),
        registers: settings.keys(),
        has_inserts: settings.weight("insert") > 0,
        has_expiring: Expiring::of(settings).weight() > 0,
    })
}

/// The end of the keys that begin with some ASCII text; all of them begin so if it is empty.
fn prefix_end(prefix: &str) -> String {
    let mut end = prefix.to_owned();
    if let Some(last) = end.pop() {
        end.push(char::from_u32(u32::from(last) + 1).expect("ASCII"));
    }
    end
}

impl Pages {
    fn choose(&self, caller: &Caller) -> Walk {
        let mut prefixes = vec!["", REGISTER_PREFIX, REGISTER_PREFIX];
        if self.has_inserts {
            prefixes.push(INSERT_PREFIX);
        }
        if self.has_expiring {
            prefixes.extend([TTL_PREFIX, TTL_PREFIX]);
        }
        let drawn = caller.random() % prefixes.len() as u64;
        let prefix = prefixes[usize::try_from(drawn).expect("few")].to_owned();
        let (mut start, mut end) = (prefix.clone(), prefix_end(&prefix));
        // Now and then between two keys.
        if prefix == REGISTER_PREFIX || prefix == TTL_PREFIX {
            let keys = self.registers;
            let (low, high) = (caller.random() % (2 * keys), caller.random() % (2 * keys));
            if low < keys {
                start = format!("{prefix}{low}");
            }
            let bound = format!("{prefix}{high}");
            if high < keys && bound > start {
                end = bound;
            }
        }
        let limit = caller.between(0, LIMIT_MAX);
        let flags = caller.random();
        Walk {
            prefix,
            first: PageAsked {
                start,
                end,
                reverse: flags & 1 > 0,
                limit,
                keys_only: flags & 6 == 0,
                ..PageAsked::default()
            },
            is_kept: flags & 8 > 0,
            pages_max: PAGES_MAX,
        }
    }
}

impl Workload for Pages {
    fn weight(&self) -> u64 {
        self.pages
    }

    fn step<'a>(&'a self, caller: &'a mut Caller, _: Turn) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let walk = self.choose(caller);
            match caller.is_unary() {
                true => caller.call(REGISTER_PREFIX, Call::ReadAll).await,
                false => caller.walk(walk, self.pause_ms_max).await,
            };
        })
    }

    /// Scans of everything, both ways.
    fn last_reads(&self) -> Vec<LastRead> {
        let directions = if self.pages > 0 { &[false, true][..] } else { &[] };
        let of = |reverse: &bool| Walk {
            prefix: String::new(),
            first: PageAsked { reverse: *reverse, limit: LIMIT_MAX, ..PageAsked::default() },
            is_kept: true,
            pages_max: ALL_PAGES_MAX,
        };
        let read = |reverse| LastRead { place: Place::after(3), read: Read::Walk(of(reverse)) };
        directions.iter().map(read).collect()
    }

    fn judges(&self) -> &'static [Judge] {
        if self.pages > 0 { &[Judge::Pages] } else { &[] }
    }
}
