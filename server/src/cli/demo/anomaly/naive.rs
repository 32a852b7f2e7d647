//! The story as one naive time server has it: a client takes its timestamp first, and then goes its way to R2.
//!
//! The time server does nothing wrong: what it gives rises. Nobody ever looks whether a write comes too late.

use super::{
    numbers::{Numbers, Us},
    resource::{Commit, Telling, ms},
};

/// Something that will happen.
enum Next {
    Said(String),
    Applied(Commit),
    Look,
    Get,
}

/// Runs it.
pub(super) fn run(numbers: &Numbers) -> Telling {
    let (c1_time, a1_time) = numbers.naive_times();
    let (c1_arrives, a1_arrives) = numbers.arrive();
    let mut to_come: Vec<(Us, Next)> = Vec::new();
    for (who, asks, at, arrives, [.., back]) in [
        ("C1", numbers.c1_asks, c1_time, c1_arrives, numbers.c1_ways),
        ("A1", numbers.a1_asks, a1_time, a1_arrives, numbers.a1_ways),
    ] {
        to_come.extend([
            (asks, Next::Said(format!("{who} asks the time server"))),
            (at, Next::Said(format!("the time server gives {who} {}", ms(at)))),
            (arrives, Next::Applied(Commit { who, at })),
            (arrives + back, Next::Said(format!("{who} is told: done, at {}", ms(at)))),
        ]);
    }
    to_come.extend(numbers.looks().map(|at| (at, Next::Look)));
    to_come.push((numbers.gets(), Next::Get));
    to_come.sort_by_key(|(at, _)| *at);
    let mut run = Telling::default();
    for (now, next) in to_come {
        match next {
            Next::Said(words) => run.tell(now, words),
            Next::Applied(commit) => run.apply(now, commit),
            Next::Look => run.look(now, numbers.moment()),
            Next::Get => run.get(now),
        }
    }
    run
}
