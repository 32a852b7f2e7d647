//! Nothing points to a document that is not in the repository.
//!
//! Who reads a comment can't follow it there. A reason belongs into the comment, or into `docs/decisions/`.

use crate::{Offence, tree::Tree};

/// What such references look like; in pieces, as this file is looked at too.
const MARKS: &[&str] = &[concat!("(design", ","), concat!("design", ".md")];

/// The offences.
pub fn rule(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (path, text) in tree.files() {
        for (index, line) in text.lines().enumerate() {
            if MARKS.iter().any(|mark| stands_in(line, mark)) {
                let what =
                    "points to a document that is not here: say why here, or in docs/decisions/";
                offences.push(Offence::at(path, index + 1, what));
            }
        }
    }
    offences
}

/// Whether a text stands in a line, and is not the end of a longer name: a decision may be called so.
fn stands_in(line: &str, text: &str) -> bool {
    line.match_indices(text).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(|before| !before.is_alphanumeric() && !matches!(before, '-' | '_'))
    })
}

#[cfg(test)]
mod tests {
    use super::{MARKS, rule};
    use crate::{
        rules::{finds, holds},
        tree::Tree,
    };

    #[test]
    fn a_reference_to_a_document_elsewhere_is_found() {
        for mark in MARKS {
            let text = format!("\n// so it is {mark}");
            for path in ["docs/a.md", "server/src/a.rs", "sim/scenarios/a.toml"] {
                finds(rule, &Tree::of([(path, &text)]), &format!("{path}:2"));
            }
        }
    }

    #[test]
    fn one_within_is_allowed() {
        let text =
            "docs/decisions/2026-11-29-redesign.md, 2026-11-29-the-design.md, by design, section";
        holds(rule, &Tree::of([("docs/a.md", text)]));
    }

    #[test]
    fn this_repository_points_to_itself() {
        holds(rule, Tree::repository());
    }
}
