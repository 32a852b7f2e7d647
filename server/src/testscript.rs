//! Golden scripts: tests as text, which somebody reads who knows no Rust.
//!
//! A folder `testscripts/` stands beside the module that it tests, and holds one scenario a file. A script is
//! blocks with an empty line between them: commands above `---`, what came of them below.
//!
//! ```text
//!   # Of two versions the newer one is read.
//!   put key=apple value=red at=10
//!   put key=apple value=green at=20
//!   read key=apple at=25
//!   ---
//!   apple at 25: green, written at 20
//! ```
//!
//! Words are apart by spaces, `name=value` is an argument in any order, `"..."` holds spaces, and in it `\0`,
//! `\"` and `\\` are what they say. `#` begins a comment line. Commands that say nothing give `ok`.
//!
//! A script whose output differs fails, and so does one without a block. `UPDATE_SCRIPTS=1 cargo test` writes what came
//! out into the files, to be read before it is committed: the expectation is what was read, not what was written.
//!
//! The format is that of the crate `goldenscript`. It is not used: its dependencies ask for more features of
//! crates below the server (`scopeguard`, `once_cell`, `rustix`), so that nearly everything would be compiled once
//! for the tests and once for users.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, str::FromStr};

/// A line of a script.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    name: String,
    words: Vec<String>,
    arguments: BTreeMap<String, String>,
}

impl Command {
    fn parse(line: &str) -> Result<Command, String> {
        let mut command =
            Command { name: String::new(), words: Vec::new(), arguments: BTreeMap::new() };
        for (name, value) in words_of(line)? {
            match name {
                None if command.name.is_empty() => command.name = value,
                None => command.words.push(value),
                Some(name) => {
                    if let Some(twice) = command.arguments.insert(name, value) {
                        return Err(format!("an argument is there twice, once as {twice:?}"));
                    }
                }
            }
        }
        Ok(command)
    }

    /// What to do.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The words behind the name; each is there once.
    pub(crate) fn words(&mut self) -> Vec<String> {
        std::mem::take(&mut self.words)
    }

    /// An argument that may be left out.
    pub(crate) fn may<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        let Some(value) = self.arguments.remove(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| format!("{name}={value} can't be read"))
    }

    /// An argument that has to be there.
    pub(crate) fn must<T: FromStr>(&mut self, name: &str) -> Result<T, String> {
        self.may(name)?.ok_or_else(|| format!("{} needs {name}=...", self.name))
    }
}

/// The words of a line, each with what stands before its `=`.
fn words_of(line: &str) -> Result<Vec<(Option<String>, String)>, String> {
    let (mut words, mut chars) = (Vec::new(), line.chars().peekable());
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(words);
        }
        let (mut name, mut word) = (None, String::new());
        while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
            match c {
                '=' if name.is_none() => name = Some(std::mem::take(&mut word)),
                '"' => loop {
                    match chars.next().ok_or("a quote has no end")? {
                        '"' => break,
                        '\\' => word.push(match chars.next() {
                            Some('0') => '\0',
                            Some(c @ ('"' | '\\')) => c,
                            other => return Err(format!("unknown escape {other:?}")),
                        }),
                        c => word.push(c),
                    }
                },
                c => word.push(c),
            }
        }
        words.push((name, word));
    }
}

/// Runs a script; returns it with the output that came.
fn replay(
    script: &str,
    mut run: impl FnMut(&mut Command) -> Result<String, String>,
) -> Result<String, String> {
    let (mut out, mut said, mut lines) = (String::new(), None::<String>, script.lines());
    let (mut number, mut has_blocks) = (0, false);
    while let Some(line) = lines.next() {
        number += 1;
        writeln!(out, "{line}").map_err(|error| error.to_string())?;
        if line == "---" {
            let said = said.take().ok_or_else(|| format!("line {number}: no command above it"))?;
            has_blocks = true;
            out.push_str(if said.is_empty() { "ok\n" } else { &said });
            // What was expected; an empty line ends it, and stands between the blocks.
            let expected = lines.by_ref().take_while(|line| !line.is_empty()).count();
            number += expected + 1;
            if lines.clone().next().is_some() {
                out.push('\n');
            }
        } else if !line.trim().is_empty() && !line.starts_with('#') {
            let at = |why: String| format!("line {number}: {why}");
            let mut command = Command::parse(line).map_err(at)?;
            let output = run(&mut command).map_err(at)?;
            if !command.words.is_empty() || !command.arguments.is_empty() {
                return Err(at(format!("more than {} takes: {command:?}", command.name)));
            }
            let said = said.get_or_insert_default();
            for line in output.lines() {
                if line.is_empty() {
                    return Err(at("an empty line would end the output".to_owned()));
                }
                said.push_str(line);
                said.push('\n');
            }
        }
    }
    match said {
        Some(_) => Err("the last commands have no `---` below them".to_owned()),
        None if !has_blocks => Err("nothing is run by it".to_owned()),
        None => Ok(out),
    }
}

