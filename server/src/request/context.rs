//! What a client's request says of itself: its cluster, its keyspace, how long its caller waits, and its id. And what
//! it is given where it says nothing of that. (Writes that a node makes for itself name themselves:
//! `cluster/registry.rs`, `upkeep/registry.rs`.)
//!
//! A caller that leaves the id out can't repeat the request, and so never asks for its outcome again; the node's own
//! retries of a unary call use the id that the request was given here.

use std::time::Duration;

use bytes::Bytes;
use quintet_proto::v1::{self, Code, session_request::Op};

use super::limits::keyspace;
use crate::{
    error::OpError,
    ids::{KeyspaceId, RangeId, RequestId},
    ops::{operation::Operation, requests::Named},
    peer::ClusterIdentity,
    seams::Random,
    time::{Timestamp, local::Instant, patience},
};

/// How long a request may take where its caller does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// How long it may take at all.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// What goes for a request whatever it asks.
pub(super) struct Context {
    pub(super) keyspace: KeyspaceId,
    pub(super) deadline: Instant,
    pub(super) request: RequestId,
    pub(super) first_attempt: Timestamp,
    pub(super) later_attempt: bool,
    pub(super) refusal_not_remembered: bool,
}

impl Context {
    /// Checks what a request says of itself, `now` being cluster time. What it left out is filled in, in the request
    /// too: it may be forwarded.
    pub(super) fn of(
        op: &mut Op,
        now: Timestamp,
        identity: &ClusterIdentity,
        random: &Random,
    ) -> Result<Context, OpError> {
        let is_write = op.is_write();
        let context = op.context_mut();
        check_cluster(identity, "request", &context.cluster_id, context.incarnation)?;
        let timeout = timeout_of(context);
        let keyspace = keyspace(&context.keyspace)?;
        let (mut request, mut first_attempt) = (RequestId::default(), Timestamp::ZERO);
        if is_write {
            name(context, now, random)?;
            first_attempt = Timestamp(context.first_attempt_time);
            let id = context.request_id.as_ref().ok_or("a write without an id");
            request = id.and_then(id_of).map_err(OpError::invalid)?;
        }
        Ok(Context {
            keyspace,
            deadline: Instant::now() + timeout,
            request,
            first_attempt,
            later_attempt: context.attempt > 0,
            refusal_not_remembered: context.refusal_not_remembered,
        })
    }
}

/// How long the caller of a request waits.
pub(crate) fn timeout_of(context: &v1::RequestContext) -> Duration {
    patience(context.timeout_ms, TIMEOUT_DEFAULT, TIMEOUT_MAX)
}

/// Gives a request an id and the time of its first attempt, where its caller has not. The time of a repetition
/// is its caller's to say.
///
/// Nothing that could not be named is sent: a repetition of it could not be named either.
///
/// # Errors
/// What has no time: a first attempt on a node that knows none yet, and a repetition whose caller says none.
pub(crate) fn name(
    context: &mut v1::RequestContext,
    now: Timestamp,
    random: &Random,
) -> Result<(), OpError> {
    if context.request_id.is_none() {
        let client = [random(), random()].map(u64::to_be_bytes).concat();
        let client = Bytes::from(client);
        context.request_id = Some(v1::RequestId { origin_room: 0, client, sequence: 1 });
        // Nobody else can repeat it, and a unary call heeds only the last copy's refusal.
        context.refusal_not_remembered = true;
    }
    if context.first_attempt_time == 0 && context.attempt == 0 {
        context.first_attempt_time = now.0;
    }
    match (context.first_attempt_time, context.attempt) {
        (0, 0) => Err(OpError::unavailable("this node does not know the time yet; try again")),
        (0, _) => Err(OpError::invalid("a later attempt must name the time of the first")),
        _ => Ok(()),
    }
}

/// Refuses who talks to another cluster than this node's, or to an earlier incarnation of it. Who names none
/// takes any.
pub(crate) fn check_cluster(
    identity: &ClusterIdentity,
    what: &str,
    cluster: &str,
    incarnation: u64,
) -> Result<(), OpError> {
    let another = (!cluster.is_empty() && cluster != identity.cluster)
        || (incarnation != 0 && incarnation != identity.incarnation);
    if !another {
        return Ok(());
    }
    Err(OpError::new(
        Code::WrongCluster,
        format!(
            "this is cluster {} incarnation {}, the {what} is for {cluster} incarnation {incarnation}: use \
             that cluster's addresses, or connect anew",
            identity.cluster, identity.incarnation
        ),
    ))
}

