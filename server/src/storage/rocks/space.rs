//! How much room the disk has, asked before anything is written: an engine that finds out from a
//! failing write has already half written.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::super::engine::{Error, FreeSpace};

/// The disk is asked again after this many bytes written by this engine.
const CHECK_EVERY_BYTES: u64 = 1 << 20;

/// The free space of one directory's disk.
pub(super) struct Space {
    dir: PathBuf,
    /// What is refused below; 0: nothing.
    free_bytes_min: u64,
    /// Free bytes when last asked.
    free_bytes: AtomicU64,
    /// Bytes written since then.
    written_bytes: AtomicU64,
}

impl Space {
    pub(super) fn new(dir: PathBuf, free_bytes_min: u64) -> Self {
        let space = Space { dir, free_bytes_min, free_bytes: 0.into(), written_bytes: 0.into() };
        space.ask();
        space
    }

    /// Asks the disk. A disk that does not answer is taken for one with room: the write will tell.
    pub(super) fn ask(&self) -> u64 {
        let free = fs4::available_space(&self.dir).unwrap_or(u64::MAX);
        self.free_bytes.store(free, Relaxed);
        self.written_bytes.store(0, Relaxed);
        free
    }

    /// What is free, and what of it is kept free.
    pub(super) fn free(&self) -> FreeSpace {
        FreeSpace { bytes: self.ask(), kept_bytes: self.free_bytes_min }
    }

    /// Whether work may be taken on that will need to be written.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.at_least(self.free_bytes_min)
    }

    /// Whether this many bytes may be written now: down to a quarter of the minimum, so that what
    /// was taken on before [`Space::check`] refused still has room.
    pub(super) fn take(&self, bytes: u64) -> Result<(), Error> {
        self.at_least(self.free_bytes_min / 4)?;
        self.written_bytes.fetch_add(bytes, Relaxed);
        Ok(())
    }

    fn at_least(&self, min: u64) -> Result<(), Error> {
        if min == 0 {
            return Ok(());
        }
        let mut free = self.free_bytes.load(Relaxed);
        // Where it was too little it is asked every time, so that freed space is seen at once.
        if free < min || self.written_bytes.load(Relaxed) >= CHECK_EVERY_BYTES {
            free = self.ask();
        }
        if free < min {
            let dir = self.dir.display();
            return Err(Error::Full(format!("{free} bytes free at {dir}, {min} needed")));
        }
        Ok(())
    }
}
