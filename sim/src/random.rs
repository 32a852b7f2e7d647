//! The randomness of a run: madsim's one generator, traced.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crate::trace;

/// Set: one draw of the run takes real entropy, so that two runs of a seed must differ. It shows that
/// the determinism check can fail.
pub static REAL_ENTROPY: AtomicBool = AtomicBool::new(false);

fn real_entropy() -> u64 {
    let mut bytes = [0; 8];
    let read = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    assert!(read.is_ok(), "no entropy: {read:?}");
    u64::from_ne_bytes(bytes)
}

/// 64 bits of the run's randomness.
pub fn random() -> u64 {
    let mut drawn: u64 = madsim::rand::random();
    if REAL_ENTROPY.swap(false, Ordering::AcqRel) {
        drawn ^= real_entropy();
    }
    trace::event("random", format_args!("{drawn:016x}"));
    drawn
}

/// A number in `[least, most]`.
pub fn between(least: u64, most: u64) -> u64 {
    least + random() % (most.saturating_sub(least) + 1)
}

/// A duration between two numbers of seconds.
pub fn seconds_between(least: f64, most: f64) -> Duration {
    let share = random() as f64 / u64::MAX as f64;
    Duration::from_secs_f64(least + (most - least) * share)
}
