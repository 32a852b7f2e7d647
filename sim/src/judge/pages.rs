//! Does a page of a scan show a moment that is not before the scan began, whichever way it was asked for?
//!
//! A page says which version it shows, and where the scan goes on. Versions are timestamps, the same for
//! all ranges, so that all that is known of versions says what it must show: of each key between its
//! beginning and `next` the newest version up to its own, unless that is a removal or has expired by then.
//! Keys that expire do so at the version of the write plus their time to live.
//!
//! | what a page shows | what has to hold |
//! |---|---|
//! | keys | they rise, or fall backwards; they lie between its beginning and `next`; no more than the limit |
//! | `next` | it lies between the last key and the end of the scan |
//! | a version of a key | nobody made or saw one between that and the page's version, and it has not expired at that; nor, as far as clocks agree, when the scan began |
//! | no version of a key up to `next` | the newest one up to the page's version was removed, has expired, or may have been by a request of unknown outcome |
//! | the version of a first page | whatever was acknowledged before the scan began, of any key of the whole scan, is not above it |
//! | versions of keys of the whole scan at or below it, and above | none of the second was acknowledged before one of the first was asked for |
//! | two pages of the same keys at one version | they show the same: a snapshot does not change |
//! | a later page at that version | it shows that version, and nothing that was asked for after the first page had come |
//!
//! Each page at the newest version is the first of a scan. Reads of the past (`sim/src/workload/past.rs`) are pages at
//! a version without a first one. What pages show counts as seen, also for each other. Pages that were not answered say
//! nothing; without an answered one the judge is `Undecided`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Included},
};

use super::verdict::{Verdict, Violation};
use crate::history::{Call, Entry, Op, OpOutcome, PageAsked, Paged, Reply, Version, millis};

/// The name of this judge.
const JUDGE: &str = "pages";

const NS_PER_MS: u64 = 1_000_000;

/// How far a timestamp is from another that is a millisecond later: 52 bits of microseconds, then 12.
const TICKS_PER_MS: u64 = 1_000 << 12;

/// Judges the pages of a run. `skew_ns`: how far two clocks of the cluster may be apart.
pub fn check(ops: &[Op], skew_ns: u64) -> Verdict {
    let pages: Vec<Page<'_>> = ops.iter().filter_map(Page::of).collect();
    if pages.is_empty() {
        return Verdict::Undecided("no page of a scan was answered".to_owned());
    }
    let known = Known::of(ops, &pages, skew_ns);
    let broken = |page: &Page<'_>| {
        page.shape().or_else(|| known.content(page)).or_else(|| known.moment(page))
    };
    if let Some(changed) = twice::changed(&pages) {
        return changed.into();
    }
    // The first one says enough: what is wrong with one page mostly is with many.
    pages.iter().find_map(broken).map_or(Verdict::Holds, Verdict::from)
}

fn wrong(words: String) -> Violation {
    Violation::new(JUDGE, words)
}

/// An answered page.
struct Page<'a> {
    op: &'a Op,
    asked: &'a PageAsked,
    told: &'a Paged,
}

