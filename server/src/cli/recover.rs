//! `quintet recover`: what an operator does where more is lost for good than the cluster bears.
//!
//! Two steps: without names a command shows what is lost and changes nothing, and prints the command of the second
//! step.

use quintet_client::v1::{RecoverTimeResponse, TimeServerStatus};
use serde_json::json;

use super::{
    exit::Failure,
    output::{Format, Output},
    table::{align_right, table},
    time::{Asked, listed, name},
};

/// Subcommands of `recover`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Begin time anew where a majority of the time servers is lost for good
    ///
    /// Without --lost it shows which time servers answer, and changes nothing. Data directories of those that are named
    /// are never taken back: remove them, start their nodes with empty ones, and run `quintet replace`.
    Time(TimeArgs),
}

/// Flags of `recover time`.
#[derive(Debug, clap::Args)]
pub(crate) struct TimeArgs {
    /// The time servers that are lost for good, as the first step names them
    #[arg(long, value_delimiter = ',', value_parser = server_id)]
    lost: Vec<u64>,
    #[command(flatten)]
    asked: Asked,
}

fn server_id(text: &str) -> Result<u64, String> {
    let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = u64::from_str_radix(text, 16).ok().filter(|_| is_id);
    id.ok_or_else(|| "16 hexadecimal digits belong here".to_owned())
}

/// Runs the command.
pub(crate) async fn run(command: Command) -> Result<(), Failure> {
    let Command::Time(TimeArgs { lost, asked }) = command;
    let found = asked.connect.client().await?.recover_time(&lost).await?;
    let mut out = Output::new();
    match asked.output {
        Format::Json => out.json(&json!({
            "servers": found.servers.iter().map(in_json).collect::<Vec<_>>(),
            "is_stuck": found.is_stuck,
            "unheard_nodes": found.unheard_nodes,
            "is_under_way": found.is_under_way,
            "new_nodes": found.node_ids,
        }))?,
        Format::Text => {
            for line in in_words(&found) {
                out.line(line)?;
            }
        }
    }
    out.flush()
}

fn in_json(server: &TimeServerStatus) -> serde_json::Value {
    let node = (server.node_id != 0).then_some(server.node_id);
    json!({ "server": name(server), "node": node, "answers": server.live })
}

fn in_words(found: &RecoverTimeResponse) -> Vec<String> {
    if !found.node_ids.is_empty() {
        return vec![
            format!("time begins anew, with time servers on nodes {}", listed(&found.node_ids, ", ")),
            "nodes that had the lost ones are turned away until they come with empty data directories; \
             `quintet replace NODE` takes them back then"
                .to_owned(),
        ];
    }
    let mut servers = table(&["SERVER", "NODE", "ANSWERS"]);
    for server in &found.servers {
        servers.add_row([
            name(server),
            if server.node_id == 0 { "lost".to_owned() } else { server.node_id.to_string() },
            if server.live { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    align_right(&mut servers, &[1]);
    let mut lines = vec![servers.trim_fmt(), String::new()];
    if !found.is_stuck && !found.is_under_way {
        lines.push("enough of them answer: time is not lost, and nothing is to be done".to_owned());
        return lines;
    }
    if !found.unheard_nodes.is_empty() {
        lines.push(format!(
            "nodes {} are not heard: bring back those that can be, however long it takes",
            listed(&found.unheard_nodes, ", ")
        ));
    }
    if found.is_under_way {
        lines.push(
            "time is about to begin anew: that waits until every node which is not lost says what it knows, and every \
             range has a leader. A server that is lost meanwhile is named in the same way"
                .to_owned(),
        );
        return lines;
    }
    let silent = found.servers.iter().filter(|server| !server.live).map(name);
    lines.push(format!(
        "too few answer, and there is no time. If all that do not are lost for good:\n  \
         quintet recover time --lost {}",
        listed(silent, ",")
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(server_id: u64, node_id: u64, live: bool) -> TimeServerStatus {
        TimeServerStatus { server_id, node_id, live }
    }

    #[test]
    fn the_first_step_says_what_the_second_one_is() {
        let mut found = RecoverTimeResponse {
            servers: vec![server(0xa1, 1, false), server(0xb2, 0, false), server(0xc3, 3, true)],
            is_stuck: true,
            unheard_nodes: vec![1],
            node_ids: Vec::new(),
            is_under_way: false,
        };
        let lines = in_words(&found).join("\n");
        let second = "quintet recover time --lost 00000000000000a1,00000000000000b2";
        assert!(lines.ends_with(second), "{lines}");
        assert!(lines.contains("nodes 1 are not heard"), "{lines}");
        found.is_stuck = false;
        assert!(in_words(&found).join("\n").ends_with("nothing is to be done"));
        found.node_ids = vec![3, 4, 5];
        assert!(in_words(&found)[0].ends_with("on nodes 3, 4, 5"));
    }

    #[test]
    fn servers_are_named_by_sixteen_digits() {
        assert_eq!(server_id("00000000000000a1"), Ok(0xa1));
        for bad in ["a1", "", "+0000000000000a1", "00000000000000g1"] {
            assert!(server_id(bad).is_err(), "{bad}");
        }
    }
}
