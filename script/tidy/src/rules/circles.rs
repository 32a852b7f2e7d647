//! No files that import each other in a circle, and no folders.
//!
//! Of a circle no part can be read, tested or changed without all others. One of folders is looked for within each
//! folder, among what lies directly in it: its files and its folders, each of those with all that is in it. The file
//! that stands for a folder (its `mod.rs`, or the file of the same name beside it) counts as a file of it. What a name
//! is taken from and what only hands it on by `pub use` are both imported, so a circle that a re-export alone makes is
//! one too.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Offence,
    imports::{Import, circles},
    tree::Tree,
};

/// Who imports, what is imported, and where.
type Place<'a> = (&'a str, &'a str, &'a Import);

/// Circles of files.
pub fn of_files(tree: &Tree) -> Vec<Offence> {
    let pairs: Vec<_> = tree.imports().pairs().collect();
    let edges = pairs.iter().map(|(from, to, _)| (*from, *to)).collect();
    let found = circles(&edges);
    let offence = |group: &BTreeSet<String>| {
        let tied =
            pairs.iter().filter(|(from, to, _)| group.contains(*from) && group.contains(*to));
        offence("files", group, tied.copied())
    };
    found.iter().filter_map(offence).collect()
}

/// Circles with a folder in them.
pub fn of_folders(tree: &Tree) -> Vec<Offence> {
    // By the folder in which both are: what imports what there, and one import for each.
    let mut within: BTreeMap<Vec<String>, BTreeMap<(String, String), Place<'_>>> = BTreeMap::new();
    for (from, to, import) in tree.imports().pairs() {
        let (a, b) = (rooms(tree, from), rooms(tree, to));
        let common = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        if let (Some(one), Some(other)) = (a.get(..=common), b.get(..=common)) {
            let (one, other) = (named(one, a.len()), named(other, b.len()));
            let folder = a.get(..common).unwrap_or_default().to_vec();
            within.entry(folder).or_default().entry((one, other)).or_insert((from, to, import));
        }
    }
    let mut offences = Vec::new();
    for imports in within.values() {
        let edges = imports.keys().map(|(from, to)| (from.as_str(), to.as_str())).collect();
        for group in
            circles(&edges).iter().filter(|group| group.iter().any(|room| room.ends_with('/')))
        {
            let tied = imports.iter().filter(|((a, b), _)| group.contains(a) && group.contains(b));
            offences.extend(offence("files and folders", group, tied.map(|(_, place)| *place)));
        }
    }
    offences
}

/// A path as the folders that a file is in, outermost first, and itself. A file beside a folder of its name is taken
/// for that folder's `mod.rs`.
fn rooms(tree: &Tree, path: &str) -> Vec<String> {
    let mut rooms: Vec<String> = path.split('/').map(str::to_owned).collect();
    if let Some(folder) = path.strip_suffix(".rs") {
        let last = folder.rsplit('/').next().unwrap_or_default();
        if !matches!(last, "lib" | "main") && tree.has(&format!("{folder}/")) {
            rooms.pop();
            rooms.extend([last.to_owned(), "mod.rs".to_owned()]);
        }
    }
    rooms
}

/// The first of the rooms of a file with `all` of them: a folder has `/` at its end.
fn named(rooms: &[String], all: usize) -> String {
    rooms.join("/") + if rooms.len() < all { "/" } else { "" }
}

fn offence<'a>(
    what: &str,
    group: &BTreeSet<String>,
    tied: impl Iterator<Item = Place<'a>>,
) -> Option<Offence> {
    let tied: Vec<_> = tied.collect();
    let lines: String = tied
        .iter()
        .map(|(from, to, import)| {
            format!("\n    {from}:{} -> {to} by {}", import.line, import.path)
        })
        .collect();
    let (path, _, import) = tied.first()?;
    let members = group.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let text = format!(
        "a circle of {} {what}, {members}: move what both sides need below them{lines}",
        group.len()
    );
    Some(Offence::at(path, import.line, text))
}

#[cfg(test)]
mod tests {
    use super::{of_files, of_folders};
    use crate::{
        rules::{finds, holds},
        tree::Tree,
    };

    const LIB: (&str, &str) = ("server/src/lib.rs", "pub mod a; pub mod b;");

    #[test]
    fn files_that_import_each_other_are_found() {
        let tree = Tree::of([
            LIB,
            ("server/src/a.rs", "use crate::b::B;"),
            ("server/src/b.rs", "pub struct B;\nfn f() { super::a::g() }"),
        ]);
        finds(of_files, &tree, "server/src/a.rs:1");
    }

    #[test]
    fn a_circle_that_a_re_export_makes_is_found() {
        // one.rs takes Two from the folder's face, which hands it on; two.rs does the same with One.
        let tree = Tree::of([
            ("server/src/lib.rs", "pub mod a;"),
            ("server/src/a/mod.rs", "mod one; mod two; pub use one::One; pub use two::Two;"),
            ("server/src/a/one.rs", "use super::Two; pub struct One;"),
            ("server/src/a/two.rs", "use crate::a::One; pub struct Two;"),
        ]);
        finds(of_files, &tree, "server/src/a/one.rs:1");
        // one.rs uses b, which takes One from the face of a.
        let tree = Tree::of([
            LIB,
            ("server/src/a/mod.rs", "mod one; mod two; pub use two::Two;"),
            ("server/src/a/one.rs", "use crate::b::B;"),
            ("server/src/a/two.rs", "pub struct Two;"),
            ("server/src/b.rs", "use crate::a::Two; pub struct B;"),
        ]);
        holds(of_files, &tree);
        finds(of_folders, &tree, "server/src/a/one.rs:1");
    }

    #[test]
    fn folders_that_import_each_other_are_found() {
        let tree = Tree::of([
            LIB,
            ("server/src/a/mod.rs", "pub mod one; pub mod two;"),
            ("server/src/b/mod.rs", "pub mod one; pub mod two;"),
            ("server/src/a/one.rs", "use crate::b::one::B;"),
            ("server/src/a/two.rs", "pub struct A;"),
            ("server/src/b/one.rs", "pub struct B;"),
            ("server/src/b/two.rs", "use crate::a::two::A;"),
        ]);
        holds(of_files, &tree);
        finds(of_folders, &tree, "server/src/a/one.rs:1");
    }

    #[test]
    fn a_file_that_stands_for_a_folder_is_of_it() {
        let tree = Tree::of([
            LIB,
            ("server/src/a.rs", "mod below; use crate::b::B; fn f() { below::g() }"),
            ("server/src/a/below.rs", "use crate::b::B; pub fn g() {}"),
            ("server/src/b.rs", "pub struct B;"),
        ]);
        holds(of_files, &tree);
        holds(of_folders, &tree);
    }

    #[test]
    fn what_tests_import_is_no_circle() {
        let tree = Tree::of([
            LIB,
            ("server/src/a.rs", "use crate::b::B; #[cfg(test)] mod tests;"),
            ("server/src/a/tests.rs", "use crate::a; use super::*;"),
            ("server/src/b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a; }"),
        ]);
        holds(of_files, &tree);
        holds(of_folders, &tree);
    }

    #[test]
    fn this_repository_has_no_circle_of_files() {
        holds(of_files, Tree::repository());
    }

    #[test]
    fn this_repository_has_no_circle_of_folders() {
        holds(of_folders, Tree::repository());
    }
}
