//! Tests of what exists only in a build with `--cfg madsim`; `script/test` runs them so. One program: it is linked as
//! the simulator is, which takes minutes.
#![cfg(madsim)]

mod clocks;
mod rounds;
