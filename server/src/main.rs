//! The one binary, `quintet`: the node and the command line.

#[cfg(not(madsim))]
mod cli;

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    cli::main()
}

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    eprintln!("error: usage: this build is for the simulation; build without --cfg madsim");
    std::process::ExitCode::from(2)
}