impl<'a> Page<'a> {
    fn of(op: &'a Op) -> Option<Page<'a>> {
        match (&op.call, &op.outcome) {
            (Call::Page(asked), OpOutcome::Ok(Reply::Paged(told))) => {
                Some(Page { op, asked, told })
            }
            _ => None,
        }
    }

    /// Whether a key is in what was to be scanned from here on.
    fn wants(&self, key: &str) -> bool {
        let PageAsked { start, end, .. } = self.asked;
        key >= &**start && (end.is_empty() || key < &**end)
    }

    /// Whether this page tells of a key, by what it says of where the scan goes on.
    fn tells(&self, key: &str) -> bool {
        let before = match (&self.told.next, self.asked.reverse) {
            (None, _) => true,
            (Some(next), false) => key < &**next,
            (Some(next), true) => key >= &**next,
        };
        before && self.wants(key)
    }

    /// Whether there is something of the scan on both sides.
    fn is_inside(&self, bound: &str) -> bool {
        bound > &*self.asked.start && self.wants(bound)
    }

    fn shows(&self, key: &str) -> bool {
        self.told.records.iter().any(|entry| entry.key == key)
    }

    /// What is wrong with it by itself.
    fn shape(&self) -> Option<Violation> {
        let PageAsked { reverse, limit, at, .. } = self.asked;
        let Paged { records, next, at: shown } = self.told;
        let begin = format!("the page of process {} ", self.op.process);
        let falls = |pair: &&[Entry]| match reverse {
            false => pair[0].key >= pair[1].key,
            true => pair[0].key <= pair[1].key,
        };
        let says = if let Some(pair) = records.windows(2).find(falls) {
            format!("shows {:?} after {:?}", pair[1].key, pair[0].key)
        } else if let Some(stray) = records.iter().find(|entry| !self.tells(&entry.key)) {
            format!("shows {:?}, which it did not ask for or which is behind its end", stray.key)
        } else if *limit > 0 && records.len() as u64 > *limit {
            format!("has {} records of {limit}", records.len())
        } else if *at > 0 && at != shown {
            format!("shows version {shown} instead of {at}")
        } else if let Some(next) = next.as_ref().filter(|next| !self.is_inside(next)) {
            format!("goes on at {next:?}, which is not between its bounds")
        } else {
            return None;
        };
        Some(wrong(begin + &says).with(self.op))
    }
}

/// Until when a version is there, unless it is overwritten or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Forever,
    Until(Version),
    /// Nobody can tell.
    Unknown,
    /// It says that nothing is there.
    Removed,
}

/// What is known of a version of a key.
struct Met<'a> {
    /// The first that made or saw it.
    by: &'a Op,
    /// Who made it, where that is known.
    maker: Option<&'a Op>,
    life: Life,
}

/// What is known from what clients were told.
struct Known<'a> {
    ops: &'a [Op],
    met: BTreeMap<&'a str, BTreeMap<Version, Met<'a>>>,
    /// The first pages of each process, in order, and the versions that they show.
    first: BTreeMap<u64, Vec<(&'a Op, Version)>>,
    skew_ns: u64,
}

