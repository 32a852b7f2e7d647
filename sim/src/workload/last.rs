//! After the faults: the cluster must serve, and the judges need what is there at the end.

use std::time::Duration;

use super::{Caller, INSERT_PREFIX, LIST_PREFIX, TTL_PREFIX};
use crate::{
    history::{Call, Outcome},
    judge::Verdict,
    scenario::Workload,
};

impl Caller {
    /// Writes once, which must be acknowledged; then reads every key and counter, and scans what was
    /// inserted, each of which must be answered. `timeout` is the client's own.
    pub async fn last_reads(mut self, workload: &Workload, timeout: Duration) -> Verdict {
        let first = Call::Write { value: "yes".to_owned(), ttl_ms: None };
        let first = self.call("healed", first).await;
        if !matches!(first, Outcome::Ok(_)) {
            return Verdict::violation(format!(
                "no write is acknowledged within {timeout:?} after all faults: {first:?}"
            ));
        }
        for (key, call) in reads(workload) {
            let outcome = self.call(&key, call).await;
            if !matches!(outcome, Outcome::Ok(_)) {
                return Verdict::violation(format!(
                    "{key} can't be read after all faults: {outcome:?}"
                ));
            }
        }
        Verdict::Holds
    }
}

fn reads(workload: &Workload) -> Vec<(String, Call)> {
    let mix = &workload.mix;
    let mut reads = Vec::new();
    for key in 0..workload.keys {
        reads.push((format!("key/{key}"), Call::Read));
        if mix.expiring() > 0 {
            reads.push((format!("{TTL_PREFIX}{key}"), Call::Read));
        }
        if mix.append > 0 {
            reads.push((format!("{LIST_PREFIX}{key}"), Call::List));
        }
        if mix.increment > 0 {
            reads.push((format!("counter/{key}"), Call::Read));
        }
    }
    if mix.insert > 0 {
        reads.push((INSERT_PREFIX.to_owned(), Call::Scan));
    }
    reads
}
