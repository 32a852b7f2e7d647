//! R2, the resource that both clients write: its versions by their timestamps; and what is told of a run.

use std::collections::BTreeMap;

use super::numbers::Us;

/// A client.
pub(super) type Who = &'static str;

/// A write that R2 has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) who: Who,
    /// Its timestamp.
    pub(super) at: Us,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) at: Us,
    pub(super) words: String,
}

/// A run: R2, and what happened.
#[derive(Debug, Default)]
pub(super) struct Telling {
    pub(super) events: Vec<Event>,
    /// In the order in which R2 had them.
    pub(super) commits: Vec<Commit>,
    versions: BTreeMap<Us, Who>,
    /// What the snapshot showed.
    looks: Vec<Option<Commit>>,
    /// What the newest was, for who asked last.
    newest: Option<Commit>,
}

impl Telling {
    /// Something happens.
    pub(super) fn tell(&mut self, at: Us, words: impl Into<String>) {
        self.events.push(Event { at, words: words.into() });
    }

    /// R2 has a write, at its timestamp, wherever that is among those that it has.
    pub(super) fn apply(&mut self, now: Us, commit: Commit) {
        let newest = self.versions.last_key_value().map(|(at, _)| *at);
        let place = match newest {
            Some(newest) if newest > commit.at => format!(", BEHIND {}", ms(newest)),
            Some(newest) => format!(", above {}", ms(newest)),
            None => String::new(),
        };
        self.tell(now, format!("R2 has {}'s write, at {}{place}", commit.who, ms(commit.at)));
        self.versions.insert(commit.at, commit.who);
        self.commits.push(commit);
    }

    /// Somebody reads R2 as it was at a moment.
    pub(super) fn look(&mut self, now: Us, moment: Us) {
        let shown = self.versions.range(..=moment).next_back();
        let shown = shown.map(|(at, who)| Commit { who, at: *at });
        let again = match self.looks.last() {
            Some(before) if *before == shown => ", as before",
            Some(_) => ": CHANGED",
            None => "",
        };
        self.tell(now, format!("the snapshot at {} is {}{again}", ms(moment), value(shown)));
        self.looks.push(shown);
    }

    /// Somebody reads the newest of R2.
    pub(super) fn get(&mut self, now: Us) {
        self.newest = self.versions.last_key_value().map(|(at, who)| Commit { who, at: *at });
        self.tell(now, format!("who reads the newest sees {}", value(self.newest)));
    }

    /// Two writes that R2 had in one order and that have timestamps of the other.
    pub(super) fn contradiction(&self) -> Option<(Commit, Commit)> {
        let mut pairs = self.commits.iter().zip(self.commits.iter().skip(1));
        pairs.find(|(first, second)| first.at >= second.at).map(|(first, second)| (*first, *second))
    }

    /// What the snapshot was, and what it was later, where that differs.
    pub(super) fn change(&self) -> Option<(String, String)> {
        let mut pairs = self.looks.iter().zip(self.looks.iter().skip(1));
        pairs
            .find(|(before, after)| before != after)
            .map(|(before, after)| (value(*before), value(*after)))
    }

    /// Whose write R2 had last, where who read the newest after that did not see it.
    pub(super) fn unseen(&self) -> Option<Who> {
        let last = self.commits.last().filter(|last| self.newest != Some(**last));
        last.map(|last| last.who)
    }
}

/// What a read shows.
fn value(shown: Option<Commit>) -> String {
    shown.map_or("nothing".to_owned(), |shown| format!("{}'s of {}", shown.who, ms(shown.at)))
}

/// Milliseconds with as many decimals as they need.
pub(super) fn ms(us: Us) -> String {
    let decimals = format!("{}.{:03}", us / 1_000, us % 1_000);
    decimals.trim_end_matches('0').trim_end_matches('.').to_owned()
}
