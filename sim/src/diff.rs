//! The first difference of two event logs.
//!
//! Two runs of a seed must write the same log byte for byte. Where they do not, only the first
//! difference tells something: everything after it follows from it. A line is `time witness kind what`
//! (see [`crate::trace`] of a simulator's build); lines that differ in the witness alone mean that
//! something between them and the line before drew randomness in one run and not in the other.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, BufRead},
};

/// Characters of a line that are shown.
const SHOWN_MAX: usize = 200;

/// Where two logs part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The line, from 1.
    pub line: u64,
    /// Lines before it, equal in both.
    pub before: Vec<String>,
    /// That line of the first; `None` where it has ended.
    pub a: Option<String>,
    /// That line of the second.
    pub b: Option<String>,
}

/// Compares two logs line by line; `before` is how many equal lines are kept.
pub fn first_difference(
    a: impl BufRead,
    b: impl BufRead,
    before: usize,
) -> io::Result<Option<Difference>> {
    let (mut a, mut b) = (a.split(b'\n'), b.split(b'\n'));
    let mut kept: VecDeque<String> = VecDeque::new();
    for line in 1.. {
        let (a, b) = (a.next().transpose()?, b.next().transpose()?);
        if a != b {
            let text = |line: Option<Vec<u8>>| line.map(|line| readable(&line));
            let (a, b) = (text(a), text(b));
            return Ok(Some(Difference { line, before: kept.into(), a, b }));
        }
        let Some(same) = a else { break };
        if kept.len() >= before {
            kept.pop_front();
        }
        if before > 0 {
            kept.push_back(readable(&same));
        }
    }
    Ok(None)
}

fn readable(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}

/// The parts of a line.
struct Event<'a> {
    at_ns: u64,
    witness: &'a str,
    kind: &'a str,
    what: &'a str,
}

fn event(line: &str) -> Option<Event<'_>> {
    let (time, rest) = line.trim_start().split_once(' ')?;
    let (witness, rest) = rest.split_once(' ')?;
    let (kind, what) = rest.split_once(' ').unwrap_or((rest, ""));
    Some(Event { at_ns: time.parse().ok()?, witness, kind, what })
}

fn shown(line: &str) -> String {
    match line.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

impl Difference {
    /// What differs, in a sentence.
    fn words(&self) -> String {
        let (Some(a), Some(b)) = (&self.a, &self.b) else {
            let ended = if self.a.is_none() { "first" } else { "second" };
            return format!("the {ended} log ends here");
        };
        match (event(a), event(b)) {
            (Some(a), Some(b)) if a.at_ns != b.at_ns => {
                format!("at {} ns in the first and {} ns in the second", a.at_ns, b.at_ns)
            }
            (Some(a), Some(b)) if a.kind != b.kind => {
                format!("at {} ns: {} in the first, {} in the second", a.at_ns, a.kind, b.kind)
            }
            (Some(a), Some(b)) if a.what != b.what => {
                format!("at {} ns: both {}, not the same", a.at_ns, a.kind)
            }
            (Some(a), Some(b)) if a.witness != b.witness => format!(
                "at {} ns: the same {}, but randomness was drawn differently before it",
                a.at_ns, a.kind
            ),
            _ => "the lines are not the same".to_owned(),
        }
    }
}

/// Some lines before, then both lines.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "first difference in line {}: {}", self.line, self.words())?;
        for line in &self.before {
            writeln!(f, "    {}", shown(line))?;
        }
        let side = |line: &Option<String>| line.as_deref().map_or("(end)".to_owned(), shown);
        writeln!(f, "  a {}", side(&self.a))?;
        write!(f, "  b {}", side(&self.b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(a: &str, b: &str) -> Option<Difference> {
        first_difference(a.as_bytes(), b.as_bytes(), 2).unwrap()
    }

    const LOG: &str = "  1 aa send x\n  2 bb random 1\n  3 cc disk n1\n  4 dd send y\n";

    #[test]
    fn equal_logs_have_no_difference() {
        assert_eq!(compare(LOG, LOG), None);
        assert_eq!(compare("", ""), None);
    }

    #[test]
    fn the_first_difference_comes_with_what_was_before() {
        let other = LOG.replace("4 dd send y", "4 dd send z");
        let found = compare(LOG, &other).unwrap();
        assert_eq!(found.line, 4);
        assert_eq!(found.before, ["  2 bb random 1", "  3 cc disk n1"]);
        assert_eq!(
            found.to_string(),
            "first difference in line 4: at 4 ns: both send, not the same\n      2 bb random 1\n      \
             3 cc disk n1\n  a   4 dd send y\n  b   4 dd send z"
        );
    }

    #[test]
    fn what_differs_is_said() {
        let words = |other: &str| compare(LOG, other).unwrap().words();
        assert_eq!(
            words(&LOG.replace("  3 cc", "  5 cc")),
            "at 3 ns in the first and 5 ns in the second"
        );
        assert_eq!(
            words(&LOG.replace("disk", "apply")),
            "at 3 ns: disk in the first, apply in the second"
        );
        assert_eq!(
            words(&LOG.replace("bb", "be")),
            "at 2 ns: the same random, but randomness was drawn differently before it"
        );
        assert_eq!(words("  1 aa send x\n"), "the second log ends here");
        assert_eq!(words("  1 aa send x\nno event\n"), "the lines are not the same");
    }

    #[test]
    fn a_missing_end_of_line_alone_is_no_difference_of_events() {
        assert_eq!(compare("  1 aa send x", "  1 aa send x\n"), None);
    }
}
