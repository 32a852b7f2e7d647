//! Settings of a client, and the first connection.
//!
//! What is wrong with the settings is said by [`Builder::attach`], before anything is dialled; durations out of
//! bounds are cut to them, since no caller wants to handle that as an error.
//!
//! The one random generator of a client is made here, from the system or from a seed: its first bytes are the
//! client's part of request ids, the others are for pauses and for choices between nodes ([`Pacer`]). With a
//! seed a client does the same each time, which the simulation relies on.
//!
//! It brings a [`Caller`]; `client.rs`, above, makes a client of it (`Builder::connect`).

use std::{sync::Arc, time::Duration};

use rand::{
    SeedableRng,
    rngs::{StdRng, SysRng},
};

use crate::{
    attachment::Attachment,
    caller::{Caller, keyspace_on_the_wire},
    deadline::{TIMEOUT_DEFAULT, TIMEOUT_MAX},
    error::Error,
    gathering::Gathering,
    nearness::locality,
    pool::{NODES_MAX, Pool, Settings},
    request_ids::RequestIds,
    retry::Pacer,
};

/// Settings of a [`Client`](crate::Client), from [`Client::builder`](crate::Client::builder).
///
/// ```no_run
/// # async fn example() -> Result<(), quintet_client::Error> {
/// use std::time::Duration;
///
/// let client = quintet_client::Client::builder()
///     .nodes(["10.0.0.1:7001", "10.0.1.1:7001"])
///     .timeout(Duration::from_secs(2))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    nodes: Vec<String>,
    timeout: Duration,
    connect_timeout: Duration,
    stall_timeout: Duration,
    keyspace: String,
    locality: Option<String>,
    seed: Option<u64>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            timeout: TIMEOUT_DEFAULT,
            connect_timeout: Duration::from_secs(1),
            stall_timeout: Duration::from_secs(2),
            keyspace: String::new(),
            locality: None,
            seed: None,
        }
    }
}

impl Builder {
    /// Adds nodes, each as `host:port` of its client port. One is enough, since every node accepts
    /// every request; with several the client goes on when one is down. The first is preferred.
    pub fn nodes(mut self, nodes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.nodes.extend(nodes.into_iter().map(Into::into));
        self
    }

    /// Deadline of each call, retries included: 10 s unless set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(TIMEOUT_MAX);
        self
    }

    /// How long one dial of one node may take, its welcome included: 1 s unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout.min(TIMEOUT_MAX);
        self
    }

    /// How long a connection on which answers are due may be silent: 2 s unless set. Then it is closed, and
    /// the requests that were sent on it are retried at other nodes.
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.stall_timeout = timeout.clamp(Duration::from_millis(4), TIMEOUT_MAX);
        self
    }

    /// Keyspace of all calls: `default` unless set.
    pub fn keyspace(mut self, keyspace: impl Into<String>) -> Self {
        self.keyspace = keyspace_on_the_wire(keyspace.into());
        self
    }

    /// The client's locality, as in `city=c1,room=a`, with the names that the nodes' configuration uses.
    /// Requests whose leader is not known go to a node of the same room, else of the same city. The node
    /// is chosen at random, so that many clients spread. Without a locality the first node given is preferred.
    pub fn locality(mut self, locality: impl Into<String>) -> Self {
        self.locality = Some(locality.into());
        self
    }

    /// Seeds the client's random generator, from which its id and its backoff come: for simulations and tests.
    ///
    /// Never give two clients of one cluster the same seed: their requests would have the same ids.
    pub fn seed(mut self, seed: Option<u64>) -> Self {
        self.seed = seed;
        self
    }

    /// Checks the settings and waits for the first session.
    pub(crate) async fn attach(self) -> Result<Caller, Error> {
        if self.nodes.is_empty() {
            return Err(Error::InvalidArgument("no node was given".to_owned()));
        }
        if self.nodes.len() > NODES_MAX {
            let text = format!("{} nodes were given, the limit is {NODES_MAX}", self.nodes.len());
            return Err(Error::InvalidArgument(text));
        }
        let locality = match &self.locality {
            None => None,
            Some(text) => Some(locality(text).ok_or_else(|| {
                let text = format!("{text:?} is no locality; write city=NAME,room=NAME");
                Error::InvalidArgument(text)
            })?),
        };
        let mut rng = match self.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::try_from_rng(&mut SysRng).map_err(|error| {
                Error::Unavailable(format!("the system gave no random bytes: {error}"))
            })?,
        };
        let request_ids = RequestIds::draw(&mut rng);
        let settings =
            Settings { connect_timeout: self.connect_timeout, stall_timeout: self.stall_timeout };
        let pool = Pool::new(self.nodes, locality, settings, Pacer::new(rng));
        let attachment =
            Arc::new(Attachment { pool, request_ids, gathering: Gathering::default() });
        attachment.attach(self.timeout).await?;
        Ok(Caller { attachment, keyspace: self.keyspace.into(), timeout: self.timeout })
    }
}
