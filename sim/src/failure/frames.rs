//! Messages between nodes, from the event log.
//!
//! ```text
//! send n1 to n2 [#7 append r3 (2 entries, term 5)]: 123b…      receive n2 from n1: 123b…
//! send n2 answers n1 [#7 appended r3]: 1204…                   receive n1 from n2: 1204…
//! ```
//!
//! A receive belongs to the oldest send with the same nodes and bytes that has none yet; to the last one
//! with them, if all have one: then it was delivered twice.

use std::collections::{BTreeMap, VecDeque};

use super::Window;

/// How long before the window what arrives in it may have been sent, and how long after it may arrive.
const SLACK_NS: u64 = 5_000_000_000;

/// One frame on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Who sent it.
    pub from: u64,
    /// To whom.
    pub to: u64,
    /// When.
    pub sent_ns: u64,
    /// When it arrived; `None`: it did not, as far as the log goes.
    pub received_ns: Option<u64>,
    /// What it says.
    pub says: String,
    /// Whether it was delivered before.
    pub is_copy: bool,
}

/// The frames of an event log that were under way in a part of time.
pub fn frames(log: &str, window: Window) -> Vec<Frame> {
    let mut found: Vec<Frame> = Vec::new();
    let mut waiting: BTreeMap<(u64, u64, &str), VecDeque<usize>> = BTreeMap::new();
    let mut last: BTreeMap<(u64, u64, &str), usize> = BTreeMap::new();
    let (from_ns, to_ns) =
        (window.from_ns.saturating_sub(SLACK_NS), window.to_ns.saturating_add(SLACK_NS));
    for line in log.lines() {
        let Some((at_ns, rest)) = line.trim_start().split_once(' ') else { continue };
        let Ok(at_ns) = at_ns.parse::<u64>() else { continue };
        if at_ns < from_ns {
            continue;
        }
        if at_ns > to_ns {
            break;
        }
        let Some((_witness, event)) = rest.split_once(' ') else { continue };
        if let Some(sent) = event.strip_prefix("send ").and_then(parse_send) {
            let key = (sent.from, sent.to, sent.bytes);
            waiting.entry(key).or_default().push_back(found.len());
            last.insert(key, found.len());
            found.push(Frame {
                from: sent.from,
                to: sent.to,
                sent_ns: at_ns,
                received_ns: None,
                says: sent.says.to_owned(),
                is_copy: false,
            });
        } else if let Some((from, to, bytes)) =
            event.strip_prefix("receive ").and_then(parse_receive)
        {
            let key = (from, to, bytes);
            if let Some(first) = waiting.get_mut(&key).and_then(VecDeque::pop_front) {
                found[first].received_ns = Some(at_ns);
            } else if let Some(known) = last.get(&key) {
                let again =
                    Frame { received_ns: Some(at_ns), is_copy: true, ..found[*known].clone() };
                found.push(again);
            }
        }
    }
    found.retain(|frame| window.meets(frame.sent_ns, frame.received_ns.unwrap_or(frame.sent_ns)));
    found
}

struct Sent<'a> {
    from: u64,
    to: u64,
    says: &'a str,
    bytes: &'a str,
}

/// `n1 to n2 [says]: bytes` or `n1 answers n2 [says]: bytes`.
fn parse_send(text: &str) -> Option<Sent<'_>> {
    let (from, rest) = text.split_once(' ')?;
    let rest = rest.strip_prefix("to ").or_else(|| rest.strip_prefix("answers "))?;
    let (to, rest) = rest.split_once(' ')?;
    let (says, bytes) = rest.rsplit_once(": ")?;
    let says = says.strip_prefix('[')?.strip_suffix(']')?;
    Some(Sent { from: node(from)?, to: node(to)?, says, bytes })
}

/// `n2 from n1: bytes`: sender, receiver, bytes.
fn parse_receive(text: &str) -> Option<(u64, u64, &str)> {
    let (to, rest) = text.split_once(" from ")?;
    let (from, bytes) = rest.split_once(": ")?;
    Some((node(from)?, node(to)?, bytes))
}

fn node(text: &str) -> Option<u64> {
    text.strip_prefix('n')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Window = Window { from_ns: 0, to_ns: 1_000 };

    #[test]
    fn a_receive_finds_its_send() {
        let log = "\
            10 aa send n1 to n2 [#7 append r3]: 12ab\n\
            11 aa random 77\n\
            12 aa send n1 to n2 [#8 failed r3: \"a]: b\"]: 12ac\n\
            20 aa receive n2 from n1: 12ab\n\
            25 aa send n2 answers n1 [#7 appended r3]: 0101\n\
            26 aa send a session frame: 00\n\
            27 aa receive a session frame: 00\n\
            30 aa receive n1 from n2: 0101\n\
            31 aa receive n2 from n1: 12ab\n\
            32 aa receive n2 from n1: ffff\n";
        let found = frames(log, ALL);
        let told: Vec<_> = found
            .iter()
            .map(|f| (f.from, f.to, f.sent_ns, f.received_ns, f.says.as_str(), f.is_copy))
            .collect();
        assert_eq!(
            told,
            [
                (1, 2, 10, Some(20), "#7 append r3", false),
                (1, 2, 12, None, "#8 failed r3: \"a]: b\"", false),
                (2, 1, 25, Some(30), "#7 appended r3", false),
                (1, 2, 10, Some(31), "#7 append r3", true),
            ]
        );
    }

    #[test]
    fn equal_frames_are_matched_in_order() {
        let log = "1 a send n1 to n2 []: 00\n2 a send n1 to n2 []: 00\n\
                   3 a receive n2 from n1: 00\n4 a receive n2 from n1: 00\n";
        let arrived: Vec<_> = frames(log, ALL).iter().map(|f| (f.sent_ns, f.received_ns)).collect();
        assert_eq!(arrived, [(1, Some(3)), (2, Some(4))]);
    }

    #[test]
    fn only_what_was_under_way_in_the_window() {
        let log = "10 a send n1 to n2 []: 00\n50 a receive n2 from n1: 00\n\
                   60 a send n1 to n2 []: 01\n70 a receive n2 from n1: 01\n\
                   90 a send n1 to n2 []: 02\n";
        let found = frames(log, Window { from_ns: 40, to_ns: 55 });
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].sent_ns, found[0].received_ns), (10, Some(50)));
    }
}
