//! The space-time diagram: time runs down, nodes and clients are vertical lines.
//!
//! ```text
//!   ms   faults   n1      n2      n3        client 0   client 4
//!   10     |       │╲      │       │            ▌          │      operations are bars
//!   11     ▒       │ ╲─ ─ >│       │            ▌          ▌
//!   12     ▒       │     ╱ ▓       │                       ▌      ▓ n2 is down
//!          ▒       │<───   ▓       │
//! ```
//!
//! An arrow that ends in a cross never arrived. What lies under the pointer says more: each mark has a
//! title, which browsers show without any script.

mod layout;
mod spans;

use self::layout::Layout;
use super::{Concern, Failure, Frame, Shown, Window, halves, ms, text::told};
use crate::{html::escape, timeline::What};

/// Arrows that are drawn at most: what says least is left out first.
const FRAMES_MAX: usize = 4_000;

/// How much a message says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// Votes and leader transfers.
    Election,
    /// Log entries.
    Entries,
    /// Requests that are passed on, and their answers.
    Forward,
    /// Everything else: heartbeats, answers, questions whether one leads still.
    Other,
}

impl Weight {
    fn of(says: &str) -> Weight {
        let any = |words: &[&str]| words.iter().any(|word| says.contains(word));
        if any(&["vote ", "leader transfer"]) {
            Weight::Election
        } else if any(&[" append r"]) {
            Weight::Entries
        } else if any(&["forward"]) {
            Weight::Forward
        } else {
            Weight::Other
        }
    }

    fn class(self) -> &'static str {
        match self {
            Weight::Election => "election",
            Weight::Entries => "entries",
            Weight::Forward => "forward",
            Weight::Other => "other",
        }
    }
}

/// The diagram as inline SVG, and what it leaves out, in a sentence.
pub(super) fn diagram(failure: &Failure<'_>, frames: &[Frame]) -> (String, String) {
    let window = Window::around(failure);
    let operations = failure.operations();
    let (layout, clients_left_out) = Layout::new(failure, window, &operations);
    let mut chosen: Vec<&Frame> = frames.iter().collect();
    chosen.sort_by_key(|frame| (Weight::of(&frame.says), frame.sent_ns));
    let frames_left_out = chosen.len().saturating_sub(FRAMES_MAX);
    chosen.truncate(FRAMES_MAX);
    let mut out = format!(
        "<svg width=\"{0:.0}\" height=\"{1:.0}\" \
         viewBox=\"0 0 {0:.0} {1:.0}\" role=\"img\">\n<style>{STYLE}</style>\n",
        layout.width, layout.height
    );
    axis(&mut out, &layout);
    strikes(&mut out, failure, &layout);
    lanes(&mut out, failure, &layout);
    for frame in chosen.iter().rev() {
        arrow(&mut out, frame, &layout);
    }
    for shown in &operations {
        operation(&mut out, shown, &layout);
    }
    moments(&mut out, failure, &layout);
    out.push_str("</svg>\n");
    let left_out = [(clients_left_out, "clients"), (frames_left_out, "messages that say least")];
    let left_out: Vec<_> = left_out
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let left_out = match left_out.as_slice() {
        [] => String::new(),
        what => format!("Left out: {}.", what.join(", ")),
    };
    (out, left_out)
}

/// Times at the left, and where the failure showed.
fn axis(out: &mut String, layout: &Layout) {
    let span_ms = (layout.window.to_ns - layout.window.from_ns) as f64 / 1e6;
    let steps = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0];
    let step = steps.into_iter().find(|step| span_ms / step <= 40.0).unwrap_or(500.0);
    let first = (layout.window.from_ns as f64 / 1e6 / step).ceil() as u64;
    for number in first.. {
        let at_ms = number as f64 * step;
        let at_ns = (at_ms * 1e6) as u64;
        if at_ns > layout.window.to_ns {
            break;
        }
        let y = layout.y(at_ns);
        out.push_str(&format!(
            "<line class=\"grid\" x1=\"62\" x2=\"{:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"soft\" x=\"56\" y=\"{:.1}\" text-anchor=\"end\">{at_ms:.0} ms</text>\n",
            layout.width,
            y + 4.0
        ));
    }
}

