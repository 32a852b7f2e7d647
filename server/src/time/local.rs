//! The node's monotonic clock: all of the server's waiting and measuring of time goes through here.
//!
//! In production these are Tokio's own, under another name and at no cost. In the simulation each node
//! has a clock that runs at a rate of its own, which may change ([`LocalClock`]): a second on one node
//! is not a second on another, for its timers, for Raft's, and for its wall clock alike. So code that
//! asks Tokio for the time would be right on all nodes but never be tested: a test looks for it.
//!
//! [`LocalClock`]: simulated::LocalClock

#[cfg(not(madsim))]
pub use tokio::time::{Instant, Sleep, interval, sleep, sleep_until, timeout};

#[cfg(madsim)]
pub mod simulated;

#[cfg(madsim)]
pub use self::simulated::{Instant, Sleep, interval, sleep, sleep_until, timeout};

#[cfg(all(test, not(madsim)))]
mod tests {
    use std::path::{Path, PathBuf};

    /// Whether a source text takes the time from Tokio.
    fn asks_tokio(text: &str) -> bool {
        let dense: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let grouped = dense.split("usetokio::{").skip(1).any(|rest| {
            rest.split(';')
                .next()
                .is_some_and(|group| group.starts_with("time::") || group.contains(",time::"))
        });
        grouped || dense.contains("tokio::time")
    }

    fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn nobody_asks_tokio_for_the_time() {
        let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = Vec::new();
        sources(&all, &mut found);
        // The command line is no node, and the disk of the memory engine has no clock.
        let excepted = ["cli", "main.rs", "time/local.rs", "time/local", "storage/memory.rs"];
        found.retain(|path| !excepted.iter().any(|name| path.starts_with(all.join(name))));
        assert!(found.len() > 50, "{}", found.len());
        for path in found {
            let text = std::fs::read_to_string(&path).expect("a text");
            assert!(!asks_tokio(&text), "{}: use crate::time::local", path.display());
        }
    }

    #[test]
    fn the_search_finds_every_way_of_asking() {
        for text in [
            "use tokio::time::Instant;",
            "use tokio::{\n    sync::Notify,\n    time::{Instant, sleep},\n};",
            "use tokio::{time::sleep, sync::mpsc};",
            "let now = tokio::time::Instant::now();",
        ] {
            assert!(asks_tokio(text), "{text}");
        }
        assert!(!asks_tokio("use tokio::{sync::Notify};\nuse crate::{ids::NodeId, time::Hlc};"));
    }
}
