//! After the faults: the cluster must serve, and the judges need what is there at the end.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    Caller, INSERT_PREFIX, LIST_PREFIX, REGISTER_PREFIX, TTL_PREFIX, TTL_SUM_PREFIX, pages::Pages,
};
use crate::{
    history::{Call, Outcome},
    judge::Verdict,
    scenario::Workload,
};

impl Caller {
    /// Writes once, which must be acknowledged within so long.
    pub async fn first_write(&mut self, within: Duration) -> Verdict {
        let write = Call::Write { value: "yes".to_owned(), ttl_ms: None };
        let told = match timeout(within, self.call("healed", write)).await {
            Ok(Outcome::Ok(_)) => return Verdict::Holds,
            Ok(outcome) => format!("{outcome:?}"),
            Err(_) => "no answer".to_owned(),
        };
        Verdict::violation(format!("no write is acknowledged within {within:?}: {told}"))
    }

    /// Reads every key, counter and list, and scans what was inserted, each of which must be answered.
    pub async fn last_reads(mut self, workload: &Workload) -> Verdict {
        for (key, call) in reads(workload) {
            let outcome = self.call(&key, call).await;
            if !matches!(outcome, Outcome::Ok(_)) {
                return Verdict::violation(format!(
                    "{key} can't be read after all faults: {outcome:?}"
                ));
            }
        }
        for pages in Pages::of_all(workload) {
            let outcome = self.pages(pages).await;
            if !matches!(outcome, Outcome::Ok(_)) {
                let words = format!("keys can't be scanned after all faults: {outcome:?}");
                return Verdict::violation(words);
            }
        }
        Verdict::Holds
    }
}

fn reads(workload: &Workload) -> Vec<(String, Call)> {
    let mix = &workload.mix;
    let mut reads = Vec::new();
    for key in 0..workload.keys {
        reads.push((format!("{REGISTER_PREFIX}{key}"), Call::Read));
        if mix.append > 0 {
            reads.push((format!("{LIST_PREFIX}{key}"), Call::List));
        }
        if mix.increment > 0 {
            reads.push((format!("counter/{key}"), Call::Read));
        }
    }
    let expiring = if mix.expiring() > 0 { workload.ttl_keys() } else { 0 };
    for key in 0..expiring {
        reads.push((format!("{TTL_PREFIX}{key}"), Call::Read));
        if mix.add_ttl > 0 {
            reads.push((format!("{TTL_SUM_PREFIX}{key}"), Call::Read));
        }
    }
    if mix.read_all > 0 {
        reads.push((REGISTER_PREFIX.to_owned(), Call::ReadAll));
    }
    if mix.insert > 0 {
        reads.push((INSERT_PREFIX.to_owned(), Call::Scan));
    }
    reads
}
