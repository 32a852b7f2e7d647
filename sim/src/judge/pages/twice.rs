//! A snapshot that is read twice: what was shown at a moment is shown at that moment ever after, whoever answers.
//!
//! What pages show is held against what is known of versions as well (`pages.rs`), and that finds most snapshots that
//! change. This one needs to know nothing but two answers, and tells a person the least to understand.

use std::collections::BTreeMap;

use super::{Page, wrong};
use crate::{
    history::{Entry, millis},
    judge::Violation,
};

/// Two pages of the same keys at one version that show different things: the first such two to be answered.
pub(super) fn changed(pages: &[Page<'_>]) -> Option<Violation> {
    let mut answered: Vec<_> = pages.iter().collect();
    answered.sort_by_key(|page| page.op.complete_index);
    let mut shown = BTreeMap::new();
    for page in answered {
        let (asked, told) = (page.asked, page.told);
        // Where a page ends for another reason it shows less.
        let keys = (&asked.start, &asked.end, asked.reverse, asked.keys_only, &told.next);
        let before = *shown.entry((told.at, keys)).or_insert(page);
        if before.told.records == told.records {
            continue;
        }
        let ns = |page: &Page<'_>| page.op.complete_ns.unwrap_or(page.op.invoke_ns);
        let words = format!(
            "a snapshot has changed: at version {} {} was shown at {} ms, and {} at {} ms",
            told.at,
            all(&before.told.records),
            millis(ns(before)),
            all(&told.records),
            millis(ns(page)),
        );
        let key = told.records.iter().chain(&before.told.records).next();
        let violation = wrong(words).with(before.op).with(page.op);
        return Some(Violation { key: key.map(|entry| entry.key.clone()), ..violation });
    }
    None
}

/// Records as people read them.
fn all(records: &[Entry]) -> String {
    if records.is_empty() {
        return "nothing".to_owned();
    }
    let each = records
        .iter()
        .map(|Entry { key, version, value }| format!("{key:?} = {value:?} of version {version}"));
    each.collect::<Vec<_>>().join(", ")
}
