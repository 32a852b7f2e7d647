//! Where production and simulation differ: storage engines, the wall clock, randomness and the
//! thread that writes to disk. Everything else is the same code; the async runtime and the network
//! are chosen by the build (`--cfg madsim`), not here.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;

use crate::storage::{self, Engine};

/// A node's wall clock. It may jump, run fast or slow, or be wrong by hours.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Microseconds since 2020-01-01 UTC.
    fn wall_us(&self) -> u64;
}

/// Opens a node's storage.
pub trait Engines: Send + Sync {
    /// The engine of all Raft logs: [`storage::Durability::WriteAheadLog`].
    fn open_log(&self) -> Result<Arc<dyn Engine>, storage::Error>;

    /// The engine of applied state: [`storage::Durability::Flush`].
    fn open_data(&self) -> Result<Arc<dyn Engine>, storage::Error>;
}

/// What [`crate::node::Node::start`] gets from outside.
#[derive(Clone)]
pub struct Seams {
    /// The node's wall clock.
    pub clock: Arc<dyn Clock>,
    /// The node's disks.
    pub engines: Arc<dyn Engines>,
    /// 64 random bits.
    pub random: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Runs the log writer: a thread of its own in production (a sync blocks), a task in the
    /// simulation (a sync takes simulated time).
    pub spawn_disk_writer: Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>,
}

impl fmt::Debug for Seams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seams").field("clock", &self.clock).finish_non_exhaustive()
    }
}

#[cfg(not(madsim))]
pub use production::SystemClock;

#[cfg(not(madsim))]
mod production {
    use std::{
        path::{Path, PathBuf},
        sync::Arc,
    };

    use super::{Clock, Engines, Seams};
    use crate::{
        storage::{self, Durability, Engine, rocks},
        time::Timestamp,
    };

    /// The machine's wall clock.
    #[derive(Debug)]
    pub struct SystemClock;

    impl Clock for SystemClock {
        #[allow(clippy::disallowed_methods, reason = "this is the seam")]
        fn wall_us(&self) -> u64 {
            let since_unix = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap_or_default();
            let us = u64::try_from(since_unix.as_micros()).unwrap_or(0);
            us.saturating_sub(Timestamp::EPOCH_UNIX_US)
        }
    }

    struct RocksEngines {
        directory: PathBuf,
        options: rocks::RocksOptions,
    }

    impl Engines for RocksEngines {
        fn open_log(&self) -> Result<Arc<dyn Engine>, storage::Error> {
            let path = self.directory.join("log");
            Ok(rocks::RocksEngine::open(&path, Durability::WriteAheadLog, self.options.clone())?)
        }

        fn open_data(&self) -> Result<Arc<dyn Engine>, storage::Error> {
            let path = self.directory.join("data");
            Ok(rocks::RocksEngine::open(&path, Durability::Flush, self.options.clone())?)
        }
    }

    impl Seams {
        /// RocksDB under a directory, the machine's clock and randomness.
        pub fn production(directory: &Path, options: rocks::RocksOptions) -> Seams {
            Seams {
                clock: Arc::new(SystemClock),
                engines: Arc::new(RocksEngines { directory: directory.to_owned(), options }),
                random: Arc::new(rand::random::<u64>),
                spawn_disk_writer: Arc::new(|writer| {
                    let run = move || futures::executor::block_on(writer);
                    #[allow(clippy::disallowed_methods, reason = "this is the seam")]
                    let spawned =
                        std::thread::Builder::new().name("log-writer".to_owned()).spawn(run);
                    assert!(spawned.is_ok(), "the system refuses a thread: {spawned:?}");
                }),
            }
        }
    }
}
