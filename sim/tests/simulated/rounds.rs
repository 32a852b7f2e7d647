//! The timestamp oracle's machines under random schedules: they break nothing, and they come to something.

use quintet_sim::rounds::{
    schedule::{Report, run},
    world::Counted,
};

#[test]
fn schedules_break_nothing_and_come_to_something() {
    let mut sum = Report::default();
    for seed in 1..=300 {
        let report = run(seed, 2_000);
        assert_eq!(report.broken, None, "seed {seed}");
        sum.add(&report);
    }
    // In one round trip and in two, and over changes of the servers.
    let Counted { blocks, at_once } = sum.issued;
    assert!(at_once > 1_000 && blocks - at_once > 1_000, "{sum:?}");
    assert!(sum.changes > 100, "{sum:?}");
}

#[test]
fn a_seed_is_one_schedule() {
    let (one, other) = (run(7, 500), run(7, 500));
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
}
