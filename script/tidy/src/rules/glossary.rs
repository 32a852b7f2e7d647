//! What the glossary promises of itself is true.
//!
//! A term in *italics* has an entry of its own. A term marked † is in stored or wire formats and nothing uses it yet:
//! once something does, the mark is a lie. That it is used is seen by its name: a file, a type, a variant or a function
//! of the server or the client whose name ends with the term, as `add_learner` does. What is generated from the wire
//! formats does not count, as it is not written here, and neither do the files of stored formats.

use std::collections::BTreeSet;

use crate::{
    Offence,
    text::{lines, words},
    tree::Tree,
};

const GLOSSARY: &str = "docs/glossary.md";

/// Where a use would be.
const USERS: &[&str] = &["server/src/", "client/src/"];

/// Stored formats: what is only there is not used.
const FORMATS: &[&str] = &["server/src/storage/", "server/src/ids.rs"];

/// Terms that code calls by another name.
const NAMES: &[(&str, &str)] = &[("protocol", "redis"), ("recovery", "recover")];

/// Definitions that are called so and are something else: term, file, and what it is.
const OTHERS: &[(&str, &str, &str)] = &[
    ("merge", "server/src/time/", "a clock takes over another's reading"),
    (
        "recovery",
        "server/src/range/snapshot/",
        "an installation that a crash broke off is finished",
    ),
];

/// The offences.
pub fn rule(tree: &Tree) -> Vec<Offence> {
    let Some(text) = tree.text(GLOSSARY) else { return Vec::new() };
    let mut offences = Vec::new();
    let entries = entries(text);
    for (number, line) in lines(text) {
        for term in italics(line) {
            // Of "replicas" and "collected" the words are "replica" and "collect".
            let mut words = ["", "s", "ed"].into_iter().filter_map(|end| term.strip_suffix(end));
            let known = words.any(|word| entries.contains(word));
            // What is said of *italics* is no term.
            if !known && term != "italics" {
                let what =
                    format!("*{term}* has no entry: write one, or write it without the italics");
                offences.push(Offence::at(GLOSSARY, number, what));
            }
        }
        for term in marked(line) {
            if let Some((path, line, name)) = user(tree, &term) {
                let what = format!(
                    "{term} is marked † and used: {name} in {path}:{line}; take the mark off"
                );
                offences.push(Offence::at(GLOSSARY, number, what));
            }
        }
    }
    offences
}

/// The terms that have entries, and their other names: `- **listen, advertise**: …`, `- **key** (…`.
fn entries(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| line.starts_with("- **"));
    let bold = lines.flat_map(|line| line.split("**").skip(1).step_by(2));
    bold.flat_map(|terms| terms.split(", ")).map(str::to_lowercase).collect()
}

/// What stands between single asterisks. One that is broken over two lines is not seen.
fn italics(line: &str) -> impl Iterator<Item = &str> {
    let plain = line.split("**").step_by(2);
    plain.flat_map(|text| text.split('*').skip(1).step_by(2)).filter(|term| !term.is_empty())
}

/// The words before †.
fn marked(line: &str) -> Vec<String> {
    let mut before: Vec<&str> = line.split('†').collect();
    before.pop();
    let last = before.iter().filter_map(|before| {
        let term = before.trim_end_matches('*').rsplit(|c: char| !c.is_alphanumeric()).next()?;
        (!term.is_empty()).then(|| term.to_lowercase())
    });
    last.collect()
}

/// Something that uses a term: where, and its name.
fn user<'a>(tree: &'a Tree, term: &str) -> Option<(&'a str, usize, &'a str)> {
    let called = NAMES.iter().find(|(word, _)| *word == term).map_or(term, |(_, name)| name);
    let ends_so = |name: &str| {
        let last = words(name).pop().unwrap_or_default();
        last == called || last.strip_suffix('s') == Some(called)
    };
    let sources = tree.sources().iter().filter(|(path, _)| {
        USERS.iter().any(|user| path.starts_with(user))
            && !FORMATS.iter().any(|format| path.starts_with(format))
            && !OTHERS.iter().any(|(other, place, _)| *other == term && path.starts_with(place))
    });
    for (path, source) in sources {
        let file = path.rsplit('/').find(|part| *part != "mod.rs").unwrap_or_default();
        if ends_so(file.trim_end_matches(".rs")) {
            return Some((path, 1, file));
        }
        if let Some(def) = source.defs.iter().find(|def| ends_so(&def.name)) {
            return Some((path, def.line, &def.name));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{FORMATS, OTHERS, USERS, rule};
    use crate::{
        rules::{are_there, finds, holds},
        tree::Tree,
    };

    const TEXT: &str = "A merge†: Terms in *italics* have entries. Marked †.\n- **learner**†: a *replica* that listens.\n\
        - **replica**: a copy; *replicas* are many. Set aside for the Redis protocol†.\n";

    #[test]
    fn a_marked_term_that_is_used_is_found() {
        for (path, text) in [
            ("server/src/range/members.rs", "impl R { fn add_learner() {} }"),
            ("server/src/range/members.rs", "enum State { Learner }"),
            ("server/src/range/learner.rs", ""),
            ("server/src/learners/mod.rs", ""),
        ] {
            finds(
                rule,
                &Tree::of([("docs/glossary.md", TEXT), (path, text)]),
                "docs/glossary.md:2",
            );
        }
        let door = ("server/src/api/redis/mod.rs", "");
        finds(rule, &Tree::of([("docs/glossary.md", TEXT), door]), "docs/glossary.md:3");
    }

    #[test]
    fn one_that_only_formats_know_is_not_used() {
        for (path, text) in [
            ("server/src/storage/format/members.rs", "struct Learner;"),
            ("server/src/ids.rs", "impl K { const REDIS: u8 = 2; }"),
            ("server/src/range/a.rs", "// learner\nfn learner_points() {}"),
            ("server/src/range/a.rs", "#[cfg(test)] mod tests { fn learner() {} }"),
            ("server/src/time/timestamp.rs", "fn merge() {}"),
        ] {
            holds(rule, &Tree::of([("docs/glossary.md", TEXT), (path, text)]));
        }
    }

    #[test]
    fn italics_without_an_entry_are_found() {
        let text = format!("{TEXT}- **node**: holds *shadows*.");
        finds(rule, &Tree::of([("docs/glossary.md", &text)]), "docs/glossary.md:4");
    }

    #[test]
    fn each_place_in_the_tables_is_there() {
        are_there(USERS.iter().chain(FORMATS));
        are_there(OTHERS.iter().map(|(_, place, _)| place));
    }

    #[test]
    fn the_glossary_of_this_repository_is_true() {
        holds(rule, Tree::repository());
    }
}
