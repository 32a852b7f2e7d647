//! Strict reads by a replica that does not lead: the leader is asked for an index, and no data crosses the link.
//!
//! ```text
//!   follower: how far? ──> leader     its leadership is confirmed, by the round that confirms reads
//!                                     guards over the key, or below the moment, go down
//!   follower  <── index, timestamp    what is applied here by now
//!      waits until it has applied that, and reads
//! ```
//!
//! The leader does all that it does for a read but the reading (`serve.rs`): what was acknowledged before it was asked,
//! and what was on its way to the key then, is at or below the index. What the replica has applied beyond that is
//! committed, and its guards are up at the leader until it is applied there too: nobody who asks later sees less.
//!
//! # Keys that expire
//!
//! The leader says by which timestamp it is decided what has expired; it is published before the leadership is
//! confirmed and guards are looked at, so that every write at or below it is at or below the index. A version that is
//! not gone by then takes a timestamp of a round that began after the read had come ([`Followed::Undecided`]). A
//! replica whose own version expires asks for one at once.
//!
//! # Invariants
//!
//! * Nothing is read before the index is applied (planted bug `follower-read-unapplied`), nor across the installation
//!   of a raft snapshot: what was read between two counts of these that differ is thrown away.
//! * Whatever goes wrong here, the caller may ask the leader for the read itself: nothing was done.

use std::time::Duration;

use bytes::Bytes;

use super::serve::serve_closed;
use crate::{
    peer::ask::ReadPoint,
    planted::{self, Bug},
    range::{
        request::{Answer, OpResult, ReadKind},
        shared::Shared,
    },
    storage::{engine::Error, life::has_expired, mvcc},
    time::Timestamp,
};

/// What a leader has to be asked, as `peer::ask::ReadIndex` has it.
pub(crate) struct PointOf {
    pub(crate) key: Bytes,
    pub(crate) at: Option<Timestamp>,
    pub(crate) decides: bool,
}

/// What became of a read.
pub(crate) enum Followed {
    Answer(OpResult),
    /// What it has found expires, and no round has decided whether it has.
    Undecided,
    /// This replica can't tell.
    Cannot,
}

/// What the leader is asked before this replica serves a read; none for what is not served so.
pub(in crate::range) fn point_of(shared: &Shared, kind: &ReadKind) -> Option<PointOf> {
    match kind {
        ReadKind::Get(key) => {
            // It may be another version by then; most often it is not.
            let found = mvcc::read(&**shared.state.engine(), key, Timestamp::MAX).ok()?;
            let decides = found.is_some_and(|version| version.expires_at.is_some());
            Some(PointOf { key: key.clone(), at: None, decides })
        }
        ReadKind::GetAt(key, at) => {
            Some(PointOf { key: key.clone(), at: Some(*at), decides: false })
        }
        ReadKind::Scan(scan) => {
            let at = Some(kind.moment()?);
            let range = shared.state.descriptor();
            let key = Bytes::copy_from_slice(scan.start.as_slice().max(&range.start));
            Some(PointOf { key, at, decides: false })
        }
        ReadKind::History(..)
        | ReadKind::Changes(_)
        | ReadKind::Index(..)
        | ReadKind::Confirm { .. } => None,
    }
}

/// Serves a read at a point of the log, once that is applied. `decides`: its timestamp is of a round that began after
/// the read had come.
pub(in crate::range) async fn read(
    shared: &Shared,
    kind: &ReadKind,
    point: ReadPoint,
    decides: bool,
) -> Followed {
    // The careless hand: "the leader confirmed it".
    if !planted::active(Bug::FollowerReadUnapplied) {
        shared.state.has_applied(point.applied).await;
    }
    let kind = match kind {
        ReadKind::Get(key) => return get(shared, key, point.decided, decides),
        ReadKind::GetAt(key, at) => ReadKind::GetAt(key.clone(), *at),
        ReadKind::Scan(scan) => ReadKind::Scan(scan.clone()),
        _ => return Followed::Cannot,
    };
    // Its moment is over at the leader, and so here.
    match serve_closed(shared, kind) {
        Ok(answer) => Followed::Answer(Ok(answer)),
        Err(_) => Followed::Cannot,
    }
}

fn get(shared: &Shared, key: &[u8], decided: Timestamp, decides: bool) -> Followed {
    let before = shared.state.installed();
    let followed = found(shared, key, decided, decides);
    if before.is_none() || before != shared.state.installed() {
        return Followed::Cannot;
    }
    followed.unwrap_or_else(|error| {
        tracing::error!(range = %shared.range, %error, "state can't be read");
        shared.fail(error);
        Followed::Cannot
    })
}

fn found(
    shared: &Shared,
    key: &[u8],
    decided: Timestamp,
    decides: bool,
) -> Result<Followed, Error> {
    if !shared.state.descriptor().contains(key) {
        return Ok(Followed::Cannot);
    }
    let found = mvcc::read(&**shared.state.engine(), key, Timestamp::MAX)?;
    let expires_at = found.as_ref().and_then(|version| version.expires_at);
    if expires_at.is_some() && !has_expired(expires_at, decided) && !decides {
        return Ok(Followed::Undecided);
    }
    let found = found.filter(|_| !has_expired(expires_at, decided));
    let (now, at, stale) = (decided, None, Duration::ZERO);
    Ok(Followed::Answer(Ok(Answer::Get { found, now, at, stale })))
}
