//! Every script says in one line what it is for, and is on the lists of scripts.
//!
//! `script/help` prints those lines from the files themselves; CONTRIBUTING.md has them as a list.

use crate::{
    Offence,
    text::{is_script, lines},
    tree::Tree,
};

/// Columns of such a line at most.
const COLUMNS_MAX: usize = 120;

const LIST: &str = "CONTRIBUTING.md";

/// The offences.
pub fn rule(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| is_script(path)) {
        let Some((line, said)) = said(text) else {
            let what = "begin with `#!/usr/bin/env bash` and a line `# What it does.`; what is sourced, with that line";
            offences.push(Offence::at(path, 1, what));
            continue;
        };
        if !said.ends_with('.') || said.chars().count() + 2 > COLUMNS_MAX {
            let what =
                format!("say in one line of {COLUMNS_MAX} columns, with a period, what it does");
            offences.push(Offence::at(path, line, what));
        }
        let listed = format!("- `{path}`: {said}");
        if !tree.text(LIST).unwrap_or_default().lines().any(|line| line == listed) {
            let what = format!("{LIST} has to list it by what it says of itself: {listed}");
            offences.push(Offence::at(path, line, what));
        }
    }
    for (number, line) in lines(tree.text(LIST).unwrap_or_default()) {
        let named = line.strip_prefix("- `").and_then(|rest| rest.split_once("`: "));
        if let Some((path, _)) =
            named.filter(|(path, _)| path.starts_with("script/") && !tree.has(path))
        {
            offences.push(Offence::at(LIST, number, format!("there is no {path}")));
        }
    }
    offences
}

/// What a script says of itself: its second line, or the first where it is not to be run; and which line that is.
fn said(text: &str) -> Option<(usize, &str)> {
    let mut lines = text.lines();
    let first = lines.next()?;
    let (line, said) = if first.starts_with("#!") { (2, lines.next()?) } else { (1, first) };
    let said = said.strip_prefix("# ")?;
    (!said.is_empty()).then_some((line, said))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{rule, said};
    use crate::{
        rules::{finds, holds},
        text::is_script,
        tree::{Tree, root},
    };

    const SCRIPT: (&str, &str) = ("script/a", "#!/usr/bin/env bash\n# Does it.\nset -eu\n");
    const LIST: (&str, &str) = ("CONTRIBUTING.md", "# Scripts\n\n- `script/a`: Does it.\n");

    #[test]
    fn a_script_that_says_nothing_of_itself_is_found() {
        for text in ["#!/usr/bin/env bash\nset -eu", "#!/usr/bin/env bash", "", "set -eu"] {
            finds(rule, &Tree::of([("script/a", text), LIST]), "script/a:1");
        }
        let half = ("script/a", "#!/usr/bin/env bash\n# Does it, and what\n# more.\n");
        let list = ("CONTRIBUTING.md", "- `script/a`: Does it, and what");
        finds(rule, &Tree::of([half, list]), "script/a:2");
        let long = format!("Does {}.", "it".repeat(60));
        let (script, list) = (format!("#!/bin/sh\n# {long}"), format!("- `script/a`: {long}"));
        finds(rule, &Tree::of([("script/a", &script), ("CONTRIBUTING.md", &list)]), "script/a:2");
    }

    #[test]
    fn a_script_that_is_not_listed_as_it_is_is_found() {
        finds(rule, &Tree::of([SCRIPT]), "script/a:2");
        let other = ("CONTRIBUTING.md", "- `script/a`: Does that.");
        finds(rule, &Tree::of([SCRIPT, other]), "script/a:2");
    }

    #[test]
    fn a_script_that_is_gone_is_found() {
        let list = ("CONTRIBUTING.md", "- `script/a`: Does it.\n- `script/b`: Did it.\n");
        finds(rule, &Tree::of([SCRIPT, list]), "CONTRIBUTING.md:2");
    }

    #[test]
    fn those_that_are_listed_are_allowed() {
        let sourced = ("script/env.sh", "# Sourced.\n");
        let list = ("CONTRIBUTING.md", "- `script/a`: Does it.\n- `script/env.sh`: Sourced.\n");
        holds(rule, &Tree::of([SCRIPT, sourced, list, ("script/tidy/Cargo.toml", "")]));
    }

    #[test]
    fn the_scripts_of_this_repository_are_listed() {
        holds(rule, Tree::repository());
    }

    #[test]
    fn script_help_lists_them_all() {
        let help = Command::new(root().join("script/help")).output().expect("script/help runs");
        assert!(help.status.success(), "{help:?}");
        let help = String::from_utf8_lossy(&help.stdout);
        let scripts = Tree::repository().files().filter(|(path, _)| is_script(path));
        for (path, text) in scripts {
            let said = said(text).map_or("nothing", |(_, said)| said);
            let is_listed = |line: &str| line.starts_with(path) && line.ends_with(said);
            assert!(help.lines().any(is_listed), "{path} is not in\n{help}");
        }
    }

    /// What `script/help` promises.
    #[test]
    fn every_script_that_is_run_answers_help_with_its_head() {
        for (path, text) in Tree::repository().files().filter(|(path, _)| is_script(path)) {
            if !text.starts_with("#!") {
                continue;
            }
            let head = text.lines().skip(1).map_while(|line| line.strip_prefix('#'));
            let head: Vec<_> = head.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
            let mut script = Command::new(root().join(path));
            let answer = script.arg("--help").current_dir("/").output().expect("it runs");
            assert!(answer.status.success(), "{path}: {answer:?}");
            let answer = String::from_utf8_lossy(&answer.stdout);
            assert_eq!(answer.lines().collect::<Vec<_>>(), head, "{path}");
        }
    }
}
