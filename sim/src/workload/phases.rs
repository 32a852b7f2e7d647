//! What clients do with the workloads of a scenario, from before the first fault to after the last one: work,
//! the first write after the heal, the last reads.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{contract::Read, registry::Workloads};
use crate::{
    client::Caller,
    history::{Call, OpOutcome},
    judge::Verdict,
};

/// How fast a client works, and how much it does.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// It waits up to this long between two steps, in milliseconds.
    pub think_time_ms_max: u64,
    /// After how many steps it stops.
    pub steps: Option<u64>,
}

/// Works until told to stop.
pub async fn work(mut caller: Caller, workloads: Arc<Workloads>, pace: Pace) {
    let mut left = pace.steps;
    while !caller.is_over() && left != Some(0) {
        left = left.map(|left| left - 1);
        workloads.step(&mut caller).await;
        let pause = caller.between(0, pace.think_time_ms_max * 1_000);
        sleep(Duration::from_micros(pause)).await;
    }
}

/// After the faults the cluster must serve: writes once, which must be acknowledged `within` a time.
pub async fn first_write(caller: &mut Caller, within: Duration) -> Verdict {
    let write = Call::Write { value: "yes".to_owned(), ttl_ms: None };
    let told = match timeout(within, caller.call("healed", write)).await {
        Ok(OpOutcome::Ok(_)) => return Verdict::Holds,
        Ok(outcome) => format!("{outcome:?}"),
        Err(_) => "no answer".to_owned(),
    };
    Verdict::violation(format!("no write is acknowledged within {within:?}: {told}"))
}

/// Judges need what is there at the end: reads that, each of which must be answered.
pub async fn last_reads(mut caller: Caller, workloads: Arc<Workloads>) -> Verdict {
    for last in workloads.last_reads() {
        let (outcome, what) = match last.read {
            Read::Call(key, call) => {
                let outcome = caller.call(&key, call).await;
                (outcome, format!("{key} can't be read"))
            }
            Read::Feeds(prefix) => {
                if let Err(why) = caller.catch_up(&prefix).await {
                    let words = format!("a feed of {prefix:?} does not come to its end: {why}");
                    return Verdict::violation(words);
                }
                continue;
            }
            Read::Walk(walk) => (caller.walk(walk, 0).await, "keys can't be scanned".to_owned()),
        };
        if !matches!(outcome, OpOutcome::Ok(_)) {
            return Verdict::violation(format!("{what} after all faults: {outcome:?}"));
        }
    }
    Verdict::Holds
}
