//! Which node leads which keys, as answers told: a cache, and only a hint.
//!
//! A node that has to forward a request says who leads the range; from then on the request goes there
//! at once. Where the cache is wrong the node that was asked forwards, and says what is right. Where it
//! knows nothing, any node will do.
//!
//! Bound: [`ROUTES_MAX`] routes; over it the cache begins anew.

use std::{collections::BTreeMap, ops::Bound};

use bytes::Bytes;
use parking_lot::Mutex;

/// Routes that a client keeps in mind.
const ROUTES_MAX: usize = 16_384;

/// Where a request begins, in its keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// At a key; the empty one is the start of the keyspace.
    Key(&'a [u8]),
    /// At the last key below a bound; the empty one is the end of the keyspace.
    Below(&'a [u8]),
}

/// A range, as was told: keys in it may go into one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: Bytes,
    /// Exclusive; empty is the end of the keyspace.
    pub(crate) end: Bytes,
    pub(crate) range_id: u64,
    pub(crate) generation: u64,
}

impl Span {
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && (self.end.is_empty() || key < &self.end[..])
    }

    pub(crate) fn overlaps(&self, other: &Span) -> bool {
        let begins_before = |start: &Bytes, end: &Bytes| end.is_empty() || start < end;
        begins_before(&self.start, &other.end) && begins_before(&other.start, &self.end)
    }
}

#[derive(Debug)]
struct Route {
    /// Exclusive; empty is the end of the keyspace.
    end: Bytes,
    range_id: u64,
    generation: u64,
    /// Index of the leader in the pool.
    node: usize,
}

type Keyspace = BTreeMap<Bytes, Route>;

/// The routes of all keyspaces.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    by_keyspace: Mutex<BTreeMap<String, Keyspace>>,
}

impl Routes {
    /// The node that leads the range of a place, as far as is known.
    pub(crate) fn find(&self, keyspace: &str, place: Place<'_>) -> Option<usize> {
        let routes = self.by_keyspace.lock();
        let (_, route) = find(routes.get(keyspace)?, place)?;
        Some(route.node)
    }

    /// The range of a key, as far as is known.
    pub(crate) fn span(&self, keyspace: &str, key: &[u8]) -> Option<Span> {
        let routes = self.by_keyspace.lock();
        let (start, route) = find(routes.get(keyspace)?, Place::Key(key))?;
        let Route { end, range_id, generation, .. } = route;
        let (start, end) = (start.clone(), end.clone());
        Some(Span { start, end, range_id: *range_id, generation: *generation })
    }

    /// Takes over what an answer told, unless something newer is known.
    pub(crate) fn learn(&self, keyspace: &str, span: Span, node: usize) {
        let Span { start, end, range_id, generation } = span;
        let mut by_keyspace = self.by_keyspace.lock();
        if by_keyspace.values().map(BTreeMap::len).sum::<usize>() >= ROUTES_MAX {
            by_keyspace.clear();
        }
        let routes = by_keyspace.entry(keyspace.to_owned()).or_default();
        let overlapping: Vec<_> = routes
            .iter()
            .filter(|(from, known)| {
                (end.is_empty() || **from < end) && (known.end.is_empty() || start < known.end)
            })
            .map(|(from, known)| (from.clone(), known.generation))
            .collect();
        if overlapping.iter().any(|(_, known)| *known > generation) {
            return;
        }
        for (from, _) in overlapping {
            routes.remove(&from);
        }
        routes.insert(start, Route { end, range_id, generation, node });
    }

    /// A node said that another one leads the range of a place.
    pub(crate) fn redirect(&self, keyspace: &str, place: Place<'_>, node: usize) {
        let mut routes = self.by_keyspace.lock();
        let Some(routes) = routes.get_mut(keyspace) else { return };
        let Some(start) = find(routes, place).map(|(start, _)| start.clone()) else { return };
        if let Some(route) = routes.get_mut(&start) {
            route.node = node;
        }
    }

    /// The route of a place is wrong, and no answer said what is right.
    pub(crate) fn forget(&self, keyspace: &str, place: Place<'_>) {
        let mut routes = self.by_keyspace.lock();
        let Some(routes) = routes.get_mut(keyspace) else { return };
        if let Some(start) = find(routes, place).map(|(start, _)| start.clone()) {
            routes.remove(&start);
        }
    }

