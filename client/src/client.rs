//! The public handle: how a client is made, which cluster, keyspace and timeout it has, and what is made from
//! it that outlives a call: scans, deletions, watches, writers.
//!
//! The calls themselves are in a file per feature, each an `impl Client` above this one: `keys.rs` single keys,
//! `batch.rs` several at once, `past.rs` reads of the past, `admin.rs` the cluster as a whole. A client holds a
//! [`Caller`] and nothing else: scans, deletions and writers hold callers too, and know no client. For the same reason
//! the last step of [`Builder`], which returns a client, is here.

use std::{fmt, ops::RangeBounds, time::Duration};

use crate::{
    builder::Builder,
    caller::Caller,
    deletion::RangeDeletion,
    error::Error,
    scan::{self, Scan, ScanOptions, ScanPage},
    types::{ClusterInfo, IntoBytes, Version},
    watch::Watch,
    writer::BatchWriterBuilder,
};

/// A client of one cluster. Cheap to clone: clones share their connections.
///
/// All operations are linearizable. Each has a deadline, retries included, and may be dropped at any
/// moment; a write that is dropped may still happen.
#[derive(Clone)]
pub struct Client {
    pub(crate) caller: Caller,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("cluster", &self.cluster())
            .field("keyspace", &self.caller.keyspace)
            .field("timeout", &self.caller.timeout)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Connects to the first node that answers; tries until the timeout.
    ///
    /// Succeeds also where the nodes say that no cluster has been formed yet, so that
    /// [`Client::init_cluster`] can be called.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no node answered in time, [`Error::InvalidArgument`] if no node was
    /// given or too many.
    pub async fn connect(self) -> Result<Client, Error> {
        Ok(Client { caller: self.attach().await? })
    }
}

impl Client {
    /// Connects to a cluster through one or several of its nodes, each as `host:port`.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), quintet_client::Error> {
    /// let client = quintet_client::Client::connect(["127.0.0.1:7001"]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub async fn connect(
        nodes: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, Error> {
        Self::builder().nodes(nodes).connect().await
    }

