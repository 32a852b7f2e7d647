//! The clocks of simulated nodes (`server/src/time/local/simulated.rs`).

use std::{cell::RefCell, sync::Arc, time::Duration};

use madsim::time::TimeHandle;
use quintet_server::time::local::simulated::{
    IDEAL_PPM, Instant, LocalClock, set_source, sleep, timeout,
};

#[test]
fn a_deadline_is_never_early_and_at_most_a_nanosecond_late() {
    for rate_ppm in [800_000, 999_999, IDEAL_PPM, 1_200_001] {
        let clock = LocalClock::new(rate_ppm);
        clock.set_rate(Duration::from_nanos(1_234_567_891), rate_ppm);
        for nanos in [1, 7, 1_000_003, 60_000_000_011] {
            let deadline = clock.shows(Duration::from_secs(2)) + Duration::from_nanos(nanos);
            let when = clock.when(deadline);
            assert!(clock.shows(when) >= deadline, "{rate_ppm} {nanos}");
            let before = when - Duration::from_nanos(1);
            assert!(clock.shows(before) < deadline, "{rate_ppm} {nanos}");
        }
    }
}

#[test]
fn a_change_of_rate_makes_no_jump() {
    let clock = LocalClock::new(1_200_000);
    let second = Duration::from_secs(1);
    assert_eq!(clock.shows(10 * second), 12 * second);
    clock.set_rate(10 * second, 500_000);
    assert_eq!(clock.shows(10 * second), 12 * second);
    assert_eq!(clock.shows(14 * second), 14 * second);
    assert_eq!(clock.when(15 * second), 16 * second);
}

thread_local! {
    static CLOCK: RefCell<Option<Arc<LocalClock>>> = const { RefCell::new(None) };
}

#[test]
fn sleepers_keep_their_deadline_when_the_rate_changes() {
    set_source(|| CLOCK.with_borrow(Clone::clone));
    let clock = Arc::new(LocalClock::new(500_000));
    CLOCK.set(Some(clock.clone()));
    madsim::runtime::Runtime::new().block_on(async move {
        let ideal = || TimeHandle::current().elapsed();
        let began = Instant::now();
        let from = ideal();
        let sleeper = tokio::spawn(sleep(Duration::from_secs(4)));
        // Simulated time. After 2 s it has slept for 1 s; the other 3 s last 1 s at the new rate.
        tokio::time::sleep(Duration::from_secs(2)).await;
        clock.set_rate(ideal(), 3_000_000);
        sleeper.await.expect("slept");
        let took = ideal() - from;
        assert!((2_999..3_010).contains(&took.as_millis()), "{took:?}");
        assert!((3_999..4_030).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        assert!(timeout(Duration::from_secs(1), std::future::pending::<()>()).await.is_err());
        assert_eq!(clock.sleepers(), 0);
    });
}
