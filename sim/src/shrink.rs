//! Makes a failing run smaller: fewer strikes, clients and operations, and shorter.
//!
//! A run is asked for by what is left out of it ([`Reduced`]); whether it still fails, and by the same
//! judge, an oracle says. The seed stays. A smaller run is another run: the work of the clients and the
//! order of tasks are drawn anew, only the strikes that are left are the same. So a candidate that holds
//! does not prove that what it leaves out was needed; the search keeps what fails and goes on.
//!
//! The order is fixed: first shorter, since that makes all further candidates cheaper, then strikes
//! (delta debugging: Zeller, Hildebrandt: "Simplifying and Isolating Failure-Inducing Input", 2002),
//! clients and operations, and all again until a round changes nothing or the oracle has no time left.
//! Of several candidates the first that fails is taken, however many are tried at the same time, so that
//! the result does not depend on it.

use std::collections::BTreeSet;

use crate::plan::Reduced;

/// A run that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The strikes that happened, by number.
    pub strikes: BTreeSet<u64>,
    /// Seconds that work and faults went on.
    pub duration_s: u64,
    /// Seconds of work until the failure showed, rounded up; all of it where that is not known.
    pub shown_s: u64,
    /// Clients that worked.
    pub clients: u64,
    /// Operations of the client that had most.
    pub operations: u64,
}

/// Says whether smaller runs still fail.
pub trait Oracle {
    /// The first of the candidates that fails as the original did, and how; `Err`: no time is left.
    fn first(&mut self, candidates: &[Reduced]) -> Result<Option<(usize, Failed)>, OutOfTime>;
}

/// The oracle has no time left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfTime;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// What is left out of the smallest failing run.
    pub reduced: Reduced,
    /// That run.
    pub failed: Failed,
    /// Whether nothing smaller was found, and not just no time was left.
    pub is_done: bool,
}

/// Makes a failing run smaller.
pub fn shrink(reduced: Reduced, failed: Failed, oracle: &mut dyn Oracle) -> Shrunk {
    let mut search = Search { reduced, failed, oracle };
    let is_done = search.rounds().is_ok();
    Shrunk { reduced: search.reduced, failed: search.failed, is_done }
}

struct Search<'a> {
    reduced: Reduced,
    failed: Failed,
    oracle: &'a mut dyn Oracle,
}

impl Search<'_> {
    fn rounds(&mut self) -> Result<(), OutOfTime> {
        loop {
            let before = self.reduced.clone();
            self.shorten()?;
            self.leave_strikes_out()?;
            self.fewer_clients()?;
            self.fewer_operations()?;
            if self.reduced == before {
                return Ok(());
            }
        }
    }

    /// Takes the first of the candidates that fails, if one does.
    fn take(&mut self, candidates: Vec<Reduced>) -> Result<bool, OutOfTime> {
        let Some((position, failed)) = self.oracle.first(&candidates)? else { return Ok(false) };
        let Some(reduced) = candidates.into_iter().nth(position) else { return Ok(false) };
        (self.reduced, self.failed) = (reduced, failed);
        Ok(true)
    }

    fn shorten(&mut self) -> Result<(), OutOfTime> {
        loop {
            let now = self.failed.duration_s;
            let shown = self.failed.shown_s.clamp(1, now.max(1));
            let mut wanted = vec![shown / 4, shown / 2, shown * 3 / 4, shown];
            wanted.retain(|duration| (1..now).contains(duration));
            wanted.dedup();
            let candidates = wanted
                .into_iter()
                .map(|duration_s| Reduced { duration_s: Some(duration_s), ..self.reduced.clone() });
            let candidates: Vec<_> = candidates.collect();
            if candidates.is_empty() || !self.take(candidates)? {
                return Ok(());
            }
        }
    }

    fn without(&self, strikes: impl IntoIterator<Item = u64>) -> Reduced {
        let mut reduced = self.reduced.clone();
        reduced.without.extend(strikes);
        reduced
    }

    /// Delta debugging over the numbers of strikes.
    fn leave_strikes_out(&mut self) -> Result<(), OutOfTime> {
        let mut parts = 1;
        loop {
            let left: Vec<u64> = self.failed.strikes.iter().copied().collect();
            if left.is_empty() {
                return Ok(());
            }
            // A part that is all of them would be the same run again.
            parts = parts.min(left.len());
            let size = left.len().div_ceil(parts);
            let chunks: Vec<&[u64]> = left.chunks(size).collect();
            let rest = |chunk: &[u64]| {
                let chunk = chunk.to_vec();
                left.iter().copied().filter(move |number| !chunk.contains(number))
            };
            // Only one part of them, then all but one part.
            let mut candidates = Vec::new();
            if parts > 1 {
                candidates.extend(chunks.iter().map(|chunk| self.without(rest(chunk))));
            }
            if parts != 2 {
                candidates.extend(chunks.iter().map(|chunk| self.without(chunk.iter().copied())));
            }
            let before = left.len();
            if self.take(candidates)? {
                let lost = before.saturating_sub(self.failed.strikes.len());
                // A part alone begins anew; without a part the others keep their size.
                parts = if lost * 2 > before { 2 } else { parts.saturating_sub(1).max(2) };
            } else if size == 1 {
                return Ok(());
            } else {
                parts = (parts * 2).min(before);
            }
        }
    }

    fn fewer_clients(&mut self) -> Result<(), OutOfTime> {
        let now = self.failed.clients;
        let candidates = smaller(now)
            .into_iter()
            .map(|clients| Reduced { clients: Some(clients), ..self.reduced.clone() });
        let candidates: Vec<_> = candidates.collect();
        self.take(candidates).map(drop)
    }

    fn fewer_operations(&mut self) -> Result<(), OutOfTime> {
        loop {
            let most = self.failed.operations;
            let now = self.reduced.operations.unwrap_or(most.saturating_add(1));
            let mut wanted = vec![most / 8, most / 2, most * 3 / 4, most];
            wanted.retain(|operations| (1..now).contains(operations));
            wanted.dedup();
            let candidates = wanted
                .into_iter()
                .map(|operations| Reduced { operations: Some(operations), ..self.reduced.clone() });
            let candidates: Vec<_> = candidates.collect();
            if candidates.is_empty() || !self.take(candidates)? {
                return Ok(());
            }
        }
    }
}

/// Some numbers below another one, rising.
fn smaller(than: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = vec![1, 2, 3, than / 2, than * 3 / 4, than.saturating_sub(1)];
    numbers.retain(|number| (1..than).contains(number));
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

#[cfg(test)]
mod tests;
