//! Connections of the closed loop to etcd.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, Error, KvClient, Txn, TxnOp, TxnOpResponse,
};

use super::measure::closed_loop::System;

/// How long an operation may take; the default of `quintet bench`.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One HTTP/2 connection each; each goes to another member.
pub(super) async fn connect(
    endpoints: &[String],
    connections: usize,
) -> anyhow::Result<Vec<Connection>> {
    let mut opened = Vec::new();
    for endpoint in endpoints.iter().cycle().take(connections) {
        let options = ConnectOptions::new().with_timeout(TIMEOUT).with_tcp_keepalive(TIMEOUT);
        let client = Client::connect([endpoint], Some(options)).await;
        let client = client.with_context(|| format!("cannot connect to {endpoint}"))?;
        opened.push(Connection(client.kv_client()));
    }
    Ok(opened)
}

/// A connection to one member.
#[derive(Clone)]
pub(super) struct Connection(pub(super) KvClient);

impl System for Connection {
    type Error = Error;

    async fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), Error> {
        self.0.put(key, value, None).await.map(drop)
    }

    async fn get(&mut self, key: Bytes) -> Result<(), Error> {
        self.0.get(key, None).await.map(drop)
    }

    /// etcd has no counters: read, and written if nobody has written since, until that succeeds. A try that failed
    /// brings the value for the next one with it.
    async fn increment(&mut self, key: Bytes) -> Result<(), Error> {
        let mut found = self.0.get(key.clone(), None).await?.kvs().first().cloned();
        loop {
            let revision = found.as_ref().map_or(0, |found| found.mod_revision());
            let number = found.as_ref().and_then(|found| found.value_str().ok()?.parse().ok());
            let next = number.unwrap_or(0_i64) + 1;
            let swap = Txn::new()
                .when([Compare::mod_revision(key.clone(), CompareOp::Equal, revision)])
                .and_then([TxnOp::put(key.clone(), next.to_string(), None)])
                .or_else([TxnOp::get(key.clone(), None)]);
            let swapped = self.0.txn(swap).await?;
            if swapped.succeeded() {
                return Ok(());
            }
            found = swapped.op_responses().into_iter().find_map(|response| match response {
                TxnOpResponse::Get(got) => got.kvs().first().cloned(),
                _ => None,
            });
        }
    }

    async fn timestamp(&mut self) -> Result<(), Error> {
        Err(Error::InvalidArgs("etcd gives no timestamps".to_owned()))
    }
}
