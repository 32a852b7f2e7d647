//! Reads of the past, each recorded as a page of one key at the moment that it shows. Which ones there are is for the
//! workload (`sim/src/workload/past.rs`).

use std::time::Duration;

use super::{caller::Caller, library::Back};
use crate::history::{Call, OpOutcome, PageAsked, Reply};

/// The page that a read of a key at a moment is.
fn page(key: &str, at: u64) -> Call {
    Call::Page(PageAsked {
        start: key.to_owned(),
        end: format!("{key}\0"),
        limit: 1,
        at,
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
            let call = page(key, at);
            self.begins(prefix, &call);
            let shown = self.library()?.look_back(key, back).await;
            let outcome =
                shown.map_or(OpOutcome::Failed, |shown| OpOutcome::Ok(Reply::Paged(shown.0)));
            self.ends(outcome);
            return Some(at);
        }
        let (shown, stale) = library.look_back(key, back).await?;
        if let Back::Stale(most) = back {
            // Rounded up on its way.
            assert!(stale <= most + Duration::from_millis(1), "{stale:?} old, {most:?} at most");
        }
        let at = shown.at;
        self.begins(prefix, &page(key, at));
        self.ends(OpOutcome::Ok(Reply::Paged(shown)));
        Some(at)
    }
}
