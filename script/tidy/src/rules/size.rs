//! A file has one idea, and few lines.
//!
//! About 400 lines of code are a good length. Past [`LINES_MAX`], tests aside, a second idea has moved in, or there is
//! a reason, and it stands in the table here.

use crate::{Offence, tree::Tree};

/// Lines of code, comments counted, tests at the end not.
const LINES_MAX: usize = 600;

/// Files that may be longer, and why.
const LONG: &[(&str, &str)] = &[];

/// The offences.
pub fn rule(tree: &Tree) -> Vec<Offence> {
    let rust = tree.files().filter(|(path, _)| path.ends_with(".rs") && path.contains("/src/"));
    rust.filter_map(|(path, text)| {
        let tests = text.lines().position(|line| {
            line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test")
        });
        let lines = tests.unwrap_or_else(|| text.lines().count());
        let reason = LONG.iter().find(|(long, _)| *long == path);
        match (lines > LINES_MAX, reason) {
            (true, None) => {
                let what = format!(
                    "{lines} lines of code: which second idea moved in? Give it a file of its own"
                );
                Some(Offence::at(path, LINES_MAX, what))
            }
            (false, Some((_, why))) => {
                let what = format!(
                    "is short again: it needs no exception ({why}) in script/tidy/src/rules/size.rs"
                );
                Some(Offence::at(path, 1, what))
            }
            _ => None,
        }
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

    #[test]
    fn a_long_file_is_found() {
        let text = "const _: u8 = 1;\n".repeat(LINES_MAX + 1);
        finds(rule, &Tree::of([("sim/src/a.rs", &text)]), &format!("sim/src/a.rs:{LINES_MAX}"));
    }

    #[test]
    fn tests_may_be_long() {
        let code = "const _: u8 = 1;\n".repeat(LINES_MAX);
        let text = format!("{code}#[cfg(test)]\nmod tests {{\n{code}}}\n");
        holds(
            rule,
            &Tree::of([
                ("sim/src/a.rs", &text),
                ("server/tests/e2e/a.rs", &text.replace("cfg", "x")),
            ]),
        );
    }

    #[test]
    fn files_of_this_repository_are_short() {
        holds(rule, Tree::repository());
    }
}
