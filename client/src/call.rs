//! One call from its first try to its outcome.
//!
//! A write keeps its request id through all tries. Its attempt number rises by one whenever a copy
//! was sent whose fate is unknown: the stream broke before the answer, or the answer itself was
//! ambiguous. After a definite "nothing happened" it stays. Once a later attempt was sent, answers
//! to earlier copies reach nobody: each copy has a reply slot of its own, and the call holds only
//! the newest.
//!
//! The outcome of a write is a failure only if no copy can have acted or can act still: no copy of
//! unknown fate was ever sent, or the answer settles all copies, because the cluster remembers it
//! for the request id (a result, a refused condition). Everything else is
//! [`Error::UnknownOutcome`]. Checked by `tests/session.rs`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use quintet_proto::v1::{self, session_request::Op};
use tokio::time::Instant;

use crate::{
    client::Shared,
    error::Error,
    pending::Answer,
    retry::{Verdict, judge, unknown_outcome},
    routes::Place,
    session::Session,
    types::Limits,
};

/// How often a request that expired on its first attempt is asked again under a new id.
const RENEWALS_MAX: u32 = 2;
/// First-attempt time of a later attempt where the time of the first is not known: the oldest that
/// there is, so that the cluster refuses it rather than does it twice.
const TIME_UNKNOWN: u64 = 1;

/// Bytes of an item of a batch beside its key and value, roughly.
const ITEM_OVERHEAD_BYTES: usize = 12;

/// How a batch failed.
#[derive(Debug)]
pub(crate) enum BatchError {
    /// No copy of it did anything or will, and it can't be done as it is: its items may be sent in other
    /// ways, under ids of their own.
    Apart,
    /// As every write.
    Failed(Error),
}

/// A call under way.
pub(crate) struct Call<'a> {
    shared: &'a Shared,
    request: v1::SessionRequest,
    timeout: Duration,
    deadline: Instant,
    write: bool,
    /// Bytes of its key and value.
    bytes: usize,
    progress: Progress,
}

#[derive(Default)]
struct Progress {
    /// A copy was sent and its answer is awaited.
    in_flight: bool,
    /// A copy was sent whose fate is unknown.
    unknown: bool,
    /// The request has its id and its time.
    named: bool,
    attempt: u32,
    renewals: u32,
    failures: u32,
    last_error: Option<Error>,
    /// See [`BatchError::Apart`].
    apart: bool,
}

impl<'a> Call<'a> {
    pub(crate) fn new(shared: &'a Shared, keyspace: &str, timeout: Duration, op: Op) -> Self {
        let (write, bytes) = match &op {
            Op::Get(get) => (false, get.key.len()),
            Op::Put(put) => (true, put.key.len() + put.value.len()),
            Op::Delete(delete) => (true, delete.key.len()),
            Op::Increment(increment) => (true, increment.key.len()),
            Op::Expire(expire) => (true, expire.key.len()),
            Op::PutMany(many) => (true, many_bytes(many)),
            Op::Scan(scan) => (false, scan.start.len() + scan.end.len()),
            Op::DeleteRange(delete) => (true, delete.start.len() + delete.end.len()),
        };
        let mut request = v1::SessionRequest { id: 0, op: Some(op) };
        if let Some(slot) = context_slot(&mut request) {
            *slot = Some(v1::RequestContext {
                keyspace: keyspace.to_owned(),
                ..v1::RequestContext::default()
            });
        }
        let deadline = Instant::now() + timeout;
        let progress = Progress::default();
        Self { shared, request, timeout, deadline, write, bytes, progress }
    }

    /// Says by which range the items of a batch were grouped.
    pub(crate) fn routed_by(mut self, range_id: u64, generation: u64) -> Self {
        if let Some(Some(context)) = context_slot(&mut self.request) {
            (context.range_id, context.generation) = (range_id, generation);
        }
        self
    }

    /// Runs the call to its outcome, at the latest at its deadline.
    pub(crate) async fn run(mut self) -> Result<Answer, Error> {
        self.outcome().await
    }

    /// As [`run`](Self::run), for a batch.
    pub(crate) async fn run_batch(mut self) -> Result<Answer, BatchError> {
        let outcome = self.outcome().await;
        outcome.map_err(|error| match self.progress.apart {
            true => BatchError::Apart,
            false => BatchError::Failed(error),
        })
    }

