//! Nothing points to a document that is not in the repository.
//!
//! Who reads a comment can't follow it there. A reason belongs into the comment, or into `docs/decisions/`.

use crate::{
    Offence,
    text::{begins_in, lines},
    tree::Tree,
};

/// What such references look like; in pieces, as this file is looked at too.
const MARKS: &[&str] = &[concat!("(design", ","), concat!("design", ".md")];

/// The offences.
pub fn rule(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (path, text) in tree.files() {
        for (number, line) in lines(text) {
            if MARKS.iter().any(|mark| begins_in(line, mark, is_in_a_name)) {
                let what =
                    "points to a document that is not here: say why here, or in docs/decisions/";
                offences.push(Offence::at(path, number, what));
            }
        }
    }
    offences
}

/// A decision may end so.
fn is_in_a_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_')
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
