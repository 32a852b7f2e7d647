//! A file of some length begins with what it is for.
//!
//! The header (`//!`) is what a stranger reads first. One line is a title; what the module is for, why it is done this
//! way and what holds in it take more.

use crate::{Offence, tree::Tree};

/// Longer files need a header.
const LINES_MAX: usize = 150;

/// Lines that a header has at least.
const HEADER_LINES_MIN: usize = 2;

/// The offences.
pub fn rule(tree: &Tree) -> Vec<Offence> {
    let rust = tree.files().filter(|(path, _)| path.ends_with(".rs"));
    rust.filter_map(|(path, text)| {
        let lines = text.lines().count();
        let header = text.lines().take_while(|line| line.starts_with("//!"));
        let said = header.filter(|line| line.len() > "//!".len()).count();
        (lines > LINES_MAX && said < HEADER_LINES_MIN).then(|| {
            let has = if said == 0 { "no header" } else { "a header of one line" };
            let what = format!(
                "{lines} lines and {has}: say what it is for, why it is done so, what holds in it"
            );
            Offence::at(path, 1, what)
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::{LINES_MAX, rule};
    use crate::{
        rules::{finds, holds},
        tree::Tree,
    };

    fn file(header: &str, lines: usize) -> String {
        format!("{header}{}", "const _: u8 = 1;\n".repeat(lines))
    }

    #[test]
    fn a_long_file_without_a_header_is_found() {
        for header in
            ["// One.\n// Two.\n", "//! One.\n", "//! One.\n//!\n", "\n//! One.\n//! Two.\n"]
        {
            let tree = Tree::of([("server/src/a.rs", &file(header, LINES_MAX))]);
            finds(rule, &tree, "server/src/a.rs:1");
        }
    }

    #[test]
    fn a_header_is_enough_and_a_short_file_needs_none() {
        holds(rule, &Tree::of([("server/src/a.rs", &file("//! One.\n//! Two.\n", 999))]));
        holds(rule, &Tree::of([("server/src/a.rs", &file("", LINES_MAX))]));
    }

    #[test]
    fn this_repository_has_its_headers() {
        holds(rule, Tree::repository());
    }
}
