//! What a key holds, as requests on it are evaluated.

use bytes::Bytes;

use super::request::Condition;
use crate::{
    storage::{
        engine::{Error, Reader},
        format::command::Effect,
        life::has_expired,
        mvcc,
    },
    time::Timestamp,
};

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Timestamp of the write.
    pub version: Timestamp,
    /// Its value.
    pub value: Bytes,
    /// From then on the key is absent.
    pub expires_at: Option<Timestamp>,
}

/// A key's newest state: what it holds, or absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Current(pub Option<Held>);

impl From<mvcc::Version> for Held {
    fn from(version: mvcc::Version) -> Held {
        let mvcc::Version { at, value, expires_at } = version;
        Held { version: at, value: Bytes::from(value), expires_at }
    }
}

impl Current {
    /// What an engine shows of `enc(key)`, expired or not.
    pub fn read(engine: &dyn Reader, key: &[u8]) -> Result<Current, Error> {
        let found = mvcc::read(engine, key, Timestamp::MAX)?;
        Ok(Current(found.map(Held::from)))
    }

    /// The version, or `ZERO` where the key is absent.
    pub fn version(&self) -> Timestamp {
        self.0.as_ref().map_or(Timestamp::ZERO, |held| held.version)
    }

    /// When what it holds expires, if it holds something that does.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.0.as_ref().and_then(|held| held.expires_at)
    }

    /// The state as a write at `at` sees it: what has expired by then is absent.
    pub fn seen_at(self, at: Timestamp) -> Current {
        if has_expired(self.expires_at(), at) { Current(None) } else { self }
    }

    /// Whether a condition holds.
    pub fn holds(&self, condition: Condition) -> bool {
        match condition {
            Condition::Always => true,
            Condition::Absent => self.0.is_none(),
            Condition::Version(version) => self.version() == version && self.0.is_some(),
        }
    }

    /// The state after an effect at a timestamp.
    pub fn after(&self, effect: &Effect, at: Timestamp) -> Current {
        match effect {
            Effect::Nothing => self.clone(),
            Effect::Delete => Current(None),
            Effect::Put { value, expires_at } => {
                Current(Some(Held { version: at, value: value.clone(), expires_at: *expires_at }))
            }
        }
    }
}
