//! The calls on keys.

use std::{
    fmt,
    ops::RangeBounds,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use quintet_proto::v1::{self, session_request::Op};

use crate::{
    builder::{Builder, TIMEOUT_MAX, keyspace_on_the_wire},
    call::{BatchError, Call},
    deletion::RangeDeletion,
    error::Error,
    pending::Answer,
    pool::Pool,
    routes::Span,
    scan::{Scan, ScanOptions},
    types::{
        ClusterInfo, Condition, Incremented, IntoBytes, Limits, PutOptions, Ttl, Version, Versioned,
    },
    writer::BatchWriterBuilder,
};

/// Items of one batch that are under way at the same time.
const BATCH_IN_FLIGHT_MAX: usize = 256;

/// A client of one cluster. Cheap to clone: clones share their connections.
///
/// All operations are linearizable. Each has a deadline, retries included, and may be dropped at any
/// moment; a write that is dropped may still happen.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    /// Empty is `default`.
    pub(crate) keyspace: Arc<str>,
    pub(crate) timeout: Duration,
}

/// What clones share.
pub(crate) struct Shared {
    pub(crate) pool: Arc<Pool>,
    /// 16 random bytes, new for each client.
    pub(crate) id: Bytes,
    sequence: AtomicU64,
}

impl Shared {
    pub(crate) fn new(pool: Arc<Pool>, id: Bytes) -> Self {
        Self { pool, id, sequence: AtomicU64::new(1) }
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("cluster", &self.cluster())
            .field("keyspace", &self.keyspace)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
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

    pub(crate) fn new(shared: Shared, keyspace: Arc<str>, timeout: Duration) -> Self {
        Self { shared: Arc::new(shared), keyspace, timeout }
    }

    /// Waits for the first session.
    pub(crate) async fn attach(&self) -> Result<(), Error> {
        match tokio::time::timeout(self.timeout, self.shared.pool.session()).await {
            Ok(Ok(_) | Err(Error::NotInitialized(_) | Error::EmptyNode(_))) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Unavailable(format!(
                "no node answered within {:?}: {}",
                self.timeout,
                self.shared.pool.last_errors()
            ))),
        }
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
        Self { timeout: timeout.min(TIMEOUT_MAX), ..self.clone() }
    }

    /// The same connections with another keyspace.
    #[must_use]
    pub fn with_keyspace(&self, keyspace: impl Into<String>) -> Self {
        Self { keyspace: keyspace_on_the_wire(keyspace.into()).into(), ..self.clone() }
    }

    /// The cluster, and the node that introduced itself last.
    #[must_use]
    pub fn cluster(&self) -> ClusterInfo {
        self.shared.pool.info().unwrap_or_else(|| ClusterInfo {
            cluster_id: String::new(),
            incarnation: 0,
            node_id: 0,
            room: 0,
            address: String::new(),
            limits: Limits::default(),
        })
    }

    /// The client's estimate of the cluster's time, in the form of a [`Version`]: the greatest that
    /// a reply told, carried on by the monotonic clock. `None` if no reply has told one yet.
    #[must_use]
    pub fn cluster_time(&self) -> Option<Version> {
        self.shared.pool.clock.now().map(Version)
    }

    /// The newest value of a key, or `None` if there is none.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// if let Some(found) = client.get("key").await? {
    ///     println!("{:?} since version {}", found.value, found.version);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::DeadlineExceeded`] if no answer came in time, and any error that is not about
    /// writes. [`Error::maybe_committed`] is never true.
    pub async fn get(&self, key: impl IntoBytes) -> Result<Option<Versioned>, Error> {
        self.get_bytes(key.into_bytes()).await
    }

    async fn get_bytes(&self, key: Bytes) -> Result<Option<Versioned>, Error> {
        Ok(Versioned::from_wire(self.state(key).await?))
    }

    async fn state(&self, key: Bytes) -> Result<Option<v1::KeyState>, Error> {
        match self.call(Op::Get(v1::GetRequest { context: None, key })).await? {
            Answer::Get(found) => Ok(found.state),
            _ => Err(mismatch()),
        }
    }

