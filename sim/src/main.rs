//! `quintet-sim`: runs a scenario with many seeds. Built and called by `script/sim`.
//!
//! Exit codes: 0 everything held, 1 a judge found a violation, 2 could not run.

#[cfg(madsim)]
mod command;

#[cfg(madsim)]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    command::main()
}

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    eprintln!(
        "error: this build has no simulation in it: build with --cfg madsim (use script/sim)"
    );
    std::process::ExitCode::from(2)
}
