//! Which items go together: one lane per range, where they gather while its requests are under way. Pure.
//!
//! Nothing waits for a batch to fill. A lane with room for another request sends what it has, and what arrives
//! while its requests are under way makes the next batch: under load batches grow by themselves.
//!
//! Invariants:
//! - Lanes do not overlap: a key has one lane, or none where its range is not known.
//! - A lane has at most [`UNDER_WAY_MAX`] requests under way; with fewer and with items it is in `due`, once.
//!
//! Bound: [`LANES_MAX`] lanes; over it those without items or requests go.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
};

use bytes::Bytes;

use super::item::Item;
use crate::routes::Span;

/// Requests under way of one range: one that is written while the next is on its way.
const UNDER_WAY_MAX: usize = 2;
const LANES_MAX: usize = 4_096;

/// How large a batch may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) items: usize,
    /// Of keys and values.
    pub(super) bytes: usize,
}

/// Names a lane, also after it is gone.
#[derive(Clone, Debug)]
pub(super) struct LaneId {
    start: Bytes,
    number: u64,
}

/// Items of one range that go now.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) lane: LaneId,
    pub(super) span: Span,
    /// In the order of their keys.
    pub(super) items: Vec<Item>,
}

#[derive(Debug)]
struct Lane {
    number: u64,
    span: Span,
    items: VecDeque<Item>,
    under_way: usize,
    is_due: bool,
}

/// All lanes of a writer.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    by_start: BTreeMap<Bytes, Lane>,
    /// Starts of lanes that have something to send and may.
    due: VecDeque<Bytes>,
    number: u64,
}

impl Lanes {
    /// Puts an item where others of its range gather; gives it back where its range is not known.
    pub(super) fn push(&mut self, item: Item) -> Option<Item> {
        let upto = (Bound::Unbounded, Bound::Included(&item.key[..]));
        let found = self.by_start.range_mut::<[u8], _>(upto).next_back();
        let Some((start, lane)) = found.filter(|(_, lane)| lane.span.contains(&item.key)) else {
            return Some(item);
        };
        lane.items.push_back(item);
        lane.note_due(start, &mut self.due);
        None
    }

    /// A lane for a range; what gathered in lanes that it overlaps comes back.
    pub(super) fn open(&mut self, span: Span) -> Vec<Item> {
        if self.by_start.len() >= LANES_MAX {
            self.by_start.retain(|_, lane| lane.under_way > 0 || !lane.items.is_empty());
        }
        let overlapping = self.by_start.values().filter(|lane| lane.span.overlaps(&span));
        let overlapping: Vec<_> = overlapping.map(|lane| lane.span.start.clone()).collect();
        let gone = overlapping.iter().filter_map(|start| self.by_start.remove(start));
        let items = gone.flat_map(|lane| lane.items).collect();
        self.number += 1;
        let (number, start) = (self.number, span.start.clone());
        let lane = Lane { number, span, items: VecDeque::new(), under_way: 0, is_due: false };
        self.by_start.insert(start, lane);
        items
    }

    /// A lane leads nowhere; what gathered in it comes back.
    pub(super) fn close(&mut self, id: &LaneId) -> Vec<Item> {
        if self.get(id).is_none() {
            return Vec::new();
        }
        self.by_start.remove(&id.start).map_or_else(Vec::new, |lane| lane.items.into())
    }

    /// The next batch to send, if there is one.
    pub(super) fn next(&mut self, size: Size) -> Option<Batch> {
        loop {
            let start = self.due.pop_front()?;
            // Gone, or gone and come again: then it has noted itself anew.
            let Some(lane) = self.by_start.get_mut(&start).filter(|lane| lane.is_due) else {
                continue;
            };
            lane.is_due = false;
            let mut items = lane.take(size);
            if items.is_empty() {
                continue;
            }
            items.sort_unstable_by(|one, other| one.key.cmp(&other.key));
            lane.under_way += 1;
            lane.note_due(&start, &mut self.due);
            let id = LaneId { start, number: lane.number };
            return Some(Batch { lane: id, span: lane.span.clone(), items });
        }
    }

    /// A request of a lane is not under way any more.
    pub(super) fn done(&mut self, id: &LaneId) {
        let lane = self.by_start.get_mut(&id.start).filter(|lane| lane.number == id.number);
        if let Some(lane) = lane {
            lane.under_way = lane.under_way.saturating_sub(1);
            lane.note_due(&id.start, &mut self.due);
        }
    }

