//! What commands print: results to standard output, words beside them to standard error.
//!
//! A standard output that the reader has closed ends the program quietly instead of with a panic.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
};

use serde_json::{Map, Value};

use super::exit::Failure;

/// For whom a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON value per line.
    Json,
}

/// The program's standard output, buffered.
#[derive(Debug)]
pub(crate) struct Output {
    out: io::BufWriter<io::Stdout>,
}

impl Output {
    pub(crate) fn new() -> Output {
        Output { out: io::BufWriter::new(io::stdout()) }
    }

    /// Writes bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(failure)
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, line: impl AsRef<str>) -> Result<(), Failure> {
        self.raw(line.as_ref().as_bytes())?;
        self.raw(b"\n")
    }

    /// Writes a JSON value on a line of its own.
    pub(crate) fn json(&mut self, value: &Value) -> Result<(), Failure> {
        self.line(value.to_string())
    }

    /// Writes a value as it is; on a terminal with the end of line that people want to see.
    pub(crate) fn value(&mut self, value: &[u8]) -> Result<(), Failure> {
        self.raw(value)?;
        if io::stdout().is_terminal() { self.raw(b"\n") } else { Ok(()) }
    }

    /// Sends what is buffered; every command ends with it.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(failure)
    }
}

/// Says something to people, beside the results.
pub(crate) fn note(line: impl AsRef<str>) {
    // With standard error closed there is nobody to tell.
    drop(writeln!(io::stderr(), "{}", line.as_ref()));
}

/// How the user called this program, for commands to copy.
pub(crate) fn program() -> String {
    std::env::args_os()
        .next()
        .map_or_else(|| "quintet".to_owned(), |name| Path::new(&name).display().to_string())
}

fn failure(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::output_closed(),
        _ => Failure::internal(format!("cannot write to standard output: {error}")),
    }
}

/// Bytes as a field of a JSON object: `NAME` where they are UTF-8, else `NAME_base64`.
pub(crate) fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(_) => object.insert(format!("{name}_base64"), BASE64_STANDARD.encode(bytes).into()),
    };
}

/// Bytes for people, on one line and without loss: what is not printable, and the backslash, as
/// `\xNN`, `\t`, `\n`, `\r`, `\\`.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\t' => text.push_str("\\t"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                c if c.is_control() => {
                    let mut utf8 = [0; 4];
                    push_hex(&mut text, c.encode_utf8(&mut utf8).as_bytes());
                }
                c => text.push(c),
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

/// Undoes [`escape`]; none where a backslash begins no escape.
pub(crate) fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next()? {
            b'\\' => bytes.push(b'\\'),
            b't' => bytes.push(b'\t'),
            b'n' => bytes.push(b'\n'),
            b'r' => bytes.push(b'\r'),
            b'x' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let number = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
                bytes.push(u8::try_from(number).ok()?);
            }
            _ => return None,
        }
    }
    Some(bytes)
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str(&format!("\\x{byte:02x}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_without_loss() {
        assert_eq!(escape("käse 1".as_bytes()), "käse 1");
        assert_eq!(escape(b"a\tb\\c\nd\0\x7f\xff"), "a\\tb\\\\c\\nd\\x00\\x7f\\xff");
        assert_ne!(escape(b"\\x00"), escape(b"\0"));
        for bytes in [&b"a\tb\\c\nd\0\x7f\xff"[..], b"", "käse".as_bytes()] {
            assert_eq!(unescape(escape(bytes).as_bytes()).as_deref(), Some(bytes));
        }
        for wrong in ["\\", "\\x", "\\x1", "\\xg0", "\\q"] {
            assert_eq!(unescape(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_base64() {
        let mut object = Map::new();
        insert_bytes(&mut object, "key", b"k");
        insert_bytes(&mut object, "value", b"\xff\x00");
        assert_eq!(Value::from(object).to_string(), r#"{"key":"k","value_base64":"/wA="}"#);
    }
}
