//! End to end: the built `quintet` program, real processes, RocksDB, real sockets.
//!
//! ```text
//! forming.rs     five nodes become a cluster; every node serves; other ports after a restart
//! pauses.rs      nodes that stand still and go on; who is alone meanwhile; what is left of old links
//! kills.rs       SIGKILL under load loses nothing acknowledged; SIGTERM moves leaders first
//! reads.rs       reads beside the leaders: the newest state from followers, states a little old
//! ranges.rs      many ranges: leaders move off nodes under load, a hundred form at once
//! clocks.rs      wall clocks that jump by hours
//! expiry.rs      keys that expire, from every side; what is collected behind them
//! retention.rs   for how long versions are kept, by prefix; moments that are held for longer
//! outages.rs     nodes that were away longer than the log is kept; how much memory that takes
//! debugging.rs   what `quintet debug range` shows, also of a cluster with a node gone
//! demo.rs        what `quintet demo` shows, without a cluster
//! dev.rs         directories of dev clusters that are copied, moved, renamed; a start cut short
//! time_servers.rs  the set of time servers shrinks to what is left of a lost room, and grows back
//! past.rs        reads of the past on every node, and the versions of a key
//! wan.rs         rooms and cities that are made to be apart
//! directory.rs   data directories that a node must not use
//! disks.rs       disks that are nearly full, or do not answer
//! benches.rs     quintet bench: bulk loads, scans, idle ranges, far more load than is borne
//! figures.rs     /metrics, the dashboard of it, lines that name requests
//! python.rs      a Python program that knows an address and nothing else
//! instruments.rs status, /readyz, metrics and the log tell what is known now
//! starting.rs    seeds at which nobody answers, variables of orchestrators, who may read the data
//! hostile.rs     garbage on every port, clients that do not read; silence.rs: ten thousand connections
//! unread.rs      answers that nobody reads, and batches of large values: memory stays bounded
//! limits.rs      every wrong input: its code, and what it says to do
//! repetitions.rs the same request twice: what the second copy is told, and that it does not act
//! deletions.rs   keys of a prefix or a range go, once, and their space comes back
//! scans.rs       scans and batches over many ranges, by unary calls
//! scan_pages.rs  scans in pages against a model, in every way, around the borders of ranges
//! loads.rs       a bulk load while leaders die: every record is there
//! support/       processes, clusters, waiting
//! ```
//!
//! A group of checks shares one cluster, because forming one costs seconds. Every process is ended
//! by its own id when its guard is dropped, also where a test fails. Nothing waits for a fixed
//! time, unless the time is the fault: what is waited for is a condition, up to a deadline.

#![cfg(not(madsim))]

mod benches;
mod clocks;
mod debugging;
mod deletions;
mod demo;
mod dev;
mod directory;
mod disks;
mod expiry;
mod figures;
mod forming;
mod hostile;
mod instruments;
mod kills;
mod limits;
mod loads;
mod outages;
mod past;
mod pauses;
mod python;
mod ranges;
mod reads;
mod repetitions;
mod replaced;
mod retention;
mod scan_pages;
mod scans;
mod silence;
mod starting;
mod support;
mod time_servers;
mod unread;
mod wan;
mod watch;
