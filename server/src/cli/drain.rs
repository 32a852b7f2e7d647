//! `quintet drain` and `quintet undrain`: all leaders off a node, by planned switches, and back.

use serde_json::json;

use super::{
    exit::{Exit, Failure},
    node::Args,
    output::{Format, Output, note},
};

/// Runs `drain`.
pub(crate) async fn drain(args: Args) -> Result<(), Failure> {
    let drained = args.connect.client().await?.drain(args.id).await?;
    let (left, noted) = (drained.leaders_left, !drained.not_noted);
    let mut out = Output::new();
    match args.output {
        Format::Json => out.json(&json!({
            "node": args.id,
            "leaders_left": left,
            "to_be_told": drained.to_be_told,
            "noted": noted,
        }))?,
        Format::Text if left == 0 && drained.to_be_told => out.line(format!(
            "node {} can't be reached; it leads nothing and takes no leaders when it is back; `quintet \
             undrain {}` ends that",
            args.id, args.id
        ))?,
        Format::Text if left == 0 => out.line(format!(
            "node {} leads nothing and takes no leaders; `quintet undrain {}` ends that",
            args.id, args.id
        ))?,
        Format::Text => {}
    }
    out.flush()?;
    say_whether_noted(args.id, noted);
    match left {
        0 => Ok(()),
        left => Err(Failure::new(
            Exit::Unavailable,
            "not_drained",
            format!(
                "node {} still leads {left} ranges: no other node can; it takes no new ones. Look at \
                 `quintet status`",
                args.id
            ),
        )),
    }
}

/// Runs `undrain`.
pub(crate) async fn undrain(args: Args) -> Result<(), Failure> {
    let noted = !args.connect.client().await?.undrain(args.id).await?.not_noted;
    let mut out = Output::new();
    match args.output {
        Format::Json => out.json(&json!({ "node": args.id, "noted": noted }))?,
        Format::Text => {
            out.line(format!(
                "node {} takes leaders again; they come back by themselves",
                args.id
            ))?;
        }
    }
    out.flush()?;
    say_whether_noted(args.id, noted);
    Ok(())
}

fn say_whether_noted(node: u64, noted: bool) {
    if !noted {
        note(format!(
            "the disk of node {node} does not answer, so this is not noted there: a restart of the \
             node undoes it, unless the disk answers before"
        ));
    }
}
