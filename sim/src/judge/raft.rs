//! Do the groups keep what Raft promises? Judged as the run goes, by what replicas do.
//!
//! | promise (Ongaro's thesis, figure 3.2) | what is looked at |
//! |---|---|
//! | election safety: one leader a term | [`What::Led`] |
//! | leader completeness: what is committed is never lost | a new leader's log ends at or behind all that leaders of earlier terms had committed, and [`What::Applied`] |
//! | log matching, state machine safety | whoever applies an index applies the same term and the same content; terms never fall along the log |
//! | applied once, in order | in one life a replica applies index after index; a raft snapshot only brings it forward; after a restart what it applies again is what it was |
//! | votes outlive crashes | when a leader begins, its vote is on the disks of a majority of the voters of *every* configuration of its membership ([`What::Led`]) |
//! | a truncation outlives crashes | when a replica has told Raft that its log is truncated, nothing of what was cut off is left on its disk ([`What::Truncated`]) |
//! | commit quorum, also joint | when a leader commits an entry, it is durable on a majority of the voters of *every* configuration of its membership ([`What::Committed`]) |
//!
//! A *life* of a replica begins where its state is opened, at the applied position that its disk kept.
//!
//! The judge is pure: it is fed with [`Observation`]s in the order in which things happened, and answers
//! at once. What is not observed is not judged: a missing `Committed` takes nothing away but the check of
//! that one. That is why a new leader is only measured by commits of *earlier* terms: one that was elected
//! long ago and learns it late may rightly lack what a later leader has committed.
//!
//! Memory is bounded: entries that all replicas have applied are forgotten, but for the newest
//! [`KEPT_BELOW`] (a restart applies some again), and never more than [`ENTRIES_MAX`] are kept a group.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Violation;
use crate::history::millis;

mod quorum;

/// Entries that are kept although all replicas have applied them.
pub const KEPT_BELOW: u64 = 4_096;
/// Entries that are kept of a group at most.
pub const ENTRIES_MAX: usize = 65_536;
/// Terms that are kept of a group at most.
const TERMS_MAX: usize = 4_096;

/// Where an entry stands in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Term of the leader that made it.
    pub term: u64,
    /// Index.
    pub index: u64,
}

/// Where the vote for a leader is on disk when it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Votes {
    /// The nodes on whose disks the vote for it is, or one for a later term.
    pub durable_on: Vec<u64>,
    /// The membership that is in force: its configurations, each a list of nodes; two while it is joint.
    pub membership: Vec<Vec<u64>>,
}

/// Something that a replica did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// When, in simulated time.
    pub at_ns: u64,
    /// Which range's replica.
    pub range: u64,
    /// On which node.
    pub node: u64,
    /// What it did.
    #[serde(flatten)]
    pub what: What,
}

/// What a replica did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum What {
    /// It became leader.
    Led {
        /// Of this term.
        term: u64,
        /// Where its log ended then.
        last: Option<Position>,
        /// Whose vote it had then, as far as that was looked at.
        #[serde(default)]
        votes: Option<Votes>,
    },
    /// It has told Raft that its log is truncated.
    Truncated {
        /// The first index that was cut off.
        first_removed: u64,
        /// Whether its disk has an entry there all the same.
        is_left: bool,
    },
    /// Its state was opened: a life begins.
    Opened {
        /// What was applied according to its disk.
        applied: Option<Position>,
    },
    /// It installed a raft snapshot.
    Installed {
        /// What is applied with that.
        applied: Position,
    },
    /// It applied an entry.
    Applied {
        /// Which.
        at: Position,
        /// Hash of the entry's content.
        hash: u64,
    },
    /// It leads the entry's term and found it committed.
    Committed {
        /// Which.
        at: Position,
        /// The nodes on which it is durable.
        durable_on: Vec<u64>,
        /// The membership that was in force: its configurations, each a list of nodes; two while it is
        /// joint. Where it changed just then, there is one before and one after: either will do.
        memberships: Vec<Vec<Vec<u64>>>,
    },
}

/// What is known of an entry that somebody applied or committed.
struct Known {
    term: u64,
    hash: Option<u64>,
    node: u64,
    at_ns: u64,
}

/// One range's group.
#[derive(Default)]
struct Group {
    /// Who led a term, and since when.
    leaders: BTreeMap<u64, (u64, u64)>,
    /// The last entry that the leader of a term committed.
    commits: BTreeMap<u64, Position>,
    entries: BTreeMap<u64, Known>,
    /// How far each node's replica has applied in its present life.
    applied: BTreeMap<u64, Option<u64>>,
}

