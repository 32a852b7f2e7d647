//! What is done before the first client begins.

use anyhow::ensure;

use crate::{
    client::Caller,
    history::{Call, OpOutcome},
};

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

#[cfg(all(test, not(madsim)))]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        client::{Recording, Seams, unary::Unary},
        history::Kind,
    };

    /// There is no node that could answer.
    #[tokio::test]
    async fn what_is_to_be_set_up_is_asked_for_until_something_is_not_acknowledged() {
        let seams = Seams { now_ns: Arc::new(|| 0), random: Arc::new(|| 0), slowest_clock: 1.0 };
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
