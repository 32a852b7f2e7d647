//! One word for one idea, and plain English.
//!
//! The glossary says which word is used. Here are those that it is used in place of, where a word can't mean anything
//! else. Decisions may speak of other products in their words. Comments and documents also do without some phrases that
//! nobody says in English; what was written before there was this rule, and is not edited, is left out.

use crate::{
    Offence,
    text::{begins_in, comments, lines},
    tree::Tree,
};

/// What is not said, in pieces, as this file is looked at too; and what is.
const BANNED: &[(&str, &str)] =
    &[(concat!("sha", "rd"), "range"), (concat!("reg", "ion"), "range")];

/// Phrases of comments and documents, in pieces too; and what is said.
const PHRASES: &[(&str, &str)] = &[
    (concat!("so ", "many"), "how many, a number of, or name the number"),
    (concat!("so ", "long"), "how long, for a time, or name the time (of a condition: as long as)"),
    (concat!("so ", "much"), "how much, or name the amount"),
    (concat!("one file ", "a "), "one file per"),
    (concat!("one file ", "an "), "one file per"),
];

/// Where phrases are left: of the past.
const OLD: &[&str] = &["CHANGELOG.md", "docs/decisions/"];

/// The offences.
pub fn rule(tree: &Tree) -> Vec<Offence> {
    let mut offences = words(tree);
    offences.extend(phrases(tree));
    offences
}

fn phrases(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (path, text) in
        tree.files().filter(|(path, _)| !OLD.iter().any(|old| path.starts_with(old)))
    {
        let said = if path.ends_with(".md") { lines(text).collect() } else { comments(path, text) };
        for (number, line) in said {
            let line = line.to_lowercase();
            for (phrase, better) in PHRASES {
                if begins_in(&line, phrase, char::is_alphanumeric) {
                    let what = format!("\"{phrase}\" is not plain English here: say {better}");
                    offences.push(Offence::at(path, number, what));
                }
            }
        }
    }
    offences
}

fn words(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    let looked_at = tree.files().filter(|(path, _)| {
        [".rs", ".md", ".proto", ".toml"].iter().any(|end| path.ends_with(end))
            && !path.starts_with("docs/decisions/")
    });
    for (path, text) in looked_at {
        for (number, line) in lines(text) {
            let line = line.to_lowercase();
            for (banned, said) in BANNED {
                if begins_in(&line, banned, char::is_alphabetic) {
                    let what = format!(
                        "{banned} is not a word of this house: say {said} (docs/glossary.md)"
                    );
                    offences.push(Offence::at(path, number, what));
                }
            }
        }
    }
    offences
}

#[cfg(test)]
mod tests {
    use super::{BANNED, OLD, PHRASES, rule};
    use crate::{
        rules::{are_there, finds, holds},
        tree::Tree,
    };

    #[test]
    fn another_word_is_found() {
        for (banned, _) in BANNED {
            for text in [
                format!("\n// a {banned}"),
                format!("\nfn {banned}s() {{}}"),
                format!("\nfn a_{banned}() {{}}"),
            ] {
                finds(rule, &Tree::of([("sim/src/a.rs", &text)]), "sim/src/a.rs:2");
            }
            finds(rule, &Tree::of([("docs/a.md", &banned.to_uppercase())]), "docs/a.md:1");
        }
    }

    #[test]
    fn the_word_of_this_house_and_words_within_words_are_allowed() {
        let within: String = BANNED.iter().map(|(banned, _)| format!("x{banned} ")).collect();
        holds(rule, &Tree::of([("docs/a.md", &format!("range {within}"))]));
        let other = format!("TiKV's {}", BANNED[0].0);
        holds(rule, &Tree::of([("docs/decisions/2026-11-29-a.md", &other)]));
    }

    #[test]
    fn a_phrase_is_found_in_comments_and_documents() {
        for (phrase, _) in PHRASES {
            for (path, text) in [
                ("sim/src/a.rs", format!("\nfn f() {{}} // it waits {phrase} x")),
                ("proto/a.proto", format!("\n// It waits {phrase} x")),
                ("script/a", format!("\n# it waits {phrase} x")),
                ("docs/a.md", format!("\nit waits {} x", phrase.to_uppercase())),
            ] {
                finds(rule, &Tree::of([(path, &text)]), &format!("{path}:2"));
            }
        }
    }

    #[test]
    fn phrases_in_code_and_of_the_past_are_left() {
        let phrase = PHRASES[0].0;
        let code = format!("const A: &str = \"{phrase}\";");
        let decision = "docs/decisions/2026-11-29-a.md";
        let tree =
            Tree::of([("sim/src/a.rs", &*code), ("CHANGELOG.md", phrase), (decision, phrase)]);
        holds(rule, &tree);
    }

    #[test]
    fn each_old_place_is_there() {
        are_there(OLD);
    }

    #[test]
    fn this_repository_uses_one_word() {
        holds(rule, Tree::repository());
    }
}
