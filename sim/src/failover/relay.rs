//! What lies between nodes: a relay in front of each one's internal port, which hands bytes on after a while.
//!
//! All nodes dial from one address, so how long it takes depends on whose connection it is. The system knows:
//! the socket that a connection comes from belongs to one of the processes that were started here
//! (`/proc/net/tcp` and `/proc/PID/fd`).

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::crashtest::node::Place;

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks under way in one direction of a connection; more wait in the sender's socket.
const CHUNKS_MAX: usize = 256;

/// How long there and back takes.
#[derive(Clone, Copy, Debug)]
pub struct RoundTrips {
    /// Between rooms of a city.
    pub rooms: Duration,
    /// Between cities.
    pub cities: Duration,
}

impl RoundTrips {
    /// One way between two places: the city and room of each.
    fn one_way(&self, from: &(String, String), to: &(String, String)) -> Duration {
        if from.0 != to.0 {
            self.cities / 2
        } else if from.1 != to.1 {
            self.rooms / 2
        } else {
            Duration::ZERO
        }
    }
}

struct Behind {
    place: (String, String),
    internal: SocketAddr,
    relay: SocketAddr,
    listening: Option<JoinHandle<()>>,
}

/// Who runs where.
#[derive(Default)]
struct Known {
    places: BTreeMap<u64, (String, String)>,
    pids: BTreeMap<u64, u32>,
}

/// The relays of all nodes. Those that listen end with this.
pub(super) struct Relays {
    round_trips: RoundTrips,
    behind: BTreeMap<u64, Behind>,
    known: Arc<Mutex<Known>>,
}

impl Relays {
    pub(super) fn new(round_trips: RoundTrips) -> Relays {
        Relays { round_trips, behind: BTreeMap::new(), known: Arc::default() }
    }

    /// A relay for a node. It does not listen yet.
    pub(super) fn add(&mut self, place: &Place, relay: SocketAddr) {
        let at = (place.city.clone(), place.room.clone());
        self.known.lock().places.insert(place.id, at.clone());
        let behind = Behind { place: at, internal: place.internal, relay, listening: None };
        self.behind.insert(place.id, behind);
    }

    /// Takes connections for a node from now on.
    pub(super) fn listen(&mut self, node: u64) -> anyhow::Result<()> {
        let behind = self.behind.get_mut(&node).context("a node without a relay")?;
        let listener = StdListener::bind(behind.relay)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .and_then(TcpListener::from_std)
            .with_context(|| format!("can't listen on {}", behind.relay))?;
        let (known, round_trips) = (self.known.clone(), self.round_trips);
        let (to, internal) = (behind.place.clone(), behind.internal);
        behind.listening = Some(tokio::spawn(async move {
            while let Ok((dialler, from)) = listener.accept().await {
                let one_way = {
                    let known = known.lock();
                    let place = dialling(&known, from).and_then(|node| known.places.get(&node));
                    // Who is gone before it was found has nothing to say.
                    place.map_or(Duration::ZERO, |from| round_trips.one_way(from, &to))
                };
                tokio::spawn(relay(dialler, internal, one_way));
            }
        }));
        Ok(())
    }

    /// A node's process.
    pub(super) fn runs(&self, node: u64, pid: u32) {
        self.known.lock().pids.insert(node, pid);
    }

    /// Refuses connections to a node, as a machine does whose process is gone. Those that are open go on until
    /// one of their ends closes them.
    pub(super) fn close(&mut self, node: u64) {
        if let Some(listening) = self.behind.get_mut(&node).and_then(|it| it.listening.take()) {
            listening.abort();
        }
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        for behind in self.behind.values() {
            if let Some(listening) = &behind.listening {
                listening.abort();
            }
        }
    }
}

/// The node whose process has the socket that a connection comes from.
fn dialling(known: &Known, from: SocketAddr) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let socket = format!("socket:[{}]", inode(&table, from.port())?);
    let has = |pid: &u32| {
        let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        files.flatten().any(|file| {
            std::fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == socket.as_str())
        })
    };
    known.pids.iter().find(|(_, pid)| has(pid)).map(|(node, _)| *node)
}

