//! A scan's span, divided where ranges are known to begin, so that they can be read at the same time.
//!
//! The borders are only as good as this node's routes: a part may turn out to lie in two ranges, or in
//! half of one. Its reader goes on where the part's pages say.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use quintet_proto::v1::{self, session_request::Op};

use super::{Router, hints, routes::RANGES_MAX};
use crate::{ids::KeyspaceId, storage::format::descriptor::Descriptor};

/// What is left of a span: user keys, in the direction of the scan. Each part follows on the one before.
pub(crate) struct SpanParts {
    keyspace: KeyspaceId,
    reverse: bool,
    start: Bytes,
    /// Exclusive; empty is open.
    end: Bytes,
    /// Ranges that begin inside, in the direction of the scan.
    borders: VecDeque<Arc<Descriptor>>,
    is_left: bool,
}

impl SpanParts {
    /// Whether another part comes.
    pub(crate) fn is_left(&self) -> bool {
        self.is_left
    }
}

impl Iterator for SpanParts {
    type Item = (Bytes, Bytes);

    fn next(&mut self) -> Option<(Bytes, Bytes)> {
        if !self.is_left {
            return None;
        }
        let Some(range) = self.borders.pop_front() else {
            self.is_left = false;
            return Some((self.start.clone(), self.end.clone()));
        };
        let border = hints::bound(self.keyspace, &range.start);
        if self.reverse {
            Some((border.clone(), std::mem::replace(&mut self.end, border)))
        } else {
            Some((std::mem::replace(&mut self.start, border.clone()), border))
        }
    }
}

impl Router {
    /// The parts of a scan's span; none where the scan makes no sense.
    pub(crate) fn parts_of(&self, scan: &v1::ScanRequest) -> Option<SpanParts> {
        let asked = v1::ScanRequest { at: 0, ..scan.clone() };
        let mut request = v1::SessionRequest { id: 0, op: Some(Op::Scan(asked)) };
        let decoded = self.decoder.decode(&mut request).ok()?;
        let ((from, upto), keyspace) = (decoded.first_page_span()?, decoded.keyspace()?);
        let ranges = self.routes.covering(from, upto, RANGES_MAX);
        // A border that is no whole key is none for a client.
        let inside = ranges.into_iter().filter(|range| {
            range.start.as_slice() > from && !hints::bound(keyspace, &range.start).is_empty()
        });
        let mut borders: VecDeque<_> = inside.collect();
        if scan.reverse {
            borders.make_contiguous().reverse();
        }
        let (start, end) = (scan.start.clone(), scan.end.clone());
        Some(SpanParts { keyspace, reverse: scan.reverse, start, end, borders, is_left: true })
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;
    use crate::{
        ids::{Generation, RangeId, ReplicaId},
        storage::keys,
    };

    fn parts(reverse: bool) -> Vec<(Bytes, Bytes)> {
        let range = |start: &[u8]| {
            Arc::new(Descriptor {
                range: RangeId(2),
                start: keys::encode(KeyspaceId::DEFAULT, start).to_vec(),
                end: Vec::new(),
                generation: Generation(1),
                replicas: Vec::new(),
                next_replica: ReplicaId(1),
            })
        };
        let mut borders = VecDeque::from([range(b"f"), range(b"p")]);
        if reverse {
            borders.make_contiguous().reverse();
        }
        let (start, end) = (Bytes::from("b"), Bytes::new());
        let keyspace = KeyspaceId::DEFAULT;
        SpanParts { keyspace, reverse, start, end, borders, is_left: true }.collect()
    }

    #[test]
    fn parts_follow_on_each_other_both_ways() {
        let key = |text: &'static str| Bytes::from(text);
        let forward = [(key("b"), key("f")), (key("f"), key("p")), (key("p"), key(""))];
        assert_eq!(parts(false), forward);
        assert_eq!(parts(true), forward.into_iter().rev().collect::<Vec<_>>());
    }
}
