//! Stands between this program and the disk: `fsync` and `fdatasync` of the C library are replaced
//! by functions of this binary, which the statically linked RocksDB then calls (as an `LD_PRELOAD`
//! would, but without a second process and one directory at a time). They note how much of each file
//! is safe instead of waiting for the disk, and fail where a test wants it.
//!
//! A SIGKILL proves nothing about durability, the kernel keeps what was written. So a power failure
//! is made here: [`cut`] builds the directory that a reboot would find.

use std::{
    collections::BTreeMap,
    ffi::{c_int, c_long},
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

static DISK: Mutex<Disk> = Mutex::new(Disk { synced: BTreeMap::new(), failing: BTreeMap::new() });

struct Disk {
    /// Length of each file when it was last synced.
    synced: BTreeMap<PathBuf, u64>,
    /// Directories whose syncs fail for ever, after this many more that work.
    failing: BTreeMap<PathBuf, u32>,
}

fn disk() -> MutexGuard<'static, Disk> {
    DISK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on syncs of files under `dir` fail, after `working` more that work.
pub(crate) fn fail_syncs(dir: &Path, working: u32) {
    disk().failing.insert(dir.canonicalize().unwrap(), working);
}

/// The length of a file that is safe.
pub(crate) fn synced_bytes(file: &Path) -> u64 {
    disk().synced.get(&file.canonicalize().unwrap()).copied().unwrap_or(0)
}

/// The power fails at `from`, and `to` is what is found there afterwards: table and manifest files
/// as far as they were synced, log files cut anywhere from what was synced to what was written
/// (`u64::MAX` from `rng` leaves all of one).
/// Nothing that happens at `from` later becomes durable.
pub(crate) fn cut(from: &Path, to: &Path, rng: &mut dyn FnMut() -> u64) {
    let from = from.canonicalize().unwrap();
    let synced = {
        let mut disk = disk();
        disk.failing.insert(from.clone(), 0);
        disk.synced.clone()
    };
    fs::create_dir(to).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(&from).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    // The order must not depend on the file system: each file draws a random number.
    names.sort();
    for name in names {
        let path = from.join(&name);
        let text = name.to_str().unwrap();
        let safe_bytes = synced.get(&path).copied();
        let mut bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            // Replaced by what is in the synced manifest, and removed by RocksDB just now.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => panic!("{}: {error}", path.display()),
        };
        if text == "LOCK" {
            continue;
        } else if text.ends_with(".log") {
            let safe_bytes = safe_bytes.unwrap_or(0);
            let unsafe_bytes = bytes.len() as u64 - safe_bytes;
            let left_bytes = match rng() {
                u64::MAX => unsafe_bytes,
                random => random % (unsafe_bytes + 1),
            };
            bytes.truncate((safe_bytes + left_bytes) as usize);
        } else if text.ends_with(".sst") || text.starts_with("MANIFEST-") {
            let Some(safe_bytes) = safe_bytes else { continue };
            bytes.truncate(safe_bytes as usize);
        }
        fs::write(to.join(&name), &bytes).unwrap();
        // What a reboot finds is on the disk.
        let found = to.canonicalize().unwrap().join(&name);
        disk().synced.insert(found, bytes.len() as u64);
    }
}

/// What a sync does: true if it worked.
fn sync(fd: c_int) -> bool {
    // Not a file with a name: nobody's durability.
    let Ok(path) = fs::read_link(format!("/proc/self/fd/{fd}")) else { return true };
    let mut disk = disk();
    if let Some((_, working)) = disk.failing.iter_mut().find(|(dir, _)| path.starts_with(dir)) {
        match working.checked_sub(1) {
            Some(rest) => *working = rest,
            None => return false,
        }
    }
    if let Ok(file) = fs::metadata(&path)
        && file.is_file()
    {
        disk.synced.insert(path, file.len());
    }
    true
}

/// The C library's calling convention: 0, or -1 and `errno`.
fn answer(is_done: bool) -> c_int {
    if is_done {
        return 0;
    }
    // SAFETY: the address of this thread's `errno` is always valid.
    unsafe { *libc::__errno_location() = libc::EIO };
    -1
}

// SAFETY: the same name, signature and meaning as the C library's function.
#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    answer(sync(fd))
}

// SAFETY: the same name, signature and meaning as the C library's function.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    answer(sync(fd))
}

// Only starts writing back, which makes nothing durable.
// SAFETY: the same name, signature and meaning as the C library's function.
#[unsafe(no_mangle)]
extern "C" fn sync_file_range(_: c_int, _: c_long, _: c_long, _: u32) -> c_int {
    0
}

// RocksDB waits for a second after every flush that failed, as if the disk might come back. It was
// made to fail here and does not.
// SAFETY: the same name, signature and meaning as the C library's function.
#[unsafe(no_mangle)]
extern "C" fn usleep(micros: u32) -> c_int {
    #[allow(clippy::disallowed_methods, reason = "this stands in for the C library's own sleep")]
    std::thread::sleep(Duration::from_micros(micros.min(1000).into()));
    0
}

#[test]
fn what_was_written_is_safe_once_synced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let file = fs::File::create(&path).unwrap();
    fs::write(&path, b"12345").unwrap();
    assert_eq!(synced_bytes(&path), 0);
    file.sync_data().unwrap();
    assert_eq!(synced_bytes(&path), 5);
    fail_syncs(dir.path(), 1);
    file.sync_all().unwrap();
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EIO));
}