impl<'a> Known<'a> {
    fn of(ops: &'a [Op], pages: &[Page<'a>], skew_ns: u64) -> Known<'a> {
        let mut makers: BTreeMap<(&str, &str), &Op> = BTreeMap::new();
        let mut expire: BTreeMap<&str, bool> = BTreeMap::new();
        // Keys that perhaps were given another expiry, by whom nobody told the version.
        let mut kept: BTreeSet<&str> = BTreeSet::new();
        for op in ops {
            if let Call::Write { value, .. } | Call::Insert { value } | Call::Cas { value, .. } =
                &op.call
            {
                makers.insert((&op.key, value), op);
            }
            if matches!(op.call, Call::Expire { .. }) && op.outcome == OpOutcome::Unknown {
                kept.insert(&op.key);
            }
            if op.call.is_mutation() {
                *expire.entry(&op.key).or_default() |= op.call.ttl_ms().is_some();
            }
        }
        let mut met: BTreeMap<&str, BTreeMap<Version, Met<'a>>> = BTreeMap::new();
        let mut note = |key: &'a str, version: Version, value: Option<&str>, by: &'a Op| {
            let made = by.version_made() == Some(version);
            // A value that was given another expiry has a version that its writer did not make.
            let may_be = |maker: &&Op| maker.version_made().is_none_or(|made| made == version);
            let written =
                || value.and_then(|value| makers.get(&(key, value)).copied()).filter(may_be);
            let maker = if made { Some(by) } else { written() };
            let life = match maker {
                Some(maker) if maker.version_made().is_none() && kept.contains(key) => {
                    Life::Unknown
                }
                Some(maker) => life(maker, version),
                None if expire.get(key).copied().unwrap_or(false) => Life::Unknown,
                None => Life::Forever,
            };
            let known = met.entry(key).or_default();
            let is_better = |old: &Met<'_>| made || (old.maker.is_none() && maker.is_some());
            match known.get_mut(&version) {
                Some(old) if is_better(old) => (old.maker, old.life) = (maker, life),
                Some(_) => {}
                None => drop(known.insert(version, Met { by, maker, life })),
            }
        };
        for op in ops {
            if let Some(version) = op.version_met().filter(|_| !op.call.operation().is_of_many()) {
                let value = match &op.outcome {
                    OpOutcome::Ok(Reply::Read(Some(record))) | OpOutcome::Refused(Some(record)) => {
                        Some(&*record.value)
                    }
                    _ => None,
                };
                note(&op.key, version, value, op);
            }
            if let OpOutcome::Ok(Reply::Scanned(entries)) = &op.outcome {
                entries.iter().for_each(|it| note(&it.key, it.version, Some(&it.value), op));
            }
        }
        for page in pages {
            for entry in &page.told.records {
                let value = (!page.asked.keys_only).then_some(&*entry.value);
                note(&entry.key, entry.version, value, page.op);
            }
        }
        let mut first: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for page in pages.iter().filter(|page| page.asked.at == 0) {
            first.entry(page.op.process).or_default().push((page.op, page.told.at));
        }
        Known { ops, met, first, skew_ns }
    }

    /// The first page of the scan that a page belongs to.
    fn first_of(&self, page: &Page<'a>) -> &'a Op {
        if page.asked.at == 0 {
            return page.op;
        }
        let of_process = self.first.get(&page.op.process).map_or(&[][..], Vec::as_slice);
        let before = of_process
            .iter()
            .rev()
            .find(|(first, at)| *at == page.asked.at && first.precedes(page.op));
        before.map_or(page.op, |(first, _)| *first)
    }

    /// What is wrong with what it shows, or does not.
    fn content(&self, page: &Page<'a>) -> Option<Violation> {
        let shown = page.told.records.iter().find_map(|entry| self.shown(page, entry));
        shown.or_else(|| {
            let wanted = self.met.range(&*page.asked.start..);
            let wanted = wanted.take_while(|(key, _)| page.wants(key));
            let missing = wanted.filter(|(key, _)| page.tells(key) && !page.shows(key));
            missing.into_iter().find_map(|(key, met)| self.missing(page, key, met))
        })
    }

    fn shown(&self, page: &Page<'a>, entry: &Entry) -> Option<Violation> {
        let Entry { key, version, value } = entry;
        let (at, first) = (page.told.at, self.first_of(page));
        let of_key = self.met.get(&**key)?;
        let met = of_key.get(version)?;
        let begin = format!(
            "the page of process {} at version {at} shows {key:?} at version {version}, ",
            page.op.process
        );
        let of = |words: String, others: &[Option<&Op>]| {
            let concerned = others.iter().flatten();
            let violation = concerned.fold(wrong(words), |violation, op| violation.with(op));
            Some(violation.with(page.op).of_key(key, &begin))
        };
        if *version > at {
            return of("which is above it".to_owned(), &[met.maker]);
        }
        if let Some((newer, by)) = of_key.range((Excluded(*version), Included(at))).last() {
            return of(format!("and not at version {newer}"), &[Some(by.by)]);
        }
        if let Life::Until(end) = met.life
            && end <= at
        {
            return of(format!("which had expired at {end}"), &[met.maker]);
        }
        let maker = met.maker?;
        let made = match &maker.call {
            Call::Write { value, .. } | Call::Insert { value } | Call::Cas { value, .. } => {
                Some(value)
            }
            _ => None,
        };
        if made.is_some_and(|made| made != value && !page.asked.keys_only) {
            return of(format!("with another value than was written: {value:?}"), &[met.maker]);
        }
        if matches!(maker.outcome, OpOutcome::Failed | OpOutcome::Refused(_)) {
            return of("which was definitely not written".to_owned(), &[met.maker]);
        }
        if first.precedes(maker) {
            let words = "which was asked for after the first page had come".to_owned();
            return of(words, &[Some(first), met.maker]);
        }
        // Who asks for a moment of the past sees what has expired since.
        let began = page.asked.at == 0 || !std::ptr::eq(first, page.op);
        let (ttl_ms, written_ns) = maker.call.ttl_ms().zip(maker.complete_ns).filter(|_| began)?;
        let gone_ns = written_ns + ttl_ms * NS_PER_MS + self.skew_ns;
        (first.invoke_ns > gone_ns).then_some(())?;
        let late = millis(first.invoke_ns - gone_ns);
        of(format!("which had expired {late} ms before the scan began"), &[met.maker, Some(first)])
    }

    fn missing(
        &self,
        page: &Page<'a>,
        key: &str,
        met: &BTreeMap<Version, Met<'a>>,
    ) -> Option<Violation> {
        let at = page.told.at;
        let (version, newest) = met.range(..=at).next_back()?;
        match newest.life {
            Life::Forever => {}
            Life::Until(end) if end > at => {}
            Life::Until(_) | Life::Unknown | Life::Removed => return None,
        }
        // Whoever does not know whether it acted may have removed it, or written what has expired.
        let may_have = |op: &&Op| {
            let removes = matches!(op.call, Call::Delete { .. }) || op.call.ttl_ms().is_some();
            op.key == key && op.outcome == OpOutcome::Unknown && removes && !page.op.precedes(op)
        };
        if self.ops.iter().any(|op| may_have(&op)) {
            return None;
        }
        let words = format!(
            "the page of process {} at version {at} does not show {key:?}, which has version {version} there",
            page.op.process
        );
        let violation = wrong(words).with_labelled("version made or seen: ", newest.by);
        Some(Violation { key: Some(key.to_owned()), ..violation.with(page.op) })
    }

    /// What is wrong with the moment of a first page.
    fn moment(&self, page: &Page<'a>) -> Option<Violation> {
        if page.asked.at > 0 {
            return None;
        }
        let at = page.told.at;
        let (mut last_in, mut first_out): (Option<&Op>, Option<&Op>) = (None, None);
        for op in self.ops.iter().filter(|op| page.wants(&op.key)) {
            let Some(version) = op.version_met().filter(|_| !op.call.operation().is_of_many())
            else {
                continue;
            };
            if version > at && op.precedes(page.op) {
                let words = format!(
                    "the page of process {} shows version {at}, which is before the scan began: {:?} had \
                     version {version} by then",
                    page.op.process, op.key
                );
                return Some(wrong(words).with(op).with(page.op));
            }
            if version <= at && op.version_made().is_some() {
                let later = last_in.is_none_or(|last| op.invoke_index > last.invoke_index);
                last_in = if later { Some(op) } else { last_in };
            } else if version > at {
                let ended = |op: &Op| op.complete_index.unwrap_or(u64::MAX);
                let sooner = first_out.is_none_or(|first| ended(op) < ended(first));
                first_out = if sooner { Some(op) } else { first_out };
            }
        }
        let (within, without) = last_in.zip(first_out)?;
        without.precedes(within).then(|| {
            let words = format!(
                "the page of process {} shows no single moment: of two writes, one after the other, the \
                 second is at or below its version {at}, and the first is not",
                page.op.process
            );
            wrong(words).with(without).with(within).with(page.op)
        })
    }
}

/// Until when the version is there that an operation made.
fn life(maker: &Op, version: Version) -> Life {
    match (&maker.call, maker.call.ttl_ms()) {
        (Call::Delete { .. }, _) => Life::Removed,
        (_, Some(ttl_ms)) => Life::Until(version + ttl_ms * TICKS_PER_MS),
        (Call::Cas { keep_ttl: true, .. }, None) => Life::Unknown,
        (Call::Write { .. } | Call::Cas { .. } | Call::Insert { .. }, None) => Life::Forever,
        (Call::Increment { .. } | Call::Append { .. }, None) => Life::Forever,
        _ => Life::Unknown,
    }
}

#[cfg(test)]
mod tests;
mod twice;
