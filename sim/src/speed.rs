//! How fast the simulation is: simulated time for CPU time of this process.
//!
//! CPU time and not wall time, so that the figure means the same with `--jobs 1`, with one job a core and
//! on a machine that does something else beside. Simulated time is what scenarios say they last; forming
//! the cluster, the heal and the judges cost CPU time and count as nothing.

use std::time::Duration;

/// CPU time of this process so far: all threads, in user and kernel mode. Zero where the system does not
/// tell.
///
/// Not `clock_gettime`: under `--cfg madsim` that tells simulated time.
pub fn cpu_time() -> Duration {
    // SAFETY: `rusage` is plain integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a `rusage` that lives until the call returns.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) } != 0 {
        return Duration::ZERO;
    }
    let time = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let micros = u64::try_from(time.tv_usec).unwrap_or(0);
        Duration::from_secs(seconds) + Duration::from_micros(micros)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Simulated hours for an hour of one core; `None` where nothing was measured.
pub fn ratio(simulated: Duration, cpu: Duration) -> Option<f64> {
    (!cpu.is_zero()).then(|| simulated.as_secs_f64() / cpu.as_secs_f64())
}

/// [`ratio`] in words, for a line of totals: of the time that was simulated and the CPU time that all of it
/// took.
pub fn told(simulated: Duration, cpu: Duration) -> String {
    match ratio(simulated, cpu) {
        Some(ratio) => format!("{ratio:.1} simulated hours an hour and core"),
        None => "speed unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_grows_with_work() {
        let before = cpu_time();
        let mut sum = 0_u64;
        while cpu_time() < before + Duration::from_millis(20) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(sum > 0);
    }

    #[test]
    fn two_cores_of_an_hour_are_two_hours() {
        let hours = |hours: u64| Duration::from_secs(3_600 * hours);
        assert_eq!(told(hours(40), hours(2)), "20.0 simulated hours an hour and core");
        assert_eq!(told(hours(1), Duration::ZERO), "speed unknown");
    }
}
