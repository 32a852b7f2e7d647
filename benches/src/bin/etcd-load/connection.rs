//! Connections of the closed loop to etcd.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use etcd_client::{Client, ConnectOptions, Error, KvClient};

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
}
