//! How far another replica of a range has to have applied the log to serve a read, as its leader says: see
//! `range/reads/follower.rs`.
//!
//! What decides by which timestamp something has expired, or that a moment is over, is known before the leadership is
//! confirmed and guards are looked at: [`Replica::read`](crate::range::replica::Replica::read) does both.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;
use quintet_proto::internal::v1 as wire;
use tokio::sync::oneshot;

use crate::{
    error::OpError,
    ids::{Generation, RangeId},
    peer::{
        Kind,
        ask::{self, Ask, ReadPoint},
    },
    range::request::{Answer, OpResult, Read, ReadKind, Reply, ReplySink},
    router::Router,
    time::{
        Timestamp,
        local::{Instant, timeout},
        patience,
    },
};

/// How long a question may take where it does not say, and at all.
const WITHIN_DEFAULT: Duration = Duration::from_secs(1);
const WITHIN_MAX: Duration = Duration::from_secs(60);
/// What a question holds on to beside its key.
const QUESTION_BYTES: usize = 256;

/// Answers a question for an index.
pub(super) fn answer(
    router: Arc<Router>,
    range: RangeId,
    asked: wire::ReadIndex,
) -> BoxFuture<'static, Option<Kind>> {
    async move { Some(ask::ReadIndex::reply(point(&router, range, asked).await)) }.boxed()
}

async fn point(
    router: &Router,
    range: RangeId,
    asked: wire::ReadIndex,
) -> Result<ReadPoint, OpError> {
    let _admitted = router.admission().admit_one(QUESTION_BYTES + asked.key.len())?;
    let replica = router.replica(range).ok_or_else(|| OpError::not_leader(None))?;
    let descriptor = replica.shared.state.descriptor();
    if Generation(asked.generation) < descriptor.generation || !descriptor.contains(&asked.key) {
        return Err(OpError::stale_route());
    }
    let within = patience(asked.timeout_ms, WITHIN_DEFAULT, WITHIN_MAX);
    let deadline = Instant::now() + within;
    let at = (asked.at > 0).then_some(Timestamp(asked.at));
    let known = router.oracle().now();
    let needs_round = asked.decides || at.is_some_and(|at| at > known);
    let decided = match needs_round {
        true => {
            timeout(within, router.oracle().round()).await.map_err(|_| OpError::deadline())??.last()
        }
        false => known,
    };
    if at.is_some_and(|at| at > decided) {
        return Err(OpError::invalid("the moment that is asked for is yet to come"));
    }
    let (told, answer) = oneshot::channel();
    let reply = Reply::uncounted(Arc::new(Told(Mutex::new(Some(told)))), 0);
    replica.read(Read { kind: ReadKind::Index(asked.key, at), deadline, reply });
    match answer.await {
        Ok(Ok(Answer::Index(applied))) => Ok(ReadPoint { applied, decided }),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => Err(OpError::unavailable("no index was told; try again")),
    }
}

/// Takes the one answer.
struct Told(Mutex<Option<oneshot::Sender<OpResult>>>);

impl ReplySink for Told {
    fn answer(&self, _id: u64, result: OpResult) {
        if let Some(told) = self.0.lock().take() {
            // Who asked may have gone.
            told.send(result).ok();
        }
    }
}
