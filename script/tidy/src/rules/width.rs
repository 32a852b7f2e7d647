//! Comments fit a window.
//!
//! rustfmt holds code to 100 columns and leaves comments alone.

use crate::{Offence, source::comments, tree::Tree};

/// Columns that a line with a comment has at most.
const COLUMNS_MAX: usize = 120;

/// The offences.
pub fn rule(tree: &Tree) -> Vec<Offence> {
    let rust = tree.files().filter(|(path, _)| path.ends_with(".rs"));
    rust.flat_map(|(path, text)| {
        let width = |line: usize| text.lines().nth(line - 1).map_or(0, |line| line.chars().count());
        let lines = comments(text).map(move |(line, _)| (line, width(line)));
        lines.filter(|(_, columns)| *columns > COLUMNS_MAX).map(move |(line, columns)| {
            let what = format!("a comment of {columns} columns: {COLUMNS_MAX} at most, break it");
            Offence::at(path, line, what)
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS_MAX, rule};
    use crate::{
        rules::{finds, holds},
        tree::Tree,
    };

    #[test]
    fn a_wide_comment_is_found() {
        for begin in ["// ", "    /// ", "//! "] {
            let text = format!("\n{begin}{}", "ä".repeat(COLUMNS_MAX - begin.len() + 1));
            finds(rule, &Tree::of([("server/src/a.rs", &text)]), "server/src/a.rs:2");
        }
    }

    #[test]
    fn one_that_fits_is_allowed_and_code_is_not_looked_at() {
        let fits = format!("// {}\n", "ä".repeat(COLUMNS_MAX - 3));
        let code = format!("const A: &str = \"{}\";", "a".repeat(COLUMNS_MAX));
        holds(rule, &Tree::of([("server/src/a.rs", &(fits + &code))]));
    }

    #[test]
    fn comments_of_this_repository_fit() {
        holds(rule, Tree::repository());
    }
}