    /// Settings for a client: nodes, timeout, keyspace.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The same connections with another deadline for each call.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// use std::time::Duration;
    /// let hasty = client.with_timeout(Duration::from_millis(100));
    /// hasty.get("key").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { caller: self.caller.with_timeout(timeout) }
    }

    /// The same connections with another keyspace.
    #[must_use]
    pub fn with_keyspace(&self, keyspace: impl Into<String>) -> Self {
        Self { caller: self.caller.with_keyspace(keyspace.into()) }
    }

    /// The cluster, and the node that introduced itself last.
    #[must_use]
    pub fn cluster(&self) -> ClusterInfo {
        self.caller.cluster()
    }

    /// The client's estimate of the cluster's time, in the form of a [`Version`]: the greatest that
    /// a reply told, carried on by the monotonic clock. `None` if no reply has told one yet.
    #[must_use]
    pub fn cluster_time(&self) -> Option<Version> {
        self.caller.attachment.pool.clock.now().map(Version)
    }

    /// Keys in order, as a stream that fetches pages as it is read. All pages show the state at one
    /// moment, that of the first. The deadline applies to each page.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// use futures::TryStreamExt;
    /// use quintet_client::ScanOptions;
    ///
    /// let mut newest = client.scan(ScanOptions::prefix("log/")).reverse().limit(10);
    /// while let Some(record) = newest.try_next().await? {
    ///     println!("{:?}", record.key);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan(&self, options: ScanOptions) -> Scan {
        Scan::new(self.caller.clone(), options)
    }

    /// One page of a scan: as many records as its limit, or as the server gives at a time.
    ///
    /// With `at` the version of an earlier page is shown, so that all pages show one moment, as those of
    /// [`Client::scan`] do; without it each page shows the newest state.
    ///
    /// # Errors
    ///
    /// As [`Client::scan`]; and [`Error::InvalidArgument`] for a limit of 0.
    ///
    /// ```no_run
    /// # use quintet_client::{Client, Error, ScanOptions};
    /// # async fn run(client: Client) -> Result<(), Error> {
    /// let (mut left, mut at) = (Some(ScanOptions::prefix("log/").limit(100)), None);
    /// while let Some(options) = left {
    ///     let page = client.scan_page(&options, at).await?;
    ///     println!("{} more", page.records.len());
    ///     (left, at) = (page.next, Some(page.at));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn scan_page(
        &self,
        options: &ScanOptions,
        at: Option<Version>,
    ) -> Result<ScanPage, Error> {
        scan::page(&self.caller, options, at).await
    }

    /// Removes the keys of a range: `"a".."m"`, `"a"..="m"`, `"a"..` and so on. A range without any bound is
    /// refused: [`delete_everything`](Self::delete_everything).
    ///
    /// Removed is what is there at one moment, taken when the deletion begins, and not written since. It is
    /// done in pages, each at once and once; the whole is not done at once: [`RangeDeletion`].
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// let gone = client.delete_range("log/2025".."log/2026").run().await?;
    /// println!("{gone} keys removed");
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete_range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> RangeDeletion {
        RangeDeletion::new(self.caller.clone(), ScanOptions::range(range), false)
    }

    /// Removes the keys that begin with these bytes, one at least, as
    /// [`delete_range`](Self::delete_range) does.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// client.delete_prefix("session/").run().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete_prefix(&self, prefix: impl IntoBytes) -> RangeDeletion {
        RangeDeletion::new(self.caller.clone(), ScanOptions::prefix(prefix), false)
    }

    /// Removes all keys of the keyspace, as [`delete_range`](Self::delete_range) does.
    pub fn delete_everything(&self) -> RangeDeletion {
        RangeDeletion::new(self.caller.clone(), ScanOptions::all(), true)
    }

    /// What is written to a key from now on, or from a moment on ([`Watch::after`]): every version once, in order. What
    /// is acknowledged before the watch is read for the first time does not come.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// use quintet_client::Watched;
    ///
    /// let found = client.put("settings", "v1").await?;
    /// let mut watch = client.watch_key("settings").after(found);
    /// while let Some(item) = watch.next().await {
    ///     if let Watched::Change(change) = item? {
    ///         println!("{:?} at {}", change.written.value, change.written.version);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch_key(&self, key: impl IntoBytes) -> Watch {
        let key = key.into_bytes();
        if key.is_empty() {
            return Watch::refused(
                self.caller.clone(),
                "the key is empty; a key has at least 1 byte",
            );
        }
        Watch::new(self.caller.clone(), ScanOptions::range(&key[..]..=&key[..]))
    }

    /// What is written to the keys that begin with these bytes, as [`watch_key`](Self::watch_key) gives it; empty: to
    /// all keys of the keyspace.
    pub fn watch_prefix(&self, prefix: impl IntoBytes) -> Watch {
        Watch::new(self.caller.clone(), ScanOptions::prefix(prefix))
    }

    /// What is written to the keys of a range: `"a".."m"`, `"a"..="m"`, `"a"..` and so on, as
    /// [`watch_key`](Self::watch_key) gives it. One that no key can be in is refused.
    pub fn watch_range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Watch {
        Watch::new(self.caller.clone(), ScanOptions::range(range))
    }

    /// Settings of a writer for any number of keys: many puts under way, within bounds of their number
    /// and of memory.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// let writer = client.batch_writer().in_flight_max(4_096).start()?;
    /// for index in 0..1_000_000 {
    ///     writer.write(format!("row/{index:07}"), "value").await;
    /// }
    /// let summary = writer.finish().await;
    /// assert!(summary.is_complete(), "{:?} {:?}", summary.failures, summary.unknown_outcomes);
    /// # Ok(())
    /// # }
    /// ```
    pub fn batch_writer(&self) -> BatchWriterBuilder {
        BatchWriterBuilder::new(self.caller.clone())
    }
}
