//! Retention is set and listed, by prefix: `retention.rs` says what follows from it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use quintet_proto::v1;

use super::{
    orders,
    registry::{Name, Registry},
    state::NodeState,
};
use crate::{
    config::RETENTION_S_MAX,
    error::OpError,
    ids::{KeyspaceId, SYSTEM_RANGE},
    peer::ask,
    request::limits::client_keyspace,
    storage::format::codec,
    time::local::{Instant, sleep},
};

/// Settings of a cluster.
const SETTINGS_MAX: usize = 64;
/// Bytes of a prefix.
const PREFIX_BYTES_MAX: usize = 256;
/// How long an answer waits until the node that gives it lists what was set.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);

impl NodeState {
    /// Sets the retention of the keys with a prefix, or takes that back. It counts with every leader after
    /// ten seconds (`retention.rs`).
    pub async fn set_retention(
        self: &Arc<Self>,
        request: v1::SetRetentionRequest,
    ) -> Result<v1::SetRetentionResponse, OpError> {
        self.check_retention(&request)?;
        let question = || ask::SetRetention(request.clone());
        let here = || self.set_retention_here(request.clone());
        let done = self.order_of_leader(orders::until(request.timeout_ms), question, here).await?;
        self.wait_shown(&request).await;
        Ok(done)
    }

    /// Waits a moment until this node lists what was set: who asks it next expects that.
    async fn wait_shown(&self, request: &v1::SetRetentionRequest) {
        let until = Instant::now() + SHOWN_WITHIN;
        let wanted = (request.retention_s != 0).then_some(request.retention_s);
        let Ok(keyspace) = client_keyspace(&request.keyspace) else { return };
        let key = (keyspace.0, request.prefix.to_vec());
        while Instant::now() < until {
            let system = self.router().replica(SYSTEM_RANGE);
            let registry = system.and_then(|replica| Registry::read(&replica).ok());
            let shown = registry.map(|it| it.retention.get(&key).map(|(_, seconds)| *seconds));
            if shown == Some(wanted) {
                return;
            }
            sleep(POLL).await;
        }
    }

    fn check_retention(&self, request: &v1::SetRetentionRequest) -> Result<(), OpError> {
        client_keyspace(&request.keyspace)?;
        if request.prefix.len() > PREFIX_BYTES_MAX {
            return Err(OpError::invalid(format!(
                "the prefix has {} bytes, {PREFIX_BYTES_MAX} are allowed; name a shorter one",
                request.prefix.len()
            )));
        }
        let least =
            u32::try_from(self.router().limits().dedup_window().as_secs()).unwrap_or(u32::MAX);
        let seconds = request.retention_s;
        if seconds != 0 && !(least..=RETENTION_S_MAX).contains(&seconds) {
            return Err(OpError::invalid(format!(
                "a retention of {seconds} s is out of bounds: set it to {least} s at least \
                 (limits.dedup_window_s) and {RETENTION_S_MAX} s at most"
            )));
        }
        Ok(())
    }

    /// The same, by the leader of the system range, which this node is to be.
    pub(super) async fn set_retention_here(
        &self,
        request: v1::SetRetentionRequest,
    ) -> Result<v1::SetRetentionResponse, OpError> {
        self.check_retention(&request)?;
        let (replica, registry) = self.led_registry()?;
        let keyspace = client_keyspace(&request.keyspace)?;
        let prefix = request.prefix.to_vec();
        let stands = registry.retention.get(&(keyspace.0, prefix.clone()));
        let wanted = (request.retention_s != 0).then_some(request.retention_s);
        if stands.map(|(_, seconds)| *seconds) == wanted {
            return Ok(v1::SetRetentionResponse {});
        }
        if stands.is_none() && registry.retention.len() >= SETTINGS_MAX {
            return Err(OpError::invalid(format!(
                "{SETTINGS_MAX} prefixes have a retention of their own, more are not allowed; unset one"
            )));
        }
        let value = wanted.map(|seconds| Bytes::from(codec::encode(&seconds)));
        let instead_of = stands.map(|(at, _)| *at);
        let name = Name::Retention(keyspace.0, prefix);
        self.write_record(&replica, &name, value, instead_of).await?;
        Ok(v1::SetRetentionResponse {})
    }

    /// What is set, as far as this node's replica of the system range has applied it.
    pub fn list_retention(&self) -> Result<v1::ListRetentionResponse, OpError> {
        let Some(replica) = self.router().replica(SYSTEM_RANGE) else {
            return Err(self.peers().no_cluster());
        };
        let registry = Registry::read(&replica);
        let registry = registry.map_err(|error| OpError::unavailable(error.to_string()))?;
        let settings = registry.retention.into_iter().map(|((keyspace, prefix), (_, seconds))| {
            v1::Retention {
                keyspace: KeyspaceId(keyspace).name().unwrap_or_default().to_owned(),
                prefix: prefix.into(),
                retention_s: seconds,
            }
        });
        let usual = self.router().limits().version_retention().as_secs();
        Ok(v1::ListRetentionResponse {
            settings: settings.collect(),
            default_s: u32::try_from(usual).unwrap_or(u32::MAX),
        })
    }
}
