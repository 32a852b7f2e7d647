//! The modules of all crates, and what a path means in one of them.
//!
//! A path leads to files: the one that defines what it names, and each on the way that only hands the name on by
//! `use`. Modules on the way that merely contain others are passed through, as `a` in `crate::a::b::C`. Where a
//! name is made by a macro it is taken to be of the module in which it was looked for.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, Use, within};

/// Modules that a path is looked up in at most.
const STEPS_MAX: usize = 100;

/// A module, by its number.
pub type Id = usize;

/// A module of a crate.
#[derive(Debug)]
pub struct Module {
    /// The crate's root.
    pub root: Id,
    /// None for a root.
    pub parent: Option<Id>,
    /// The file that it is written in.
    pub file: String,
    /// Where in the file.
    scope: Vec<String>,
    children: BTreeMap<String, Id>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Modules {
    all: Vec<Module>,
    /// Libraries, by the names that other crates know them by.
    libraries: BTreeMap<String, Id>,
    names: Vec<Names>,
}

/// What a module's names are.
#[derive(Debug, Default)]
struct Names {
    defined: BTreeSet<String>,
    imported: BTreeMap<String, Vec<Vec<String>>>,
    globs: Vec<Vec<String>>,
}

impl Modules {
    /// Those of every crate below a top-level folder: `src/lib.rs` and `src/main.rs`, `src/bin/*`.
    pub fn of(sources: &BTreeMap<String, Source>) -> Modules {
        let mut modules = Modules::default();
        for path in sources.keys() {
            let parts: Vec<&str> = path.split('/').collect();
            match parts.as_slice() {
                [folder, "src", "lib.rs"] => {
                    let root = modules.add_root(path, sources);
                    modules.libraries.insert(format!("quintet_{folder}"), root);
                }
                [_, "src", "main.rs"] | [_, "src", "bin", _] | [_, "src", "bin", _, "main.rs"] => {
                    modules.add_root(path, sources);
                }
                _ => {}
            }
        }
        modules.names = modules.all.iter().map(|module| names(module, sources)).collect();
        modules
    }

    fn add_root(&mut self, path: &str, sources: &BTreeMap<String, Source>) -> Id {
        let root = self.all.len();
        let children = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.add(root, None, path, Vec::new(), children, sources);
        root
    }

    /// Adds a module and those within it; `folder` is where files of its children lie.
    fn add(
        &mut self,
        root: Id,
        parent: Option<Id>,
        file: &str,
        scope: Vec<String>,
        folder: &str,
        sources: &BTreeMap<String, Source>,
    ) {
        let id = self.all.len();
        self.all.push(Module {
            root,
            parent,
            file: file.to_owned(),
            scope: scope.clone(),
            children: BTreeMap::new(),
        });
        let Some(source) = sources.get(file) else { return };
        for child in source.mods.iter().filter(|child| !child.test && child.scope == scope) {
            let next = self.all.len();
            let below = format!("{folder}/{}", child.name);
            if child.inline {
                let scope = within(&scope, &child.name);
                self.add(root, Some(id), file, scope, &below, sources);
            } else {
                let beside = file.rsplit_once('/').map_or("", |(folder, _)| folder);
                let given = child.path.as_ref().map(|path| join(beside, path));
                let places = [format!("{below}.rs"), format!("{below}/mod.rs")];
                let Some(place) =
                    given.into_iter().chain(places).find(|place| sources.contains_key(place))
                else {
                    continue;
                };
                self.add(root, Some(id), &place, Vec::new(), &below, sources);
            }
            if let Some(module) = self.all.get_mut(id) {
                module.children.insert(child.name.clone(), next);
            }
        }
    }

    /// Each with its number.
    pub fn all(&self) -> impl Iterator<Item = (Id, &Module)> {
        self.all.iter().enumerate()
    }

