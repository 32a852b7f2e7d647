//! Exit codes, and the one line on standard error that goes with them. Both are stable: scripts
//! rely on them. `quintet help` shows [`TABLE`].
//!
//! The line is `error: CODE: MESSAGE`. CODE is a word for programs (that of the client library, or
//! one of this module's constructors), MESSAGE says what to do.

use std::{fmt, process::ExitCode};

use quintet_client::Error;

/// What `quintet help` says about exit codes.
pub(crate) const TABLE: &str = "\
Exit codes:
  0  done
  1  refused: a condition did not hold, a request the cluster does not accept, a node that failed
  2  wrong usage or configuration
  3  the key does not exist
  4  unavailable: no node, no leader, too much load, or out of time; nothing was done
  5  unknown outcome: the write may have happened
  6  no cluster has been formed yet
  7  internal error, or an error of this machine

Environment:
  QUINTET_NODES   client addresses of nodes, HOST:PORT, separated by commas
  QUINTET_LOG     what `start` logs, as in debug or info,quintet_server::range=debug
  QUINTET_CONFIG  configuration file of `start` and `config print`
  QUINTET_...     a setting of `start`: node.id is QUINTET_NODE_ID";

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Refused = 1,
    Usage = 2,
    Absent = 3,
    Unavailable = 4,
    Unknown = 5,
    NotInitialized = 6,
    Internal = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    code: &'static str,
    message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Failure {
        Failure { exit, code, message: message.into() }
    }

    /// The command or its configuration is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, "usage", message)
    }

    /// A key that is not there.
    pub(crate) fn absent(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Absent, "absent", message)
    }

    /// Nobody answers.
    pub(crate) fn unavailable(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Unavailable, "unavailable", message)
    }

    /// Something of this machine, or of this program.
    pub(crate) fn internal(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Internal, "internal", message)
    }

    /// The reader of standard output has gone: nothing failed, and nobody is there to be told.
    pub(crate) fn output_closed() -> Failure {
        Failure::new(Exit::Done, "output_closed", "")
    }

    /// The line for standard error; none where there is nothing to say.
    pub(crate) fn line(&self) -> Option<String> {
        if self.exit == Exit::Done {
            return None;
        }
        Some(format!("error: {self}").replace('\n', " "))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let code = error.code();
        let text = error.to_string();
        // The library's texts begin with the code in words; here it stands before them already.
        let words = code.replace('_', " ");
        let message = text.strip_prefix(&format!("{words}: ")).unwrap_or(&text);
        let (exit, advice) = judge(&error);
        Failure::new(exit, code, format!("{message}{advice}"))
    }
}

/// The exit code of an error, and what to do about it where the text can't know.
fn judge(error: &Error) -> (Exit, &'static str) {
    if error.maybe_committed() {
        return (Exit::Unknown, "; the write may have happened: read the key before writing again");
    }
    match error {
        Error::NotInitialized(_) => {
            (Exit::NotInitialized, "; form a cluster: `quintet cluster init --node HOST:PORT`")
        }
        Error::DeadlineExceeded(_) | Error::Unavailable(_) => (
            Exit::Unavailable,
            "; look at `quintet status`, name other nodes with --node, or wait longer with \
             --timeout",
        ),
        Error::Overloaded { .. } => (Exit::Unavailable, ""),
        Error::Expired => (Exit::Unavailable, "; run the command again"),
        Error::Conflict { .. } => (Exit::Refused, "; read it and decide again"),
        Error::EmptyNode(_) => (Exit::Refused, "; name another node with --node"),
        Error::AlreadyInitialized(_) => (Exit::Refused, "; `quintet status` shows the cluster"),
        Error::Protocol(_) => {
            (Exit::Internal, "; is this the client port of a Quintet node of the same version?")
        }
        Error::Storage(_) => (Exit::Unavailable, "; the node's log says more"),
        _ => (Exit::Refused, ""),
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::internal(format!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use quintet_client::Version;

    use super::*;

    #[test]
    fn errors_have_their_exit_code_and_one_line() {
        let cases = [
            (Error::Conflict { current: None, version: Version(0) }, Exit::Refused),
            (Error::InvalidArgument("x".to_owned()), Exit::Refused),
            (Error::DeadlineExceeded("x".to_owned()), Exit::Unavailable),
            (Error::Overloaded { retry_after: None }, Exit::Unavailable),
            (Error::UnknownOutcome("x".to_owned()), Exit::Unknown),
            (Error::NotInitialized("x\ny".to_owned()), Exit::NotInitialized),
        ];
        for (error, exit) in cases {
            let code = error.code();
            let failure = Failure::from(error);
            assert_eq!(failure.exit, exit);
            let line = failure.line().expect("a line");
            assert!(line.starts_with(&format!("error: {code}: ")), "{line}");
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(line.matches("conflict").count(), usize::from(code == "conflict"));
        }
        assert_eq!(Failure::output_closed().line(), None);
    }
}