    async fn outcome(&mut self) -> Result<Answer, Error> {
        let timeout = self.timeout;
        match tokio::time::timeout(timeout, self.attempts()).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let mut detail = format!("no answer within {timeout:?}");
                let last = self.progress.last_error.as_ref().map(ToString::to_string);
                for cause in last.into_iter().chain([self.shared.pool.last_errors()]) {
                    if !cause.is_empty() {
                        detail.push_str("; ");
                        detail.push_str(&cause);
                    }
                }
                let error = Error::DeadlineExceeded(detail);
                Err(if self.progress.in_flight && self.write {
                    unknown_outcome(&error)
                } else {
                    self.failure(error)
                })
            }
        }
    }

    async fn attempts(&mut self) -> Result<Answer, Error> {
        loop {
            let found = self.shared.pool.session_for(self.keyspace(), self.place());
            let session = match found.await {
                Ok(session) => session,
                Err(refusal) => return Err(self.failure(refusal)),
            };
            if let Err(error) = self.check(&session.limits) {
                self.progress.apart = !self.progress.unknown;
                return Err(self.failure(error));
            }
            let Some(reserved) = session.reserve(self.bytes).await else {
                self.pause(Duration::ZERO).await;
                continue;
            };
            self.prepare(&session);
            let Some(answer) = session.send(reserved, &mut self.request) else {
                self.pause(Duration::ZERO).await;
                continue;
            };
            self.progress.in_flight = true;
            let answer = answer.await;
            self.progress.in_flight = false;
            match answer {
                Ok(Answer::Error(error)) => {
                    if let Some(outcome) = self.refused(&session, error).await {
                        return Err(outcome);
                    }
                }
                Ok(answer) if self.is_answered_by(&answer) => return Ok(answer),
                Ok(_) => {
                    self.copy_lost();
                    let error = Error::Protocol("an answer of another kind".to_owned());
                    return Err(self.failure(error));
                }
                Err(_) => {
                    self.copy_lost();
                    self.progress.last_error = Some(Error::Unavailable(
                        "the session broke before the answer came".to_owned(),
                    ));
                    self.pause(Duration::ZERO).await;
                }
            }
        }
    }

    /// Takes in an error answer. Brings the outcome of the call, or nothing: then try again.
    async fn refused(&mut self, session: &Arc<Session>, wire: v1::Error) -> Option<Error> {
        let mut verdict = judge(&wire);
        if !self.write && matches!(verdict, Verdict::Ambiguous) {
            verdict = Verdict::Again;
        }
        // A repetition is told what its last copy was refused for beside what that means.
        let code = match wire.refused_for() {
            v1::Code::Unspecified => wire.code(),
            refused_for => refused_for,
        };
        let hint = wire.hint_address.clone();
        let advised = Duration::from_millis(wire.retry_after_ms.into());
        let error = Error::from_wire(wire);
        match verdict {
            Verdict::Settled => {
                self.progress.apart = code == v1::Code::SeveralRanges;
                return Some(error);
            }
            Verdict::Final => {
                // One wrong item, or a node that takes no batches: said before anything is begun, but
                // only of this copy.
                let is_wrong = code == v1::Code::InvalidArgument;
                self.progress.apart = is_wrong && !self.progress.unknown;
                return Some(self.failure(error));
            }
            Verdict::Unknown => {
                self.copy_lost();
                return Some(self.failure(error));
            }
            Verdict::Expired if self.progress.unknown => return Some(self.failure(error)),
            Verdict::Expired if self.progress.renewals == RENEWALS_MAX => return Some(error),
            Verdict::Expired => {
                self.progress.renewals += 1;
                self.progress.named = false;
            }
            Verdict::Ambiguous => self.copy_lost(),
            Verdict::Again => {}
        }
        if advised > Duration::ZERO && Instant::now() + advised >= self.deadline {
            return Some(self.failure(error));
        }
        self.progress.last_error = Some(error);
        if matches!(code, v1::Code::Unavailable | v1::Code::NotLeader | v1::Code::StaleRoute) {
            let reaches_nobody = code == v1::Code::Unavailable;
            let (keyspace, place) = (self.keyspace(), self.place());
            self.shared.pool.misrouted(session, keyspace, place, &hint, reaches_nobody);
        }
        self.pause(advised).await;
        None
    }

    fn keyspace(&self) -> &str {
        context(&self.request).map_or("", |context| &context.keyspace)
    }

    /// Where the request begins: decides which node it goes to.
    fn place(&self) -> Place<'_> {
        match &self.request.op {
            Some(Op::Get(get)) => Place::Key(&get.key),
            Some(Op::Put(put)) => Place::Key(&put.key),
            Some(Op::Delete(delete)) => Place::Key(&delete.key),
            Some(Op::Increment(increment)) => Place::Key(&increment.key),
            Some(Op::Expire(expire)) => Place::Key(&expire.key),
            Some(Op::PutMany(many)) => Place::Key(many.items.first().map_or(&[], |item| &item.key)),
            Some(Op::Scan(scan)) if scan.reverse => Place::Below(&scan.end),
            Some(Op::Scan(scan)) => Place::Key(&scan.start),
            Some(Op::DeleteRange(delete)) => Place::Key(&delete.start),
            None => Place::Key(&[]),
        }
    }

    /// A copy that was sent has an unknown fate.
    fn copy_lost(&mut self) {
        self.progress.unknown = true;
        self.progress.attempt = self.progress.attempt.saturating_add(1);
    }

    /// The outcome that an error which settles nothing means.
    fn failure(&self, error: Error) -> Error {
        if self.write && self.progress.unknown { unknown_outcome(&error) } else { error }
    }

    async fn pause(&mut self, advised: Duration) {
        self.progress.failures = self.progress.failures.saturating_add(1);
        let pause = self.shared.pool.pacer.pause(self.progress.failures);
        tokio::time::sleep(pause.max(advised)).await;
    }

    /// Fills in what the next copy carries.
    fn prepare(&mut self, session: &Session) {
        let attempt = self.progress.attempt;
        let name = (self.write && !self.progress.named).then(|| {
            let request_id = v1::RequestId {
                origin_room: session.origin_room,
                client: self.shared.id.clone(),
                sequence: self.shared.next_sequence(),
            };
            (request_id, self.shared.pool.clock.now().unwrap_or(0))
        });
        self.progress.named |= name.is_some();
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        let Some(context) = context_slot(&mut self.request).and_then(Option::as_mut) else {
            return;
        };
        if let Some((request_id, first_attempt_time)) = name {
            context.request_id = Some(request_id);
            context.first_attempt_time = first_attempt_time;
        }
        context.timeout_ms = u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX).max(1);
        context.incarnation = session.incarnation;
        if self.write {
            context.attempt = attempt;
            // Answers to earlier copies count for nothing once a later one is sent (`Progress::unknown`).
            context.refusal_not_remembered = true;
            if attempt > 0 && context.first_attempt_time == 0 {
                context.first_attempt_time = TIME_UNKNOWN;
            }
        }
    }

    /// The server's limits, with the same numbers.
    fn check(&self, limits: &Limits) -> Result<(), Error> {
        let no_value = Bytes::new();
        let (key, value) = match &self.request.op {
            Some(Op::PutMany(many)) => return check_many(many, limits),
            Some(Op::DeleteRange(_)) if limits.delete_range_keys_max == 0 => {
                let old = "the node knows no deletion of a range; upgrade it".to_owned();
                return Err(Error::InvalidArgument(old));
            }
            Some(Op::Get(get)) => (&get.key, &no_value),
            Some(Op::Put(put)) => (&put.key, &put.value),
            Some(Op::Delete(delete)) => (&delete.key, &no_value),
            Some(Op::Increment(increment)) => (&increment.key, &no_value),
            Some(Op::Expire(expire)) => (&expire.key, &no_value),
            // bounds are not keys: they may be empty, and one byte longer
            Some(Op::Scan(_) | Op::DeleteRange(_)) | None => return Ok(()),
        };
        match &self.request.op {
            // what is stored may be older than the limit, and longer: the server says
            Some(Op::Get(_) | Op::Delete(_) | Op::Expire(_)) => check_filled(key)?,
            _ => check_item(key, value, limits)?,
        }
        let ttl_ms = match &self.request.op {
            Some(Op::Put(put)) => put.ttl_ms,
            Some(Op::Increment(increment)) => increment.ttl_ms,
            Some(Op::Expire(expire)) => expire.ttl_ms,
            _ => 0,
        };
        check_ttl(ttl_ms, limits)
    }

    fn is_answered_by(&self, answer: &Answer) -> bool {
        matches!(
            (&self.request.op, answer),
            (Some(Op::Get(_)), Answer::Get(_))
                | (Some(Op::Put(_)), Answer::Put(_))
                | (Some(Op::Delete(_)), Answer::Delete(_))
                | (Some(Op::Increment(_)), Answer::Increment(_))
                | (Some(Op::Expire(_)), Answer::Expire(_))
                | (Some(Op::PutMany(_)), Answer::PutMany(_))
                | (Some(Op::Scan(_)), Answer::Scan(_))
                | (Some(Op::DeleteRange(_)), Answer::DeleteRange(_))
        )
    }
}