/// A request id as it is stored; `Err` says what is wrong with it.
fn id_of(id: &v1::RequestId) -> Result<RequestId, &'static str> {
    let client: [u8; 16] = id
        .client
        .as_ref()
        .try_into()
        .map_err(|_| "the client part of a request id has 16 bytes; draw them at random")?;
    let origin_room =
        u16::try_from(id.origin_room).map_err(|_| "the room of a request id has 16 bits")?;
    Ok(RequestId { origin_room, client: u128::from_be_bytes(client), sequence: id.sequence })
}

/// A request id as it was sent.
pub(super) fn id_to_wire(id: &RequestId) -> v1::RequestId {
    v1::RequestId {
        origin_room: id.origin_room.into(),
        client: Bytes::copy_from_slice(&id.client.to_be_bytes()),
        sequence: id.sequence,
    }
}

/// What the metrics and the log call a request that arrives now.
pub(crate) fn named(op: Option<&Op>, range: Option<RangeId>) -> Named {
    let operation = match op {
        Some(Op::Get(_)) | None => Operation::Get,
        Some(Op::Put(_)) => Operation::Put,
        Some(Op::Delete(_)) => Operation::Delete,
        Some(Op::Increment(_)) => Operation::Increment,
        Some(Op::Expire(_)) => Operation::Expire,
        Some(Op::PutMany(_)) => Operation::PutMany,
        Some(Op::Scan(_)) => Operation::Scan,
        Some(Op::DeleteRange(_)) => Operation::DeleteRange,
        Some(Op::History(_)) => Operation::History,
        Some(Op::Watch(_)) => Operation::Watch,
        Some(Op::Timestamp(_)) => Operation::Timestamp,
    };
    let context = op.and_then(Op::context);
    let request = context.and_then(|context| id_of(context.request_id.as_ref()?).ok());
    Named { operation, range, request, started: Instant::now() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_a_caller_leaves_out_is_filled_in_and_what_it_says_is_kept() {
        let random: Random = Arc::new(|| 5);
        let mut bare = v1::RequestContext::default();
        // A node that has only started has no time to give, but has it soon.
        let refused = name(&mut bare, Timestamp::ZERO, &random).expect_err("no time");
        assert_eq!((refused.code, bare.first_attempt_time), (Code::Unavailable, 0));
        name(&mut bare, Timestamp(7), &random).expect("named");
        assert_eq!((bare.first_attempt_time, bare.refusal_not_remembered), (7, true));
        let id = bare.request_id.clone().expect("an id");
        let client = (5 << 64) | 5;
        assert_eq!(id_of(&id), Ok(RequestId { origin_room: 0, client, sequence: 1 }));
        // Its repetition has both already.
        let mut again = v1::RequestContext { attempt: 1, ..bare.clone() };
        name(&mut again, Timestamp(9), &random).expect("named");
        assert_eq!((again.first_attempt_time, again.request_id), (7, Some(id)));
        // A repetition that does not say when the first was sent is not given a time.
        let mut late = v1::RequestContext { attempt: 1, ..v1::RequestContext::default() };
        let refused = name(&mut late, Timestamp(9), &random).expect_err("no time");
        assert_eq!((refused.code, late.first_attempt_time), (Code::InvalidArgument, 0));
    }

    #[test]
    fn callers_wait_as_long_as_they_say_within_bounds() {
        let timeout = |timeout_ms| {
            timeout_of(&v1::RequestContext { timeout_ms, ..v1::RequestContext::default() })
        };
        assert_eq!(timeout(0), TIMEOUT_DEFAULT);
        assert_eq!(timeout(1), Duration::from_millis(1));
        assert_eq!(timeout(u32::MAX), TIMEOUT_MAX);
    }

    #[test]
    fn another_cluster_and_another_incarnation_are_refused() {
        let identity = ClusterIdentity {
            cluster: "c".to_owned(),
            incarnation: 2,
            ..ClusterIdentity::default()
        };
        let check = |cluster, incarnation| {
            check_cluster(&identity, "session", cluster, incarnation).map_err(|error| error.code)
        };
        assert_eq!(check("", 0), Ok(()));
        assert_eq!(check("c", 2), Ok(()));
        assert_eq!(check("d", 0), Err(Code::WrongCluster));
        assert_eq!(check("c", 1), Err(Code::WrongCluster));
    }
}
