//! The two formats of `/metrics`, and which of them is asked for.
//!
//! `prometheus-client` writes OpenMetrics alone. The older text format, version 0.0.4, differs little, and
//! is what everything understands: there a counter's family has the name of its sample, `_total` included,
//! and neither units nor an end are said. Names of samples are the same in both.

use std::fmt::Write;

/// How the figures are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's text format, version 0.0.4.
    Plain,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// As HTTP calls it.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What the header `Accept` asks for (RFC 9110, section 12.5.1): OpenMetrics where it is named and liked
    /// at least as well; the plain format in all other cases, also where neither would do.
    pub fn of_accept(accept: &str) -> Format {
        let (mut plain, mut open) = (0.0_f32, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut liked, mut version) = (1.0_f32, None);
            for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => liked = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"').to_owned()),
                    _ => {}
                }
            }
            match (&*kind, version.as_deref()) {
                ("application/openmetrics-text", None | Some("1.0.0" | "0.0.1")) => {
                    open = open.max(liked);
                }
                ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => {
                    plain = plain.max(liked);
                }
                _ => {}
            }
        }
        if open > 0.0 && open >= plain { Format::OpenMetrics } else { Format::Plain }
    }
}

/// OpenMetrics, as `prometheus-client` writes it, in the plain format.
pub(super) fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        match comment.split_once(' ') {
            // Written with the type, which says what the family is called.
            Some(("HELP", described)) => help = described.split_once(' '),
            Some(("TYPE", typed)) => {
                let (name, kind) = typed.split_once(' ').unwrap_or((typed, "unknown"));
                let (name, kind) = match kind {
                    "counter" => (format!("{name}_total"), kind),
                    "info" => (format!("{name}_info"), "gauge"),
                    "unknown" => (name.to_owned(), "untyped"),
                    "stateset" => (name.to_owned(), "gauge"),
                    _ => (name.to_owned(), kind),
                };
                if let Some((_, words)) = help.take() {
                    // In this format quotes stand for themselves.
                    let words = words.replace("\\\"", "\"");
                    // Writing into a string does not fail.
                    writeln!(text, "# HELP {name} {words}").ok();
                }
                writeln!(text, "# TYPE {name} {kind}").ok();
            }
            // `UNIT` and `EOF` are not of this format.
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_does_not_ask_for_openmetrics_gets_the_plain_format() {
        use Format::{OpenMetrics, Plain};
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            ("", Plain),
            ("*/*", Plain),
            ("text/plain", Plain),
            ("text/plain; version=0.0.4", Plain),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Plain),
            (prometheus, OpenMetrics),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8", OpenMetrics),
            ("application/openmetrics-text;q=0.2,text/plain;q=0.9", Plain),
            ("application/openmetrics-text,text/plain", OpenMetrics),
            ("application/openmetrics-text;q=0", Plain),
            ("application/openmetrics-text;version=2.0.0", Plain),
            ("application/openmetrics-text;q=x", Plain),
            ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily", Plain),
            (";;,=,;q=", Plain),
        ] {
            assert_eq!(Format::of_accept(accept), format, "{accept:?}");
        }
    }

    #[test]
    fn the_plain_format_names_families_as_their_samples() {
        let open = "# HELP a_b Counts \\\"b\\\".\n# TYPE a_b counter\n# UNIT a_b seconds\n\
                    a_b_total{c=\"d # e\"} 1\n# HELP g Is.\n# TYPE g gauge\ng 2.5\n\
                    # HELP h Took.\n# TYPE h histogram\nh_sum 1.0\nh_count 1\n\
                    h_bucket{le=\"+Inf\"} 1\n# HELP i Told.\n# TYPE i info\ni_info{v=\"1\"} 1\n\
                    # HELP u What.\n# TYPE u unknown\nu 1\n# EOF\n";
        let expected = "# HELP a_b_total Counts \"b\".\n# TYPE a_b_total counter\n\
                        a_b_total{c=\"d # e\"} 1\n# HELP g Is.\n# TYPE g gauge\ng 2.5\n\
                        # HELP h Took.\n# TYPE h histogram\nh_sum 1.0\nh_count 1\n\
                        h_bucket{le=\"+Inf\"} 1\n# HELP i_info Told.\n# TYPE i_info gauge\n\
                        i_info{v=\"1\"} 1\n# HELP u What.\n# TYPE u untyped\nu 1\n";
        assert_eq!(plain(open), expected);
    }
}
