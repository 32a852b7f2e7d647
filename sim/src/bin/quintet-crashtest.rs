//! `quintet-crashtest`: real nodes, killed and stopped under load. Built and called by `script/crashtest`.
//!
//! Exit codes: 0 everything held, 1 a violation, 2 could not run.

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    quintet_sim::crashtest::command::main()
}

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    eprintln!("error: this build is for the simulation: use script/crashtest");
    std::process::ExitCode::from(2)
}
