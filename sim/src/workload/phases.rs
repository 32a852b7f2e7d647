//! What clients do with the workloads of a scenario, from before the first fault to after the last one: set up, work,
//! the first write after the heal, the last reads.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
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
    /// It stops after so many steps.
    pub steps: Option<u64>,
}

/// What has to be done before the first client begins: at least one call.
#[derive(Debug, PartialEq, Eq)]
pub struct Preparation(pub(super) Vec<(String, Call)>);

impl Preparation {
    /// Does it, in its order. `Err`: what was not acknowledged; what follows it is not asked for.
    pub async fn run(self, mut caller: Caller) -> anyhow::Result<()> {
        for (key, call) in self.0 {
            let outcome = caller.call(&key, call).await;
            ensure!(matches!(outcome, OpOutcome::Ok(_)), "{key} can't be set up: {outcome:?}");
        }
        Ok(())
    }
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

/// After the faults the cluster must serve: writes once, which must be acknowledged within so long.
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
            Read::Walk(walk) => (caller.walk(walk, 0).await, "keys can't be scanned".to_owned()),
        };
        if !matches!(outcome, OpOutcome::Ok(_)) {
            return Verdict::violation(format!("{what} after all faults: {outcome:?}"));
        }
    }
    Verdict::Holds
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;
    use crate::{
        client::{Recording, Seams, unary::Unary},
        history::Kind,
    };

    /// There is no node that could answer.
    #[tokio::test]
    async fn what_is_to_be_set_up_is_asked_for_until_something_is_not_acknowledged() {
        let seams = Seams { now_ns: Arc::new(|| 0), random: Arc::new(|| 0) };
        let recording = Recording::new(seams.clone());
        let nobody = Unary::new(vec![], None, Duration::from_millis(10), false, seams).unwrap();
        let caller = Caller::unary(recording.clone(), nobody);
        let insert = |key: &str| (key.to_owned(), Call::Insert { value: "x".to_owned() });
        let preparation = Preparation(vec![insert("a"), insert("b")]);
        let error = preparation.run(caller).await.unwrap_err().to_string();
        assert!(error.starts_with("a can't be set up: "), "{error}");
        let history = recording.history.lock();
        let kinds: Vec<_> = history.events().iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [Kind::Invoke, Kind::Fail]);
    }
}
