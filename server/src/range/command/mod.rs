//! Replicated commands: pure rules, no clocks, no randomness, no hash order.

pub mod apply;
pub mod evaluate;

#[cfg(all(test, not(madsim)))]
mod tests;
