//! `quintet config`: shows what can be set, and what a node would use.

use quintet_server::config::{Config, Loaded, keys};

use super::{
    exit::Failure,
    output::{Output, note},
    start,
};

/// Subcommands of `config`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print a configuration file: every setting, explained, at its default.
    ///
    /// With --effective: what `start` would use with the same flags, environment and file, and
    /// where each value comes from.
    Print(Box<Print>),
}

/// Flags of `config print`.
#[derive(Debug, clap::Args)]
pub(crate) struct Print {
    /// Print what `start` would use
    #[arg(long)]
    effective: bool,
    #[command(flatten)]
    start: start::Args,
}

/// Runs the command.
pub(crate) fn run(command: Command) -> Result<(), Failure> {
    let Command::Print(print) = command;
    let mut out = Output::new();
    match print.effective {
        true => {
            let loaded = print.start.load()?;
            loaded.warnings.iter().for_each(note);
            out.raw(effective(&loaded)?.as_bytes())?;
        }
        false => out.raw(Config::default_toml().as_bytes())?,
    }
    out.flush()
}

/// The configuration as a file, each value that somebody set with its origin behind it.
fn effective(loaded: &Loaded) -> Result<String, Failure> {
    let toml = loaded.config.to_toml().map_err(|error| Failure::internal(error.to_string()))?;
    let mut section = String::new();
    let mut text = String::new();
    for line in toml.lines() {
        text.push_str(line);
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = format!("{name}.");
        }
        let name = line.split(" = ").next().unwrap_or_default();
        let key = keys().find(|key| *key == format!("{section}{name}"));
        if let Some(origin) = key.and_then(|key| loaded.origins.get(key)) {
            text.push_str(&format!(" # {origin}"));
        }
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_configuration_is_a_file_again() {
        let flags = [
            ("node.id", "2"),
            ("node.data_dir", "/d"),
            ("node.locality", "city=c1,room=a"),
            ("seeds", "a:1,b:2"),
            ("raft.heartbeat_ms", "70"),
        ];
        let flags = flags.map(|(a, b)| (a.to_owned(), b.to_owned()));
        let environment = [("QUINTET_LISTEN_HTTP".to_owned(), "off".to_owned())];
        let loaded = Config::load(None, environment, &flags).expect("valid");
        let text = effective(&loaded).expect("utf-8");
        assert!(text.contains("heartbeat_ms = 70 # command line\n"), "{text}");
        assert!(text.contains("http = \"off\" # environment variable QUINTET_LISTEN_HTTP\n"));
        assert!(text.contains("election_min_ms = 500\n"), "{text}");

        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &text).expect("written");
        let again = Config::load(Some(file.path()), [], &[]).expect("valid");
        assert_eq!(again.config, loaded.config);
    }
}