/// The inode of the socket that is bound to a port of 127.0.0.1 and connected, in the words of `/proc/net/tcp`.
fn inode(table: &str, port: u16) -> Option<u64> {
    const ESTABLISHED: &str = "01";
    let local = format!("0100007F:{port:04X}");
    table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_it = *fields.get(1)? == local && *fields.get(3)? == ESTABLISHED;
        if is_it { fields.get(9)?.parse().ok() } else { None }
    })
}

/// Hands on what two ends send, until one of them closes.
async fn relay(dialler: TcpStream, to: SocketAddr, one_way: Duration) {
    let Ok(node) = TcpStream::connect(to).await else { return };
    drop((dialler.set_nodelay(true), node.set_nodelay(true)));
    let (from_dialler, to_dialler) = dialler.into_split();
    let (from_node, to_node) = node.into_split();
    let there = hand_on(from_dialler, to_node, one_way);
    let back = hand_on(from_node, to_dialler, one_way);
    // A killed process closes both directions.
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}

/// One direction; ends once its end has arrived.
async fn hand_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, one_way: Duration) {
    let (tx, mut rx) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let reads = async move {
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let read = from.read(&mut chunk).await.unwrap_or(0);
            chunk.truncate(read);
            // The end travels as all else does.
            if tx.send((Instant::now() + one_way, chunk)).await.is_err() || read == 0 {
                return;
            }
        }
    };
    let writes = async move {
        while let Some((at, chunk)) = rx.recv().await {
            if !one_way.is_zero() {
                sleep_until(at).await;
            }
            if chunk.is_empty() || to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reads, writes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1CE9 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 55 1
   1: 0100007F:D431 0100007F:1CE9 01 00000000:00000000 00:00000000 00000000     0        0 77 1
   2: 0100007F:1CE9 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 78 1
";

    #[test]
    fn the_socket_of_a_connection_is_found() {
        assert_eq!(inode(TABLE, 0xD431), Some(77));
        assert_eq!(inode(TABLE, 0x1CE9), Some(78), "not the one that listens");
        assert_eq!(inode(TABLE, 1), None);
    }

    #[test]
    fn places_are_as_far_apart_as_said() {
        let ms = Duration::from_millis;
        let trips = RoundTrips { rooms: ms(2), cities: ms(30) };
        let at = |city: &str, room: &str| (city.to_owned(), room.to_owned());
        assert_eq!(trips.one_way(&at("c1", "a"), &at("c1", "a")), ms(0));
        assert_eq!(trips.one_way(&at("c1", "a"), &at("c1", "b")), ms(1));
        assert_eq!(trips.one_way(&at("c1", "a"), &at("c2", "a")), ms(15));
    }

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await.ok();
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn a_relay_delays_by_whose_connection_it_is_and_refuses_once_closed() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let held = StdListener::bind(at(0)).expect("a port");
        let relay = held.local_addr().expect("its address");
        drop(held);
        let place = |id, city: &str, internal| Place {
            id,
            city: city.to_owned(),
            room: "a".to_owned(),
            client: at(1),
            internal,
        };
        let trip = Duration::from_millis(60);
        let mut relays = Relays::new(RoundTrips { rooms: Duration::ZERO, cities: trip });
        relays.add(&place(1, "c1", echo().await), relay);
        // This process stands in the other city.
        relays.add(&place(2, "c2", at(1)), at(1));
        relays.runs(2, std::process::id());
        relays.listen(1).expect("listens");
        let mut stream = TcpStream::connect(relay).await.expect("connected");
        let asked = Instant::now();
        stream.write_all(b"x").await.expect("sent");
        let mut answer = [0; 1];
        stream.read_exact(&mut answer).await.expect("answered");
        assert!(asked.elapsed() >= trip, "{:?}", asked.elapsed());
        relays.close(1);
        // The task that listens ends when it is next looked at.
        let refused = async {
            while TcpStream::connect(relay).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), refused).await.expect("it listens still");
        stream.write_all(b"y").await.expect("what is open goes on");
        stream.read_exact(&mut answer).await.expect("answered");
    }
}
