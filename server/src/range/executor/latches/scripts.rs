//! The commands of `range/executor/testscripts/latches/`: who has a key, and who waits for it.
//!
//! ```text
//!   look KEY...        whether each is free
//!   take KEY...        by somebody who finds it free
//!   wait KEY who=N     somebody stands behind whoever has it
//!   release KEY...     it is free; who waited looks again
//!   send-away          who waits is told to go; who has a key keeps it
//!   release-all        every key is free, and nobody waits
//!   show
//! ```

use super::*;
use crate::testscript::{self, Command};

#[test]
fn scripts() {
    testscript::run("range/executor/testscripts/latches", || {
        let mut latches = Latches::new();
        move |command: &mut Command| run(&mut latches, command)
    });
}

fn listed(who: impl IntoIterator<Item = u32>) -> String {
    let who: Vec<_> = who.into_iter().map(|who| who.to_string()).collect();
    if who.is_empty() { "nobody".to_owned() } else { who.join(" ") }
}

fn handed_back(who: impl IntoIterator<Item = u32>) -> String {
    match &*listed(who) {
        "nobody" => "nobody waited".to_owned(),
        who => format!("to look again: {who}"),
    }
}

fn run(latches: &mut Latches<u32>, command: &mut Command) -> Result<String, String> {
    let words = command.words();
    let lines: Vec<String> = match command.name() {
        "look" => words
            .iter()
            .map(|key| match latches.is_taken(key.as_bytes()) {
                true => format!("{key}: not free"),
                false => format!("{key}: free"),
            })
            .collect(),
        "take" => words
            .iter()
            .map(|key| match latches.take(Bytes::from(key.clone())) {
                true => format!("{key}: taken"),
                false => format!("{key}: another one has it"),
            })
            .collect(),
        "wait" => {
            let who = command.must("who")?;
            let [key] = &words[..] else { return Err("behind one key".to_owned()) };
            match latches.wait(key.as_bytes(), who) {
                Ok(()) => vec![format!("{who} waits behind {key}")],
                Err(who) => vec![format!("{key} is free, {who} need not wait")],
            }
        }
        "release" => words
            .iter()
            .map(|key| format!("{key}: free, {}", handed_back(latches.release(key.as_bytes()))))
            .collect(),
        "send-away" => vec![format!("sent away: {}", listed(latches.send_away()))],
        "release-all" => vec![format!("all free, {}", handed_back(latches.release_all()))],
        "show" => {
            let mut taken: Vec<_> =
                latches.taken.iter().map(|(key, queue)| (key.clone(), queue.clone())).collect();
            taken.sort();
            let mut lines: Vec<_> = taken
                .into_iter()
                .map(|(key, queue)| format!("{}: behind it {}", key.escape_ascii(), listed(queue)))
                .collect();
            lines.push(format!("waiting: {}", latches.waiting()));
            lines
        }
        other => return Err(format!("no command {other}")),
    };
    Ok(lines.join("\n"))
}
