//! What a cluster of fake nodes holds, and what a request does to it.
//!
//! A map of keys with versions, a table of the requests that were done (a repeated one is answered again and not
//! done again), and a clock that rises with each write and where a test lets time pass. There are ranges only as
//! far as clients see them: the places where pages and batches end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use quintet_client::v1::{self, session_request::Op, session_response::Result as Answer};

use super::error;

/// What a key holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    pub(crate) version: u64,
    pub(crate) value: Bytes,
    /// 0: never.
    pub(crate) expires_at: u64,
}

/// The state of a cluster.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) cluster_id: String,
    pub(crate) limits: v1::Limits,
    pub(crate) records: BTreeMap<Bytes, Held>,
    done: BTreeMap<Vec<u8>, Answer>,
    pub(super) clock: u64,
    /// Records of a page of a scan.
    pub(crate) page: usize,
    /// Where ranges end and the next begin.
    pub(crate) splits: Vec<&'static str>,
}

impl Store {
    pub(crate) fn shared(cluster_id: &str) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            cluster_id: cluster_id.to_owned(),
            limits: v1::Limits {
                key_bytes_max: 64,
                value_bytes_max: 1_000,
                batch_items_max: 300,
                session_in_flight_max: 512,
                ..v1::Limits::default()
            },
            records: BTreeMap::new(),
            done: BTreeMap::new(),
            clock: 1_000_000 << 12,
            page: 3,
            splits: Vec::new(),
        }))
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1 << 12;
        self.clock
    }

    /// Lets time pass: what has expired by then is gone.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.clock += (time.as_micros() as u64) << 12;
        let now = self.clock;
        self.records.retain(|_, held| held.expires_at == 0 || held.expires_at > now);
    }

    /// When a key expires that is written now.
    fn expiry(&self, ttl_ms: u64) -> u64 {
        if ttl_ms == 0 { 0 } else { self.clock + ((ttl_ms * 1_000) << 12) }
    }

    /// Does a request once; a repetition gets the first one's result.
    pub(super) fn run(&mut self, op: &Op) -> Answer {
        let context = match op {
            Op::Put(put) => &put.context,
            Op::Delete(delete) => &delete.context,
            Op::Increment(increment) => &increment.context,
            Op::Expire(expire) => &expire.context,
            Op::PutMany(many) => &many.context,
            Op::DeleteRange(delete) => &delete.context,
            Op::Get(_) | Op::Scan(_) | Op::History(_) | Op::Watch(_) | Op::Timestamp(_) => &None,
        };
        let id = context.as_ref().and_then(|context| context.request_id.clone());
        let id = id.map(|id| id.encode_to_vec());
        if let Some(done) = id.as_ref().and_then(|id| self.done.get(id)) {
            return done.clone();
        }
        let answer = self.run_new(op);
        if let Some(id) = id {
            self.done.insert(id, answer.clone());
        }
        answer
    }

    fn run_new(&mut self, op: &Op) -> Answer {
        match op {
            Op::Get(get) => {
                Answer::Get(v1::GetResponse { state: self.state(&get.key), ..Default::default() })
            }
            Op::Watch(_) => Answer::Error(v1::Error {
                code: v1::Code::InvalidArgument.into(),
                ..Default::default()
            }),
            Op::Timestamp(_) => Answer::Timestamp(v1::TimestampResponse {
                timestamp: self.tick(),
                ..Default::default()
            }),
            // The store keeps the newest version only.
            Op::History(history) => {
                let held = self.records.get(&history.key);
                let versions = held.iter().map(|held| v1::KeyVersion {
                    version: held.version,
                    value: held.value.clone(),
                    expires_at: held.expires_at,
                    ..Default::default()
                });
                let versions = versions.collect();
                Answer::History(v1::HistoryResponse { versions, ..Default::default() })
            }
            Op::Put(put) => match self.refusal(&put.key, put.condition) {
                Some(error) => Answer::Error(error),
                None => {
                    let version = self.tick();
                    let expires_at = self.expiry(put.ttl_ms);
                    let value = put.value.clone();
                    self.records.insert(put.key.clone(), Held { version, value, expires_at });
                    Answer::Put(v1::PutResponse { version, ..Default::default() })
                }
            },
            Op::Delete(delete) => match self.refusal(&delete.key, delete.condition) {
                Some(error) => Answer::Error(error),
                None => {
                    let found = self.records.remove(&delete.key).is_some();
                    let version = if found { self.tick() } else { 0 };
                    Answer::Delete(v1::DeleteResponse { version, ..Default::default() })
                }
            },
            Op::Increment(increment) => {
                let held = self.records.get(&increment.key).cloned();
                let value = held.as_ref().map_or(Some(0), |held| {
                    std::str::from_utf8(&held.value).ok().and_then(|text| text.parse::<i64>().ok())
                });
                let Some(value) = value else {
                    return Answer::Error(error(v1::Code::NotANumber, v1::RetryClass::Never));
                };
                let value = value + increment.delta;
                let version = self.tick();
                let expires_at = match increment.ttl_ms {
                    0 => held.map_or(0, |held| held.expires_at),
                    ttl_ms => self.expiry(ttl_ms),
                };
                let held = Held { version, value: value.to_string().into(), expires_at };
                self.records.insert(increment.key.clone(), held);
                Answer::Increment(v1::IncrementResponse { value, version, ..Default::default() })
            }
            Op::Expire(expire) => match self.refusal(&expire.key, expire.condition) {
                Some(error) => Answer::Error(error),
                None => {
                    let (tick, expires_at) = (self.tick(), self.expiry(expire.ttl_ms));
                    let version = match self.records.get_mut(&expire.key) {
                        Some(held) => {
                            (held.version, held.expires_at) = (tick, expires_at);
                            tick
                        }
                        None => 0,
                    };
                    let context = None;
                    Answer::Expire(v1::ExpireResponse { context, version, expires_at })
                }
            },
            Op::Scan(scan) => self.scan(scan),
            Op::PutMany(many) => self.put_many(many),
            Op::DeleteRange(delete) => self.delete_range(delete),
        }
    }

    fn put_many(&mut self, many: &v1::PutManyRequest) -> Answer {
        assert!(many.items.len() <= self.limits.put_many_items_max as usize);
        assert!(many.items.is_sorted_by(|one, other| one.key < other.key), "keys rise");
        let (start, _) = self.range_of(&many.items[0].key);
        if many.items.iter().any(|item| self.range_of(&item.key).0 != start) {
            return Answer::Error(error(v1::Code::SeveralRanges, v1::RetryClass::Never));
        }
        let (version, expires_at) = (self.tick(), self.expiry(many.ttl_ms));
        for item in &many.items {
            let value = item.value.clone();
            self.records.insert(item.key.clone(), Held { version, value, expires_at });
        }
        Answer::PutMany(v1::PutManyResponse { version, ..Default::default() })
    }

    /// A page: it ends with its range, and after a number of keys.
    fn delete_range(&mut self, delete: &v1::DeleteRangeRequest) -> Answer {
        assert!(delete.at > 0, "a page names its moment");
        let (_, border) = self.range_of(&delete.start);
        let mut next = Bytes::from(border);
        if !delete.end.is_empty() && (next.is_empty() || delete.end <= next) {
            next = Bytes::new();
        }
        let inside = |key: &Bytes| {
            *key >= delete.start
                && (delete.end.is_empty() || *key < delete.end)
                && (border.is_empty() || &key[..] < border.as_bytes())
        };
        let old = |(key, held): &(&Bytes, &Held)| inside(key) && held.version <= delete.at;
        let mut keys: Vec<_> =
            self.records.iter().filter(old).map(|(key, _)| key.clone()).collect();
        let most = if delete.limit > 0 { self.page.min(delete.limit as usize) } else { self.page };
        if keys.len() > most {
            next = keys[most].clone();
            keys.truncate(most);
        }
        self.tick();
        keys.iter().for_each(|key| drop(self.records.remove(key)));
        let (deleted, at, context) = (keys.len() as u64, delete.at, None);
        Answer::DeleteRange(v1::DeleteRangeResponse { context, deleted, at, next })
    }

    /// Start and end of the range of a key.
    pub(super) fn range_of(&self, key: &[u8]) -> (&'static str, &'static str) {
        let below = self.splits.partition_point(|split| split.as_bytes() <= key);
        let start = below.checked_sub(1).map_or("", |split| self.splits[split]);
        (start, self.splits.get(below).copied().unwrap_or(""))
    }

    fn state(&self, key: &[u8]) -> Option<v1::KeyState> {
        Some(self.shown(self.records.get(key).cloned().unwrap_or_default()))
    }

    fn shown(&self, held: Held) -> v1::KeyState {
        let Held { version, value, expires_at } = held;
        let ttl_ms = (expires_at.saturating_sub(self.clock) >> 12).div_ceil(1_000);
        v1::KeyState { version, value, expires_at, ttl_ms, ..v1::KeyState::default() }
    }

    fn refusal(&self, key: &[u8], condition: Option<v1::Condition>) -> Option<v1::Error> {
        let version = self.records.get(key).map_or(0, |held| held.version);
        let holds = match condition.and_then(|condition| condition.kind) {
            None => true,
            Some(v1::condition::Kind::Absent(_)) => version == 0,
            Some(v1::condition::Kind::Version(expected)) => version == expected,
        };
        (!holds).then(|| v1::Error {
            current: self.state(key).map(Box::new),
            ..error(v1::Code::Conflict, v1::RetryClass::Never)
        })
    }

    fn scan(&mut self, scan: &v1::ScanRequest) -> Answer {
        assert!(scan.prefix.is_empty(), "the client turns a prefix into a range");
        let at = if scan.at == 0 { self.clock } else { scan.at };
        let inside = |key: &Bytes| *key >= scan.start && (scan.end.is_empty() || *key < scan.end);
        let visible = |(key, held): &(&Bytes, &Held)| inside(key) && held.version <= at;
        let mut found: Vec<v1::Record> = self
            .records
            .iter()
            .filter(visible)
            .map(|(key, held)| {
                let mut held = held.clone();
                if scan.keys_only {
                    held.value = Bytes::new();
                }
                v1::Record { key: key.clone(), state: Some(self.shown(held)) }
            })
            .collect();
        if scan.reverse {
            found.reverse();
        }
        if scan.limit > 0 {
            found.truncate(scan.limit as usize);
        }
        let mut next = Bytes::new();
        if found.len() > self.page {
            // an exclusive end in reverse, so the last key that was returned
            let bound = if scan.reverse { self.page - 1 } else { self.page };
            next = found[bound].key.clone();
            found.truncate(self.page);
        }
        Answer::Scan(v1::ScanResponse { records: found, at, next, ..Default::default() })
    }
}
