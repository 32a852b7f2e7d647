//! What documents and comments point to is there.
//!
//! Looked at are all documents, and comments in Rust, in wire formats and in scripts. Four kinds of pointers: a path
//! from the root of the repository (`server/src/…`); in backticks, the end of a path with `.rs`; in documents, a link
//! to a file and to a heading in it; and in those that have a map of the code, a folder in backticks. What tells of the
//! past may name what is gone: the changelog, and decisions, which are superseded and not edited.

use crate::{
    Offence,
    text::{before, comments, lines},
    tree::Tree,
};

/// Folders at the top: a path that begins with one is meant from the root.
const TOP: &[&str] =
    &["server/", "client/", "proto/", "sim/", "benches/", "script/", "docs/", "findings/"];

/// With maps of the code: `range/` in them is a folder somewhere below.
const MAPS: &[&str] = &["docs/", "CONTRIBUTING.md"];

/// Of the past.
const PAST: &[&str] = &["CHANGELOG.md", "docs/decisions/"];

/// The offences.
pub fn rule(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (path, text) in
        tree.files().filter(|(path, _)| !PAST.iter().any(|past| path.starts_with(past)))
    {
        if path.ends_with(".md") {
            for (line, text) in lines(text) {
                look(tree, path, line, text, &mut offences);
                for link in links(text) {
                    if let Some(what) = broken(tree, path, link) {
                        offences.push(Offence::at(path, line, what));
                    }
                }
            }
        }
        for (line, text) in comments(path, text) {
            look(tree, path, line, text, &mut offences);
        }
    }
    offences
}

/// Paths in a line.
fn look(tree: &Tree, path: &str, line: usize, text: &str, offences: &mut Vec<Offence>) {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    for named in from_the_root(text) {
        // A document beside a crate may mean its own.
        if !tree.has(named) && !tree.has(&format!("{folder}/{named}")) {
            offences.push(Offence::at(path, line, format!("{named} is not there: name what is")));
        }
    }
    let is_map = MAPS.iter().any(|map| path.starts_with(map));
    for named in text.split('`').skip(1).step_by(2).filter(|named| is_path(named)) {
        let is_folder = is_map && named.ends_with('/');
        let from_the_root = TOP.iter().any(|top| named.starts_with(top));
        if from_the_root || !(is_folder || named.ends_with(".rs") && named != ".rs") {
            continue;
        }
        let within = format!("/{named}");
        let is_there = tree.files().any(|(path, _)| {
            let is_it = if is_folder { path.contains(&within) } else { path.ends_with(&within) };
            is_it || path.starts_with(named)
        });
        if !is_there {
            offences.push(Offence::at(path, line, format!("there is no {named}: name what is")));
        }
    }
}

/// Paths in a text that are meant from the root, and are no patterns (`NAME`, `*`, `<name>`).
fn from_the_root(text: &str) -> impl Iterator<Item = &str> {
    let word = |c: char| c.is_alphanumeric() || "_-./".contains(c);
    let starts = text
        .char_indices()
        .filter(move |(at, _)| before(text, *at).is_none_or(|before| !word(before)));
    starts.filter_map(move |(at, _)| {
        let rest = text.get(at..)?;
        if !TOP.iter().any(|top| rest.starts_with(top)) {
            return None;
        }
        let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
        let (path, after) = rest.split_at_checked(end)?;
        let is_pattern = after.starts_with(['<', '*', '{', '$', '…', '['])
            || path.split(['/', '.', '-']).any(|part| part.len() > 1 && is_placeholder(part));
        let path = path.trim_end_matches(['.', '-', '/']);
        // `server/tests` and the like are folders; `sim/` alone says nothing.
        (!is_pattern).then_some(path)
    })
}

/// Whether a word stands for others: `NAME`.
fn is_placeholder(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_uppercase())
        && !matches!(word, "README" | "LICENSE" | "CHANGELOG")
}

fn is_path(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || "_-./".contains(c))
}

/// What stands in `](…)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(link, _)| link))
}

