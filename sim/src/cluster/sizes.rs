//! The sizes of a run: steps, pages, rounds and caches of the product, which are drawn anew for each.
//!
//! With production's sizes nearly everything is one step, and second steps are hardly ever seen. Three runs of
//! four draw: each size stays as it is or is one or a few times the least. They come from dice of their own,
//! by the name of the size, so that one more size moves none of the others, nor anything else in a run.

use std::{cell::RefCell, collections::BTreeMap};

use quintet_server::{
    config::Limits,
    size::{self, Size},
};

use crate::{dice::Dice, scenario::Sizes};

/// How many times the least a size that is drawn is at most.
const TIMES_MAX: usize = 16;
/// One run in how many has the usual sizes.
const USUAL_ONE_IN: u64 = 4;

thread_local! {
    // One run a thread.
    static DRAWN: RefCell<Drawn> = const { RefCell::new(Drawn { seed: None, sizes: BTreeMap::new() }) };
}

struct Drawn {
    /// None: all sizes are as usual.
    seed: Option<u64>,
    sizes: BTreeMap<&'static str, usize>,
}

/// Draws the sizes of this thread's run.
pub(crate) fn begin(seed: u64, sizes: Sizes) {
    size::set_draw(draw);
    let is_usual = sizes == Sizes::Usual || Dice::new(seed, number("sizes")).one_in(USUAL_ONE_IN);
    DRAWN.set(Drawn { seed: Some(seed).filter(|_| !is_usual), sizes: BTreeMap::new() });
}

fn draw(size: &Size) -> usize {
    DRAWN.with_borrow_mut(|drawn| {
        let Some(seed) = drawn.seed else { return size.usual() };
        *drawn.sizes.entry(size.name()).or_insert_with(|| {
            let mut dice = Dice::new(seed, number(size.name()));
            let most = size.usual().min(size.least().saturating_mul(TIMES_MAX));
            let small = dice.between(size.least() as u64, most as u64);
            let is_usual = dice.one_in(2);
            if is_usual { size.usual() } else { usize::try_from(small).unwrap_or(size.usual()) }
        })
    })
}

/// Which dice a size has.
fn number(name: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name.as_bytes())
}

/// Draws the settings of nodes that bound a page or a window.
pub(super) fn settings(limits: &mut Limits) {
    let drawn = |name, usual: u32, least| {
        u32::try_from(draw(&Size::new(name, usual as usize, least))).unwrap_or(usual)
    };
    limits.scan_page_bytes_max = drawn("scan-page-bytes", limits.scan_page_bytes_max, 1_024);
    limits.session_in_flight_max = drawn("session-in-flight", limits.session_in_flight_max, 8);
}
