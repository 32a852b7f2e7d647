//! What each rule finds, and what it lets pass: pages have no corpus of files, since a version says a time here.
//! Each case is a story of a few operations, told one after the other.

use super::*;
use crate::history::History;

/// A millisecond after the beginning, as a version.
const fn v(ms: u64) -> Version {
    ms * TICKS_PER_MS
}

/// A history of operations one after the other, each of a process of its own: a millisecond for each event.
#[derive(Default)]
struct Story {
    history: History,
    events: u64,
}

impl Story {
    fn event(&mut self) -> u64 {
        self.events += 1;
        self.events * NS_PER_MS
    }

    fn tell(mut self, process: u64, key: &str, call: Call, outcome: OpOutcome) -> Story {
        let begin = self.event();
        self.history.invoke(process, begin, key, &call);
        let end = self.event();
        self.history.complete(process, end, &outcome);
        self
    }

    fn put(self, key: &str, value: &str, ttl_ms: Option<u64>, version: Version) -> Story {
        let write = Call::Write { value: value.to_owned(), ttl_ms };
        let process = 1_000 + self.events;
        self.tell(process, key, write, OpOutcome::Ok(Reply::Written { version }))
    }

    fn page(self, asked: PageAsked, at: Version, keys: &[(&str, Version)], next: &str) -> Story {
        let records = keys.iter().map(|(key, version)| Entry {
            key: (*key).to_owned(),
            version: *version,
            value: if asked.keys_only { String::new() } else { format!("{key}-{version}") },
        });
        let next = (!next.is_empty()).then(|| next.to_owned());
        let told = Paged { at, records: records.collect(), next };
        self.tell(1, "", Call::Page(asked), OpOutcome::Ok(Reply::Paged(told)))
    }

    fn says(&self) -> String {
        match check(&self.history.operations(), NS_PER_MS) {
            Verdict::Holds => String::new(),
            Verdict::Violation(found) => found[0].words.clone(),
            Verdict::Undecided(why) => panic!("{why}"),
        }
    }
}

/// Three keys, each written once.
fn three() -> Story {
    let mut story = Story::default();
    for (key, ms) in [("a", 10), ("b", 20), ("c", 30)] {
        story = story.put(key, &format!("{key}-{}", v(ms)), None, v(ms));
    }
    story
}

fn asked() -> PageAsked {
    PageAsked::default()
}

fn backwards() -> PageAsked {
    PageAsked { reverse: true, ..asked() }
}

fn limited(limit: u64) -> PageAsked {
    PageAsked { limit, ..asked() }
}

const A: (&str, Version) = ("a", v(10));
const B: (&str, Version) = ("b", v(20));
const C: (&str, Version) = ("c", v(30));

#[test]
fn what_is_right_holds() {
    let later = PageAsked { at: v(30), start: "b".to_owned(), limit: 1, ..asked() };
    let below = PageAsked { at: v(30), end: "b".to_owned(), ..backwards() };
    for story in [
        three().page(asked(), v(30), &[A, B, C], ""),
        three().page(backwards(), v(35), &[C, B, A], ""),
        three().page(limited(1), v(30), &[A], "b").page(later, v(30), &[B], "c"),
        three().page(backwards(), v(30), &[C, B], "b").page(below, v(30), &[A], ""),
        // The limit is reached at the border of a range.
        three().page(limited(2), v(30), &[A, B], "b1"),
        three().page(PageAsked { keys_only: true, ..asked() }, v(30), &[A, B, C], ""),
    ] {
        assert_eq!(story.says(), "");
    }
    assert!(matches!(check(&three().history.operations(), 0), Verdict::Undecided(_)));
}

