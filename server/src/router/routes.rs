//! Which range a stored key lies in, as far as this node knows: a cache of descriptors.
//!
//! It may be behind: a node that gets a request by an old route refuses it, with the descriptors that it knows
//! ([`Routes::learn`]). What is old is never dropped before something newer takes its place, so that
//! every key has a route from the moment at which the node belongs to a cluster.
//!
//! # Invariants
//!
//! * Entries do not overlap: an entry owns its keys up to its end. (Checked by a property test.)
//! * Of two descriptors for a key the one of the higher generation wins: a split and a merge give
//!   what comes of them a generation above all that went in.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use parking_lot::RwLock;

use crate::{ids::RangeId, request::place::Place, storage::format::descriptor::Descriptor};

/// Ranges of one scan.
pub(crate) const RANGES_MAX: usize = 100_000;

/// The cache. Bounded by the ranges of the cluster: pieces of old entries go when their keys are
/// learnt.
#[derive(Debug, Default)]
pub struct Routes {
    /// By first stored key.
    by_start: RwLock<BTreeMap<Vec<u8>, Arc<Descriptor>>>,
}

impl Routes {
    /// The descriptor for a place.
    pub(crate) fn find(&self, place: Place<'_>) -> Option<Arc<Descriptor>> {
        let routes = self.by_start.read();
        let upto = match place {
            Place::Key(key) => Bound::Included(key),
            Place::Below([]) => Bound::Unbounded,
            Place::Below(end) => Bound::Excluded(end),
        };
        let (_, found) = routes.range::<[u8], _>((Bound::Unbounded, upto)).next_back()?;
        match place {
            Place::Key(key) if !found.contains(key) => None,
            _ => Some(found.clone()),
        }
    }

    /// The descriptors that overlap `[start, end)`, in order, at most `most`. Empty `end` is the end
    /// of the key space.
    pub fn covering(&self, start: &[u8], end: &[u8], most: usize) -> Vec<Arc<Descriptor>> {
        let routes = self.by_start.read();
        let mut first = routes.range::<[u8], _>((Bound::Unbounded, Bound::Included(start)));
        let from = match first.next_back() {
            Some((from, found)) if found.contains(start) => Bound::Included(from.as_slice()),
            _ => Bound::Excluded(start),
        };
        let below = |found: &&Arc<Descriptor>| end.is_empty() || found.start.as_slice() < end;
        let from = routes.range::<[u8], _>((from, Bound::Unbounded));
        from.map(|(_, found)| found).take_while(below).take(most).cloned().collect()
    }

    /// Whether a range is known.
    pub fn knows(&self, range: RangeId) -> bool {
        self.by_start.read().values().any(|known| known.range == range)
    }

    /// Every descriptor, in order.
    pub fn all(&self) -> Vec<Arc<Descriptor>> {
        self.by_start.read().values().cloned().collect()
    }

    /// Takes a descriptor in. Keys for which a newer one is known keep that.
    pub fn learn(&self, heard: &Arc<Descriptor>) {
        if !heard.end.is_empty() && heard.start >= heard.end {
            // Nonsense of a peer: it owns nothing.
            return;
        }
        let mut routes = self.by_start.write();
        let overlapping: Vec<_> = routes
            .values()
            .filter(|known| known.overlaps(&heard.start, &heard.end))
            .cloned()
            .collect();
        let mut new = vec![heard.clone()];
        for known in overlapping {
            if known.generation > heard.generation {
                new = new.iter().flat_map(|piece| without(piece, &known)).collect();
            } else {
                routes.remove(&known.start);
                let left = without(&known, heard);
                routes.extend(left.into_iter().map(|piece| (piece.start.clone(), piece)));
            }
        }
        routes.extend(new.into_iter().map(|piece| (piece.start.clone(), piece)));
    }

    /// Forgets everything and takes these, which must not overlap.
    pub fn replace(&self, descriptors: impl IntoIterator<Item = Descriptor>) {
        let by_start = descriptors.into_iter().map(|new| (new.start.clone(), Arc::new(new)));
        *self.by_start.write() = by_start.collect();
    }
}