/// The first line in which a script and what came out differ.
fn difference(script: &str, out: &str) -> Option<String> {
    let (mut expected, mut came) = (script.lines(), out.lines());
    for number in 1.. {
        match (expected.next(), came.next()) {
            (None, None) => break,
            (expected, came) if expected == came => {}
            (expected, came) => {
                let show = |line: Option<&str>| line.unwrap_or("(the end)").to_owned();
                let (expected, came) = (show(expected), show(came));
                return Some(format!("line {number}\n  expected: {expected}\n  came:     {came}"));
            }
        }
    }
    None
}

/// Runs every script of a folder below `src/`, each with a runner of its own. A runner is given a command and
/// returns its output, or why the script is wrong; an outcome that is tested is output, a refusal too.
pub(crate) fn run<R>(folder: &str, runner: impl Fn() -> R)
where
    R: FnMut(&mut Command) -> Result<String, String>,
{
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
    let entries = fs::read_dir(&folder).expect("a folder of scripts");
    let mut scripts: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    scripts.sort();
    assert!(!scripts.is_empty(), "no script in {}", folder.display());
    let update = std::env::var_os("UPDATE_SCRIPTS").is_some();
    let mut failed = Vec::new();
    for path in scripts {
        let script = fs::read_to_string(&path).expect("a script");
        match replay(&script, runner()) {
            Ok(out) if update => fs::write(&path, out).expect("written"),
            Ok(out) => failed
                .extend(difference(&script, &out).map(|why| format!("{}: {why}", path.display()))),
            Err(why) => failed.push(format!("{}: {why}", path.display())),
        }
    }
    assert!(failed.is_empty(), "scripts failed:\n{}", failed.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(command: &mut Command) -> Result<String, String> {
        match command.name() {
            "say" => Ok(command.words().join("\n")),
            "gap" => Ok("a\n\nb".to_owned()),
            "double" => Ok((2 * command.must::<u32>("of")?).to_string()),
            other => Err(format!("no command {other}")),
        }
    }

    #[test]
    fn what_came_takes_the_place_of_what_was_expected() {
        let script = "# One.\nsay a \"b c\"\n\ndouble of=4\n---\nold\n\nsay\n---\n";
        let out = replay(script, echo).expect("runs");
        assert_eq!(out, "# One.\nsay a \"b c\"\n\ndouble of=4\n---\na\nb c\n8\n\nsay\n---\nok\n");
        assert_eq!(replay(&out, echo).as_ref(), Ok(&out), "it stays as it is");
        assert_eq!(difference(&out, &out), None);
        let why = difference(script, &out).expect("they differ");
        assert_eq!(why, "line 6\n  expected: old\n  came:     a");
        let shorter = out.strip_suffix("ok\n").expect("the last line");
        assert!(difference(shorter, &out).is_some_and(|why| why.contains("(the end)")));
    }

    #[test]
    fn wrong_scripts_are_refused() {
        let why = |script: &str| replay(script, echo).expect_err(script);
        assert_eq!(why("shout\n---\n"), "line 1: no command shout");
        assert_eq!(why("say\n---\nok\n\ndouble\n---\n"), "line 5: double needs of=...");
        assert_eq!(why("double of=x\n---\n"), "line 1: of=x can't be read");
        assert!(why("double of=1 by=2\n---\n").contains("more than double takes"));
        assert!(why("double of=1 of=2\n---\n").contains("twice"));
        assert_eq!(why("say \"a\n---\n"), "line 1: a quote has no end");
        assert_eq!(why("# Nothing.\n---\n"), "line 2: no command above it");
        assert_eq!(why("gap\n---\n"), "line 1: an empty line would end the output");
        assert_eq!(why(""), "nothing is run by it");
        assert_eq!(why("# Nothing.\n"), "nothing is run by it");
        assert_eq!(why("say a\n"), "the last commands have no `---` below them");
    }

    #[test]
    fn quotes_hold_spaces_and_zeros() {
        let mut command = Command::parse(r#"put key="a b\0" "x\"\\" at=3"#).expect("a command");
        assert_eq!(command.must::<String>("key").expect("there"), "a b\0");
        assert_eq!(command.words(), ["x\"\\"]);
        assert_eq!(command.may::<u64>("at"), Ok(Some(3)));
        assert_eq!(command.may::<u64>("at"), Ok(None));
    }
}
