//! `quintet replace`: a node that lost its disk is taken back, with a new replica of every range.

use std::time::Duration;

use quintet_client::{Error, v1::ReplaceNodeResponse};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    exit::Failure,
    node::Args,
    output::{Format, Output, note},
};

/// Before what failed, but may succeed later, is asked again.
const PAUSE: Duration = Duration::from_millis(300);

/// Runs `replace`: asks again and again, for each call does a part. It may be ended and given again at any
/// time.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let timeout = args.connect.timeout;
    let client = args.connect.client().await?;
    let mut told = None;
    let mut moved = Instant::now();
    let mut is_first = true;
    let done = loop {
        let waits_for = match client.replace_node(args.id).await {
            Ok(done) if done.replaced == done.ranges => break (done, is_first),
            Ok(done) => {
                is_first = false;
                if told != Some(done.replaced) {
                    note(format!(
                        "node {}: {} of {} ranges have a new replica",
                        args.id, done.replaced, done.ranges
                    ));
                    told = Some(done.replaced);
                    moved = Instant::now();
                }
                done.waits_for
            }
            Err(error @ (Error::Unavailable(_) | Error::DeadlineExceeded(_))) => {
                if moved.elapsed() >= timeout {
                    return Err(error.into());
                }
                sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if moved.elapsed() >= timeout {
            return Err(Failure::unavailable(format!(
                "nothing was done for {timeout:?}: {waits_for}; what is done stays done: give the command \
                 again, or wait longer with --timeout"
            )));
        }
    };
    print(&args, done)
}

fn print(args: &Args, (done, at_once): (ReplaceNodeResponse, bool)) -> Result<(), Failure> {
    let nothing_left = at_once && done.replaced_before == done.ranges;
    let mut out = Output::new();
    match args.output {
        Format::Json => out.json(&json!({
            "node": args.id,
            "ranges": done.ranges,
            "replaced": done.replaced,
            "nothing_left": nothing_left,
        }))?,
        Format::Text if nothing_left => out.line(format!(
            "node {} was replaced before: its {} replicas vote and have caught up, nothing is left to do",
            args.id, done.ranges
        ))?,
        Format::Text => out.line(format!(
            "node {} has a new replica of each of {} ranges: they vote and have caught up, the old ones are \
             gone",
            args.id, done.ranges
        ))?,
    }
    out.flush()
}
