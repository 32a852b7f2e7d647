//! Processes by their ids.

use std::{fs, path::Path};

/// Sends a signal to a process, never to a group.
pub(crate) fn signal(pid: u32, signal: libc::c_int) {
    let pid = libc::pid_t::try_from(pid).expect("a process id");
    assert!(pid > 1, "{pid} is no process of ours");
    // SAFETY: `kill` takes two integers and touches no memory of ours.
    unsafe { libc::kill(pid, signal) };
}

/// Whether the process runs and has `argument` on its command line. A process that has ended, but
/// was not collected yet, has none.
pub(crate) fn runs_with(pid: u32, argument: &Path) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let argument = argument.as_os_str().as_encoded_bytes();
    line.split(|byte| *byte == 0).any(|part| part == argument)
}

/// Resident memory of a process in bytes.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let kib = line.trim().trim_end_matches("kB").trim();
    kib.parse::<u64>().expect("a number of KiB") * 1024
}

/// A TCP connection over IPv4 that a process has open.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
    /// As in `/proc/net/tcp`: `01` is established.
    #[allow(dead_code, reason = "shown where a test fails")]
    state: String,
}

/// The TCP connections of a process; listeners are none.
pub(crate) fn connections(pid: u32) -> Vec<Connection> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs");
    let links = open.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let inodes: Vec<_> = links
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("the process runs");
    let port = |address: &str| u16::from_str_radix(address.split_once(':')?.1, 16).ok();
    let connections = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (local, remote, state, inode) = (fields[1], fields[2], fields[3], fields[9]);
        let (local_port, remote_port) = (port(local)?, port(remote)?);
        let state = state.to_owned();
        (remote_port != 0 && inodes.iter().any(|open| open == inode)).then_some(Connection {
            local_port,
            remote_port,
            state,
        })
    });
    connections.collect()
}

/// The last lines of a log file, for the output of a failed test.
pub(crate) fn tail(path: &Path) -> String {
    let log = fs::read(path).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// Whether all threads of a process are stopped.
pub(crate) fn stands_still(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs").flatten();
    tasks.into_iter().all(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // The state comes behind the name, which may hold anything.
        stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
    })
}

/// One thread of another process that stands still, until this is dropped; its other threads go on.
pub(crate) struct Stopped {
    /// The thread that holds it: a tracer is a thread, and what it traces goes on when it ends.
    tracer: Option<std::thread::JoinHandle<()>>,
    release: Option<std::sync::mpsc::Sender<()>>,
}

impl Stopped {
    /// Stops the thread of a name. `None`: the system does not allow it.
    pub(crate) fn thread(pid: u32, name: &str) -> Option<Stopped> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs").flatten();
        let is_it = |task: &fs::DirEntry| {
            let comm = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            comm.trim_end() == name
        };
        let thread = tasks.into_iter().find(is_it).unwrap_or_else(|| panic!("no thread {name}"));
        let thread = thread.file_name().to_string_lossy().parse::<libc::pid_t>().expect("a number");
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        #[allow(
            clippy::disallowed_methods,
            reason = "a tracer is a thread; nothing is simulated here"
        )]
        let tracer = std::thread::spawn(move || {
            let none = std::ptr::null_mut::<libc::c_void>();
            // SAFETY: these requests take a thread's id and no memory of ours.
            let stopped = unsafe {
                libc::ptrace(libc::PTRACE_SEIZE, thread, none, none) == 0
                    && libc::ptrace(libc::PTRACE_INTERRUPT, thread, none, none) == 0
            };
            tell.send(stopped).expect("somebody listens");
            // Ends when it is dropped; an error is just that.
            released.recv().ok();
        });
        let stopped = told.recv().expect("the tracer lives");
        stopped.then_some(Stopped { tracer: Some(tracer), release: Some(release) })
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        drop(self.release.take());
        if let Some(tracer) = self.tracer.take() {
            tracer.join().expect("the tracer has nothing to fail with");
        }
    }
}