    /// How long a key will be there, or `None` if it is not.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// use quintet_client::Ttl;
    /// match client.ttl("session/7").await? {
    ///     Some(Ttl::Left(left)) => println!("{left:?} left"),
    ///     Some(Ttl::Forever) => println!("does not expire"),
    ///     None => println!("there is no such key"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn ttl(&self, key: impl IntoBytes) -> Result<Option<Ttl>, Error> {
        let state = self.state(key.into_bytes()).await?.filter(|state| state.version != 0);
        Ok(state.map(|state| match state.expires_at {
            0 => Ttl::Forever,
            _ => Ttl::Left(Duration::from_millis(state.ttl_ms)),
        }))
    }

    /// Writes a key; the result is the version of the write. A key that would have expired does not
    /// any more.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// let version = client.put("key", "value").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where [`Error::maybe_committed`] is true the write may have happened; else it did not.
    pub async fn put(&self, key: impl IntoBytes, value: impl IntoBytes) -> Result<Version, Error> {
        self.put_bytes(key.into_bytes(), value.into_bytes(), PutOptions::new()).await
    }

    /// Writes a key if it is absent, or if it has an expected version.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// use quintet_client::{Condition, Error};
    /// match client.put_if("leader", "me", Condition::Absent).await {
    ///     Ok(version) => println!("elected at {version}"),
    ///     Err(Error::Conflict { current, .. }) => println!("taken: {current:?}"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Conflict`] with the current value and version if the condition does not hold; else
    /// as [`put`](Self::put).
    pub async fn put_if(
        &self,
        key: impl IntoBytes,
        value: impl IntoBytes,
        condition: Condition,
    ) -> Result<Version, Error> {
        let options = PutOptions::new().condition(condition);
        self.put_bytes(key.into_bytes(), value.into_bytes(), options).await
    }

    /// Writes a key that expires, on a condition, or both: [`PutOptions`].
    ///
    /// From its expiry on the key is absent for everybody: it is not found, a write on condition that
    /// it is absent succeeds, and it does not come back, whichever node fails.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// use std::time::Duration;
    /// use quintet_client::PutOptions;
    ///
    /// let half_an_hour = PutOptions::new().ttl(Duration::from_secs(1_800));
    /// client.put_with("session/7", "alice", half_an_hour).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a time of zero or of more than 100 years; [`Error::Conflict`]
    /// if the condition does not hold; else as [`put`](Self::put).
    pub async fn put_with(
        &self,
        key: impl IntoBytes,
        value: impl IntoBytes,
        options: PutOptions,
    ) -> Result<Version, Error> {
        self.put_bytes(key.into_bytes(), value.into_bytes(), options).await
    }

    pub(crate) async fn put_bytes(
        &self,
        key: Bytes,
        value: Bytes,
        options: PutOptions,
    ) -> Result<Version, Error> {
        let condition = options.condition.map(Into::into);
        let ttl_ms = ttl_ms(options.ttl)?;
        let keep_ttl = options.keep_ttl;
        let put = v1::PutRequest { context: None, key, value, condition, ttl_ms, keep_ttl };
        match self.call(Op::Put(put)).await? {
            Answer::Put(put) => Ok(Version(put.version)),
            _ => Err(mismatch()),
        }
    }

    /// Writes several keys, which rise, as one request; `span` is the range by which they were grouped.
    pub(crate) async fn put_many(
        &self,
        items: Vec<v1::PutManyItem>,
        ttl: Option<Duration>,
        span: Option<&Span>,
    ) -> Result<Version, BatchError> {
        let ttl_ms = ttl_ms(ttl).map_err(BatchError::Failed)?;
        let many = Op::PutMany(v1::PutManyRequest { context: None, items, ttl_ms });
        let call = Call::new(&self.shared, &self.keyspace, self.timeout, many);
        let (range_id, generation) = span.map_or((0, 0), |span| (span.range_id, span.generation));
        match call.routed_by(range_id, generation).run_batch().await? {
            Answer::PutMany(written) => Ok(Version(written.version)),
            _ => Err(BatchError::Failed(mismatch())),
        }
    }

    /// The range of a key, as far as is known.
    pub(crate) fn span(&self, key: &[u8]) -> Option<Span> {
        self.shared.pool.routes.span(&self.keyspace, key)
    }

    /// What the node in use accepts.
    pub(crate) fn limits(&self) -> Limits {
        self.shared.pool.limits().unwrap_or_default()
    }

    /// Removes a key. The result is the version of the removal, or `None` if there was nothing to
    /// remove.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// if client.delete("key").await?.is_none() {
    ///     println!("there was no such key");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn delete(&self, key: impl IntoBytes) -> Result<Option<Version>, Error> {
        let version = self.delete_bytes(key.into_bytes(), None).await?;
        Ok((version.0 != 0).then_some(version))
    }

    /// Removes a key if it has this version; the result is the version of the removal.
    ///
    /// # Errors
    /// [`Error::Conflict`] with the current value and version if the key has another version or is
    /// absent; else as [`put`](Self::put).
    pub async fn delete_if(&self, key: impl IntoBytes, version: Version) -> Result<Version, Error> {
        self.delete_bytes(key.into_bytes(), Some(Condition::Version(version))).await
    }

    async fn delete_bytes(
        &self,
        key: Bytes,
        condition: Option<Condition>,
    ) -> Result<Version, Error> {
        let condition = condition.map(Into::into);
        match self.call(Op::Delete(v1::DeleteRequest { context: None, key, condition })).await? {
            Answer::Delete(deleted) => Ok(Version(deleted.version)),
            _ => Err(mismatch()),
        }
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
        RangeDeletion::new(self.clone(), ScanOptions::range(range), false)
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
        RangeDeletion::new(self.clone(), ScanOptions::prefix(prefix), false)
    }

    /// Removes all keys of the keyspace, as [`delete_range`](Self::delete_range) does.
    pub fn delete_everything(&self) -> RangeDeletion {
        RangeDeletion::new(self.clone(), ScanOptions::all(), true)
    }

    pub(crate) async fn delete_page(
        &self,
        request: v1::DeleteRangeRequest,
    ) -> Result<v1::DeleteRangeResponse, Error> {
        match self.call(Op::DeleteRange(request)).await? {
            Answer::DeleteRange(page) => Ok(page),
            _ => Err(mismatch()),
        }
    }

    /// Adds to the decimal number in a key; an absent key counts as 0. Done exactly once, whatever
    /// was retried.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// let left = client.increment("stock", -1).await?.value;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotANumber`] if the key holds something else or the sum does not fit in 64 bits;
    /// else as [`put`](Self::put).
    pub async fn increment(&self, key: impl IntoBytes, delta: i64) -> Result<Incremented, Error> {
        self.increment_bytes(key.into_bytes(), delta, None).await
    }

    /// As [`increment`](Self::increment), which leaves alone when the key expires; this one sets it:
    /// so long after the write.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// use std::time::Duration;
    /// // calls of this user, forgotten a minute after the last one
    /// let calls = client.increment_with_ttl("calls/7", 1, Duration::from_secs(60)).await?.value;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a time of zero or of more than 100 years; else as
    /// [`increment`](Self::increment).
    pub async fn increment_with_ttl(
        &self,
        key: impl IntoBytes,
        delta: i64,
        ttl: Duration,
    ) -> Result<Incremented, Error> {
        self.increment_bytes(key.into_bytes(), delta, Some(ttl)).await
    }

    async fn increment_bytes(
        &self,
        key: Bytes,
        delta: i64,
        ttl: Option<Duration>,
    ) -> Result<Incremented, Error> {
        let increment = v1::IncrementRequest { context: None, key, delta, ttl_ms: ttl_ms(ttl)? };
        match self.call(Op::Increment(increment)).await? {
            Answer::Increment(incremented) => {
                Ok(Incremented { value: incremented.value, version: Version(incremented.version) })
            }
            _ => Err(mismatch()),
        }
    }

    /// Makes a key expire so long from now, and leaves its value. The result is the version of this
    /// write, or `None` if there is no such key.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// use std::time::Duration;
    /// if client.expire("session/7", Duration::from_secs(1_800)).await?.is_none() {
    ///     println!("it has expired already");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a time of zero or of more than 100 years; else as
    /// [`put`](Self::put).
    pub async fn expire(
        &self,
        key: impl IntoBytes,
        ttl: Duration,
    ) -> Result<Option<Version>, Error> {
        self.expire_bytes(key.into_bytes(), Some(ttl), None).await
    }

    /// As [`expire`](Self::expire), if the key has this version.
    ///
    /// # Errors
    /// [`Error::Conflict`] with the current value and version if the key has another version or is
    /// absent; else as [`expire`](Self::expire).
    pub async fn expire_if(
        &self,
        key: impl IntoBytes,
        ttl: Duration,
        version: Version,
    ) -> Result<Option<Version>, Error> {
        let condition = Some(Condition::Version(version));
        self.expire_bytes(key.into_bytes(), Some(ttl), condition).await
    }

    /// Makes a key stay for ever, and leaves its value. The result is the version of this write, or
    /// `None` if there is no such key.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// let kept = client.persist("draft/7").await?.is_some();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn persist(&self, key: impl IntoBytes) -> Result<Option<Version>, Error> {
        self.expire_bytes(key.into_bytes(), None, None).await
    }

    async fn expire_bytes(
        &self,
        key: Bytes,
        ttl: Option<Duration>,
        condition: Option<Condition>,
    ) -> Result<Option<Version>, Error> {
        let condition = condition.map(Into::into);
        let expire = v1::ExpireRequest { context: None, key, ttl_ms: ttl_ms(ttl)?, condition };
        match self.call(Op::Expire(expire)).await? {
            Answer::Expire(written) => {
                Ok((written.version != 0).then_some(Version(written.version)))
            }
            _ => Err(mismatch()),
        }
    }

    /// Reads several keys, each independently; results are in the order of the keys.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// for found in client.batch_get(["a", "b"]).await {
    ///     println!("{:?}", found?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn batch_get<K: IntoBytes>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Vec<Result<Option<Versioned>, Error>> {
        let keys: Vec<Bytes> = keys.into_iter().map(IntoBytes::into_bytes).collect();
        if let Some(error) = self.batch_error(keys.len()) {
            return keys.iter().map(|_| Err(error.clone())).collect();
        }
        let gets = keys.into_iter().map(|key| self.get_bytes(key));
        stream::iter(gets).buffered(BATCH_IN_FLIGHT_MAX).collect().await
    }

    /// Writes several keys. Each item is a write of its own, with a request id and a result of its
    /// own; results are in the order of the items. Items with the same key happen in any order.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// for result in client.batch_put([("a", "1"), ("b", "2")]).await {
    ///     result?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn batch_put<K: IntoBytes, V: IntoBytes>(
        &self,
        items: impl IntoIterator<Item = (K, V)>,
    ) -> Vec<Result<Version, Error>> {
        self.batch_put_with(items, PutOptions::new()).await
    }

    /// As [`batch_put`](Self::batch_put), with keys that expire, on a condition, or both: the options
    /// are those of every item.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// use std::time::Duration;
    /// use quintet_client::PutOptions;
    ///
    /// let an_hour = PutOptions::new().ttl(Duration::from_secs(3_600));
    /// for result in client.batch_put_with([("cache/a", "1"), ("cache/b", "2")], an_hour).await {
    ///     result?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn batch_put_with<K: IntoBytes, V: IntoBytes>(
        &self,
        items: impl IntoIterator<Item = (K, V)>,
        options: PutOptions,
    ) -> Vec<Result<Version, Error>> {
        let into_bytes = |(key, value): (K, V)| (key.into_bytes(), value.into_bytes());
        let items: Vec<(Bytes, Bytes)> = items.into_iter().map(into_bytes).collect();
        if let Some(error) = self.batch_error(items.len()) {
            return items.iter().map(|_| Err(error.clone())).collect();
        }
        let puts = items.into_iter().map(|(key, value)| self.put_bytes(key, value, options));
        stream::iter(puts).buffered(BATCH_IN_FLIGHT_MAX).collect().await
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
        BatchWriterBuilder::new(self.clone())
    }

    fn batch_error(&self, items: usize) -> Option<Error> {
        let items_max = self.cluster().limits.batch_items_max;
        (items > items_max).then(|| {
            Error::InvalidArgument(format!("the batch has {items} items, the limit is {items_max}"))
        })
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
        Scan::new(self.clone(), options)
    }

    /// Borders of ranges inside a span of keys, as far as is known.
    pub(crate) fn borders(&self, start: &[u8], end: &[u8], most: usize) -> Vec<Bytes> {
        self.shared.pool.routes.borders(&self.keyspace, start, end, most)
    }

    pub(crate) async fn ask_page(
        &self,
        request: v1::ScanRequest,
    ) -> Result<v1::ScanResponse, Error> {
        match self.call(Op::Scan(request)).await? {
            Answer::Scan(page) => Ok(page),
            _ => Err(mismatch()),
        }
    }

    async fn call(&self, op: Op) -> Result<Answer, Error> {
        Call::new(&self.shared, &self.keyspace, self.timeout, op).run().await
    }
}

/// A time to live as the wire has it, 0 for none: in milliseconds, rounded up.
fn ttl_ms(ttl: Option<Duration>) -> Result<u64, Error> {
    let Some(ttl) = ttl else { return Ok(0) };
    if ttl.is_zero() {
        return Err(Error::InvalidArgument(
            "a ttl of zero: the key would be gone at once; delete it instead".to_owned(),
        ));
    }
    // what is too long is refused with the server's limit
    Ok(u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

/// `Call` checks the kind of an answer, so that this is out of reach.
fn mismatch() -> Error {
    Error::Protocol("an answer of another kind".to_owned())
}
