//! A WAN on one machine: what lies between rooms and between cities is put on a node's connections to others.
//!
//! Rooms of the design are 1 ms apart there and back, cities 30 ms. On one machine all nodes are equally near,
//! so that what crosses cities costs nothing, and nobody notices. With `[wan]` set, as `quintet dev --wan` does, a node
//! reaches those of its own room at once and all others after the time that is set.
//!
//! ```text
//!   link.rs, snapshot.rs                    this process                             the other node
//!   tonic  <==>  duplex  ==>  delay line: half of the round trip  ==>  TCP  ==>  internal port
//!                        <==  delay line: half of the round trip  <==       <==
//! ```
//!
//! Whoever dials delays, both directions of its connection: only the dialler knows at once who is at either end, since
//! on one machine all connections come from one address. It lives and dies with the node, so `kill -9`, a restart and
//! `dev stop` need nothing more. Rejected: relays that listen in the process of `quintet dev`, which ends with
//! `--detach` and would have to tell diallers apart by looking into `/proc`; delays of frames instead of bytes, which
//! leave out the dialling, flow control and the end of a connection, and these are what a long way makes slow.
//!
//! # What is not done
//!
//! No bandwidth limit, loss or jitter. Clients are not delayed. A seed that is not in the address book yet is met
//! without a delay, because it is not known where it stands. The simulation has a network of its own
//! ([`crate::seams::Wire`]) and does nothing here.
//!
//! # Invariants
//!
//! * Bytes keep their order, the end comes behind the last of them, and none comes early (`line.rs`).
//! * Memory is bounded for each direction (`line.rs`), and so is how long a connection that one end has closed goes on
//!   (`far.rs`).
//!
//! # On a crash
//!
//! Nothing is stored. What was under way in the node that dies is lost, as in its sockets; what the other end had sent
//! before it died still arrives, then the end does.

#[cfg(not(madsim))]
mod far;
#[cfg(not(madsim))]
mod line;
#[cfg(not(madsim))]
mod timer;

use std::time::Duration;

use tonic::transport::{Channel, Endpoint, Error};

use crate::{config::Wan, storage::format::node::AddressRecord};

/// How long a byte takes from one node to another.
pub(super) fn one_way(wan: &Wan, from: &AddressRecord, to: &AddressRecord) -> Duration {
    if from.city != to.city {
        wan.cities_rtt() / 2
    } else if from.room != to.room {
        wan.rooms_rtt() / 2
    } else {
        Duration::ZERO
    }
}

/// Connects to a node that is this far away.
#[cfg(not(madsim))]
pub(super) async fn connect(endpoint: &Endpoint, one_way: Duration) -> Result<Channel, Error> {
    match one_way.is_zero() {
        true => endpoint.connect().await,
        false => far::connect(endpoint, one_way).await,
    }
}

/// Connects to a node, which is as far away as the simulation says.
#[cfg(madsim)]
pub(super) async fn connect(endpoint: &Endpoint, _one_way: Duration) -> Result<Channel, Error> {
    endpoint.connect().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_and_cities_are_apart_as_set() {
        let at = |city: &str, room: &str| AddressRecord {
            city: city.to_owned(),
            room: room.to_owned(),
            ..AddressRecord::default()
        };
        let wan = Wan { rooms_rtt_ms: 1.0, cities_rtt_ms: 30.0 };
        let far = |to| one_way(&wan, &at("c1", "a"), &to);
        assert_eq!(far(at("c1", "a")), Duration::ZERO);
        assert_eq!(far(at("c1", "b")), Duration::from_micros(500));
        assert_eq!(far(at("c2", "a")), Duration::from_millis(15));
        let near = |to| one_way(&Wan::default(), &at("c1", "a"), &to);
        assert_eq!(near(at("c2", "c")), Duration::ZERO);
    }
}