fn many_bytes(many: &v1::PutManyRequest) -> usize {
    many.items.iter().map(|item| item.key.len() + item.value.len() + ITEM_OVERHEAD_BYTES).sum()
}

fn check_many(many: &v1::PutManyRequest, limits: &Limits) -> Result<(), Error> {
    let bytes: usize = many.items.iter().map(|item| item.key.len() + item.value.len()).sum();
    let (items_max, bytes_max) = (limits.put_many_items_max, limits.put_many_bytes_max);
    if many.items.len() > items_max || bytes > bytes_max {
        return Err(Error::InvalidArgument(format!(
            "a batch of {} items and {bytes} bytes; {items_max} and {bytes_max} are allowed",
            many.items.len()
        )));
    }
    many.items.iter().try_for_each(|item| check_item(&item.key, &item.value, limits))?;
    check_ttl(many.ttl_ms, limits)
}

fn check_filled(key: &[u8]) -> Result<(), Error> {
    if key.is_empty() {
        let text = "the key is empty; a key has at least 1 byte".to_owned();
        return Err(Error::InvalidArgument(text));
    }
    Ok(())
}

fn check_item(key: &[u8], value: &[u8], limits: &Limits) -> Result<(), Error> {
    let invalid = |text| Err(Error::InvalidArgument(text));
    check_filled(key)?;
    if key.len() > limits.key_bytes_max {
        return invalid(format!(
            "the key has {} bytes, the limit is {}",
            key.len(),
            limits.key_bytes_max
        ));
    }
    if value.len() > limits.value_bytes_max {
        return invalid(format!(
            "the value has {} bytes, the limit is {}",
            value.len(),
            limits.value_bytes_max
        ));
    }
    Ok(())
}