/// Strikes: a bar each at the left, and a shade on the nodes concerned.
fn strikes(out: &mut String, failure: &Failure<'_>, layout: &Layout) {
    let found = spans::strikes(failure.timeline, failure.end_ns);
    let found = found.iter().filter(|span| layout.window.meets(span.from_ns, span.to_ns));
    for (position, span) in found.enumerate() {
        let (from, to) = layout.between(span.from_ns, span.to_ns);
        let title =
            escape(&format!("{} ({} .. {} ms)", span.words, ms(span.from_ns), ms(span.to_ns)));
        let mut rect = |class: &str, x: f64, width: f64| {
            out.push_str(&format!(
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{from:.1}\" width=\"{width:.1}\" \
                 height=\"{:.1}\"><title>{title}</title></rect>\n",
                to - from
            ));
        };
        // Beside one another where several are under way.
        rect("strike", layout.faults_x + (position % 4) as f64 * 12.0 - 20.0, 9.0);
        for node in &span.nodes {
            if let Some(x) = layout.node_x(*node) {
                rect("struck", x - 34.0, 68.0);
            }
        }
    }
}

/// The lines of nodes and clients, with their names, and when nodes were down.
fn lanes(out: &mut String, failure: &Failure<'_>, layout: &Layout) {
    let bottom = layout.height - 10.0;
    let mut lane = |x: f64, name: &str, below: &str| {
        out.push_str(&format!(
            "<line class=\"lane\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\"/>\
             <text x=\"{x:.1}\" y=\"16\" text-anchor=\"middle\">{}</text>\
             <text class=\"soft\" x=\"{x:.1}\" y=\"31\" text-anchor=\"middle\">{}</text>\n",
            layout::TOP,
            escape(name),
            escape(below)
        ));
    };
    lane(layout.faults_x, "faults", "");
    for node in &failure.scenario.topology.nodes {
        if let Some(x) = layout.node_x(node.id) {
            lane(x, &format!("n{}", node.id), &format!("{}/{}", node.city, node.room));
        }
    }
    for (client, x) in &layout.clients {
        lane(*x, &format!("client {client}"), "");
    }
    for (node, from_ns, to_ns) in spans::down(failure.timeline, failure.end_ns) {
        let Some(x) = layout.node_x(node).filter(|_| layout.window.meets(from_ns, to_ns)) else {
            continue;
        };
        let (from, to) = layout.between(from_ns, to_ns);
        out.push_str(&format!(
            "<rect class=\"down\" x=\"{:.1}\" y=\"{from:.1}\" width=\"16\" height=\"{:.1}\">\
             <title>n{node} is down ({} .. {} ms)</title></rect>\n",
            x - 8.0,
            to - from,
            ms(from_ns),
            ms(to_ns)
        ));
    }
}

fn arrow(out: &mut String, frame: &Frame, layout: &Layout) {
    let (Some(from), Some(to)) = (layout.node_x(frame.from), layout.node_x(frame.to)) else {
        return;
    };
    let class = Weight::of(&frame.says).class();
    let again = if frame.is_copy { ", delivered again" } else { "" };
    let arrived = frame.received_ns.map_or("never arrived".to_owned(), |at| ms(at) + " ms");
    let title = escape(&format!(
        "n{} to n{}, {} ms -> {arrived}{again}\n{}",
        frame.from,
        frame.to,
        ms(frame.sent_ns),
        frame.says
    ));
    let y1 = layout.y(frame.sent_ns);
    out.push_str(&format!("<g class=\"m {class}\"><title>{title}</title>"));
    match frame.received_ns {
        Some(received_ns) => {
            let y2 = layout.y(received_ns);
            let (dx, dy) = (to - from, y2 - y1);
            let length = dx.hypot(dy).max(1.0);
            let (ux, uy) = (dx / length, dy / length);
            // Short of the line, so that heads of arrows from both sides do not meet.
            let (tip_x, tip_y) = (to - ux * 3.0, y2 - uy * 3.0);
            let (back_x, back_y) = (tip_x - ux * 6.0, tip_y - uy * 6.0);
            out.push_str(&format!(
                "<path d=\"M{from:.1} {y1:.1}L{tip_x:.1} {tip_y:.1}M{:.1} {:.1}L{tip_x:.1} {tip_y:.1}\
                 L{:.1} {:.1}\"/>",
                back_x - uy * 2.5,
                back_y + ux * 2.5,
                back_x + uy * 2.5,
                back_y - ux * 2.5
            ));
        }
        None => {
            let x = from + (to - from) * 0.35;
            let y2 = y1 + 6.0;
            out.push_str(&format!(
                "<path class=\"lost\" d=\"M{from:.1} {y1:.1}L{x:.1} {y2:.1}M{:.1} {:.1}l6 6m0 -6l-6 6\"/>",
                x - 3.0,
                y2 - 3.0
            ));
        }
    }
    out.push_str("</g>\n");
}

