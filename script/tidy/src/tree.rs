//! The files that rules look at: this repository's, or a few in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
    sync::OnceLock,
};

use crate::{imports::Imports, modules::Modules, source::Source};

/// Paths from the root of a repository, with `/`, and the texts there. Not of the tree: what git ignores, and
/// what is no text.
#[derive(Debug)]
pub struct Tree {
    files: BTreeMap<String, String>,
    sources: OnceLock<BTreeMap<String, Source>>,
    imports: OnceLock<(Modules, Imports)>,
}

impl Tree {
    /// A tree in memory.
    pub fn of<const N: usize>(files: [(&str, &str); N]) -> Tree {
        Tree::new(files.map(|(path, text)| (path.to_owned(), text.to_owned())).into())
    }

    fn new(files: BTreeMap<String, String>) -> Tree {
        Tree { files, sources: OnceLock::new(), imports: OnceLock::new() }
    }

    /// This repository as it lies on the disk.
    pub fn repository() -> &'static Tree {
        static REPOSITORY: OnceLock<Tree> = OnceLock::new();
        REPOSITORY.get_or_init(|| Tree::read(root()))
    }

    /// A repository as it lies on the disk: what git knows, and what is new and not ignored.
    ///
    /// # Panics
    ///
    /// Where git can't list it.
    pub fn read(root: &Path) -> Tree {
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .expect("tidy asks git for the files of the repository: is it installed?");
        let errors = String::from_utf8_lossy(&listed.stderr);
        assert!(listed.status.success(), "git lists no files in {}: {errors}", root.display());
        let listed = String::from_utf8(listed.stdout).expect("paths are UTF-8");
        let paths: BTreeSet<&str> = listed.split('\0').filter(|path| !path.is_empty()).collect();
        // One that is listed and not there is deleted, and that is not committed yet.
        let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
        let texts = paths.into_iter().filter_map(|path| Some((path.to_owned(), read(path)?)));
        Tree::new(texts.collect())
    }

    /// All files.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The text of a file.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether there is a file or a folder at a path.
    pub fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.files.contains_key(path) || {
            let within = format!("{path}/");
            self.files
                .range(within.clone()..)
                .next()
                .is_some_and(|(next, _)| next.starts_with(&within))
        }
    }

    /// All Rust files, read.
    ///
    /// # Panics
    ///
    /// Where one is not Rust: it would not compile either.
    pub fn sources(&self) -> &BTreeMap<String, Source> {
        self.sources.get_or_init(|| {
            let rust = self.files.iter().filter(|(path, _)| path.ends_with(".rs"));
            rust.map(|(path, text)| (path.clone(), Source::read(path, text))).collect()
        })
    }

    /// The modules of all crates.
    pub fn modules(&self) -> &Modules {
        &self.linked().0
    }

    /// Which file imports which.
    pub fn imports(&self) -> &Imports {
        &self.linked().1
    }

    fn linked(&self) -> &(Modules, Imports) {
        self.imports.get_or_init(|| {
            let modules = Modules::of(self.sources());
            let imports = Imports::of(&modules, self.sources());
            (modules, imports)
        })
    }
}

/// The root of this repository.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate lies in script/tidy")
}

#[cfg(test)]
mod tests {
    use super::Tree;

    #[test]
    fn files_and_folders_are_found() {
        let tree = Tree::of([("docs/a.md", ""), ("docs-old/b.md", "")]);
        for path in ["docs", "docs/", "docs/a.md", "docs-old"] {
            assert!(tree.has(path), "{path}");
        }
        for path in ["doc", "docs/a", "docs/b.md", "a.md"] {
            assert!(!tree.has(path), "{path}");
        }
    }

    #[test]
    fn this_repository_is_read() {
        let tree = Tree::repository();
        assert!(tree.has("Cargo.toml") && tree.has("server/src/lib.rs"));
        assert!(tree.files().all(|(path, _)| !path.starts_with("target/")));
        assert!(tree.sources().len() > 200, "{}", tree.sources().len());
    }
}
