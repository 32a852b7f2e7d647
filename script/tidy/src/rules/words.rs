//! One word for one idea: others that mean the same are not used.
//!
//! The glossary says which word is used. Here are those that it is used in place of, where a word can't mean anything
//! else. Decisions may speak of other products in their words.

use crate::{
    Offence,
    text::{begins_in, lines},
    tree::Tree,
};

/// What is not said, in pieces, as this file is looked at too; and what is.
const BANNED: &[(&str, &str)] =
    &[(concat!("sha", "rd"), "range"), (concat!("reg", "ion"), "range")];

/// The offences.
pub fn rule(tree: &Tree) -> Vec<Offence> {
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
    use super::{BANNED, rule};
    use crate::{
        rules::{finds, holds},
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
    fn this_repository_uses_one_word() {
        holds(rule, Tree::repository());
    }
}
