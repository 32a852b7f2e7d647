//! Where a node stands: city ⊃ room ⊃ node.
//!
//! Written `city=…,room=…`, in the configuration, on the command line and in messages for people.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Characters of a city's or a room's name at most.
const NAME_CHARS_MAX: usize = 64;

/// The room of a node and the city of that room. The default is *not set*: both names empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Locality {
    /// Rooms of one city are about 1 ms apart, cities about 30 ms.
    pub city: String,
    /// What fails together: one server room. Unique within its city.
    pub room: String,
}

/// What is wrong with a locality.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a list of `name=value`.
    #[error("{0:?} is not of the form name=value; write city=NAME,room=NAME")]
    Form(String),
    /// Neither city nor room.
    #[error("{0:?} is neither city nor room; write city=NAME,room=NAME")]
    Tier(String),
    /// A tier is missing, or there twice.
    #[error("{0} has to be there exactly once; write city=NAME,room=NAME")]
    Once(&'static str),
    /// A name of other characters, or too long.
    #[error("{0:?} is no name: 1 to {NAME_CHARS_MAX} letters, digits, '-', '_' or '.'")]
    Name(String),
}

impl Locality {
    /// A locality of two names, which must be valid.
    pub fn new(city: &str, room: &str) -> Result<Locality, Error> {
        Ok(Locality { city: name(city)?, room: name(room)? })
    }

    /// Whether it names a room at all.
    pub fn is_set(&self) -> bool {
        !self.city.is_empty() && !self.room.is_empty()
    }

    /// Whether both stand in one city.
    pub fn same_city(&self, other: &Locality) -> bool {
        self.city == other.city
    }

    /// Whether both stand in one room.
    pub fn same_room(&self, other: &Locality) -> bool {
        self == other
    }
}

fn name(text: &str) -> Result<String, Error> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > NAME_CHARS_MAX || !text.chars().all(fits) {
        return Err(Error::Name(text.to_owned()));
    }
    Ok(text.to_owned())
}

impl FromStr for Locality {
    type Err = Error;

    fn from_str(text: &str) -> Result<Locality, Error> {
        let (mut city, mut room) = (None, None);
        for part in text.split(',') {
            let (tier, value) =
                part.split_once('=').ok_or_else(|| Error::Form(part.trim().to_owned()))?;
            let (slot, tier) = match tier.trim() {
                "city" => (&mut city, "city"),
                "room" => (&mut room, "room"),
                other => return Err(Error::Tier(other.to_owned())),
            };
            if slot.replace(name(value.trim())?).is_some() {
                return Err(Error::Once(tier));
            }
        }
        Ok(Locality {
            city: city.ok_or(Error::Once("city"))?,
            room: room.ok_or(Error::Once("room"))?,
        })
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_set() {
            return Ok(());
        }
        write!(f, "city={},room={}", self.city, self.room)
    }
}

impl TryFrom<String> for Locality {
    type Error = Error;

    fn try_from(text: String) -> Result<Locality, Error> {
        if text.is_empty() { Ok(Locality::default()) } else { text.parse() }
    }
}

impl From<Locality> for String {
    fn from(locality: Locality) -> String {
        locality.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let a = Locality::new("c1", "room-a.2").expect("valid");
        assert_eq!(a.to_string(), "city=c1,room=room-a.2");
        assert_eq!(a.to_string().parse(), Ok(a.clone()));
        assert_eq!(" room = room-a.2 , city = c1 ".parse(), Ok(a));
    }

    #[test]
    fn says_what_is_wrong() {
        let err = |text: &str| text.parse::<Locality>().expect_err(text);
        assert_eq!(err(""), Error::Form(String::new()));
        assert_eq!(err("c1,a"), Error::Form("c1".to_owned()));
        assert_eq!(err("city=c1"), Error::Once("room"));
        assert_eq!(err("room=a"), Error::Once("city"));
        assert_eq!(err("city=c1,room=a,room=b"), Error::Once("room"));
        assert_eq!(err("city=c1,rack=a"), Error::Tier("rack".to_owned()));
        assert_eq!(err("city=c1,room="), Error::Name(String::new()));
        assert_eq!(err("city=c 1,room=a"), Error::Name("c 1".to_owned()));
        let long = "x".repeat(NAME_CHARS_MAX + 1);
        assert_eq!(err(&format!("city={long},room=a")), Error::Name(long));
    }

    #[test]
    fn distance() {
        let at = |city, room| Locality::new(city, room).expect("valid");
        assert!(at("c1", "a").same_city(&at("c1", "b")));
        assert!(!at("c1", "a").same_room(&at("c1", "b")));
        // Rooms of one name in two cities are two rooms.
        assert!(!at("c1", "a").same_room(&at("c2", "a")));
    }
}
