//! Who may use a library that the rest must not know.
//!
//! A library with many users can't be replaced, nor can what it means be told from what we mean. So some of them have
//! one place that speaks to them, and says to all others in our words what they do.

use crate::{Offence, source::Source, tree::Tree};

/// A library.
struct Library {
    /// Its name in paths.
    name: &'static str,
    /// Files and folders that may use it.
    users: &'static [&'static str],
    /// What to do instead.
    instead: &'static str,
}

const LIBRARIES: &[Library] = &[
    Library {
        name: "openraft",
        users: &["server/src/range/raft/"],
        instead: "range/raft/ alone knows it: ask for what you need there, in our words",
    },
    Library {
        name: "openraft_rt",
        users: &["server/src/range/raft/"],
        instead: "range/raft/ alone knows it",
    },
    Library {
        name: "rocksdb",
        users: &["server/src/storage/rocks/", "server/src/storage/rocks.rs"],
        instead: "use storage::Engine",
    },
    Library {
        name: "bincode",
        users: &["server/src/storage/format/"],
        instead: "what is stored has its format, a version and golden bytes in storage/format/",
    },
    Library {
        name: "quintet_client",
        // Whoever is outside of a node, as its users are. A judge knows histories alone.
        users: &[
            "server/src/cli/",
            "server/tests/",
            "client/tests/",
            "client/examples/",
            "sim/src/client/",
            "sim/src/cluster/operator.rs",
            "sim/src/crashtest",
            "sim/src/crowd.rs",
            "sim/src/failover",
        ],
        instead: "a node knows the wire formats (proto) and its own types; only what stands outside it has a client",
    },
    Library {
        name: "anyhow",
        // Where a person reads the error. Everybody else says by type what a caller can do.
        users: &["server/src/cli/", "sim/", "benches/"],
        instead: "an error of a type of its own says what its caller can do about it (thiserror)",
    },
];

/// The offences.
pub fn rule(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (path, source) in tree.sources() {
        for (written, line) in names(source) {
            let library = LIBRARIES.iter().find(|library| {
                begins(written, library.name)
                    && !library.users.iter().any(|user| path.starts_with(user))
            });
            if let Some(Library { name, instead, .. }) = library {
                offences.push(Offence::at(path, line, format!("uses {name}: {instead}")));
            }
        }
    }
    offences.dedup();
    offences
}

/// What a file imports and names, and in which line.
fn names(source: &Source) -> impl Iterator<Item = (&[String], usize)> {
    let uses = source.uses.iter().map(|used| (used.path.as_slice(), used.line));
    uses.chain(source.paths.iter().map(|named| (named.path.as_slice(), named.line)))
}

fn begins(path: &[String], name: &str) -> bool {
    path.first().is_some_and(|first| first == name)
}

#[cfg(test)]
mod tests {
    use super::{LIBRARIES, Library, begins, names, rule};
    use crate::{
        rules::{finds, holds},
        tree::Tree,
    };

    #[test]
    fn each_library_is_found_by_use_and_by_path() {
        for library in LIBRARIES {
            let name = library.name;
            let used = format!("\nuse {name}::a::B;");
            finds(rule, &Tree::of([("server/src/api/kv.rs", &used)]), "server/src/api/kv.rs:2");
            let whole = format!("\nuse {name};");
            finds(rule, &Tree::of([("server/src/api/kv.rs", &whole)]), "server/src/api/kv.rs:2");
            let named = format!("\nfn f() {{ assert!({name}::a()) }}");
            finds(rule, &Tree::of([("server/src/api/kv.rs", &named)]), "server/src/api/kv.rs:2");
        }
    }

    #[test]
    fn its_users_and_tests_may() {
        for library in LIBRARIES {
            let used = format!("use {}::a::B;", library.name);
            for user in library.users {
                let path =
                    if user.ends_with('/') { format!("{user}x.rs") } else { (*user).to_owned() };
                holds(rule, &Tree::of([(&path, &used)]));
            }
            let test = format!("#[cfg(test)] mod tests {{ {used} }}");
            holds(rule, &Tree::of([("server/src/api/kv.rs", &test)]));
        }
    }

    /// An exception that nobody needs lets somebody in.
    #[test]
    fn each_user_is_there_and_uses_it() {
        let tree = Tree::repository();
        for Library { name, users, .. } in LIBRARIES {
            for user in *users {
                let mut files = tree.sources().iter().filter(|(path, _)| path.starts_with(user));
                let is_used =
                    files.any(|(_, source)| names(source).any(|(path, _)| begins(path, name)));
                assert!(
                    is_used,
                    "{user} does not use {name}, or is not there: it needs no exception"
                );
            }
        }
    }

    #[test]
    fn a_name_that_only_begins_so_is_another() {
        holds(
            rule,
            &Tree::of([("server/src/api/kv.rs", "use openraftish::a; use crate::anyhow::b;")]),
        );
    }

    #[test]
    fn this_repository_keeps_its_libraries_apart() {
        holds(rule, Tree::repository());
    }
}
