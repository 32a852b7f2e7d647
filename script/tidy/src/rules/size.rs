//! A file has one idea, and few lines.
//!
//! About 400 lines of code are a good length. Past [`LINES_MAX`], tests aside, a second idea has moved in.

use crate::{Offence, tree::Tree};

/// Lines of code, comments counted, those that only tests have not.
const LINES_MAX: usize = 600;

/// The offences.
pub fn rule(tree: &Tree) -> Vec<Offence> {
    let rust = tree.files().filter(|(path, _)| path.ends_with(".rs") && path.contains("/src/"));
    rust.filter_map(|(path, text)| {
        let lines = code_lines(text);
        (lines > LINES_MAX).then(|| {
            let what = format!(
                "{lines} lines of code: which second idea moved in? Give it a file of its own"
            );
            Offence::at(path, 1, what)
        })
    })
    .collect()
}

/// How many lines a text has without those that only tests have: an item at the outermost level after
/// `#[cfg(test)]`, wherever it stands. rustfmt has put its end where it is seen.
fn code_lines(text: &str) -> usize {
    let mut lines = text.lines();
    let mut count = 0;
    while let Some(line) = lines.next() {
        if !line.starts_with("#[cfg(test)]") && !line.starts_with("#[cfg(all(test") {
            count += 1;
            continue;
        }
        // To its end: `mod tests;`, `mod tests {}`, and over several lines a brace in the first column.
        let ends = |line: &str| {
            let is_outermost = !line.starts_with([' ', '#', '/']);
            is_outermost && (line.ends_with(';') || line.ends_with('}'))
        };
        lines.by_ref().take_while(|line| !ends(line)).for_each(drop);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::{LINES_MAX, rule};
    use crate::{
        rules::{finds, holds},
        tree::Tree,
    };

    const CODE: &str = "const _: u8 = 1;\n";

    #[test]
    fn a_long_file_is_found() {
        let text = CODE.repeat(LINES_MAX + 1);
        finds(rule, &Tree::of([("sim/src/a.rs", &text)]), "sim/src/a.rs:1");
    }

    #[test]
    fn code_behind_what_only_tests_have_counts() {
        for test in ["mod tests;", "use a::{\n    b,\n};", "fn f(\n    a: u8,\n) -> u8 {\n    1\n}"]
        {
            let text = format!("{CODE}#[cfg(test)]\n{test}\n{}", CODE.repeat(LINES_MAX));
            finds(rule, &Tree::of([("sim/src/a.rs", &text)]), "sim/src/a.rs:1");
        }
    }

    #[test]
    fn tests_may_be_long() {
        let code = CODE.repeat(LINES_MAX);
        let within = "    f();\n".repeat(LINES_MAX);
        for attribute in ["#[cfg(test)]", "#[cfg(all(test, not(madsim)))]\n#[allow(a)]"] {
            let text = format!("{code}{attribute}\nmod tests {{\n{within}}}\n");
            holds(rule, &Tree::of([("sim/src/a.rs", &text)]));
        }
        let long = CODE.repeat(LINES_MAX + 1);
        holds(rule, &Tree::of([("server/tests/e2e/a.rs", &long)]));
    }

    #[test]
    fn files_of_this_repository_are_short() {
        holds(rule, Tree::repository());
    }
}
