//! Reads of the past, each recorded as a page of one key at the moment that it shows. Which ones there are is for the
//! workload (`sim/src/workload/past.rs`).

use std::time::Duration;

use quintet_client::Error;
use tokio::time::{Instant, sleep};

use super::{
    caller::Caller,
    library::{self, Back},
};
use crate::history::{Call, OpOutcome, PageAsked, Reply};

/// Clients that set a retention: one may be cut off.
const SETTERS_MAX: u64 = 5;
/// How old a moment may be that is to be held.
const HELD_STALE: Duration = Duration::from_millis(500);
/// Between two looks at a moment that is held.
const LOOKS_PAUSE_MS_MAX: u64 = 2_000;

/// The page that a read of a key at a moment is.
fn page(key: &str, at: u64, since_ns: Option<u64>) -> Call {
    Call::Page(PageAsked {
        start: key.to_owned(),
        end: format!("{key}\0"),
        limit: 1,
        at,
        since_ns,
        ..PageAsked::default()
    })
}

impl Caller {
    /// Reads a key, one of those with a prefix, as it was; the moment that was shown. A read of a state that is a
    /// little old is recorded when its moment is known. Whoever makes unary calls asks for the newest state.
    ///
    /// # Panics
    /// Where an answer is older than was allowed: that is broken whatever it shows.
    pub async fn look_back(&mut self, prefix: &str, key: &str, back: Back) -> Option<u64> {
        let Some(library) = self.library() else {
            self.call(key, Call::Read).await;
            return None;
        };
        if let Back::At(at) = back {
            let call = page(key, at, None);
            self.begins(prefix, &call);
            let shown = self.library()?.look_back(key, back).await;
            let outcome =
                shown.map_or(OpOutcome::Failed, |shown| OpOutcome::Ok(Reply::Paged(shown.0)));
            self.ends(outcome);
            return Some(at);
        }
        let asked_ns = self.now_ns();
        let (shown, stale) = library.look_back(key, back).await?;
        if let Back::Stale(most) = back {
            // Rounded up on its way.
            assert!(stale <= most + Duration::from_millis(1), "{stale:?} old, {most:?} at most");
        }
        let at = shown.at;
        // Nodes measure lengths of time by their clocks. The slowest one takes this for what it says.
        let lasted = stale.div_f64(self.slowest_clock());
        let stale_ns = u64::try_from(lasted.as_nanos()).unwrap_or(u64::MAX);
        self.begins(prefix, &page(key, at, Some(asked_ns.saturating_sub(stale_ns))));
        self.ends(OpOutcome::Ok(Reply::Paged(shown)));
        Some(at)
    }

    /// Sets for how long versions of the keys with a prefix are kept; the first that asks does.
    pub async fn set_retention(&mut self, prefix: &str, retention: Duration) {
        let Some(library) = self.library() else { return };
        // Set again it stays as it is, so that nobody has to know whether another one has done it.
        if self.unique("retention") < SETTERS_MAX {
            library.set_retention(prefix, retention).await;
        }
    }

    /// Holds the newest moment of the keys with a prefix, and reads one of them there again and again.
    ///
    /// # Panics
    /// Where the moment is not readable while it is held: that is broken whatever else is shown.
    pub async fn look_for_long(&mut self, prefix: &str, key: &str, how_long: Duration) {
        let Some(at) = self.look_back(prefix, key, Back::Stale(HELD_STALE)).await else {
            return;
        };
        let Some(library) = self.library() else { return };
        let Some(held) = library.hold(prefix, at).await else { return };
        let until = Instant::now() + how_long;
        while Instant::now() < until && !self.is_over() {
            sleep(Duration::from_millis(self.between(1, LOOKS_PAUSE_MS_MAX))).await;
            let call = page(key, at, None);
            self.begins(prefix, &call);
            let shown = library::look_held(&held, key).await;
            let is_collected = matches!(shown, Err(Error::VersionCollected(_)));
            let outcome =
                shown.map_or(OpOutcome::Failed, |shown| OpOutcome::Ok(Reply::Paged(shown)));
            self.ends(outcome);
            assert!(!is_collected && !held.is_lost(), "{key} at {at} was held and is collected");
        }
    }
}