/// The judge, with what it has seen.
#[derive(Default)]
pub struct Raft {
    groups: BTreeMap<u64, Group>,
    observations: u64,
}

impl Raft {
    /// Nothing seen yet.
    pub fn new() -> Raft {
        Raft::default()
    }

    /// How many observations it was fed with.
    pub fn observations(&self) -> u64 {
        self.observations
    }

    /// Entries that it keeps, of all groups.
    pub fn entries_kept(&self) -> usize {
        self.groups.values().map(|group| group.entries.len()).sum()
    }

    /// Looks at what happened next; a violation if that must not be.
    pub fn see(&mut self, seen: &Observation) -> Option<Violation> {
        self.observations += 1;
        let group = self.groups.entry(seen.range).or_default();
        let broken = match &seen.what {
            What::Led { term, last, votes } => {
                let led = group.led(seen, *term, *last);
                led.or_else(|| quorum::elected(*term, votes.as_ref()?))
            }
            What::Truncated { first_removed, is_left } => is_left.then(|| {
                format!(
                    "it has told Raft that its log is truncated from entry {first_removed} on, which is \
                     on its disk still: a crash would bring it back"
                )
            }),
            What::Opened { applied } => group.opened(seen, *applied),
            What::Installed { applied } => group.installed(seen, *applied),
            What::Applied { at, hash } => group.applied(seen, *at, *hash),
            What::Committed { at, durable_on, memberships } => {
                group.committed(seen, *at, durable_on, memberships)
            }
        };
        group.prune();
        let begin = format!("range {}, node {}: ", seen.range, seen.node);
        broken.map(|words| Violation::new("raft", begin + &words).at(seen.at_ns))
    }
}

impl Group {
    fn led(&mut self, seen: &Observation, term: u64, last: Option<Position>) -> Option<String> {
        let (leader, since) = *self.leaders.entry(term).or_insert((seen.node, seen.at_ns));
        if leader != seen.node {
            return Some(format!(
                "it leads term {term}, which node {leader} has led since {} ms",
                millis(since)
            ));
        }
        let earlier = self.commits.range(..term);
        let lost = earlier.map(|(_, at)| *at).find(|at| {
            // A log that ends in a later term may end anywhere behind the entry.
            last.is_none_or(|last| last.index < at.index || last.term < at.term)
        })?;
        let end = last.map_or("is empty".to_owned(), |last| {
            format!("ends with entry {} of term {}", last.index, last.term)
        });
        Some(format!(
            "it was elected in term {term} and its log {end}, but entry {} of term {} had been \
             committed before{}: it is lost",
            lost.index,
            lost.term,
            self.entries.get(&lost.index).map_or(String::new(), |known| {
                format!(" (at {} ms, by node {})", millis(known.at_ns), known.node)
            })
        ))
    }

    fn opened(&mut self, seen: &Observation, applied: Option<Position>) -> Option<String> {
        self.applied.insert(seen.node, applied.map(|at| at.index));
        let at = applied?;
        self.differs(at, None)
            .map(|why| format!("it came back with entry {} applied{why}", at.index))
    }

    fn installed(&mut self, seen: &Observation, applied: Position) -> Option<String> {
        let before = self.applied.insert(seen.node, Some(applied.index)).flatten();
        if let Some(before) = before.filter(|before| *before > applied.index) {
            return Some(format!(
                "a raft snapshot up to entry {} took it back from entry {before}",
                applied.index
            ));
        }
        self.differs(applied, None)
            .map(|why| format!("it installed a raft snapshot up to entry {}{why}", applied.index))
    }

    fn applied(&mut self, seen: &Observation, at: Position, hash: u64) -> Option<String> {
        // The first thing that is seen of a replica may be anything.
        if let Some(before) = self.applied.insert(seen.node, Some(at.index)) {
            let next = before.map_or(0, |before| before + 1);
            if at.index < next {
                return Some(format!(
                    "it applied entry {} again, in the life in which it had applied up to {}",
                    at.index,
                    next - 1
                ));
            }
            if at.index > next {
                return Some(format!("it applied entry {} where {next} was next", at.index));
            }
        }
        if let Some(why) = self.differs(at, Some(hash)) {
            return Some(format!("it applied entry {}{why}", at.index));
        }
        self.learn(seen, at, Some(hash));
        None
    }

