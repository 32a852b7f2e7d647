//! The story of docs/time.md is printed as `story.txt` has it, and what it shows does not hang on its numbers.

use super::*;

fn both(seed: u64) -> (Numbers, Telling, Telling) {
    let numbers = Numbers::of(seed);
    let (naive, oracle) = (naive::run(&numbers), oracle::run(&numbers));
    (numbers, naive, oracle)
}

#[test]
fn the_story_is_printed_as_it_is_told() {
    let (numbers, naive, oracle) = both(0);
    let lines = side_by_side(&numbers, &naive, &oracle);
    let printed: String = lines.iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(printed, include_str!("story.txt"), "\n{printed}");
}

#[test]
fn whatever_the_delays_one_server_contradicts_itself_and_the_oracle_does_not() {
    for seed in 0..500 {
        let (numbers, naive, oracle) = both(seed);
        assert!(naive.contradiction().is_some() && naive.change().is_some(), "{seed}: {naive:?}");
        assert_eq!(naive.unseen(), Some("C1"), "{seed}: {naive:?}");
        assert_eq!(oracle.commits.len(), 2, "{seed}: {oracle:?}");
        assert_eq!(oracle.contradiction(), None, "{seed}: {oracle:?}");
        assert_eq!((oracle.change(), oracle.unseen()), (None, None), "{seed}: {oracle:?}");
        // Two wild clocks of five, one ahead and one behind, carry time nowhere.
        let (c1, a1) = numbers.arrive();
        let came = [a1, c1];
        for (commit, came) in oracle.commits.iter().zip(came) {
            assert!((came - 5_000..came + 5_000).contains(&commit.at), "{seed}: {commit:?} {came}");
        }
        let widest = side_by_side(&numbers, &naive, &oracle);
        let widest = widest.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(widest <= 120, "{seed}: {widest} columns");
    }
}

#[test]
fn programs_are_told_the_same() {
    let (numbers, naive, oracle) = both(0);
    let (naive, oracle) = (told(&numbers, &naive), told(&numbers, &oracle));
    assert_eq!((&naive["contradiction"], &naive["snapshot_changed"]), (&true.into(), &true.into()));
    assert_eq!(
        (&oracle["contradiction"], &oracle["snapshot_changed"]),
        (&false.into(), &false.into())
    );
    assert_eq!(naive["commits"][1], json!({ "who": "C1", "timestamp_ms": "500" }));
    assert_eq!(naive["snapshot_at_ms"], "505");
    assert_eq!((&naive["write_lost"], &oracle["write_lost"]), (&"C1".into(), &().into()));
}