    /// The modules of a file and of a place in it: several where several crates contain the file.
    pub fn at<'a>(&'a self, file: &'a str, scope: &'a [String]) -> impl Iterator<Item = Id> + 'a {
        self.all()
            .filter(move |(_, module)| module.file == file && module.scope == scope)
            .map(|(id, _)| id)
    }

    /// Whether a file is a part of a module that is written in another, `whole`: the module or one around it is.
    pub fn is_part(&self, file: &str, whole: &str) -> bool {
        let mut modules = self.all.iter().filter(|module| module.file == file);
        modules.any(|module| {
            let mut around = module.parent;
            while let Some(module) = around.and_then(|id| self.all.get(id)) {
                if module.file == whole {
                    return true;
                }
                around = module.parent;
            }
            false
        })
    }

    /// The files that a path in a module leads to; none where it leads to another library.
    pub fn files(&self, from: Id, path: &[String]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        self.start(from, path, &mut Vec::new(), &mut found);
        found
    }

    /// A path with what its first segment is short for: after `use std::time::Instant`, `Instant::now` is
    /// `std::time::Instant::now`.
    pub fn whole(&self, from: Id, path: &[String]) -> Vec<String> {
        let mut path = path.to_vec();
        // One that is short for another that is short for a third: a few steps are plenty.
        for _ in 0..4 {
            let Some(first) = path.first() else { break };
            let imported = self.names.get(from).and_then(|names| names.imported.get(first));
            let Some(full) = imported.and_then(|imported| imported.first()) else { break };
            // `use rand;` and `use rand::{self}`.
            if full.first() == Some(first) {
                break;
            }
            path = [full.as_slice(), path.get(1..).unwrap_or_default()].concat();
        }
        path
    }

    /// Follows a path from the module that it is written in. Says whether it leads anywhere here.
    fn start(
        &self,
        from: Id,
        path: &[String],
        seen: &mut Vec<(Id, Vec<String>)>,
        found: &mut BTreeSet<String>,
    ) -> bool {
        let (Some((first, rest)), Some(module)) = (path.split_first(), self.all.get(from)) else {
            return false;
        };
        match first.as_str() {
            "crate" | "$crate" => self.walk(module.root, rest, true, seen, found),
            "self" => self.walk(from, rest, true, seen, found),
            "super" => match module.parent {
                Some(parent) => match rest.first().map(String::as_str) {
                    Some("super") => self.start(parent, rest, seen, found),
                    _ => self.walk(parent, rest, true, seen, found),
                },
                None => false,
            },
            _ => {
                self.walk(from, path, false, seen, found)
                    || self
                        .libraries
                        .get(first)
                        .is_some_and(|library| self.walk(*library, rest, true, seen, found))
            }
        }
    }

    /// Looks a path up in a module. From outside it is `certain` that it is there: what is not seen is taken to be
    /// made by a macro, and what is imported there is handed on.
    fn walk(
        &self,
        at: Id,
        path: &[String],
        certain: bool,
        seen: &mut Vec<(Id, Vec<String>)>,
        found: &mut BTreeSet<String>,
    ) -> bool {
        let (Some(module), Some(names)) = (self.all.get(at), self.names.get(at)) else {
            return false;
        };
        let Some((name, rest)) = path.split_first() else {
            found.insert(module.file.clone());
            return true;
        };
        // Two that import all of each other; and no path is handed on so often.
        let here = (at, path.to_vec());
        if seen.contains(&here) || seen.len() > STEPS_MAX {
            return false;
        }
        seen.push(here);
        let mut known = false;
        if let Some(child) = module.children.get(name) {
            known |= self.walk(*child, rest, true, seen, found);
        }
        if names.defined.contains(name) {
            found.insert(module.file.clone());
            known = true;
        }
        // `use anyhow::anyhow;` says nothing of where `anyhow` is.
        let imported = names.imported.get(name).into_iter().flatten();
        for imported in imported.filter(|imported| imported.first() != Some(name)) {
            let further = [imported.as_slice(), rest].concat();
            if self.start(at, &further, seen, found) {
                if certain {
                    found.insert(module.file.clone());
                }
                known = true;
            }
        }
        if known {
            return true;
        }
        for glob in &names.globs {
            let further = [glob.as_slice(), path].concat();
            if self.has(at, glob, name) && self.start(at, &further, seen, found) {
                if certain {
                    found.insert(module.file.clone());
                }
                return true;
            }
        }
        if certain {
            found.insert(module.file.clone());
            return true;
        }
        false
    }

    /// Whether a module that a path leads to has a name in plain sight.
    fn has(&self, from: Id, path: &[String], name: &str) -> bool {
        let mut at = from;
        for (index, segment) in path.iter().enumerate() {
            let Some(module) = self.all.get(at) else { return false };
            let next =
                match segment.as_str() {
                    "crate" | "$crate" => Some(module.root),
                    "self" => Some(at),
                    "super" => module.parent,
                    name => module.children.get(name).copied().or_else(|| {
                        (index == 0).then(|| self.libraries.get(name).copied()).flatten()
                    }),
                };
            let Some(next) = next else { return false };
            at = next;
        }
        self.names.get(at).is_some_and(|names| {
            names.defined.contains(name)
                || names.imported.contains_key(name)
                || self.all.get(at).is_some_and(|module| module.children.contains_key(name))
        })
    }
}

fn names(module: &Module, sources: &BTreeMap<String, Source>) -> Names {
    let mut names = Names::default();
    let Some(source) = sources.get(&module.file) else { return names };
    let defs = source.defs.iter().filter(|def| def.named && def.scope == module.scope);
    names.defined = defs.map(|def| def.name.clone()).collect();
    for used in source.uses.iter().filter(|used| used.scope == module.scope) {
        match used {
            Use { glob: true, path, .. } => names.globs.push(path.clone()),
            Use { name: Some(name), path, .. } => {
                names.imported.entry(name.clone()).or_default().push(path.clone());
            }
            Use { .. } => {}
        }
    }
    names
}

