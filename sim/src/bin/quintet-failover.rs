//! `quintet-failover`: for how long ranges take no writes when a room or a node is lost. Built and called by
//! `script/failover`.
//!
//! Exit codes: 0 within the limits, 1 not, 2 could not run.

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    quintet_sim::failover::command::main()
}

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    eprintln!("error: this build is for the simulation: use script/failover");
    std::process::ExitCode::from(2)
}
