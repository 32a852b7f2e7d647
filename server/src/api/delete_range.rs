//! `KV.DeleteRange`: a deletion from its moment to its end, page by page, for languages without a client
//! library of ours.
//!
//! The moment is that of a scan of the whole span (`router/scan.rs`): everything that was acknowledged before
//! is at or below it, and what is written afterwards above. Every page carries it, and the caller's request id:
//! a page is remembered under the id *and* the key at which it begins, so that a repetition of the call meets
//! the pages of the first one in their order, takes over their moment, and goes on behind them.
//!
//! A page that can't be done after others were is no failure of the call: what was done is told, and where it
//! goes on. Only where a page may have acted the whole is of unknown outcome.

use std::sync::Arc;

use bytes::Bytes;
use quintet_proto::v1::{self, session_request::Op, session_response::Result as Body};

use super::{budget::Budget, call::call};
use crate::{
    error::OpError,
    request::{context::timeout_of, limits::check_deleted_span},
    router::Router,
    time::{local::Instant, ms_u32},
};

/// Removes pages until the span, the limit or the time is at its end.
pub(super) async fn run(
    router: &Arc<Router>,
    mut asked: v1::DeleteRangeRequest,
    budget: &Arc<Budget>,
) -> Result<v1::DeleteRangeResponse, OpError> {
    check_deleted_span(&asked)?;
    let mut context = asked.context.take().unwrap_or_default();
    let timeout = timeout_of(&context);
    let (began, limited) = (Instant::now(), asked.limit > 0);
    // Its id is that of all pages. A node that does not know the time yet names each page when it does.
    router.decoder().name(&mut context).ok();
    let left = || ms_u32(timeout.saturating_sub(began.elapsed())).max(1);
    if asked.at == 0 {
        let context = v1::RequestContext { timeout_ms: left(), ..context.clone() };
        asked.at = moment(router, &asked, context, budget).await?;
    }
    let mut deleted = 0;
    let mut has_begun = false;
    loop {
        let context = v1::RequestContext { timeout_ms: left(), ..context.clone() };
        let page = v1::DeleteRangeRequest { context: Some(context), ..asked.clone() };
        let page = match call(router, Op::DeleteRange(page), budget).await {
            Ok(Body::DeleteRange(page)) => page,
            Ok(_) => return Err(OpError::ambiguous("an answer of another kind")),
            Err(error) if has_begun && !error.maybe_committed => {
                return Ok(told(deleted, &asked, asked.start.clone()));
            }
            Err(error) => return Err(error),
        };
        has_begun = true;
        deleted += page.deleted;
        asked.at = page.at;
        if limited {
            asked.limit = asked.limit.saturating_sub(page.deleted);
        }
        let is_over = limited && asked.limit == 0;
        if page.next.is_empty() || is_over || began.elapsed() >= timeout / 4 * 3 {
            return Ok(told(deleted, &asked, page.next));
        }
        if page.next <= asked.start {
            // It would never end.
            let message =
                "a page of the deletion does not advance; ask again with the same request id";
            return Err(OpError::ambiguous(message));
        }
        asked.start = page.next;
    }
}

fn told(deleted: u64, asked: &v1::DeleteRangeRequest, next: Bytes) -> v1::DeleteRangeResponse {
    v1::DeleteRangeResponse { context: None, deleted, at: asked.at, next }
}

/// A moment above everything in the span that was acknowledged by now, and that no later write comes before.
async fn moment(
    router: &Arc<Router>,
    asked: &v1::DeleteRangeRequest,
    context: v1::RequestContext,
    budget: &Arc<Budget>,
) -> Result<u64, OpError> {
    let is_later = context.attempt > 0;
    let scan = v1::ScanRequest {
        context: Some(context),
        start: asked.start.clone(),
        end: asked.end.clone(),
        prefix: asked.prefix.clone(),
        keys_only: true,
        ..v1::ScanRequest::default()
    };
    match call(router, Op::Scan(scan), budget).await {
        Ok(Body::Scan(page)) => Ok(page.at),
        // An earlier copy may have acted.
        Err(error) if is_later => Err(OpError::ambiguous(error.message)),
        Err(error) => Err(error),
        Ok(_) => Err(OpError::unavailable("an answer of another kind")),
    }
}
