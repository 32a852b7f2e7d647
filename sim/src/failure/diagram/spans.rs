//! From moments to stretches of time: how long a node was down, how long a strike lasted.

use std::collections::BTreeMap;

use super::super::text::told;
use crate::timeline::{Moment, What};

/// A strike while it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
    pub(super) nodes: Vec<u64>,
    pub(super) words: String,
}

/// All strikes, in the order in which they began. One that is not over ends with the run, or where it was
/// mended.
pub(super) fn strikes(timeline: &[Moment], end_ns: u64) -> Vec<Span> {
    let (mut spans, mut open) = (Vec::new(), BTreeMap::new());
    let close = |spans: &mut Vec<Span>, position: usize, at_ns| {
        if let Some(span) = spans.get_mut(position) {
            span.to_ns = at_ns;
        }
    };
    for moment in timeline {
        match &moment.what {
            What::Begins { strike, nodes, .. } => {
                open.insert(*strike, spans.len());
                let words = told(&moment.what).1;
                let nodes = nodes.clone();
                spans.push(Span { from_ns: moment.at_ns, to_ns: end_ns, nodes, words });
            }
            What::Ends { strike, .. } => {
                if let Some(position) = open.remove(strike) {
                    close(&mut spans, position, moment.at_ns);
                }
            }
            // All that was broken is mended then.
            What::Phase { name } if name == "heal" => {
                for position in std::mem::take(&mut open).into_values() {
                    close(&mut spans, position, moment.at_ns);
                }
            }
            _ => {}
        }
    }
    spans
}

/// When which node was down.
pub(super) fn down(timeline: &[Moment], end_ns: u64) -> Vec<(u64, u64, u64)> {
    let (mut spans, mut open) = (Vec::new(), BTreeMap::new());
    for moment in timeline {
        match moment.what {
            What::Down { node } => {
                open.entry(node).or_insert(moment.at_ns);
            }
            What::Up { node } => {
                spans.extend(open.remove(&node).map(|from_ns| (node, from_ns, moment.at_ns)));
            }
            _ => {}
        }
    }
    spans.extend(open.into_iter().map(|(node, from_ns)| (node, from_ns, end_ns)));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at_ns: u64, what: What) -> Moment {
        Moment { at_ns, what }
    }

    #[test]
    fn nodes_are_down_until_they_are_up_or_all_is_over() {
        let timeline = [
            at(5, What::Down { node: 1 }),
            at(6, What::Down { node: 2 }),
            at(9, What::Up { node: 1 }),
            at(10, What::Up { node: 3 }),
        ];
        assert_eq!(down(&timeline, 20), [(1, 5, 9), (2, 6, 20)]);
    }

    #[test]
    fn strikes_end_by_themselves_or_with_the_heal() {
        let begins = |strike| What::Begins {
            strike,
            kind: "leader-cut".to_owned(),
            nodes: vec![strike],
            words: "is cut off".to_owned(),
        };
        let ends = What::Ends { strike: 1, kind: "leader-cut".to_owned() };
        let timeline = [
            at(1, begins(1)),
            at(2, begins(2)),
            at(3, ends),
            at(9, What::Phase { name: "heal".to_owned() }),
            at(10, begins(3)),
        ];
        let found = strikes(&timeline, 20);
        let times: Vec<_> = found.iter().map(|span| (span.from_ns, span.to_ns)).collect();
        assert_eq!(times, [(1, 3), (2, 9), (10, 20)]);
        assert_eq!(found[1].nodes, [2]);
        assert_eq!(found[0].words, "strike 1, leader-cut: n1 is cut off");
    }
}
