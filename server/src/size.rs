//! Sizes of steps, pages, rounds and caches: bounds after which work goes on in a next step.
//!
//! In production each is a constant, chosen for throughput, and so large that most work is done in one step:
//! what a second step does wrong would hardly ever be seen. The simulation draws them anew for each run, from
//! one or a few upwards (FoundationDB's knobs do that). A size changes how work is divided, never what comes
//! of it; what users may set is a setting and not here.

/// A bound of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    name: &'static str,
    usual: usize,
    least: usize,
}

/// Says what a size is in this run, on this thread.
#[cfg(madsim)]
pub type Draw = fn(&Size) -> usize;

#[cfg(madsim)]
static DRAW: std::sync::OnceLock<Draw> = std::sync::OnceLock::new();

/// Lets sizes be drawn. Later calls change nothing.
#[cfg(madsim)]
pub fn set_draw(draw: Draw) {
    DRAW.get_or_init(|| draw);
}

impl Size {
    /// A size by a name of its own, as it is in production, and the least with which all works.
    pub const fn new(name: &'static str, usual: usize, least: usize) -> Size {
        assert!(0 < least && least <= usual);
        Size { name, usual, least }
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it is in production.
    pub const fn usual(&self) -> usize {
        self.usual
    }

    /// The least that it may be.
    pub const fn least(&self) -> usize {
        self.least
    }

    /// What it is here.
    #[inline]
    pub fn get(&self) -> usize {
        #[cfg(madsim)]
        if let Some(draw) = DRAW.get() {
            return draw(self).clamp(self.least, self.usual);
        }
        self.usual
    }
}
