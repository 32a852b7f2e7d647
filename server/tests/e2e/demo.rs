//! `quintet demo`: what it shows, without a cluster.

use crate::support::command::quintet;

#[tokio::test]
async fn the_anomaly_is_shown_side_by_side_and_for_programs() {
    let dir = tempfile::tempdir().expect("a directory");
    let shown = quintet(dir.path(), &["demo", "anomaly"]).await.done();
    for words in
        ["CONTRADICTION", "CHANGED", "the snapshot at 505 is what it was", "at 500, BEHIND 510"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(shown.lines().all(|line| line.chars().count() <= 120), "{shown}");
    assert_eq!(
        quintet(dir.path(), &["demo", "anomaly"]).await.done(),
        shown,
        "it is the same each time"
    );
    for seed in ["1", "2", "3"] {
        let asked = ["demo", "anomaly", "--seed", seed, "--output", "json"];
        let json = quintet(dir.path(), &asked).await.json();
        assert_eq!(
            (&json["naive"]["contradiction"], &json["oracle"]["contradiction"]),
            (&true.into(), &false.into())
        );
        assert_eq!(json["oracle"]["commits"].as_array().map(Vec::len), Some(2), "{json}");
    }
    assert!(quintet(dir.path(), &["demo"]).await.err.contains("anomaly"));
}
