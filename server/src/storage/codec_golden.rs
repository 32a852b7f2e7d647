//! The bytes of every stored format that a directory of this build may hold. Those of directories
//! before `quintet 6` differ (an applied record had neither time nor gc threshold before 3; the records of
//! a node and of its cluster named no directory before 4; writes had no batches before 5, and nobody deleted
//! ranges before 6): such a directory is refused whole.

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn request() -> RequestId {
    RequestId { origin_room: 3, client: 0x0102_0304, sequence: 9 }
}

fn bytes_of(golden: &str) -> Vec<u8> {
    (0..golden.len() / 2)
        .map(|i| u8::from_str_radix(&golden[2 * i..2 * i + 2], 16).expect("hex"))
        .collect()
}

/// Encodes to exactly these bytes, and these bytes decode to it.
fn holds<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(record: &T, golden: &str) {
    assert_eq!(hex(&encode(record)), golden, "{record:?}");
    assert_eq!(&decode::<T>(&bytes_of(golden)).expect("decodes"), record);
}

/// The same of a command, which borrows from the bytes.
fn is_command(command: &Command<'_>, golden: &str) {
    assert_eq!(hex(&encode(command)), golden, "{command:?}");
    let bytes = bytes_of(golden);
    assert_eq!(&decode_borrowed::<Command<'_>>(&bytes).expect("decodes"), command);
}

#[test]
fn format_1() {
    holds(&VoteRecord { term: 7, replica: ReplicaId(2), committed: true }, "01070201");
    holds(
        &DedupRecord {
            first_attempt: Timestamp(300),
            hash: 5,
            at: Timestamp(301),
            outcome: Outcome::Number(-1),
        },
        "01fb2c0105fb2d010201",
    );
    let write = Command::Write(WriteCommand {
        evaluated_under: 4,
        time_domain: TimeDomain(0),
        groups: vec![Group {
            key: Bytes::from_static(b"k"),
            operations: vec![Operation {
                request: request(),
                first_attempt: Timestamp(1),
                hash: 2,
                at: Timestamp(3),
                effect: Effect::Put { value: Bytes::from_static(b"v"), expires_at: None },
                outcome: Outcome::Written,
            }],
        }],
        batches: Vec::new(),
    });
    let advance = Command::AdvanceTime { evaluated_under: 4, to: Timestamp(300) };
    is_command(&advance, "010204fb2c01");
    let gc = Command::MoveGcThreshold { evaluated_under: 4, threshold: Timestamp(300) };
    is_command(&gc, "010304fb2c01");
    let expiring =
        Effect::Put { value: Bytes::from_static(b"v"), expires_at: Some(Timestamp(300)) };
    holds(&expiring, "0101017601fb2c01");
    holds(&Outcome::NoSuchKey, "0105");
    let version = VersionRecord { value: Some(b"v"), txn: None, expires_at: Some(Timestamp(300)) };
    assert_eq!(hex(&encode(&version)), "010101760001fb2c01");
    // Term, domain, one group: key, one operation: request id, first attempt, hash, at, put, written; no
    // batches.
    is_command(&write, "0100040001016b0103fc0403020109010203010176000000");
    holds(
        &AppliedRecord {
            applied: Some(Position { term: 2, index: 7 }),
            membership: Membership {
                configs: vec![vec![ReplicaId(1), ReplicaId(2)]],
                replicas: vec![(ReplicaId(1), NodeId(11)), (ReplicaId(2), NodeId(12))],
            },
            membership_at: Some(Position { term: 1, index: 0 }),
            newest: Timestamp(9),
            time: Timestamp(10),
            dedup_threshold: Timestamp(3),
            gc_threshold: Timestamp(4),
            time_domain: TimeDomain(0),
        },
        "010102070102010202010b020c010100090a030400",
    );
}

/// What came with `quintet 3` directories; older ones have none of it.
#[test]
fn raft_snapshots() {
    let head = SnapshotHead {
        id: 0x0708,
        applied: AppliedRecord {
            applied: Some(Position { term: 2, index: 7 }),
            newest: Timestamp(9),
            ..AppliedRecord::default()
        },
        descriptor: Descriptor {
            range: RangeId(2),
            start: b"a".to_vec(),
            end: Vec::new(),
            generation: Generation(4),
            replicas: vec![(ReplicaId(1), NodeId(11))],
            next_replica: ReplicaId(2),
        },
    };
    // Id; applied position, membership and where it stood, newest version, time, thresholds, domain; range,
    // span, generation, replicas, next one.
    let shown = "fb08070102070000000900000000020161000401010b02";
    holds(&StagedRecord { head: head.clone(), chunks: 3, checksum: 5 }, &format!("01{shown}0305"));
    let clear = vec![(b"a".to_vec(), Vec::new())];
    holds(&InstallRecord { head, chunks: 3, clear }, &format!("01{shown}0301016100"));
    let chunk = ChunkRecord { records: vec![ContentRecord { family: 1, key: b"k", value: b"v" }] };
    let bytes = encode(&chunk);
    assert_eq!(hex(&bytes), "010101016b0176");
    assert_eq!(decode_borrowed::<ChunkRecord<'_>>(&bytes).expect("decodes"), chunk);
}

/// What came with `quintet 4` directories, or differs in them.
#[test]
fn replaced_nodes() {
    let birth = Descriptor {
        range: RangeId(2),
        start: b"a".to_vec(),
        end: Vec::new(),
        generation: Generation(1),
        replicas: vec![(ReplicaId(1), NodeId(11))],
        next_replica: ReplicaId(6),
    };
    is_command(&Command::ReserveReplica { evaluated_under: 4 }, "010404");
    let held = ReplicaRecord { replica: ReplicaId(6), birth: birth.clone() };
    holds(&held, "0106020161000101010b06");
    holds(&Identity { node: NodeId(3), boots: 2, directory: 300 }, "010302fb2c01");
    let address = AddressRecord { node: NodeId(3), epoch: 2, directory: 7, ..Default::default() };
    holds(&address, "01030000000000020007");
    let cluster = ClusterRecord {
        cluster: "c".to_owned(),
        incarnation: 1,
        nodes: vec![NodeId(11)],
        ranges: vec![birth],
        untold: vec![(NodeId(11), 7)],
    };
    holds(&cluster, "01016301010b01020161000101010b06010b07");
}

/// What came with `quintet 5` directories.
#[test]
fn batches() {
    let items = vec![BatchItem { key: b"k", value: b"v" }, BatchItem { key: b"l", value: b"" }];
    let batch = PutBatch {
        request: request(),
        first_attempt: Timestamp(1),
        hash: 2,
        at: Timestamp(3),
        expires_at: Some(Timestamp(300)),
        items,
    };
    let write = Command::Write(WriteCommand {
        evaluated_under: 4,
        time_domain: TimeDomain(0),
        groups: Vec::new(),
        batches: vec![batch],
    });
    // Term, domain, no groups, one batch: request id, first attempt, hash, at, expiry, two items.
    is_command(&write, "01000400000103fc040302010901020301fb2c0102016b0176016c00");
}

/// What came with `quintet 6` directories.
#[test]
fn deletions_of_ranges() {
    let removed = Removed { keys: 2, moment: Timestamp(300), next: Some(b"m".to_vec()) };
    let remove = Command::Remove(RemoveCommand {
        evaluated_under: 4,
        time_domain: TimeDomain(0),
        request: request(),
        first_attempt: Timestamp(1),
        hash: 2,
        at: Timestamp(3),
        start: b"a",
        keys: vec![serde_bytes::Bytes::new(b"k"), serde_bytes::Bytes::new(b"l")],
        removed: removed.clone(),
    });
    // Term, domain, request id, first attempt, hash, at, start, two keys; how many, the moment, where to go on.
    is_command(&remove, "0105040003fc0403020109010203016102016b016c02fb2c0101016d");
    holds(&Outcome::Removed(removed), "010602fb2c0101016d");
    let last = Removed { next: None, ..Removed::default() };
    holds(&Outcome::Removed(last), "0106000000");
}

#[test]
fn other_formats_are_refused() {
    let newer = decode::<VoteRecord>(&[2, 7, 2, 1]).expect_err("format 2");
    assert!(newer.to_string().contains("newer build"), "{newer}");
    assert!(decode::<VoteRecord>(&[]).is_err());
    assert!(decode::<VoteRecord>(&[1, 7, 2]).is_err(), "cut short");
    assert!(decode::<VoteRecord>(&[1, 7, 2, 1, 0]).is_err(), "something behind it");
}