fn operation(out: &mut String, shown: &Shown, layout: &Layout) {
    let end_ns = shown.told_ns.unwrap_or(layout.window.to_ns);
    let Some(x) = layout.client_x(shown.client) else { return };
    if !layout.window.meets(shown.op.invoke_ns, end_ns) {
        return;
    }
    let (from, to) = layout.between(shown.op.invoke_ns, end_ns);
    let class = match shown.concern {
        Concern::Named => "named",
        Concern::Key => "onkey",
        Concern::None => "plain",
    };
    out.push_str(&format!(
        "<rect class=\"op {class}\" x=\"{:.1}\" y=\"{from:.1}\" width=\"8\" height=\"{:.1}\" rx=\"2\">\
         <title>{}</title></rect>\n",
        x - 4.0,
        (to - from).max(2.0),
        escape(&shown.op.to_string())
    ));
    if shown.concern == Concern::Named {
        let (asked, told) = halves(&shown.op);
        for (y, words) in [(from + 10.0, asked), (to.max(from + 14.0) + 10.0, told)] {
            let words = words.strip_prefix("process ").unwrap_or(&words);
            out.push_str(&format!(
                "<text class=\"name\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>\n",
                x + 8.0,
                escape(&layout::short(words))
            ));
        }
    }
}

/// Leaders, phases, and where the failure showed.
fn moments(out: &mut String, failure: &Failure<'_>, layout: &Layout) {
    for moment in failure.timeline {
        if !layout.window.meets(moment.at_ns, moment.at_ns) {
            continue;
        }
        let y = layout.y(moment.at_ns);
        let (who, what) = told(&moment.what);
        let title = escape(&format!("{} ms: {who} {what}", ms(moment.at_ns)));
        match &moment.what {
            What::Leads { node, range, term } => {
                let Some(x) = layout.node_x(*node) else { continue };
                out.push_str(&format!(
                    "<g class=\"leads\"><title>{title}</title><circle cx=\"{x:.1}\" cy=\"{y:.1}\" \
                     r=\"5\"/><text x=\"{:.1}\" y=\"{:.1}\">r{range} t{term}</text></g>\n",
                    x + 8.0,
                    y + 4.0
                ));
            }
            What::Phase { .. } | What::Note { .. } => out.push_str(&format!(
                "<line class=\"phase\" x1=\"62\" x2=\"{:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\">\
                 <title>{title}</title></line>\n",
                layout.width
            )),
            _ => {}
        }
    }
    let showed = failure.violations.first().and_then(|violation| violation.at_ns);
    if let Some(at_ns) = showed.filter(|at_ns| layout.window.meets(*at_ns, *at_ns)) {
        let y = layout.y(at_ns);
        out.push_str(&format!(
            "<line class=\"showed\" x1=\"62\" x2=\"{0:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"showed\" x=\"{0:.0}\" y=\"{1:.1}\" text-anchor=\"end\">here it shows</text>\n",
            layout.width - 4.0,
            y - 4.0
        ));
    }
}

const STYLE: &str = "
.grid{stroke:var(--line);stroke-width:.5}.lane{stroke:var(--soft);stroke-width:1.2}
.strike{fill:var(--fault)}.struck{fill:var(--fault);opacity:.13}.down{fill:var(--down);opacity:.75}
.m path{fill:none;stroke-width:1}.m:hover path{stroke-width:3;opacity:1}
.other path{stroke:var(--soft);opacity:.35}.entries path{stroke:var(--bulk);opacity:.8}
.forward path{stroke:var(--message);opacity:.7}.election path{stroke:var(--lead);stroke-width:1.8}
.m path.lost{stroke-dasharray:3 2}
.op{fill:var(--op)}.onkey{fill:var(--hot);opacity:.45}.named{fill:var(--hot)}.op:hover{stroke:var(--text)}
svg text.name{fill:var(--hot)}.leads circle{fill:var(--lead)}svg .leads text{fill:var(--lead)}
.phase{stroke:var(--text);stroke-dasharray:6 4}line.showed{stroke:var(--hot);stroke-width:1.5}
svg text.showed{fill:var(--hot)}
";
