//! Where production and simulation differ: storage engines, the wall clock, randomness and the
//! thread that writes to disk. Everything else is the same code; the async runtime and the network
//! are chosen by the build (`--cfg madsim`), not here.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};
/// How a stream ended that did not end well.
pub use tonic::Status;

use crate::{
    storage::{self, Engine},
    time::Clock,
};

/// Gives 64 random bits at a time.
pub type Random = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Opens a node's storage.
pub trait Engines: Send + Sync {
    /// The engine of all Raft logs: [`storage::Durability::WriteAheadLog`].
    fn open_log(&self) -> Result<Arc<dyn Engine>, storage::Error>;

    /// The engine of applied state: [`storage::Durability::Flush`].
    fn open_data(&self) -> Result<Arc<dyn Engine>, storage::Error>;
}

/// Encoded frames of one direction of a stream, in order.
pub type WireFrames = BoxStream<'static, Result<Bytes, Status>>;

/// What lies between a node and whoever opens a stream to it: delays, losses and cuts of the simulated
/// network. In production there is none.
pub trait Wire: Send + Sync {
    /// Takes both directions of a stream that was opened from an address: the frames that come from
    /// there, and those that the node sends. Returns the first as the node is to see them, and the
    /// second as the other side is to.
    fn attach(
        &self,
        from: SocketAddr,
        inbound: WireFrames,
        outbound: WireFrames,
    ) -> (WireFrames, WireFrames);
}

/// What [`crate::node::Node::start`] gets from outside.
#[derive(Clone)]
pub struct Seams {
    /// The node's wall clock.
    pub clock: Arc<dyn Clock>,
    /// The node's disks.
    pub engines: Arc<dyn Engines>,
    /// 64 random bits.
    pub random: Random,
    /// Runs the log writer: a thread of its own in production (a sync blocks), a task in the
    /// simulation (a sync takes simulated time).
    pub spawn_disk_writer: Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>,
    /// A pause of the log writer: blocks its thread, in the simulation its task.
    pub disk_pause: Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>,

    /// Shapes the streams that others open to the node; none in production.
    pub wire: Option<Arc<dyn Wire>>,
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
    use std::{path::PathBuf, sync::Arc};

    use super::{Engines, Seams};
    use crate::{
        config::Config,
        ids::NodeId,
        storage::{
            self, Durability, Engine, directory,
            rocks::{RocksEngine, RocksOptions},
        },
        time::{Clock, Timestamp},
    };

    /// The format of data directories that this build writes and reads.
    const FORMAT: &str = "quintet 8\n";

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
        node: NodeId,
        directory: PathBuf,
        block_cache_bytes: usize,
        free_bytes_min: u64,
    }

    impl RocksEngines {
        /// Refuses a directory that another version wrote, before anything in it is touched.
        fn check_format(&self) -> Result<(), storage::Error> {
            let directory = self.directory.display();
            let unusable = |error| storage::Error::Open(format!("can't use {directory}: {error}"));
            directory::create(&self.directory).map_err(unusable)?;
            if let Some(why) = directory::open_to_others(&self.directory) {
                tracing::warn!("{why}");
            }
            let path = self.directory.join("FORMAT");
            match std::fs::read_to_string(&path) {
                Ok(format) if format == FORMAT => Ok(()),
                Ok(format) => Err(storage::Error::Open(format!(
                    "{directory} has the format {:?}, this build knows {:?}: start the build that \
                     wrote it, newer or older, or set another node.data_dir",
                    format.trim(),
                    FORMAT.trim()
                ))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    // Renamed into place: a crash on the way must not leave half a format behind.
                    let new = self.directory.join("FORMAT.new");
                    let file = std::fs::File::create(&new).map_err(unusable)?;
                    std::io::Write::write_all(&mut &file, FORMAT.as_bytes()).map_err(unusable)?;
                    file.sync_all().map_err(unusable)?;
                    std::fs::rename(&new, &path).map_err(unusable)
                }
                Err(error) => Err(unusable(error)),
            }
        }
    }

    impl Engines for RocksEngines {
        fn open_log(&self) -> Result<Arc<dyn Engine>, storage::Error> {
            self.check_format()?;
            let path = self.directory.join("log");
            let free_bytes_min = self.free_bytes_min;
            let options = RocksOptions { free_bytes_min, ..RocksOptions::log() };
            let options = options.staggered(self.node.0);
            Ok(RocksEngine::open(&path, Durability::WriteAheadLog, options)?)
        }

        fn open_data(&self) -> Result<Arc<dyn Engine>, storage::Error> {
            let path = self.directory.join("data");
            let (block_cache_bytes, free_bytes_min) = (self.block_cache_bytes, self.free_bytes_min);
            let options =
                RocksOptions { block_cache_bytes, free_bytes_min, ..RocksOptions::data() };
            // Not in step with the node's own log either.
            let options = options.staggered(self.node.0 + 2);
            Ok(RocksEngine::open(&path, Durability::Flush, options)?)
        }
    }

    impl Seams {
        /// RocksDB under the node's directory, the machine's clock and randomness.
        pub fn production(config: &Config) -> Seams {
            let engines = RocksEngines {
                node: config.node.id,
                directory: config.node.data_dir.clone(),
                block_cache_bytes: (config.storage.block_cache_mb as usize) << 20,
                free_bytes_min: u64::from(config.storage.free_mb_min) << 20,
            };
            Seams {
                clock: Arc::new(SystemClock),
                engines: Arc::new(engines),
                random: Arc::new(rand::random::<u64>),
                spawn_disk_writer: Arc::new(|writer| {
                    let run = move || futures::executor::block_on(writer);
                    #[allow(clippy::disallowed_methods, reason = "this is the seam")]
                    let spawned =
                        std::thread::Builder::new().name("log-writer".to_owned()).spawn(run);
                    assert!(spawned.is_ok(), "the system refuses a thread: {spawned:?}");
                }),
                disk_pause: Arc::new(|pause| {
                    #[allow(clippy::disallowed_methods, reason = "this is the seam")]
                    Box::pin(async move { std::thread::sleep(pause) })
                }),
                wire: None,
            }
        }
    }
}