/// What is wrong with a link in a document.
fn broken(tree: &Tree, from: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = link.split_once('#').map_or((link, None), |(file, at)| (file, Some(at)));
    let target = if file.is_empty() {
        from.to_owned()
    } else {
        let mut parts: Vec<&str> = from.split('/').collect();
        parts.pop();
        for part in file.split('/') {
            match part {
                ".." => drop(parts.pop()),
                "." | "" => {}
                part => parts.push(part),
            }
        }
        parts.join("/")
    };
    if !tree.has(&target) {
        return Some(format!("the link to {link} leads nowhere"));
    }
    let text = tree.text(&target).unwrap_or_default();
    let heading = heading.filter(|_| target.ends_with(".md"))?;
    let found = text.lines().any(|line| line.starts_with('#') && slug(line) == heading);
    (!found).then(|| format!("{target} has no heading for the link to {link}"))
}

/// How a heading is linked to: `## Life of a write` by `life-of-a-write`.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{MAPS, PAST, TOP, rule};
    use crate::{
        rules::{are_there, finds, holds},
        tree::Tree,
    };

    const HERE: (&str, &str) = ("server/src/range/reads.rs", "");

    #[test]
    fn a_path_that_leads_nowhere_is_found() {
        for text in [
            "\nsee `server/src/range/writes.rs`.",
            "\n(server/src/rang)",
            "\nsee `writes.rs`",
            "\nsee `ange/reads.rs`",
            "\nsee docs/b.md, there",
        ] {
            finds(rule, &Tree::of([HERE, ("docs/a.md", text)]), "docs/a.md:2");
            let comment = format!("\n    //! {}", text.trim());
            finds(rule, &Tree::of([HERE, ("sim/src/a.rs", &comment)]), "sim/src/a.rs:2");
            for (path, begin) in
                [("sim/src/a.rs", "fn f() {} //"), ("proto/a.proto", "//"), ("script/a", "#")]
            {
                let comment = format!("\n{begin} {}", text.trim());
                finds(rule, &Tree::of([HERE, (path, &comment)]), &format!("{path}:2"));
            }
        }
        finds(rule, &Tree::of([HERE, ("docs/a.md", "\n`writes/`")]), "docs/a.md:2");
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        for text in
            ["\n[b](b.md)", "\n[b](../docs/b.md)", "\n[b](#b)", "\n[b](a.md#b)", "\n[b](../c.md)"]
        {
            finds(rule, &Tree::of([HERE, ("docs/a.md", text)]), "docs/a.md:2");
        }
    }

    #[test]
    fn what_is_there_is_allowed() {
        let text = "# A title, of two\n`server/src/range/reads.rs`, server/src/range/, `range/reads.rs`, `reads.rs`, `range/`, `src/range/`.\n\
            [a](#a-title-of-two) [a](a.md#a-title-of-two) [b](../server/src/range/reads.rs) [c](https://c.org/d.md)";
        holds(rule, &Tree::of([HERE, ("docs/a.md", text)]));
    }

    #[test]
    fn patterns_other_paths_and_the_past_are_not_looked_at() {
        let text = "findings/NAME.sh, docs/decisions/YYYY-MM-DD-name.md, sim/src/workload/<name>.rs, server/src/*.rs,
            /var/server/x, target/sim/y, `*.rs`, my-server/x, docs.rs";
        holds(rule, &Tree::of([HERE, ("docs/a.md", text)]));
        holds(rule, &Tree::of([HERE, ("README.md", "`their/folder/`")]));
        let own = ("proto/proto/a.proto", "");
        holds(rule, &Tree::of([own, ("proto/README.md", "`proto/a.proto`")]));
        for past in ["CHANGELOG.md", "docs/decisions/2026-11-29-a.md"] {
            holds(rule, &Tree::of([HERE, (past, "server/src/gone.rs")]));
        }
        holds(rule, &Tree::of([HERE, ("sim/src/a.rs", "const A: &str = \"server/src/gone.rs\";")]));
    }

    #[test]
    fn each_place_in_the_tables_is_there() {
        are_there(TOP.iter().chain(MAPS).chain(PAST));
    }

    #[test]
    fn this_repository_points_to_what_is_there() {
        holds(rule, Tree::repository());
    }
}
