//! The command line, run as its users run it.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::process::Command;

/// No command of these tests takes longer.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(90);

/// The program that is tested.
const QUINTET: &str = env!("CARGO_BIN_EXE_quintet");

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Outcome {
    /// What it printed; it must have succeeded.
    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// The JSON that it printed; it must have succeeded.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let out = self.done();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error} in {out:?}"))
    }

    /// The one line that it failed with; the exit code must be this one.
    #[track_caller]
    pub(crate) fn refused(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        let errors: Vec<_> = self.err.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "one line says what is wrong: {self:?}");
        errors[0].to_owned()
    }
}

/// A command of the program with the environment of no user: `state` is where it looks for local
/// clusters.
pub(crate) fn command(state: &Path, arguments: &[&str]) -> Command {
    let mut command = program();
    command.args(arguments).env("XDG_STATE_HOME", state);
    command
}

/// The program without any settings of whoever runs the tests; killed when dropped.
pub(crate) fn program() -> Command {
    let mut command = Command::new(QUINTET);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"QUINTET_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub(crate) async fn quintet(state: &Path, arguments: &[&str]) -> Outcome {
    let running = command(state, arguments).output();
    let ended = tokio::time::timeout(COMMAND_TIMEOUT, running).await;
    let output = ended
        .unwrap_or_else(|_| panic!("quintet {arguments:?} does not end"))
        .unwrap_or_else(|error| panic!("quintet {arguments:?} can't be run: {error}"));
    Outcome {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
