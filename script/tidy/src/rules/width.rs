//! Comments fit a window.
//!
//! rustfmt holds code to 100 columns and leaves comments alone. A row of a table can't be broken, and may be wider.
//! Looked at are Rust, wire formats and scripts; a comment may stand at the end of a line.

use crate::{Offence, text::comments, tree::Tree};

/// Columns that a line with a comment has at most.
const COLUMNS_MAX: usize = 120;

/// The offences.
pub fn rule(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (path, text) in tree.files() {
        let lines: Vec<&str> = text.lines().collect();
        for (line, comment) in comments(path, text) {
            let columns = lines.get(line - 1).map_or(0, |line| line.chars().count());
            if columns > COLUMNS_MAX && !comment.trim_start().starts_with('|') {
                let what =
                    format!("a comment of {columns} columns: {COLUMNS_MAX} at most, break it");
                offences.push(Offence::at(path, line, what));
            }
        }
    }
    offences
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
        for (path, begin) in [("a.rs", "fn f() {} // "), ("a.proto", "// "), ("script/a", "# ")] {
            let text = format!("\n{begin}{}", "ä".repeat(COLUMNS_MAX - begin.len() + 1));
            finds(rule, &Tree::of([(path, &text)]), &format!("{path}:2"));
        }
    }

    #[test]
    fn one_that_fits_is_allowed_and_code_and_tables_are_not_looked_at() {
        let fits = format!("// {}\n", "ä".repeat(COLUMNS_MAX - 3));
        let table = format!("//! | {} |\n", "a".repeat(COLUMNS_MAX));
        let code = format!("const A: &str = \"{}\";", "a".repeat(COLUMNS_MAX));
        holds(rule, &Tree::of([("server/src/a.rs", &(fits + &table + &code))]));
    }

    #[test]
    fn comments_of_this_repository_fit() {
        holds(rule, Tree::repository());
    }
}
