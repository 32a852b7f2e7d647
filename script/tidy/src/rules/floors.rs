//! The folders of the server are floors: a call goes down.
//!
//! A file imports only from its own place and from places below it, so the path of a request can be read from the
//! top to the bottom, and a place can be understood, tested and replaced with all above it cut away. What stands
//! *beside* the path is at the bottom: everybody may use it, and it uses nobody above. `node/` alone sees all.
//!
//! A place that is still to be built has its floor here already, and is named in `PLANNED`.

use std::collections::BTreeSet;

use crate::{Offence, tree::Tree};

/// Where the server's files lie.
const HOUSE: &str = "server/src/";

/// A place, files or folders, and why it stands there.
type Floor = (&'static [&'static str], &'static str);

/// From the top down. A file belongs to the longest of these that it lies in.
const FLOORS: &[Floor] = &[
    (&["main.rs", "cli"], "the program; nothing else of the server knows the client library"),
    (&["lib.rs"], "the library as others see it"),
    (&["node"], "starts and stops a node, and therefore wires all of it"),
    (&["api"], "doors: a request comes in by one of them and is answered there"),
    (&["upkeep"], "background jobs: nobody waits for one, so nothing below knows of them"),
    (&["cluster"], "what this node knows and is, and what it answers other nodes"),
    (&["txn"], "coordinators over several ranges: above one request to one range"),
    (&["router"], "one request to one range, here or on another node"),
    (&["request"], "the language that all of these speak"),
    (
        &["range/change.rs", "range/check_quorum.rs", "range/checksum.rs", "range/truncation.rs"],
        "what is done with a whole replica",
    ),
    (&["range/replica.rs"], "puts a replica together, and therefore knows all that follows"),
    (&["range/executor"], "a range's write path"),
    (&["range/reads"], "a range's read path"),
    (&["range"], "what both paths of a range stand on"),
    (&["range/raft"], "the only user of openraft; what it says is said in our words"),
    (&["range/state.rs"], "the applied state of a replica"),
    (&["range/snapshot"], "sends that state and takes it in, whole"),
    (&["range/command"], "what an entry of the log does: pure, so it knows nothing of Raft"),
    (
        &[
            "range/answer.rs",
            "range/cadence.rs",
            "range/dedup.rs",
            "range/elections.rs",
            "range/expiry.rs",
            "range/faults.rs",
            "range/held.rs",
            "range/members.rs",
            "range/recent.rs",
            "range/recent",
            "range/request.rs",
        ],
        "rules and words of a range: pure",
    ),
    (&["peer"], "links to other nodes: they carry what others decide"),
    (&["wire.rs"], "frames of streams"),
    (
        &["observe.rs", "seams.rs"],
        "what a node gets from outside: its disks, clock, randomness, and who watches",
    ),
    (&["storage"], "what is on disk, whoever wrote it"),
    // --- beside the path
    (&["config", "config.rs"], "settings: values, known to everybody"),
    (&["ops"], "status and metrics: counted everywhere, so below all that counts"),
    (&["placement"], "where replicas and leaders belong: pure, it knows no storage"),
    (&["error.rs"], "what can be wrong with a request"),
    (&["time"], "timestamps and clocks"),
    (
        &["failpoint", "failpoint.rs", "ids.rs", "planted.rs", "ports.rs", "size.rs", "trace.rs"],
        "small things that know nothing of the rest",
    ),
];

/// Places that are not there yet.
#[cfg(test)]
const PLANNED: &[&str] = &["txn"];

/// The offences.
pub fn rule(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    // What only tests are made of is in no module that is known here, and stands nowhere.
    let files: BTreeSet<&str> =
        tree.modules().all().map(|(_, module)| module.file.as_str()).collect();
    for path in files.into_iter().filter(|path| path.starts_with(HOUSE)) {
        if floor(path).is_none() {
            let what = "a new place: give it a floor in script/tidy/src/rules/floors.rs";
            offences.push(Offence::at(path, 1, what));
        }
    }
    for (from, to, import) in tree.imports().pairs() {
        let (Some((above, one)), Some((below, other))) = (floor(from), floor(to)) else { continue };
        if above > below {
            let what = format!(
                "{one} lies below {other} and imports {} from {to}: hand it in from above, or move what both need \
                 down ({other}: {})",
                import.path,
                FLOORS.get(below).map_or("", |(_, why)| why)
            );
            offences.push(Offence::at(from, import.line, what));
        }
    }
    offences
}

/// The floor of a file, from 0 at the top, and the place's name.
fn floor(path: &str) -> Option<(usize, &'static str)> {
    let path = path.strip_prefix(HOUSE)?;
    let places = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, (places, _))| places.iter().map(move |place| (floor, *place)));
    let within = places.filter(|(_, place)| {
        path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    within.max_by_key(|(_, place)| place.len())
}

#[cfg(test)]
mod tests {
    use super::{FLOORS, HOUSE, PLANNED, rule};
    use crate::{
        rules::{finds, holds},
        tree::Tree,
    };

    const LIB: (&str, &str) =
        ("server/src/lib.rs", "mod api; mod range; mod time; mod cellar; #[cfg(test)] mod attic;");

    #[test]
    fn an_import_from_above_is_found() {
        let tree = Tree::of([
            LIB,
            ("server/src/api/mod.rs", "pub fn answer() {}"),
            ("server/src/range/mod.rs", "pub mod reads;"),
            ("server/src/range/reads.rs", "\nfn f() { crate::api::answer() }"),
            ("server/src/time/mod.rs", ""),
        ]);
        finds(rule, &tree, "server/src/range/reads.rs:2");
    }

    #[test]
    fn the_floors_of_a_folder_are_kept() {
        let tree = Tree::of([
            LIB,
            ("server/src/range/mod.rs", "pub mod reads; pub mod raft;"),
            ("server/src/range/reads.rs", "pub struct Reads;"),
            ("server/src/range/raft/mod.rs", "use super::reads::Reads;"),
        ]);
        finds(rule, &tree, "server/src/range/raft/mod.rs:1");
    }

    #[test]
    fn a_place_without_a_floor_is_found() {
        let tree = Tree::of([LIB, ("server/src/cellar/mod.rs", "")]);
        finds(rule, &tree, "server/src/cellar/mod.rs:1");
    }

    #[test]
    fn downwards_and_within_a_place_is_allowed() {
        let tree = Tree::of([
            LIB,
            (
                "server/src/api/mod.rs",
                "pub mod a; pub mod b; use crate::time::T; use crate::range::R;",
            ),
            ("server/src/api/a.rs", "use super::b::B;"),
            ("server/src/api/b.rs", "pub struct B;"),
            ("server/src/range/mod.rs", "use crate::time::T; pub struct R;"),
            ("server/src/time/mod.rs", "pub struct T;"),
            ("server/src/attic.rs", "use crate::api::a;"),
        ]);
        holds(rule, &tree);
    }

    #[test]
    fn every_place_is_there_or_planned() {
        let tree = Tree::repository();
        for place in FLOORS.iter().flat_map(|(places, _)| *places) {
            let is_there = tree.has(&format!("{HOUSE}{place}"));
            let is_planned = PLANNED.contains(place);
            assert!(is_there != is_planned, "{place}: there {is_there}, planned {is_planned}");
        }
    }

    #[test]
    fn this_repository_keeps_its_floors() {
        holds(rule, Tree::repository());
    }
}
