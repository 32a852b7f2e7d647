//! Randomness and time come in by the seams.
//!
//! A run of the simulation follows from its seed alone. Whoever asks the system for random bits or for the time
//! outside the places where the simulation puts its own in (`server/src/seams.rs`, `server/src/time/local.rs`, the
//! client's builder) is not the same in two runs, or is not tested at all. Clippy forbids some of these too
//! (`clippy.toml`), but only by full path, and only in a build for production.

use crate::{Offence, tree::Tree};

/// Something that is not to be asked for.
struct Source {
    /// The beginnings of its paths, written out.
    paths: &'static [&'static str],
    /// Where the rule holds.
    within: &'static [&'static str],
    /// Files and folders that may, and why.
    seams: &'static [(&'static str, &'static str)],
    /// What to do instead.
    instead: &'static str,
}

const SOURCES: &[Source] = &[
    Source {
        paths: &[
            "rand::random",
            "rand::random_bool",
            "rand::random_range",
            "rand::random_ratio",
            "rand::random_iter",
            "rand::fill",
            "rand::rng",
            "rand::thread_rng",
            "rand::make_rng",
            "rand::rngs::SysRng",
            "rand::rngs::OsRng",
            "rand::rngs::ThreadRng",
            "getrandom",
            "uuid::Uuid::new_v4",
            "fastrand",
        ],
        within: &["server/src/", "client/src/", "proto/src/", "sim/src/"],
        seams: &[
            ("server/src/seams.rs", "the seam"),
            ("server/src/cli/", "the command line is no part of a node"),
            ("server/src/ports.rs", "ports of processes, which the simulation has not"),
            ("server/src/range/raft/runtime.rs", "openraft's own seam: in the simulation madsim's"),
            ("client/src/builder.rs", "the seam: the builder takes a seed"),
            ("sim/src/crashtest", "real processes, from a seed that it prints"),
            (
                "sim/src/failover",
                "real processes; when one is killed is no part of a run that is repeated",
            ),
        ],
        instead: "take it from Seams::random (server) or from the client's own generator",
    },
    Source {
        paths: &["std::time::SystemTime::now", "std::time::Instant::now", "chrono"],
        within: &["server/src/", "client/src/", "proto/src/"],
        seams: &[
            ("server/src/seams.rs", "the seam"),
            ("server/src/cli/", "the command line is no part of a node"),
        ],
        instead: "a node's wall clock is Seams::clock; for waiting and measuring use time::local",
    },
    Source {
        paths: &["tokio::time"],
        within: &["server/src/"],
        seams: &[
            ("server/src/time/local.rs", "the seam"),
            ("server/src/time/local/", "the simulation's side of it"),
            ("server/src/storage/memory.rs", "a simulated disk has no clock of its own"),
            ("server/src/storage/memory/", "a simulated disk has no clock of its own"),
            ("server/src/cli/", "the command line is no part of a node"),
        ],
        instead: "each simulated node has a clock of its own: use crate::time::local",
    },
];

/// The offences.
pub fn rule(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (_, module) in tree.modules().all() {
        let Some(source) = tree.sources().get(&module.file) else { continue };
        let uses = source.uses.iter().map(|used| (&used.scope, &used.path, used.line));
        let named = source.paths.iter().map(|named| (&named.scope, &named.path, named.line));
        for (scope, path, line) in uses.chain(named) {
            let Some(at) = tree.modules().at(&module.file, scope).next() else { continue };
            let whole = tree.modules().whole(at, path).join("::");
            for asked in SOURCES.iter().filter(|asked| is_bound(asked, &module.file)) {
                if asked.paths.iter().any(|path| begins(&whole, path)) {
                    let what = format!("{whole} outside the seams: {}", asked.instead);
                    offences.push(Offence::at(&module.file, line, what));
                }
            }
        }
    }
    offences.sort();
    offences.dedup();
    offences
}

fn is_bound(asked: &Source, file: &str) -> bool {
    asked.within.iter().any(|within| file.starts_with(within))
        && !asked.seams.iter().any(|(seam, _)| file.starts_with(seam))
}

/// Whether a path is another or goes on from there.
fn begins(path: &str, with: &str) -> bool {
    path.strip_prefix(with).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::{SOURCES, rule};
    use crate::{
        rules::{are_there, finds, holds},
        tree::Tree,
    };

    const LIB: (&str, &str) = ("server/src/lib.rs", "pub mod a; pub mod seams;");

    #[test]
    fn each_source_is_found_outside_the_seams() {
        for path in SOURCES.iter().flat_map(|asked| asked.paths) {
            let text = format!("\nfn f() {{ {path}::x() }}");
            finds(rule, &Tree::of([LIB, ("server/src/a.rs", &text)]), "server/src/a.rs:2");
        }
    }

    #[test]
    fn a_shorter_name_hides_nothing() {
        for (used, named) in [
            ("use std::time::Instant;", "Instant::now()"),
            ("use std::time::{self, Instant as I};", "I::now()"),
            ("use std::time;", "time::SystemTime::now()"),
            ("use rand;", "m!(rand::random::<u64>())"),
        ] {
            let text = format!("{used}\nfn f() {{ {named} }}");
            finds(rule, &Tree::of([LIB, ("server/src/a.rs", &text)]), "server/src/a.rs:2");
        }
        let used = "use tokio::{sync::Notify, time::{Instant, sleep}};";
        assert_eq!(rule(&Tree::of([LIB, ("server/src/a.rs", used)])).len(), 2);
        finds(
            rule,
            &Tree::of([LIB, ("server/src/a.rs", "use rand::random;")]),
            "server/src/a.rs:1",
        );
    }

    #[test]
    fn seams_seeds_and_local_time_are_allowed() {
        let seam =
            ("server/src/seams.rs", "fn f() { rand::random(); std::time::SystemTime::now(); }");
        let text = "use crate::time::local::Instant; use std::time::Duration; use rand::{RngExt, rngs::StdRng};
            fn f(r: &mut StdRng) { Instant::now(); r.random::<u64>(); }";
        holds(rule, &Tree::of([LIB, seam, ("server/src/a.rs", text)]));
    }

    #[test]
    fn each_place_in_the_table_is_there() {
        for asked in SOURCES {
            are_there(asked.within);
            are_there(asked.seams.iter().map(|(seam, _)| seam));
        }
    }

    #[test]
    fn this_repository_takes_them_from_its_seams() {
        holds(rule, Tree::repository());
    }
}
