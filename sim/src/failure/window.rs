//! Which part of a run is shown.

use super::Failure;
use crate::timeline::What;

/// What comes before the first operation concerned.
const LEAD_NS: u64 = 60_000_000;
/// What comes after the moment at which it showed.
const TAIL_NS: u64 = 40_000_000;
/// No more than this is shown.
const WIDTH_NS_MAX: u64 = 1_500_000_000;
/// What is shown where no operation is concerned.
const ALONE_NS: u64 = 500_000_000;

/// A part of simulated time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First nanosecond.
    pub from_ns: u64,
    /// Last one.
    pub to_ns: u64,
}

impl Window {
    /// Around the moment at which a failure showed, back to the operations that it is about.
    pub fn around(failure: &Failure<'_>) -> Window {
        let first = failure.violations.first();
        let events = failure.history.events();
        let named = first.map(|violation| violation.events.as_slice()).unwrap_or_default();
        let times = named
            .iter()
            .filter_map(|index| events.get(usize::try_from(*index).ok()?).map(|event| event.time));
        let (earliest, latest) = (times.clone().min(), times.max());
        let work = failure.timeline.iter().find_map(|moment| match &moment.what {
            What::Phase { name } if name == "work" => Some(moment.at_ns),
            _ => None,
        });
        let showed = first.and_then(|violation| violation.at_ns).or(latest);
        let showed = showed.unwrap_or(failure.end_ns);
        let to_ns = showed.max(latest.unwrap_or(0)).saturating_add(TAIL_NS);
        let from_ns = match earliest {
            Some(earliest) => earliest.min(showed).saturating_sub(LEAD_NS),
            None => showed.saturating_sub(ALONE_NS),
        };
        let least = to_ns.saturating_sub(WIDTH_NS_MAX).max(work.unwrap_or(0).min(showed));
        Window { from_ns: from_ns.max(least), to_ns }
    }

    /// Whether a stretch of time is in it, in part at least.
    pub fn meets(&self, from_ns: u64, to_ns: u64) -> bool {
        from_ns <= self.to_ns && to_ns >= self.from_ns
    }
}
