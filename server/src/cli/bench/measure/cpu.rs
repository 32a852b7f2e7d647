//! CPU time of processes of this machine, from `/proc/PID/stat`.

use std::{fs, time::Duration};

use tokio::time::Instant;

/// What these processes have used so far, all threads, in user and kernel mode. `None` where one
/// of them is gone, or none is named: then a difference would mean nothing.
pub(crate) fn cpu_time(pids: &[u32]) -> Option<Duration> {
    if pids.is_empty() {
        return None;
    }
    let tick = tick()?;
    let stats = pids.iter().map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok());
    let ticks: Option<u64> = stats.map(|stat| ticks(&stat?)).sum();
    Some(Duration::from_secs_f64(ticks? as f64 * tick.as_secs_f64()))
}

/// The time from a moment on, and what this program and the servers use of the CPU in it.
pub(crate) struct Meter<'a> {
    began: Instant,
    server_pids: &'a [u32],
    client: Option<Duration>,
    servers: Option<Duration>,
}

impl Meter<'_> {
    /// Begins now.
    pub(crate) fn start(server_pids: &[u32]) -> Meter<'_> {
        Meter {
            began: Instant::now(),
            server_pids,
            client: cpu_time(&[std::process::id()]),
            servers: cpu_time(server_pids),
        }
    }

    /// How long ago it began.
    pub(crate) fn took(&self) -> Duration {
        self.began.elapsed()
    }

    /// CPU time of this program and of the servers since the start, where it can be told.
    pub(crate) fn read(&self) -> (Option<Duration>, Option<Duration>) {
        let since = |before: Option<Duration>, now: Option<Duration>| now?.checked_sub(before?);
        let client = since(self.client, cpu_time(&[std::process::id()]));
        (client, since(self.servers, cpu_time(self.server_pids)))
    }
}

/// Fields 14 and 15 (proc(5)). Field 2, the name, may hold blanks and brackets: count behind it.
fn ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    user.checked_add(kernel)
}

fn tick() -> Option<Duration> {
    // SAFETY: `sysconf` takes and returns an integer.
    let ticks_a_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let ticks_a_second = u32::try_from(ticks_a_second).ok().filter(|ticks| *ticks > 0)?;
    Some(Duration::from_secs(1) / ticks_a_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_behind_a_name_with_brackets() {
        let stat = "42 (a) b) (c) S 1 42 42 0 -1 4194304 100 0 0 0 700 77 0 0 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat), Some(777));
        assert_eq!(ticks("42 (a) S 1"), None);
    }

    #[test]
    fn own_time_grows_and_a_missing_process_is_no_zero() {
        let me = [std::process::id()];
        let before = cpu_time(&me).expect("this process");
        let mut sum = 0_u64;
        while cpu_time(&me).expect("this process") == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        // Above the largest process id that Linux gives.
        assert_eq!(cpu_time(&[std::process::id(), 1 << 30]), None);
        assert_eq!(cpu_time(&[]), None);
    }
}
