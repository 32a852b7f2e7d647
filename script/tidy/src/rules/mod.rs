//! The rules, one a file.

pub mod circles;
pub mod floors;
pub mod glossary;
pub mod headers;
pub mod links;
pub mod outside;
pub mod randomness;
pub mod scripts;
pub mod size;
pub mod users;
pub mod width;
pub mod words;

#[cfg(test)]
use crate::{Offence, listed, tree::Tree};

/// That a rule finds nothing in a tree.
#[cfg(test)]
#[track_caller]
fn holds(rule: fn(&Tree) -> Vec<Offence>, tree: &Tree) {
    let offences = rule(tree);
    assert!(offences.is_empty(), "{} offences:{}", offences.len(), listed(&offences));
}

/// That there is something in this repository at each path that a rule looks at or makes an exception of, or something
/// that begins so: an exception for what is gone is one for whatever comes there next.
#[cfg(test)]
#[track_caller]
fn are_there<'a>(paths: impl IntoIterator<Item = &'a &'a str>) {
    for path in paths {
        let mut files = Tree::repository().files();
        assert!(files.any(|(file, _)| file.starts_with(*path)), "there is no {path}: take it out");
    }
}

/// That a rule finds one offence at a place (`path:line`) in a tree, and no other.
#[cfg(test)]
#[track_caller]
fn finds(rule: fn(&Tree) -> Vec<Offence>, tree: &Tree, place: &str) {
    let offences = rule(tree);
    let [one] = offences.as_slice() else { panic!("not one offence:{}", listed(&offences)) };
    assert!(one.to_string().starts_with(&format!("{place}: ")), "{one}");
}
