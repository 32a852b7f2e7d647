//! One call from its first try to its outcome.
//!
//! A write keeps its request id through all tries. Its attempt number rises by one whenever a copy
//! was sent whose fate is unknown: the stream broke before the answer, or the answer itself was
//! ambiguous. After a definite "nothing happened" it stays. Once a later attempt was sent, answers
//! to earlier copies are ignored: each copy has a reply slot of its own, and the call holds only
//! the newest.
//!
//! The outcome of a write is a failure only if no copy can have acted or can act still: no copy of
//! unknown fate was ever sent, or the answer settles all copies, because the cluster remembers it
//! for the request id (a result, a refused condition). Everything else is
//! [`Error::UnknownOutcome`]. Checked by `tests/session.rs`.

use std::{sync::Arc, time::Duration};

use quintet_proto::v1::{self, session_request::Op};

use crate::{
    attachment::Attachment,
    checks,
    deadline::Deadline,
    error::Error,
    op,
    pending::Answer,
    retry::{Verdict, judge},
    routes::Place,
    session::Session,
};

/// How often a request that expired on its first attempt is asked again under a new id.
const RENEWALS_MAX: u32 = 2;
/// First-attempt time of a later attempt where the time of the first is not known: the oldest that
/// there is, so that the cluster refuses it rather than does it twice.
const TIME_UNKNOWN: u64 = 1;

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
    attachment: &'a Attachment,
    request: v1::SessionRequest,
    timeout: Duration,
    deadline: Deadline,
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
    pub(crate) fn new(
        attachment: &'a Attachment,
        keyspace: &str,
        timeout: Duration,
        mut op: Op,
    ) -> Self {
        let (write, bytes) = (op.is_write(), op::bytes(&op));
        keyspace.clone_into(&mut op.context_mut().keyspace);
        Self {
            attachment,
            request: v1::SessionRequest { id: 0, op: Some(op) },
            timeout,
            deadline: Deadline::after(timeout),
            write,
            bytes,
            progress: Progress::default(),
        }
    }

    /// Says by which range the items of a batch were grouped.
    pub(crate) fn routed_by(mut self, range_id: u64, generation: u64) -> Self {
        if let Some(op) = &mut self.request.op {
            let context = op.context_mut();
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
                for cause in last.into_iter().chain([self.attachment.pool.last_errors()]) {
                    if !cause.is_empty() {
                        detail.push_str("; ");
                        detail.push_str(&cause);
                    }
                }
                let error = Error::DeadlineExceeded(detail);
                Err(if self.progress.in_flight && self.write {
                    error.to_unknown_outcome()
                } else {
                    self.failure(error)
                })
            }
        }
    }

    async fn attempts(&mut self) -> Result<Answer, Error> {
        loop {
            let pool = &self.attachment.pool;
            let found = match self.request.op.as_ref().is_some_and(op::is_for_any_replica) {
                true => pool.session_near().await,
                false => pool.session_for(self.keyspace(), self.place()).await,
            };
            let session = match found {
                Ok(session) => session,
                Err(refusal) => return Err(self.failure(refusal)),
            };
            let checked = self.request.op.as_ref().map(|op| checks::check(op, &session.limits));
            if let Some(Err(error)) = checked {
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
                    return Err(self.failure(Error::mismatch()));
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
        if advised > Duration::ZERO && self.deadline.passes_within(advised) {
            return Some(self.failure(error));
        }
        self.progress.last_error = Some(error);
        if matches!(code, v1::Code::Unavailable | v1::Code::NotLeader | v1::Code::StaleRoute) {
            let reaches_nobody = code == v1::Code::Unavailable;
            let (keyspace, place) = (self.keyspace(), self.place());
            self.attachment.pool.misrouted(session, keyspace, place, &hint, reaches_nobody);
        }
        self.pause(advised).await;
        None
    }

    fn keyspace(&self) -> &str {
        let context = self.request.op.as_ref().and_then(|op| op.context());
        context.map_or("", |context| &context.keyspace)
    }

    fn place(&self) -> Place<'_> {
        self.request.op.as_ref().map_or(Place::Key(&[]), op::place)
    }

    fn is_answered_by(&self, answer: &Answer) -> bool {
        self.request.op.as_ref().is_some_and(|op| op::is_answered_by(op, answer))
    }

    /// A copy that was sent has an unknown fate.
    fn copy_lost(&mut self) {
        self.progress.unknown = true;
        self.progress.attempt = self.progress.attempt.saturating_add(1);
    }

    /// The outcome that an error which settles nothing means.
    fn failure(&self, error: Error) -> Error {
        if self.write && self.progress.unknown { error.to_unknown_outcome() } else { error }
    }

    async fn pause(&mut self, advised: Duration) {
        self.progress.failures = self.progress.failures.saturating_add(1);
        let pause = self.attachment.pool.pacer.pause(self.progress.failures);
        tokio::time::sleep(pause.max(advised)).await;
    }

    /// Fills in what the next copy carries.
    fn prepare(&mut self, session: &Session) {
        let Some(op) = &mut self.request.op else { return };
        let context = op.context_mut();
        context.timeout_ms = self.deadline.left_ms();
        context.incarnation = session.incarnation;
        if !self.write {
            return;
        }
        if !self.progress.named {
            context.request_id = Some(self.attachment.request_ids.next(session.origin_room));
            context.first_attempt_time = self.attachment.pool.clock.now().unwrap_or(0);
            self.progress.named = true;
        }
        context.attempt = self.progress.attempt;
        // Answers to earlier copies count for nothing once a later one is sent (`Progress::unknown`).
        context.refusal_not_remembered = true;
        if context.attempt > 0 && context.first_attempt_time == 0 {
            context.first_attempt_time = TIME_UNKNOWN;
        }
    }
}