    /// Borders of ranges strictly inside `start..end` (empty is the end of the keyspace), in order,
    /// as far as is known; at most `most`.
    pub(crate) fn borders(
        &self,
        keyspace: &str,
        start: &[u8],
        end: &[u8],
        most: usize,
    ) -> Vec<Bytes> {
        let by_keyspace = self.by_keyspace.lock();
        let Some(routes) = by_keyspace.get(keyspace) else { return Vec::new() };
        let inside = |key: &Bytes| &key[..] > start && (end.is_empty() || &key[..] < end);
        let mut borders = Vec::new();
        for (from, route) in routes {
            for border in [from, &route.end] {
                if !border.is_empty() && inside(border) && borders.last() != Some(border) {
                    borders.push(border.clone());
                }
            }
            if borders.len() >= most {
                break;
            }
        }
        borders.truncate(most);
        borders
    }
}

fn find<'a>(routes: &'a Keyspace, place: Place<'_>) -> Option<(&'a Bytes, &'a Route)> {
    let upto = match place {
        Place::Key(key) => Bound::Included(key),
        Place::Below([]) => Bound::Unbounded,
        Place::Below(end) => Bound::Excluded(end),
    };
    let (start, route) = routes.range::<[u8], _>((Bound::Unbounded, upto)).next_back()?;
    let holds = match place {
        Place::Key(key) => route.end.is_empty() || key < &route.end[..],
        Place::Below([]) => route.end.is_empty(),
        Place::Below(end) => route.end.is_empty() || end <= &route.end[..],
    };
    holds.then_some((start, route))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(
        routes: &Routes,
        start: &'static str,
        end: &'static str,
        generation: u64,
        node: usize,
    ) {
        let (start, end) = (Bytes::from(start), Bytes::from(end));
        routes.learn("", Span { start, end, range_id: 7, generation }, node);
    }

    #[test]
    fn finds_what_was_told() {
        let routes = Routes::default();
        assert_eq!(routes.find("", Place::Key(b"a")), None);
        learn(&routes, "", "f", 1, 0);
        learn(&routes, "m", "", 1, 2);
        let at = |key: &'static [u8]| routes.find("", Place::Key(key));
        assert_eq!(
            (at(b""), at(b"e"), at(b"f"), at(b"m"), at(b"z")),
            (Some(0), Some(0), None, Some(2), Some(2))
        );
        let below = |end: &'static [u8]| routes.find("", Place::Below(end));
        assert_eq!(
            (below(b""), below(b"f"), below(b"f\0"), below(b"m\0")),
            (Some(2), Some(0), None, Some(2))
        );
        assert_eq!(routes.find("redis", Place::Key(b"a")), None);
        let span = routes.span("", b"a").unwrap();
        assert_eq!((&span.start[..], &span.end[..], span.range_id), (&b""[..], &b"f"[..], 7));
        assert_eq!(routes.span("", b"g"), None);
        routes.redirect("", Place::Key(b"a"), 4);
        assert_eq!(at(b"e"), Some(4));
        routes.forget("", Place::Key(b"a"));
        assert_eq!(at(b"e"), None);
    }

    #[test]
    fn newer_routes_win_and_older_ones_change_nothing() {
        let routes = Routes::default();
        learn(&routes, "", "", 1, 0);
        learn(&routes, "a", "c", 2, 1);
        // What overlapped has gone as a whole: the keys are asked for anew.
        assert_eq!(routes.find("", Place::Key(b"z")), None);
        learn(&routes, "", "", 1, 0);
        assert_eq!(routes.find("", Place::Key(b"b")), Some(1));
    }

    #[test]
    fn borders_inside_a_span() {
        let routes = Routes::default();
        learn(&routes, "", "c", 1, 0);
        learn(&routes, "c", "f", 1, 1);
        learn(&routes, "k", "p", 1, 1);
        let borders = |start: &str, end: &str, most| {
            routes.borders("", start.as_bytes(), end.as_bytes(), most)
        };
        assert_eq!(borders("", "", 9), ["c", "f", "k", "p"]);
        assert_eq!(borders("c", "p", 9), ["f", "k"]);
        assert_eq!(borders("", "", 2), ["c", "f"]);
    }
}
