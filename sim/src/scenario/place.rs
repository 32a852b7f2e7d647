//! In which line of a file a field is.

use toml::de::{DeTable, DeValue};

/// The line, from 1, of the field with a path such as `faults[2].down_s_min`, or of the innermost
/// thing around it that is there.
pub(super) fn line(text: &str, path: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut found = None;
    let mut table = document.get_ref();
    for part in path.split('.') {
        let (name, position) = match part.split_once('[') {
            Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
            None => (part, None),
        };
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else { break };
        found = Some(key.span().start);
        let mut inner = value;
        if let (Some(position), DeValue::Array(items)) = (position, value.get_ref()) {
            let Some(item) = items.get(position) else { break };
            found = Some(item.span().start);
            inner = item;
        }
        match inner.get_ref() {
            DeValue::Table(next) => table = next,
            _ => break,
        }
    }
    let before = text.get(..found?)?;
    Some(before.bytes().filter(|byte| *byte == b'\n').count() + 1)
}
