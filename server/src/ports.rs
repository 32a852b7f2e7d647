//! Free ports for a cluster of several nodes on one machine.
//!
//! They are looked for below where the system takes the ports of outgoing connections from. In there a port that
//! is free now may be taken while its node is down; worse, a connection to a port that nobody listens on may
//! be given that very port and reach itself.
//!
//! A cluster gets a block of consecutive ports that has a place of its own: two that are made at the same time
//! take other ports altogether, unless they hit upon the same block; and where nodes of a cluster are down for
//! a moment, the others still hold its block. Ports that are drawn one by one meet now and then.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
};

/// The first port of the first block.
const FROM: u16 = 10_000;
/// Linux's usual start of the ports for outgoing connections.
const EPHEMERAL_FROM: u16 = 32_768;
/// Ports of a block at least: those of five nodes.
const BLOCK_MIN: u16 = 16;
/// With fewer blocks than this the system shall choose.
const BLOCKS_MIN: u16 = 10;
const TRIES_MAX: usize = 10_000;

/// `count` ports of 127.0.0.1 that nobody listens on.
///
/// # Errors
/// There are none, or the system does not say which they are.
pub fn free(count: u16) -> io::Result<Vec<u16>> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let lowest = range.split_whitespace().next().and_then(|port| port.parse().ok());
    let end: u16 = lowest.unwrap_or(EPHEMERAL_FROM);
    let block = count.checked_next_power_of_two().unwrap_or(u16::MAX).max(BLOCK_MIN);
    let blocks = end.saturating_sub(FROM) / block;
    // Held until all are found, so that none is found twice.
    let mut held: Option<Vec<_>> = None;
    if blocks < BLOCKS_MIN {
        held = (0..count).map(|_| bind(0)).collect();
    } else {
        for _ in 0..TRIES_MAX {
            let first = FROM + rand::random_range(0..blocks) * block;
            held = (first..first + count).map(bind).collect();
            if held.is_some() {
                break;
            }
        }
    }
    let none = || io::Error::new(io::ErrorKind::AddrInUse, "no free ports on 127.0.0.1");
    held.ok_or_else(none)?.iter().map(|held| Ok(held.local_addr()?.port())).collect()
}

/// Listens on a port of 127.0.0.1, unless somebody does.
pub fn bind(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_gets_a_block_of_its_own() {
        let one = free(15).unwrap();
        assert_eq!(one.len(), 15);
        assert!(one.iter().all(|port| bind(*port).is_some()));
        assert!(one.is_sorted_by(|a, b| a < b), "{one:?}");
        // A node that listens keeps everybody out of the whole block.
        let _up = bind(one[3]).unwrap();
        for _ in 0..100 {
            let other = free(15).unwrap();
            assert!(!other.iter().any(|port| one.contains(port)), "{one:?} {other:?}");
        }
    }
}
