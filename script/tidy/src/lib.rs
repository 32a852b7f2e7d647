//! The rules of this house that a program can check, as tests: `cargo test -p quintet-tidy`.
//!
//! A rule is a file of [`rules`] with one pure function, from a [`tree::Tree`] (paths and texts) to the
//! [`Offence`]s in it. So each rule has three tests beside it: a planted offence is reported, what is allowed is
//! not, and this repository has none. What a rule allows is a table in its file, with reasons: a new folder or
//! user of a library is one line there, in the same commit. What a table names has to be there: that is a test too.
//!
//! Sources are read as syntax trees, never as text alone, so that a comment or a string is not taken for code.
//! Nothing is compiled and no macro expanded: what a macro's *arguments* name is seen, what it makes of them is not.

pub mod imports;
pub mod modules;
pub mod rules;
pub mod source;
pub mod text;
pub mod tree;

use std::fmt;

/// What breaks a rule, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offence {
    /// The file, from the root of the repository.
    pub path: String,
    /// Its line, from 1.
    pub line: usize,
    /// What is wrong there, and what to do.
    pub what: String,
}

impl Offence {
    /// One at a line.
    pub fn at(path: &str, line: usize, what: impl Into<String>) -> Offence {
        Offence { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Offences as one text, a line each.
pub fn listed(offences: &[Offence]) -> String {
    offences.iter().map(|offence| format!("\n{offence}")).collect()
}