#[test]
fn what_a_page_shows_must_fit_what_was_asked() {
    let after = PageAsked { start: "b".to_owned(), ..asked() };
    for (story, words) in [
        (three().page(asked(), v(30), &[B, A, C], ""), "shows \"a\" after \"b\""),
        (three().page(backwards(), v(30), &[A, B, C], ""), "shows \"b\" after \"a\""),
        (three().page(after.clone(), v(30), &[A, B, C], ""), "did not ask for"),
        (three().page(asked(), v(30), &[A, B], "b"), "which is behind its end"),
        (three().page(limited(1), v(30), &[A, B], "c"), "2 records of 1"),
        (three().page(after.clone(), v(30), &[], "b"), "not between its bounds"),
        (three().page(backwards(), v(30), &[C, B, A], "d").page(asked(), v(30), &[], ""), "\"a\""),
        (three().page(PageAsked { at: v(30), ..asked() }, v(31), &[A, B, C], ""), "instead of"),
    ] {
        let said = story.says();
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn a_scan_that_ends_early_loses_keys() {
    let said = three().page(limited(2), v(30), &[A, B], "").says();
    assert!(said.contains("does not show \"c\", which has version"), "{said}");
    let said = three().page(backwards(), v(30), &[C, A], "").says();
    assert!(said.contains("does not show \"b\""), "{said}");
}

#[test]
fn a_moment_is_not_before_the_scan_began() {
    // The first range has nothing newer, and the limit needs no other.
    let said = three().page(limited(1), v(10), &[A], "b").says();
    assert!(said.contains("before the scan began: \"b\" had version"), "{said}");
    // Of keys that nobody scans it says nothing.
    let below = PageAsked { end: "b".to_owned(), ..asked() };
    assert_eq!(three().page(below, v(10), &[A], "").says(), "");
}

#[test]
fn one_moment_is_shown() {
    let old = ("a", v(10));
    let overwritten = three().put("a", "later", None, v(40));
    let said = overwritten.page(asked(), v(40), &[old, B, C], "").says();
    assert!(said.contains(&format!("and not at version {}", v(40))), "{said}");
    let said = three().page(asked(), v(30), &[A, B, ("c", v(31))], "").says();
    assert!(said.contains("which is above it"), "{said}");
    // What is at or below the moment of the first page, and asked for later.
    let first = three().page(limited(1), v(50), &[A], "b");
    let kept = PageAsked { at: v(50), start: "b".to_owned(), ..asked() };
    let late = first.put("d", &format!("d-{}", v(45)), None, v(45));
    let said = late.page(kept, v(50), &[B, C, ("d", v(45))], "").says();
    assert!(said.contains("asked for after the first page had come"), "{said}");
    // Two writes, one after the other, of which only the second is at or below the moment.
    let mut story = Story::default();
    let first = PageAsked { limit: 1, end: "z".to_owned(), ..asked() };
    let begin = story.event();
    story.history.invoke(1, begin, "", &Call::Page(first));
    let mut story = story.put("a", "y", None, v(60)).put("b", "x", None, v(40));
    let told = Paged { at: v(50), records: Vec::new(), next: Some("c".to_owned()) };
    let end = story.event();
    story.history.complete(1, end, &OpOutcome::Ok(Reply::Paged(told)));
    // Also: it does not show "b".
    let ops = story.history.operations();
    let pages: Vec<_> = ops.iter().filter_map(Page::of).collect();
    let said = Known::of(&ops, &pages, 0).moment(&pages[0]).expect("a violation").words;
    assert!(said.contains("the second is at or below"), "{said}");
}

#[test]
fn a_snapshot_is_shown_again_as_it_was() {
    let at = |at| PageAsked { at, ..asked() };
    // C's write has a version of before, and comes after it was looked at.
    let late = |second: &[(&str, Version)]| {
        let first = Story::default().put("a", &format!("a-{}", v(10)), None, v(10));
        let first = first.page(asked(), v(30), &[A], "");
        first.put("b", &format!("b-{}", v(20)), None, v(20)).page(at(v(30)), v(30), second, "")
    };
    let said = late(&[A, B]).says();
    assert!(said.contains("a snapshot has changed"), "{said}");
    assert!(said.contains("\"b\" = "), "{said}");
    assert!(!late(&[A]).says().contains("has changed"));
    // A page that ends elsewhere, and one of keys alone, are other questions.
    let ends = three().page(limited(1), v(30), &[A], "b").page(at(v(30)), v(30), &[A, B, C], "");
    assert_eq!(ends.says(), "");
    let keys = PageAsked { keys_only: true, ..at(v(30)) };
    let story = three().page(asked(), v(30), &[A, B, C], "").page(keys, v(30), &[A, B, C], "");
    assert_eq!(story.says(), "");
}

#[test]
fn keys_expire_at_the_moment_that_is_shown() {
    let value = format!("a-{}", v(10));
    let story = || Story::default().put("a", &value, Some(5), v(10)).put("z", "z", None, v(14));
    let z = |story: Story, at, keys: &[(&str, Version)]| {
        story.page(PageAsked { end: "b".to_owned(), ..asked() }, at, keys, "").says()
    };
    assert_eq!(z(story(), v(14), &[A]), "");
    assert_eq!(z(story(), v(15), &[]), "");
    assert!(z(story(), v(15), &[A]).contains("had expired at"));
    assert!(z(story(), v(14), &[]).contains("does not show \"a\""));
    // Acknowledged in the 2nd millisecond, for 5; the scan begins in the 11th, clocks differ by one.
    let late =
        story().put("x", "x", None, v(11)).put("x", "y", None, v(12)).put("x", "z", None, v(13));
    let said = z(late, v(14), &[A]);
    assert!(said.contains("3.000 ms before the scan began"), "{said}");
    // A delete that nobody knows the outcome of explains absence.
    let unknown = story().tell(77, "a", Call::Delete { expected: None }, OpOutcome::Unknown);
    assert_eq!(z(unknown, v(14), &[]), "");
}

#[test]
fn what_was_not_written_is_not_shown() {
    let write = || Call::Write { value: format!("d-{}", v(25)), ttl_ms: None };
    let failed = three().tell(50, "d", write(), OpOutcome::Failed);
    let said = failed.page(asked(), v(30), &[A, B, C, ("d", v(25))], "").says();
    assert!(said.contains("definitely not written"), "{said}");
    let unknown = three().tell(50, "d", write(), OpOutcome::Unknown);
    assert_eq!(unknown.page(asked(), v(30), &[A, B, C, ("d", v(25))], "").says(), "");
    let other = three().put("d", "other", None, v(25));
    let said = other.page(asked(), v(30), &[A, B, C, ("d", v(25))], "").says();
    assert!(said.contains("another value"), "{said}");
}

#[test]
fn a_version_that_nobody_told_may_be_another_expiry_of_what_was_written() {
    let write = || Call::Write { value: format!("a-{}", v(10)), ttl_ms: Some(5) };
    let told = |story: Story, expire: Option<Call>| {
        let story = story.tell(7, "a", write(), OpOutcome::Unknown);
        let story = match expire {
            Some(expire) => story.tell(8, "a", expire, OpOutcome::Unknown),
            None => story,
        };
        story.page(PageAsked { at: v(20), ..asked() }, v(20), &[("a", v(10))], "").says()
    };
    assert!(told(Story::default(), None).contains("had expired at"));
    let expire = Call::Expire { ttl_ms: Some(1_000) };
    assert_eq!(told(Story::default(), Some(expire)), "");
}
