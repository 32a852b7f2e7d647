//! A scan that goes page by page, each page an operation of its own. Which scans there are is for the workload
//! (`sim/src/workload/pages.rs`).

use std::time::Duration;

use tokio::time::sleep;

use super::caller::Caller;
use crate::history::{Call, OpOutcome, PageAsked, Paged, Reply};

/// A scan that goes page by page.
#[derive(Debug)]
pub struct Walk {
    /// All of its keys begin so; empty: all keys.
    pub prefix: String,
    /// The first page. Its bounds lie within the prefix.
    pub first: PageAsked,
    /// All pages show the version of the first; otherwise each shows the newest.
    pub is_kept: bool,
    /// After how many pages it ends, wherever it is.
    pub pages_max: u64,
}

impl Caller {
    /// Asks for page after page, with a pause before the next one; what came of the last one.
    pub async fn walk(&mut self, walk: Walk, pause_ms_max: u64) -> OpOutcome {
        let Walk { prefix, first: mut asked, is_kept, pages_max } = walk;
        let mut left = pages_max;
        loop {
            let outcome = self.call(&prefix, Call::Page(asked.clone())).await;
            left -= 1;
            let OpOutcome::Ok(Reply::Paged(Paged { at, next, .. })) = &outcome else {
                return outcome;
            };
            let Some(next) = next.as_ref().filter(|_| left > 0) else { return outcome };
            let bound = if asked.reverse { &mut asked.end } else { &mut asked.start };
            bound.clone_from(next);
            asked.at = if is_kept { *at } else { 0 };
            if pause_ms_max > 0 && !self.is_over() {
                let pause = self.between(0, pause_ms_max * 1_000);
                sleep(Duration::from_micros(pause)).await;
            }
        }
    }
}