    fn get(&self, id: &LaneId) -> Option<&Lane> {
        self.by_start.get(&id.start).filter(|lane| lane.number == id.number)
    }
}

impl Lane {
    fn note_due(&mut self, start: &Bytes, due: &mut VecDeque<Bytes>) {
        if !self.is_due && self.under_way < UNDER_WAY_MAX && !self.items.is_empty() {
            self.is_due = true;
            due.push_back(start.clone());
        }
    }

    /// As many items as a batch takes; one at least, if there is one.
    fn take(&mut self, size: Size) -> Vec<Item> {
        let (mut count, mut bytes) = (0, 0);
        for item in self.items.iter().take(size.items.max(1)) {
            bytes += item.bytes();
            if count > 0 && bytes > size.bytes {
                break;
            }
            count += 1;
        }
        self.items.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { items: 3, bytes: 100 };

    fn item(key: &str, bytes: usize) -> Item {
        let value = Bytes::from(vec![0; bytes]);
        let key = Bytes::copy_from_slice(key.as_bytes());
        Item { key, value, memory: 0, deadline: None, tell: None }
    }

    fn span(start: &'static str, end: &'static str) -> Span {
        let (start, end) = (Bytes::from(start), Bytes::from(end));
        Span { start, end, range_id: 1, generation: 1 }
    }

    fn keys(items: &[Item]) -> Vec<&str> {
        items.iter().map(|item| std::str::from_utf8(&item.key).unwrap()).collect()
    }

    fn push(lanes: &mut Lanes, key: &str) {
        assert!(lanes.push(item(key, 1)).is_none(), "{key}");
    }

    #[test]
    fn what_has_gathered_goes_together_and_in_order() {
        let mut lanes = Lanes::default();
        assert!(lanes.push(item("a", 1)).is_some(), "no range is known");
        lanes.open(span("a", "m"));
        lanes.open(span("m", ""));
        assert!(lanes.push(item("A", 1)).is_some());
        push(&mut lanes, "b");
        let first = lanes.next(SIZE).unwrap();
        assert_eq!(keys(&first.items), ["b"], "nothing waits for others");
        for key in ["f", "a", "z", "e", "c", "m"] {
            push(&mut lanes, key);
        }
        let mut batches = Vec::new();
        while let Some(batch) = lanes.next(SIZE) {
            batches.push(batch);
        }
        let grouped: Vec<_> = batches.iter().map(|batch| keys(&batch.items)).collect();
        assert_eq!(grouped, [vec!["a", "e", "f"], vec!["m", "z"]], "c waits: two are under way");
        lanes.done(&first.lane);
        assert_eq!(keys(&lanes.next(SIZE).unwrap().items), ["c"]);
        assert!(lanes.next(SIZE).is_none());
    }

    #[test]
    fn a_batch_is_bounded_by_bytes_and_takes_one_item_at_least() {
        let mut lanes = Lanes::default();
        lanes.open(span("", ""));
        for (key, bytes) in [("a", 200), ("b", 60), ("c", 30), ("d", 30)] {
            assert!(lanes.push(item(key, bytes)).is_none());
        }
        let mut sent = Vec::new();
        while let Some(batch) = lanes.next(SIZE) {
            lanes.done(&batch.lane);
            sent.push(batch.items.len());
        }
        assert_eq!(sent, [1, 2, 1]);
    }

    #[test]
    fn lanes_follow_the_ranges() {
        let mut lanes = Lanes::default();
        lanes.open(span("", ""));
        for key in ["a", "b", "x"] {
            push(&mut lanes, key);
        }
        let old = lanes.next(Size { items: 1, ..SIZE }).unwrap();
        // It was split: what gathered comes back, and goes where it belongs.
        let back = lanes.open(span("", "m"));
        assert_eq!(keys(&back), ["b", "x"]);
        let homeless: Vec<_> = back.into_iter().filter_map(|item| lanes.push(item)).collect();
        assert_eq!(keys(&homeless), ["x"]);
        lanes.done(&old.lane);
        assert!(lanes.close(&old.lane).is_empty(), "a newer lane of the same start stays");
        let new = lanes.next(SIZE).unwrap();
        assert_eq!(keys(&new.items), ["b"]);
        push(&mut lanes, "c");
        assert_eq!(keys(&lanes.close(&new.lane)), ["c"]);
        assert!(lanes.push(item("c", 1)).is_some());
        assert!(lanes.next(SIZE).is_none());
    }
}