/// What is left of a descriptor's span before and behind another's.
fn without(whole: &Arc<Descriptor>, taken: &Descriptor) -> Vec<Arc<Descriptor>> {
    if !whole.overlaps(&taken.start, &taken.end) {
        return vec![whole.clone()];
    }
    let mut left = Vec::new();
    if whole.start < taken.start {
        let end = taken.start.clone();
        left.push(Arc::new(Descriptor { end, ..(**whole).clone() }));
    }
    let goes_on = whole.end.is_empty() || taken.end < whole.end;
    if !taken.end.is_empty() && goes_on {
        let start = taken.end.clone();
        left.push(Arc::new(Descriptor { start, ..(**whole).clone() }));
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{Generation, ReplicaId};

    fn descriptor(range: u64, start: &[u8], end: &[u8], generation: u64) -> Arc<Descriptor> {
        Arc::new(Descriptor {
            range: RangeId(range),
            start: start.to_vec(),
            end: end.to_vec(),
            generation: Generation(generation),
            replicas: Vec::new(),
            next_replica: ReplicaId(1),
        })
    }

    fn found(routes: &Routes, place: Place<'_>) -> Option<u64> {
        routes.find(place).map(|found| found.range.0)
    }

    #[test]
    fn spans_overlap_where_they_share_a_key() {
        let spans: [(&[u8], &[u8], bool, bool); 7] = [
            (b"", b"", true, false),
            (b"", b"d", false, false),
            (b"", b"da", true, false),
            (b"d", b"m", true, true),
            (b"e", b"f", true, true),
            (b"m", b"", false, false),
            (b"l", b"", true, false),
        ];
        let range = descriptor(2, b"d", b"m", 1);
        for (start, end, overlaps, covers) in spans {
            assert_eq!(range.overlaps(start, end), overlaps, "{start:?} to {end:?}");
            assert_eq!(descriptor(3, start, end, 1).overlaps(b"d", b"m"), overlaps);
            assert_eq!(range.covers(start, end), covers, "{start:?} to {end:?}");
        }
        assert!(descriptor(2, b"d", b"", 1).covers(b"m", b""));
    }

    #[test]
    fn an_old_route_is_corrected_piece_by_piece() {
        let routes = Routes::default();
        routes.learn(&descriptor(2, b"", b"", 0));
        assert_eq!(found(&routes, Place::Key(b"m")), Some(2));
        routes.learn(&descriptor(3, b"f", b"p", 1));
        let at = |key: &'static [u8]| found(&routes, Place::Key(key));
        assert_eq!((at(b"a"), at(b"f"), at(b"o"), at(b"p")), (Some(2), Some(3), Some(3), Some(2)));
        // What is older changes nothing of it.
        routes.learn(&descriptor(4, b"a", b"z", 0));
        assert_eq!((at(b"a"), at(b"f"), at(b"o"), at(b"p")), (Some(4), Some(3), Some(3), Some(4)));
        routes.learn(&descriptor(2, b"", b"", 0));
        routes.learn(&descriptor(5, b"z", b"c", 9));
        assert_eq!(routes.all().len(), 3, "a span that ends before it begins");
        assert_eq!(found(&routes, Place::Below(b"p")), Some(3));
        assert_eq!(found(&routes, Place::Below(b"")), Some(2));
        assert_eq!(found(&routes, Place::Below(b"f")), Some(2));
    }

    #[test]
    fn covering_a_span() {
        let routes = Routes::default();
        for (range, start, end) in
            [(1, &b""[..], &b"b"[..]), (2, b"b", b"d"), (3, b"d", b"f"), (4, b"f", b"")]
        {
            routes.learn(&descriptor(range, start, end, 1));
        }
        let covering = |start: &[u8], end: &[u8], most| -> Vec<u64> {
            routes.covering(start, end, most).iter().map(|found| found.range.0).collect()
        };
        assert_eq!(covering(b"", b"", 9), [1, 2, 3, 4]);
        assert_eq!(covering(b"c", b"d", 9), [2]);
        assert_eq!(covering(b"c", b"d\0", 9), [2, 3]);
        assert_eq!(covering(b"c", b"", 2), [2, 3]);
        assert_eq!(covering(b"z", b"", 9), [4]);
    }

    proptest! {
        #[test]
        fn entries_never_overlap_and_nothing_is_uncovered(
            heard in proptest::collection::vec((1u64..6, 0u8..10, 1u8..10, 0u64..4), 0..30),
        ) {
            let routes = Routes::default();
            routes.learn(&descriptor(9, b"", b"", 0));
            for (range, start, length, generation) in heard {
                let end = if start + length > 10 { Vec::new() } else { vec![start + length] };
                routes.learn(&descriptor(range, &[start], &end, generation));
                let all = routes.all();
                prop_assert_eq!(&all[0].start, &Vec::<u8>::new());
                for pair in all.windows(2) {
                    prop_assert_eq!(&pair[0].end, &pair[1].start);
                }
                prop_assert!(all.last().unwrap().end.is_empty());
            }
        }
    }
}