fn check_ttl(ttl_ms: u64, limits: &Limits) -> Result<(), Error> {
    if Duration::from_millis(ttl_ms) > limits.ttl_max {
        return Err(Error::InvalidArgument(format!(
            "a ttl of {ttl_ms} ms is too long, {} ms are allowed",
            limits.ttl_max.as_millis()
        )));
    }
    Ok(())
}

fn context(request: &v1::SessionRequest) -> Option<&v1::RequestContext> {
    match request.op.as_ref()? {
        Op::Get(get) => get.context.as_ref(),
        Op::Put(put) => put.context.as_ref(),
        Op::Delete(delete) => delete.context.as_ref(),
        Op::Increment(increment) => increment.context.as_ref(),
        Op::Expire(expire) => expire.context.as_ref(),
        Op::PutMany(many) => many.context.as_ref(),
        Op::Scan(scan) => scan.context.as_ref(),
        Op::DeleteRange(delete) => delete.context.as_ref(),
    }
}

fn context_slot(request: &mut v1::SessionRequest) -> Option<&mut Option<v1::RequestContext>> {
    Some(match request.op.as_mut()? {
        Op::Get(get) => &mut get.context,
        Op::Put(put) => &mut put.context,
        Op::Delete(delete) => &mut delete.context,
        Op::Increment(increment) => &mut increment.context,
        Op::Expire(expire) => &mut expire.context,
        Op::PutMany(many) => &mut many.context,
        Op::Scan(scan) => &mut scan.context,
        Op::DeleteRange(delete) => &mut delete.context,
    })
}
