//! Values of labels that an operator chose: names of cities and rooms, later of keyspaces.
//!
//! `prometheus-client` writes label values as they are: one quote in a name, and no monitor can read any
//! of the document. So such values are escaped here, also where they are restricted elsewhere, as names of
//! cities and rooms are (`placement/locality.rs`): others may come from nodes of another version.

use std::fmt::{Error, Write};

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// A label's value that is not one of our own constants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Chosen(pub(super) String);

impl EncodeLabelValue for Chosen {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), Error> {
        for c in self.0.chars() {
            match c {
                '\\' => encoder.write_str("\\\\")?,
                '"' => encoder.write_str("\\\"")?,
                '\n' => encoder.write_str("\\n")?,
                _ => encoder.write_char(c)?,
            }
        }
        Ok(())
    }
}
