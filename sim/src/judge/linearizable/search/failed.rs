//! What the search need not try again.

use std::collections::HashMap;

/// How many of each class had been used, as (class, how many), without zeros.
type Used = Vec<(u32, u32)>;

/// Configurations from which there is no way on.
///
/// Unknown operations need not take effect, so that to have used more of them is never better:
/// where there was no way on, there is none after the same with more of them used.
#[derive(Default)]
pub(super) struct Failed {
    by_memo: HashMap<Vec<u32>, Vec<Used>>,
}

impl Failed {
    pub(super) fn covers(&self, memo: &Vec<u32>, used: &[usize]) -> bool {
        self.by_memo.get(memo).is_some_and(|failed| {
            failed.iter().any(|f| f.iter().all(|(class, n)| used[*class as usize] >= *n as usize))
        })
    }

    pub(super) fn insert(&mut self, memo: Vec<u32>, used: &[usize]) {
        if self.covers(&memo, used) {
            return;
        }
        let used = used.iter().enumerate().filter(|(_, n)| **n > 0);
        let used = used.map(|(class, n)| (class as u32, *n as u32)).collect();
        self.by_memo.entry(memo).or_default().push(used);
    }
}