/// A path from a folder, `..` in it followed.
fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Modules;
    use crate::source::Source;

    fn read(files: &[(&str, &str)]) -> BTreeMap<String, Source> {
        let read = |(path, text): &(&str, &str)| ((*path).to_owned(), Source::read(path, text));
        files.iter().map(read).collect()
    }

    fn leads(files: &[(&str, &str)], from: &str, path: &str) -> Vec<String> {
        let modules = Modules::of(&read(files));
        let from = modules.at(from, &[]).next().expect("a module");
        let path: Vec<String> = path.split("::").map(str::to_owned).collect();
        modules.files(from, &path).into_iter().collect()
    }

    const CRATE: &[(&str, &str)] = &[
        ("server/src/lib.rs", "pub mod a; pub mod b; mod c { pub fn d() {} pub mod e; }"),
        ("server/src/a/mod.rs", "mod one; pub mod two; pub use one::{One, late}; pub use two::*;"),
        ("server/src/a/one.rs", "pub struct One; pub fn late() {}"),
        ("server/src/a/two.rs", "pub fn deux() {} make!();"),
        ("server/src/b.rs", "mod below; use super::a::two; use crate::a::One;"),
        ("server/src/b/below.rs", "use super::*;"),
        ("server/src/c/e.rs", "pub fn f() {}"),
        ("server/src/main.rs", "use quintet_server::a;"),
        ("sim/src/lib.rs", "#[path = \"../../server/src/b.rs\"] mod borrowed;"),
    ];

    #[test]
    fn a_path_leads_to_the_file_that_defines() {
        for (from, path, to) in [
            ("server/src/b.rs", "crate::a::two::deux", "server/src/a/two.rs"),
            ("server/src/b.rs", "two::deux", "server/src/a/two.rs"),
            ("server/src/b.rs", "super::a", "server/src/a/mod.rs"),
            ("server/src/b.rs", "crate::c::d", "server/src/lib.rs"),
            ("server/src/b.rs", "crate::c::e::f", "server/src/c/e.rs"),
            ("server/src/b/below.rs", "super::super::a::two::deux", "server/src/a/two.rs"),
            ("server/src/b.rs", "below::anything", "server/src/b/below.rs"),
            ("server/src/a/mod.rs", "two::made_by_a_macro", "server/src/a/two.rs"),
            ("server/src/main.rs", "quintet_server::a::two::deux", "server/src/a/two.rs"),
            ("server/src/a/one.rs", "self::late", "server/src/a/one.rs"),
        ] {
            assert_eq!(leads(CRATE, from, path), [to], "{path} in {from}");
        }
        for path in ["std::fmt::Debug", "anyhow::anyhow", "rand"] {
            assert!(leads(CRATE, "server/src/b.rs", path).is_empty(), "{path}");
        }
    }

    #[test]
    fn who_hands_a_name_on_is_passed_too() {
        for (from, path, to) in [
            ("server/src/b.rs", "crate::a::One", ["server/src/a/mod.rs", "server/src/a/one.rs"]),
            ("server/src/b.rs", "crate::a::deux", ["server/src/a/mod.rs", "server/src/a/two.rs"]),
            ("server/src/main.rs", "a::late", ["server/src/a/mod.rs", "server/src/a/one.rs"]),
        ] {
            let files = leads(CRATE, from, path);
            assert!(to.iter().all(|to| files.contains(&(*to).to_owned())), "{path}: {files:?}");
        }
        // Through `use super::*`, b.rs hands on what it imports itself.
        let files = leads(CRATE, "server/src/b/below.rs", "two::deux");
        assert!(files.contains(&"server/src/a/two.rs".to_owned()), "{files:?}");
    }

    #[test]
    fn a_file_may_belong_to_two_crates() {
        let modules = Modules::of(&read(CRATE));
        assert_eq!(modules.at("server/src/b.rs", &[]).count(), 2);
    }

    #[test]
    fn names_are_written_out() {
        let files = [("server/src/lib.rs", "use std::time::{self, Instant as I}; use rand;")];
        let modules = Modules::of(&read(&files));
        for (path, whole) in [
            ("I::now", "std::time::Instant::now"),
            ("time::Instant::now", "std::time::Instant::now"),
            ("rand::random", "rand::random"),
        ] {
            let path: Vec<String> = path.split("::").map(str::to_owned).collect();
            assert_eq!(modules.whole(0, &path).join("::"), whole);
        }
    }

    #[test]
    fn names_that_are_handed_on_in_a_circle_end() {
        let files = [
            ("server/src/lib.rs", "mod a; mod b;"),
            ("server/src/a.rs", "pub use crate::b::*; use c::d; use d::c; use anyhow::anyhow;"),
            ("server/src/b.rs", "pub use crate::a::*;"),
        ];
        assert_eq!(leads(&files, "server/src/lib.rs", "a::nothing"), ["server/src/a.rs"]);
        for path in ["c::d", "d::c::d", "anyhow::anyhow"] {
            assert!(leads(&files, "server/src/a.rs", path).is_empty(), "{path}");
        }
    }
}
