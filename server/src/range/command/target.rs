//! What a command is applied to, and the conditions that all writes are held to.

use std::sync::Arc;

use crate::{
    ids::RequestId,
    planted::{self, Bug},
    range::dedup::{self, Overlay},
    storage::{
        Batch, Engine, Family,
        engine::Error,
        format::{
            applied::AppliedRecord, codec, descriptor::Descriptor, request::DedupRecord,
            version::VersionRecord,
        },
        keys,
    },
    time::Timestamp,
};

/// What a command is applied to.
pub struct Target<'a> {
    /// The state before this batch.
    pub engine: &'a dyn Engine,
    /// The range as it is at the command's index.
    pub descriptor: &'a mut Arc<Descriptor>,
    /// Positions and thresholds.
    pub applied: &'a mut AppliedRecord,
    /// Where the effects go.
    pub batch: &'a mut Batch,
    /// What this batch has so far.
    pub overlay: &'a mut Overlay,
}

impl Target<'_> {
    /// Whether keys lie in the range.
    pub(super) fn holds<'k>(&self, mut keys: impl Iterator<Item = &'k [u8]>) -> bool {
        keys.all(|key| self.descriptor.contains(key)) || planted::active(Bug::StaleRouteAccepted)
    }

    /// Whether a request with its anchor, written at a timestamp and first attempted at another, may act:
    /// above the newest version of the range, within what is remembered, and not remembered.
    pub(super) fn is_new(
        &self,
        (anchor, request): (&[u8], RequestId),
        (at, first_attempt): (Timestamp, Timestamp),
        newest: Timestamp,
    ) -> Result<bool, Error> {
        let is_careless =
            planted::active(Bug::StaleEvaluationApplied) || planted::active(Bug::NaiveTimeServer);
        if at <= newest && !is_careless {
            return Ok(false);
        }
        let threshold = self.applied.dedup_threshold;
        dedup::is_new((self.engine, self.overlay), (anchor, request), first_attempt, threshold)
    }

    pub(super) fn put_version(&mut self, key: &[u8], at: Timestamp, version: &VersionRecord<'_>) {
        let bytes = version.value.map_or(0, <[u8]>::len);
        let record = codec::encode_sized(version, bytes);
        self.batch.put(Family::Data, keys::version(key, at), record);
    }

    pub(super) fn remember(
        &mut self,
        (anchor, request): (&[u8], RequestId),
        remembered: &DedupRecord,
    ) {
        dedup::remember((self.batch, self.overlay), (anchor, request), remembered);
    }
}

/// Whether a write that was evaluated in a term may be applied in an entry of another.
pub(super) fn is_of_term(evaluated_under: u64, term: u64) -> bool {
    evaluated_under == term || planted::active(Bug::StaleEvaluationApplied)
}
