//! How the system's allocator treats a node's heap.
//!
//! By default glibc gives memory back as soon as 128 KiB lie free at the top of a heap, and takes it again
//! a moment later: every page anew cleared by the kernel. A node's memory goes up and down by more
//! than that with every batch of requests; giving it back cost a tenth of all CPU time under puts
//! (`benches/README.md`). Buffers above 128 KiB it takes from the kernel one by one, which is the same again:
//! log entries, frames and pieces of memtables are of that size under a bulk load.

/// Smaller buffers come from the heap.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: libc::c_int = 4 << 20;
/// Free bytes at the top of a heap that are kept.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES: libc::c_int = 64 << 20;
/// Bytes that a heap grows by at least.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const STEP_BYTES: libc::c_int = 1 << 20;

/// Lets the allocator keep what was freed, up to a bound. Call it before threads are started.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets parameters; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
        libc::mallopt(libc::M_TOP_PAD, STEP_BYTES);
    }
}
