//! The bytes of every stored format there ever was.

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn request() -> RequestId {
    RequestId { origin_room: 3, client: 0x0102_0304, sequence: 9 }
}

/// Encodes to exactly these bytes, and these bytes decode to it.
fn holds<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(record: &T, golden: &str) {
    assert_eq!(hex(&encode(record)), golden, "{record:?}");
    let bytes: Vec<u8> = (0..golden.len() / 2)
        .map(|i| u8::from_str_radix(&golden[2 * i..2 * i + 2], 16).expect("hex"))
        .collect();
    assert_eq!(&decode::<T>(&bytes).expect("decodes"), record);
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
    });
    holds(
        &write,
        "0100040001016b0103fc0403020109010203010176".to_owned().as_str().trim_end_matches("x"),
    );
}
