//! Many records at once: what is written, and what is told of a bulk load or a long scan.
//!
//! A record is to them what an operation is to the closed loop, and the fields of the report have the same names
//! where they mean the same. There are no latencies: a record that was sent in a batch has none of its own.
//! Time is that from the first record to the last, without a warm-up.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::cpu::Meter;

/// Random bytes that values are cut from; at least twice a value.
const NOISE_BYTES_MIN: usize = 1 << 20;

/// What came of a bulk load or a scan.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) op: &'static str,
    pub(crate) records: u64,
    /// Of keys and values.
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
    pub(crate) errors: u64,
    /// The first of the errors.
    pub(crate) error: Option<String>,
    pub(crate) client_cpu: Option<Duration>,
    pub(crate) server_cpu: Option<Duration>,
}

impl Measured {
    /// Fills in what passed since.
    pub(crate) fn end(&mut self, meter: &Meter<'_>) {
        self.took = meter.took();
        (self.client_cpu, self.server_cpu) = meter.read();
    }

    pub(crate) fn a_second(&self, number: u64) -> f64 {
        number as f64 / self.took.as_secs_f64().max(f64::EPSILON)
    }

    pub(crate) fn us_a_record(&self, cpu: Option<Duration>) -> Option<f64> {
        (self.records > 0).then_some(cpu?.as_secs_f64() * 1e6 / self.records as f64)
    }

    /// For programs: the names of the closed loop, where they mean the same.
    pub(crate) fn json(&self) -> Value {
        json!({
            "op": self.op,
            "clients": 1,
            "records": self.records,
            "bytes": self.bytes,
            "seconds": self.took.as_secs_f64(),
            "ops_per_s": self.a_second(self.records),
            "bytes_per_s": self.a_second(self.bytes),
            "errors": self.errors,
            "first_error": self.error,
            "client_cpu_us_per_op": self.us_a_record(self.client_cpu),
            "server_cpu_us_per_op": self.us_a_record(self.server_cpu),
        })
    }
}

/// Values that differ and are random, so that compression does not make them smaller than they are;
/// cut from one piece, so that making them costs nothing.
pub(crate) struct Values {
    noise: Bytes,
    bytes: usize,
}

impl Values {
    pub(crate) fn new(bytes: usize) -> Values {
        let length = NOISE_BYTES_MIN.max(2 * bytes);
        Values { noise: (0..length).map(|_| rand::random::<u8>()).collect(), bytes }
    }

    pub(crate) fn at(&self, index: usize) -> Bytes {
        let places = self.noise.len() - self.bytes;
        let from = index.wrapping_mul(self.bytes.max(1) + 1) % places;
        self.noise.slice(from..from + self.bytes)
    }
}

/// For the tests of whoever makes a report of it.
#[cfg(test)]
impl Measured {
    /// A load of 4000 records and a megabyte in two seconds; the servers' CPU time is not known.
    pub(crate) fn sample() -> Measured {
        Measured {
            op: "load",
            records: 4_000,
            bytes: 1_000_000,
            took: Duration::from_secs(2),
            client_cpu: Some(Duration::from_millis(40)),
            ..Measured::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_size_and_differ() {
        for bytes in [0, 1, 256, NOISE_BYTES_MIN, 3 * NOISE_BYTES_MIN] {
            let values = Values::new(bytes);
            for index in [0, 1, 4_095, 1_000_000_000] {
                assert_eq!(values.at(index).len(), bytes);
            }
            if bytes >= 256 {
                assert_ne!(values.at(1), values.at(2));
            }
        }
    }

    #[test]
    fn an_operation_is_a_record() {
        let json = Measured::sample().json();
        assert_eq!(
            (&json["ops_per_s"], &json["bytes_per_s"]),
            (&json!(2_000.0), &json!(500_000.0))
        );
        assert_eq!(json["client_cpu_us_per_op"], 10.0);
        assert_eq!(json["server_cpu_us_per_op"], Value::Null);
    }
}
