//! The stored format: what every record on disk is, byte for byte.
//!
//! One file for each domain of records, each with the bytes of its records at the end:
//!
//! ```text
//!   node.rs        who owns a data directory; where nodes listen
//!   cluster.rs     the plan of a cluster; replicas beside those of the plan
//!   descriptor.rs  a range's span and replicas
//!   request.rs     what is remembered of a request; its id, which is declared in `ids.rs`
//!   time.rs        what a time server has on disk
//!   txn.rs         the id of a transaction
//!   version.rs     a version of a key
//!   command.rs     a replicated command, as it stands in the log
//!   raft.rs        votes, positions, memberships and entries of a log
//!   applied.rs     what a replica has applied
//!   gc.rs          how far back reads of a range reach, part of that
//!   snapshot.rs    raft snapshots: head, chunks, how far one is received or installed
//!   codec.rs       encoding and decoding, for all of them
//! ```
//!
//! How *keys* are stored is in [`super::keys`]. Some of these bytes also travel: commands and memberships
//! between replicas, descriptors to routers, heads and chunks of raft snapshots.
//!
//! # The bytes
//!
//! A record is one byte of format version, [`codec::FORMAT`], then its fields in the order of their
//! declaration, without names, as bincode 2 writes them:
//!
//! ```text
//!   integer up to 250      one byte; a larger one: FB, FC, FD or FE, then 2, 4, 8 or 16 bytes, little endian
//!   signed integer         zigzag (0, -1, 1, -2, ...), then as above
//!   bool                   00 or 01
//!   bytes, text, list      how many, then each
//!   optional               00, or 01 and the value
//!   enum                   the number of the variant, from 0, then its fields
//! ```
//!
//! So the order of fields and variants *is* the format. bincode is used in [`codec`] and nowhere else: to
//! replace it, that file is enough.
//!
//! # Rules for a change
//!
//! * Never reorder, insert, remove or retype a field or a variant of a stored type in place: a golden test
//!   shows it. A new variant goes last; it changes no older bytes, but an older build can't read it.
//! * A new record, and a new variant, gets golden bytes in the file that declares it.
//! * Where bytes must change, one of the two marks is raised. *The version byte*, with a decoder of the old
//!   bytes and their golden test kept beside the new one: directories of before open. Or *the format of the
//!   data directory* (`quintet 8`, in `seams.rs`): a directory of another format is refused whole, before
//!   anything in it is touched. Every change until now took the second way:
//!
//! | directory | what differs |
//! |---|---|
//! | `quintet 3` | an applied record has the range's time and gc threshold; raft snapshots |
//! | `quintet 4` | the records of a node and of its cluster name the node's directory; replicas are reserved |
//! | `quintet 5` | a write command has batches of puts |
//! | `quintet 6` | deletions of spans |
//! | `quintet 7` | time servers; an applied record has no time of its range, and no command moves it; versions name their requests |
//! | `quintet 8` | gc thresholds by prefix, and what holds them |
//!
//! # On damage
//!
//! A record of another version, cut short, or with bytes behind it is [`super::Error::Corrupt`], never a
//! guess. That bits did not change is for the engine's checksums to notice.

pub mod applied;
pub mod cluster;
pub mod codec;
pub mod command;
pub mod descriptor;
pub mod gc;
#[cfg(test)]
mod golden;
pub mod node;
pub mod raft;
pub mod request;
pub mod snapshot;
pub mod time;
pub mod txn;
pub mod version;