    fn committed(
        &mut self,
        seen: &Observation,
        at: Position,
        durable_on: &[u64],
        memberships: &[Vec<Vec<u64>>],
    ) -> Option<String> {
        if let Some((leader, _)) = self.leaders.get(&at.term).filter(|(node, _)| *node != seen.node)
        {
            return Some(format!(
                "it committed entry {} as leader of term {}, which node {leader} leads",
                at.index, at.term
            ));
        }
        if let Some(why) = self.differs(at, None) {
            return Some(format!("it committed entry {}{why}", at.index));
        }
        let before = self.commits.insert(at.term, at);
        if let Some(before) = before.filter(|before| before.index > at.index) {
            return Some(format!(
                "it takes entry {} for the last committed one, after entry {}",
                at.index, before.index
            ));
        }
        self.learn(seen, at, None);
        let short = |configs: &Vec<Vec<u64>>| quorum::lacking(configs, durable_on);
        let lacking: Vec<Vec<u64>> = memberships.iter().map_while(short).collect();
        (lacking.len() == memberships.len()).then(|| {
            format!(
                "it committed entry {} of term {}, which is durable on nodes {durable_on:?} alone: no \
                 majority of {:?}",
                at.index,
                at.term,
                lacking.first().cloned().unwrap_or_default()
            )
        })
    }

    /// How an entry differs from what is known of it and its neighbours, in words that go on behind its
    /// index.
    fn differs(&self, at: Position, hash: Option<u64>) -> Option<String> {
        if let Some(known) = self.entries.get(&at.index) {
            let by = format!("node {} did at {} ms", known.node, millis(known.at_ns));
            if known.term != at.term {
                return Some(format!(" of term {}; of term {} {by}", at.term, known.term));
            }
            if let (Some(hash), Some(other)) = (hash, known.hash)
                && hash != other
            {
                return Some(format!(" with content {hash:x}; with content {other:x} {by}"));
            }
        }
        let before = self.entries.range(..at.index).next_back().filter(|(_, k)| k.term > at.term);
        let after = self.entries.range(at.index + 1..).next().filter(|(_, k)| k.term < at.term);
        let (index, known) = before.or(after)?;
        Some(format!(" of term {}, and entry {index} is of term {}", at.term, known.term))
    }

    fn learn(&mut self, seen: &Observation, at: Position, hash: Option<u64>) {
        let known = self.entries.entry(at.index).or_insert(Known {
            term: at.term,
            hash,
            node: seen.node,
            at_ns: seen.at_ns,
        });
        if known.hash.is_none() && hash.is_some() {
            *known = Known { term: at.term, hash, node: seen.node, at_ns: seen.at_ns };
        }
    }

    fn prune(&mut self) {
        let everywhere = self.applied.values().map(|at| at.unwrap_or(0)).min().unwrap_or(0);
        let below = everywhere.saturating_sub(KEPT_BELOW);
        while self
            .entries
            .first_key_value()
            .is_some_and(|(index, _)| *index < below || self.entries.len() > ENTRIES_MAX)
        {
            self.entries.pop_first();
        }
        while self.leaders.len() > TERMS_MAX {
            self.leaders.pop_first();
        }
        // The newest ones say all: along commits in the order of terms, entries only rise.
        while self.commits.len() > TERMS_MAX {
            self.commits.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(node: u64, index: u64) -> Observation {
        let what = What::Applied { at: Position { term: 1, index }, hash: index * 7 };
        Observation { at_ns: index, range: 2, node, what }
    }

    #[test]
    fn memory_is_bounded() {
        let mut judge = Raft::new();
        for index in 0..3 * KEPT_BELOW {
            for node in 1..=3 {
                assert_eq!(judge.see(&applied(node, index)), None);
            }
        }
        assert!(judge.entries_kept() as u64 <= KEPT_BELOW + 2, "{}", judge.entries_kept());
        // A replica that is left behind holds no more than so much.
        for index in 3 * KEPT_BELOW..3 * KEPT_BELOW + 2 * ENTRIES_MAX as u64 {
            assert_eq!(judge.see(&applied(1, index)), None);
        }
        assert_eq!(judge.entries_kept(), ENTRIES_MAX);
        assert_eq!(judge.observations(), 9 * KEPT_BELOW + 2 * ENTRIES_MAX as u64);
        // And what is kept is still judged.
        let mut other = applied(2, 3 * KEPT_BELOW);
        assert_eq!(judge.see(&other), None, "forgotten");
        let index = 3 * KEPT_BELOW + 2 * ENTRIES_MAX as u64 - 1;
        other = Observation { what: What::Opened { applied: None }, ..other };
        assert_eq!(judge.see(&other), None);
        let at = Position { term: 2, index };
        other = Observation { what: What::Installed { applied: at }, ..other };
        assert!(judge.see(&other).is_some());
    }
}
