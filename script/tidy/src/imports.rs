//! Which file imports which, as a graph, and the circles in it.
//!
//! What a module takes from its own parts is no import: `mod part;` says already that the whole is made of them, as
//! `node/mod.rs` is of the files in `node/`. What a part takes from the whole is one, and so is what parts take from
//! each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    modules::Modules,
    source::{Source, scopes},
};

/// Where a file takes something from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// The line.
    pub line: usize,
    /// The path that is written there.
    pub path: String,
}

/// All imports, by the file that imports and the one that is imported.
#[derive(Debug, Default)]
pub struct Imports {
    edges: BTreeMap<(String, String), BTreeSet<Import>>,
}

impl Imports {
    /// Of files that belong to a module.
    pub fn of(modules: &Modules, sources: &BTreeMap<String, Source>) -> Imports {
        let mut imports = Imports::default();
        for (file, source) in sources {
            for scope in scopes(source) {
                let uses = source.uses.iter().filter(|used| used.scope == scope);
                let paths = source.paths.iter().filter(|named| named.scope == scope);
                let named: Vec<(&[String], usize)> = uses
                    .map(|used| (used.path.as_slice(), used.line))
                    .chain(paths.map(|named| (named.path.as_slice(), named.line)))
                    .collect();
                for from in modules.at(file, &scope) {
                    for (path, line) in &named {
                        let files = modules.files(from, path);
                        for to in files.iter().filter(|to| !modules.is_part(to, file)) {
                            let import = Import { line: *line, path: path.join("::") };
                            imports.add(file, to, import);
                        }
                    }
                }
            }
        }
        imports
    }

    fn add(&mut self, from: &str, to: &str, import: Import) {
        if from != to {
            self.edges.entry((from.to_owned(), to.to_owned())).or_default().insert(import);
        }
    }

    /// Each pair of files with the first place where the one imports the other.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str, &Import)> {
        self.edges.iter().filter_map(|((from, to), imports)| {
            Some((from.as_str(), to.as_str(), imports.first()?))
        })
    }
}

/// The circles of a graph: groups of nodes, each of which reaches all others of its group, largest first.
pub fn circles(edges: &BTreeSet<(&str, &str)>) -> Vec<BTreeSet<String>> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in edges {
        next.entry(from).or_default().insert(to);
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        next.keys().map(|from| (*from, reaches(&next, from))).collect();
    let mut groups: BTreeSet<BTreeSet<String>> = BTreeSet::new();
    for (node, there) in &reached {
        let back = there.iter().filter(|other| {
            reached.get(*other).is_some_and(|from_there| from_there.contains(node))
        });
        let group: BTreeSet<String> = back.map(|node| (*node).to_owned()).collect();
        if group.len() > 1 {
            groups.insert(group);
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    groups
}

/// All that can be reached from a node; the node itself where a circle leads back.
fn reaches<'a>(next: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut left: Vec<&str> = vec![from];
    while let Some(node) = left.pop() {
        for to in next.get(node).into_iter().flatten() {
            if reached.insert(*to) {
                left.push(to);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::circles;
    use crate::tree::Tree;

    #[test]
    fn groups_that_lead_back_to_themselves_are_circles() {
        let edges = BTreeSet::from([
            ("a", "b"),
            ("b", "c"),
            ("c", "a"),
            ("c", "d"),
            ("d", "e"),
            ("x", "y"),
            ("y", "x"),
        ]);
        let found: Vec<Vec<String>> =
            circles(&edges).into_iter().map(|group| group.into_iter().collect()).collect();
        assert_eq!(found, [vec!["a", "b", "c"], vec!["x", "y"]]);
        assert!(circles(&BTreeSet::from([("a", "b"), ("a", "c"), ("b", "c")])).is_empty());
    }

    #[test]
    fn a_whole_does_not_import_its_parts() {
        let tree = Tree::of([
            ("server/src/lib.rs", "mod a; pub use a::one::f;"),
            ("server/src/a/mod.rs", "mod one; mod two; fn f() { one::f() } use two::T; struct S;"),
            ("server/src/a/one.rs", "use super::{S, two::T}; fn f() {}"),
            ("server/src/a/two.rs", "struct T;"),
        ]);
        let pairs: Vec<_> = tree.imports().pairs().map(|(from, to, _)| (from, to)).collect();
        let one = "server/src/a/one.rs";
        assert_eq!(pairs, [(one, "server/src/a/mod.rs"), (one, "server/src/a/two.rs")]);
    }

    #[test]
    fn an_import_knows_its_place() {
        let tree = Tree::of([
            ("server/src/lib.rs", "mod a;\nmod b;"),
            ("server/src/a.rs", "fn f() {\n    crate::b::g();\n}"),
            ("server/src/b.rs", "pub fn g() {}\n#[cfg(test)]\nmod tests { use crate::a::f; }"),
        ]);
        let pairs: Vec<_> = tree
            .imports()
            .pairs()
            .map(|(from, to, import)| format!("{from}:{} {} {to}", import.line, import.path))
            .collect();
        assert_eq!(pairs, ["server/src/a.rs:2 crate::b::g server/src/b.rs"]);
    }
}
