//! What a request is sent with, attachment, keyspace and timeout: the core below the public handles.
//!
//! A [`Client`](crate::Client), and each scan, deletion and writer made from one, holds a `Caller` of its own:
//! the attachment that all of them share, a keyspace, and a timeout per call. The public types stand above it
//! and never name each other: `client.rs` makes scans out of callers, not scans out of clients, so that
//! imports run one way only.
//!
//! ```text
//! client.rs keys.rs batch.rs admin.rs      the handle, by feature
//!    scan.rs  deletion.rs  writer.rs       what goes on after its call has returned
//!               caller.rs                  one request, typed: out goes a message, back comes its result
//!                call.rs                   one operation: send, judge, retry, until the deadline
//! ```
//!
//! Requests that more than one of these send are functions here; what only single keys need is in `keys.rs`.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use quintet_proto::v1::{self, kv_client::KvClient, session_request::Op};
use tonic::transport::Channel;

use crate::{
    attachment::Attachment,
    call::{BatchError, Call},
    checks::ttl_ms,
    connection::open_channel,
    deadline::TIMEOUT_MAX,
    error::Error,
    pending::Answer,
    routes::Span,
    types::{ClusterInfo, Limits, PutOptions, Version},
};

/// Largest message of a stream beside the sessions: a full one of a watch, and a change of the largest value that a
/// cluster may be set to.
const STREAM_MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) attachment: Arc<Attachment>,
    /// As the wire has it: empty is `default`.
    pub(crate) keyspace: Arc<str>,
    pub(crate) timeout: Duration,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("cluster", &self.cluster())
            .field("keyspace", &self.keyspace)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Caller {
    /// The same attachment with another timeout.
    pub(crate) fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout: timeout.min(TIMEOUT_MAX), ..self.clone() }
    }

    /// The same attachment with another keyspace.
    pub(crate) fn with_keyspace(&self, keyspace: String) -> Self {
        Self { keyspace: keyspace_on_the_wire(keyspace).into(), ..self.clone() }
    }

    /// The cluster, and the node that introduced itself last; empty where none has.
    pub(crate) fn cluster(&self) -> ClusterInfo {
        self.attachment.pool.info().unwrap_or_else(|| ClusterInfo {
            cluster_id: String::new(),
            incarnation: 0,
            node_id: 0,
            room: 0,
            address: String::new(),
            limits: Limits::default(),
        })
    }

    /// What the node in use accepts.
    pub(crate) fn limits(&self) -> Limits {
        self.attachment.pool.limits().unwrap_or_default()
    }

    /// The range of a key, as far as is known.
    pub(crate) fn span(&self, key: &[u8]) -> Option<Span> {
        self.attachment.pool.routes.span(&self.keyspace, key)
    }

    /// Borders of ranges inside a span of keys, as far as is known.
    pub(crate) fn borders(&self, start: &[u8], end: &[u8], most: usize) -> Vec<Bytes> {
        self.attachment.pool.routes.borders(&self.keyspace, start, end, most)
    }

    /// What a stream beside the sessions is opened with: which cluster is meant, as far as that is known, and keyspace.
    pub(crate) fn context(&self) -> v1::RequestContext {
        let info = self.attachment.pool.info();
        v1::RequestContext {
            cluster_id: info.as_ref().map(|info| info.cluster_id.clone()).unwrap_or_default(),
            incarnation: info.as_ref().map_or(0, |info| info.incarnation),
            keyspace: self.keyspace.to_string(),
            ..v1::RequestContext::default()
        }
    }

    /// A connection of its own to a node, for a stream beside the sessions.
    pub(crate) async fn kv_at(&self, node: &str) -> Result<KvClient<Channel>, Error> {
        let channel = open_channel(node, self.attachment.pool.connect_timeout()).await;
        let channel = channel.map_err(|error| match error {
            // It is one node's address that makes no sense, and not what is asked.
            Error::InvalidArgument(text) => Error::Unavailable(text),
            error => error,
        })?;
        Ok(KvClient::new(channel).max_decoding_message_size(STREAM_MESSAGE_BYTES_MAX))
    }

    /// Runs one operation to its outcome. The answer is of its kind.
    pub(crate) async fn call(&self, op: Op) -> Result<Answer, Error> {
        self.begin(op).run().await
    }

    fn begin(&self, op: Op) -> Call<'_> {
        Call::new(&self.attachment, &self.keyspace, self.timeout, op)
    }

    pub(crate) async fn put(
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
            _ => Err(Error::mismatch()),
        }
    }

    /// Writes several keys, in rising order, as one request; `span` is the range by which they were grouped.
    pub(crate) async fn put_many(
        &self,
        items: Vec<v1::PutManyItem>,
        ttl: Option<Duration>,
        span: Option<&Span>,
    ) -> Result<Version, BatchError> {
        let ttl_ms = ttl_ms(ttl).map_err(BatchError::Failed)?;
        let many = Op::PutMany(v1::PutManyRequest { context: None, items, ttl_ms });
        let (range_id, generation) = span.map_or((0, 0), |span| (span.range_id, span.generation));
        match self.begin(many).routed_by(range_id, generation).run_batch().await? {
            Answer::PutMany(written) => Ok(Version(written.version)),
            _ => Err(BatchError::Failed(Error::mismatch())),
        }
    }

    /// One page of a scan.
    pub(crate) async fn scan_page(
        &self,
        request: v1::ScanRequest,
    ) -> Result<v1::ScanResponse, Error> {
        match self.call(Op::Scan(request)).await? {
            Answer::Scan(page) => Ok(page),
            _ => Err(Error::mismatch()),
        }
    }

    /// One page of a deletion.
    pub(crate) async fn delete_page(
        &self,
        request: v1::DeleteRangeRequest,
    ) -> Result<v1::DeleteRangeResponse, Error> {
        match self.call(Op::DeleteRange(request)).await? {
            Answer::DeleteRange(page) => Ok(page),
            _ => Err(Error::mismatch()),
        }
    }
}

/// `default` travels as the empty name.
pub(crate) fn keyspace_on_the_wire(keyspace: String) -> String {
    if keyspace == "default" { String::new() } else { keyspace }
}
