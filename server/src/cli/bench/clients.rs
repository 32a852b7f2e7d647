//! Connections of the closed loop to a Quintet cluster: each is an instance of the client library.

use std::time::Duration;

use bytes::Bytes;
use quintet_client::{Client, Error};

use super::measure::closed_loop::System;
use crate::cli::{connect::connect as connect_one, exit::Failure};

/// Connects; each instance begins with another node.
pub(super) async fn connect(
    addresses: &[String],
    connections: usize,
    timeout: Duration,
) -> Result<Vec<Client>, Failure> {
    let mut clients = Vec::new();
    let mut nodes = addresses.to_vec();
    for _ in 0..connections {
        clients.push(connect_one(nodes.clone(), timeout).await?);
        nodes.rotate_left(1);
    }
    Ok(clients)
}

/// How a load reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reads {
    /// From the leader of the key's range.
    #[default]
    Leader,
    /// By the replica of the node that is asked, strictly.
    Follower,
    /// A state that is at most so old.
    Stale(Duration),
}

impl Reads {
    /// For programs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Reads::Leader => "leader",
            Reads::Follower => "follower",
            Reads::Stale(_) => "stale",
        }
    }
}

/// A connection that reads in one way.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) client: Client,
    pub(super) reads: Reads,
}

impl System for Reader {
    type Error = Error;

    async fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), Error> {
        self.client.put(key, value).await.map(drop)
    }

    async fn get(&mut self, key: Bytes) -> Result<(), Error> {
        match self.reads {
            Reads::Leader => self.client.get(key).await.map(drop),
            Reads::Follower => self.client.from_follower().get(key).await.map(drop),
            Reads::Stale(max) => self.client.stale(max).get(key).await.map(drop),
        }
    }

    async fn increment(&mut self, key: Bytes) -> Result<(), Error> {
        System::increment(&mut self.client, key).await
    }

    async fn timestamp(&mut self) -> Result<(), Error> {
        System::timestamp(&mut self.client).await
    }
}

impl System for Client {
    type Error = Error;

    async fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), Error> {
        Client::put(self, key, value).await.map(drop)
    }

    async fn get(&mut self, key: Bytes) -> Result<(), Error> {
        Client::get(self, key).await.map(drop)
    }

    async fn increment(&mut self, key: Bytes) -> Result<(), Error> {
        Client::increment(self, key, 1).await.map(drop)
    }

    async fn timestamp(&mut self) -> Result<(), Error> {
        Client::timestamp(self).await.map(drop)
    }
}
