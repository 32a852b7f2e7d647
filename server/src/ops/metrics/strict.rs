//! Reads a page of metrics as strictly as the strictest monitor: what it takes, everybody takes.

use std::collections::BTreeSet;

use super::Format;

/// Name, labels and value of a sample.
pub(super) type Sample = (String, Vec<(String, String)>, f64);

struct Family<'a> {
    name: &'a str,
    kind: &'a str,
}

/// All samples of a page.
pub(super) fn read(page: &str, format: Format) -> Result<Vec<Sample>, String> {
    let page = match format {
        Format::Plain => page,
        Format::OpenMetrics => page.strip_suffix("# EOF\n").ok_or("no end")?,
    };
    let page = page.strip_suffix('\n').ok_or("the last line has no end")?;
    let (mut samples, mut families, mut series) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let (mut helped, mut family) = (None, None::<Family<'_>>);
    for line in page.split('\n') {
        let at = |why: &str| format!("{why}: {line:?}");
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').ok_or_else(|| at("no help"))?;
            if words.trim().is_empty() || helped.replace(name).is_some() {
                return Err(at("help of nothing"));
            }
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').ok_or_else(|| at("no type"))?;
            if helped.take() != Some(name) {
                return Err(at("a type without its help"));
            }
            if !["counter", "gauge", "histogram"].contains(&kind) {
                return Err(at("no type of ours"));
            }
            let is_total = name.ends_with("_total");
            if is_total != (kind == "counter" && format == Format::Plain) {
                return Err(at("_total is of the samples of counters, and of plain families"));
            }
            if !families.insert(name) {
                return Err(at("a family twice"));
            }
            family = Some(Family { name, kind });
        } else if line.starts_with('#') {
            return Err(at("a comment of no kind"));
        } else {
            let sample = sample(line).ok_or_else(|| at("no sample"))?;
            let family = family.as_ref().ok_or_else(|| at("of no family"))?;
            let suffix =
                sample.0.strip_prefix(family.name).ok_or_else(|| at("of another family"))?;
            let fits = match (family.kind, format) {
                ("counter", Format::OpenMetrics) => suffix == "_total",
                ("histogram", _) => ["_bucket", "_sum", "_count"].contains(&suffix),
                _ => suffix.is_empty(),
            };
            if !fits {
                return Err(at("no sample of this family"));
            }
            if !series.insert(line.rsplit_once(' ').ok_or_else(|| at("no value"))?.0) {
                return Err(at("a series twice"));
            }
            samples.push(sample);
        }
    }
    Ok(samples)
}

/// `name{label="value",…} number`; no time, no exemplar: this node writes none.
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, value) = rest.split_once("=\"")?;
            if label.is_empty() || !label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return None;
            }
            let mut chars = value.char_indices();
            let mut text = String::new();
            let close = loop {
                match chars.next()? {
                    (at, '"') => break at,
                    (_, '\\') => text.push(match chars.next()?.1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        _ => return None,
                    }),
                    (_, c) => text.push(c),
                }
            };
            labels.push((label.to_owned(), text));
            rest = value.get(close + 1..)?;
            match rest.split_at_checked(1)? {
                (",", more) => rest = more,
                ("}", more) => {
                    rest = more;
                    break;
                }
                _ => return None,
            }
        }
    }
    let value = rest.strip_prefix(' ')?.parse().ok()?;
    Some((name.to_owned(), labels, value))
}

#[test]
fn what_a_monitor_would_refuse_is_refused() {
    let good = "# HELP a_total A.\n# TYPE a_total counter\na_total{b=\"c\\\"\\\\\\n\"} 1\n";
    let read_one = read(good, Format::Plain).expect("read");
    assert_eq!(read_one[0].1, [("b".to_owned(), "c\"\\\n".to_owned())]);
    for (broken, mended) in [
        ("c\\\"", "c\""),
        ("\\n", "\\t"),
        ("a_total{", "b_total{"),
        ("# HELP a_total A.\n", ""),
        ("# TYPE a_total counter\n", ""),
        ("1\n", "1"),
        ("1\n", "x\n"),
        ("1\n", "1\n# EOF\n"),
        ("1\n", "1\na_total{b=\"c\\\"\\\\\\n\"} 2\n"),
        ("} 1", " 1"),
    ] {
        let page = good.replacen(broken, mended, 1);
        assert!(read(&page, Format::Plain).is_err(), "{page}");
    }
    assert!(read(good, Format::OpenMetrics).is_err());
}
