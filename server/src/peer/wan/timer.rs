//! A timer that is exact to some ten microseconds.
//!
//! Half of 1 ms is below what the runtime's timers can tell: they count whole milliseconds and round up. This one is a
//! file of the system (`timerfd`), which the runtime waits for as it does for sockets; so there is no thread of its
//! own, and no other clock that could differ from the node's.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsRawFd, FromRawFd},
    time::Duration,
};

use tokio::io::{Interest, unix::AsyncFd};

use crate::time::local::Instant;

/// One sleeper's timer.
pub(super) struct Timer(AsyncFd<File>);

impl Timer {
    /// A new one, within a runtime.
    ///
    /// # Errors
    /// The system gives no more files.
    pub(super) fn new() -> io::Result<Timer> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: the call takes two integers and touches no memory of ours.
        let file = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the system has just made it, for nobody else.
        let file = unsafe { File::from_raw_fd(file) };
        // SAFETY: the file is owned, and neither closed nor replaced in there.
        let file = unsafe { AsyncFd::register_with_interest(file, Interest::READABLE)? };
        Ok(Timer(file))
    }

    /// Returns at this moment, or at once if it has passed.
    pub(super) async fn sleep_until(&self, moment: Instant) -> io::Result<()> {
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.set(left)?;
            let mut ready = self.0.readable().await?;
            // Read, it is not ready until it is set again. It may have been set by a sleep that was given up: the
            // clock says whether it is time.
            ready.get_inner().read_exact(&mut [0; 8]).ok();
            ready.clear_ready();
        }
    }

    /// Wakes once, after a time that is not zero.
    fn set(&self, after: Duration) -> io::Result<()> {
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let once = libc::itimerspec {
            it_interval: never,
            it_value: libc::timespec {
                tv_sec: libc::time_t::try_from(after.as_secs()).unwrap_or(libc::time_t::MAX),
                tv_nsec: after.subsec_nanos().into(),
            },
        };
        let file = self.0.get_ref().as_raw_fd();
        // SAFETY: it reads a structure that lives throughout the call, and writes none.
        let set = unsafe { libc::timerfd_settime(file, 0, &raw const once, std::ptr::null_mut()) };
        if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_never_early_and_can_be_given_up() {
        let timer = Timer::new().expect("a timer");
        for us in [0, 1, 200, 500, 1_500] {
            let moment = Instant::now() + Duration::from_micros(us);
            timer.sleep_until(moment).await.expect("a timer");
            assert!(Instant::now() >= moment);
        }
        let short = Instant::now() + Duration::from_micros(300);
        let given_up = async {
            tokio::select! {
                biased;
                slept = timer.sleep_until(short) => slept.expect("a timer"),
                () = std::future::ready(()) => {}
            }
        };
        given_up.await;
        // The timer of the first sleep goes off during the second.
        let long = Instant::now() + Duration::from_millis(3);
        timer.sleep_until(long).await.expect("a timer");
        assert!(Instant::now() >= long);
    }
}
