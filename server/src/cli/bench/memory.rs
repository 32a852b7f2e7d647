//! Memory of processes of this machine, from `/proc/PID/status`.

use std::fs;

/// Memory of a process in KiB, by its name in `/proc/PID/status`: `VmRSS` is now, `VmHWM` the most ever.
pub(super) fn kib(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_this_process_is_known() {
        let me = std::process::id();
        let now = kib(me, "VmRSS").expect("this process");
        assert!(now > 0 && kib(me, "VmHWM").expect("this process") >= now / 2);
        assert_eq!(kib(1 << 30, "VmRSS"), None);
    }
}
