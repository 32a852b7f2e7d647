//! An open loop: puts arrive at a rate, whatever became of the earlier ones.
//!
//! It speaks `KV.Session` itself. The client library would keep within what a server announces, back off
//! when it is refused and retry, and cost more CPU time than the servers have for a refusal; here the servers
//! have to cope without its help. Every few milliseconds a session makes one frame of what has arrived since;
//! where the stream takes no further frame (flow control), what has arrived is held back, counted, and never
//! sent. Nothing is retried.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use hdrhistogram::Histogram;
use prost::Message;
use quintet_client::v1::{
    self, Code, kv_client::KvClient, session_request::Op, session_response::Result as Body,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::measure::{keys::key, latency};
use crate::cli::exit::Failure;

/// How often a session sends what has arrived.
const TICK: Duration = Duration::from_millis(10);
/// Requests of a frame.
const FRAME_REQUESTS_MAX: usize = 512;
/// Frames that may wait for the stream to take them.
const FRAMES_WAITING_MAX: usize = 2;
/// Before measuring.
const WARM_UP: Duration = Duration::from_secs(1);
/// Low bits of a request's id are its place in its frame.
const PLACE_BITS: u32 = 16;
const ANSWER_BYTES_MAX: usize = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is offered.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) sessions: usize,
    /// Puts that arrive in a second.
    pub(super) rate: f64,
    pub(super) seconds: Duration,
    /// An answer that takes longer counts as none.
    pub(super) patience: Duration,
    pub(super) value_bytes: usize,
}

/// What arrived, and what was answered, in the measured time. Answers of the time after it count for
/// nothing: a queue that is worked off then is no throughput.
pub(super) struct Offered {
    /// Of those that were done in time, in microseconds.
    pub(super) latency: Histogram<u64>,
    pub(super) took: Duration,
    pub(super) arrived: u64,
    /// Not sent: the stream took nothing.
    pub(super) held_back: u64,
    /// Refused as overloaded.
    pub(super) refused: u64,
    /// The least and the most that refusals said, in milliseconds.
    pub(super) retry_after_ms: Option<(u32, u32)>,
    /// Done, or given up by the server, after the caller's patience had ended.
    pub(super) late: u64,
    /// Of those that arrived in the measured time, when patience with the last of them ended.
    pub(super) unanswered: u64,
    pub(super) errors: u64,
    /// The first of the errors.
    pub(super) error: Option<String>,
}

impl Offered {
    pub(super) fn new() -> Offered {
        Offered {
            latency: latency::histogram(),
            took: Duration::ZERO,
            arrived: 0,
            held_back: 0,
            refused: 0,
            retry_after_ms: None,
            late: 0,
            unanswered: 0,
            errors: 0,
            error: None,
        }
    }

    pub(super) fn good_a_second(&self) -> f64 {
        self.latency.len() as f64 / self.took.as_secs_f64().max(f64::EPSILON)
    }

    fn add(&mut self, one: Offered) -> Result<(), Failure> {
        self.latency
            .add(&one.latency)
            .map_err(|error| Failure::internal(format!("cannot add latencies: {error}")))?;
        self.arrived += one.arrived;
        self.held_back += one.held_back;
        self.refused += one.refused;
        self.late += one.late;
        self.unanswered += one.unanswered;
        self.errors += one.errors;
        self.error = self.error.take().or(one.error);
        if let Some((least, most)) = one.retry_after_ms {
            self.note_retry_after(least);
            self.note_retry_after(most);
        }
        Ok(())
    }

    fn note_retry_after(&mut self, ms: u32) {
        let (least, most) = self.retry_after_ms.unwrap_or((ms, ms));
        self.retry_after_ms = Some((least.min(ms), most.max(ms)));
    }
}

impl Offer {
    /// Offers puts of these keys, by the node that leads them. Every node gets its share of the sessions
    /// and, by its keys, of the rate.
    pub(super) async fn run(
        self,
        leaders: BTreeMap<String, Vec<usize>>,
    ) -> Result<Offered, Failure> {
        let all: usize = leaders.values().map(Vec::len).sum();
        let value: Bytes = (0..self.value_bytes).map(|_| rand::random::<u8>()).collect();
        let mut connected = Vec::new();
        for (address, keys) in leaders {
            let count = (self.sessions * keys.len()).div_ceil(all.max(1)).max(1);
            let rate = self.rate * keys.len() as f64 / all as f64 / count as f64;
            let keys = Arc::new(keys);
            for _ in 0..count {
                let one = timeout(CONNECT_TIMEOUT, Session::open(&address)).await;
                let session = one.map_err(|_| silent(&address))??;
                connected.push((session, keys.clone(), rate));
            }
        }
        let from = Instant::now() + WARM_UP;
        let mut tasks = JoinSet::new();
        for (session, keys, rate) in connected {
            tasks.spawn(session.work(self.clone(), keys, rate, value.clone(), from));
        }
        let mut sum = Offered { took: self.seconds, ..Offered::new() };
        while let Some(ended) = tasks.join_next().await {
            sum.add(ended.map_err(|error| Failure::internal(format!("a session: {error}")))?)?;
        }
        Ok(sum)
    }
}

fn silent(address: &str) -> Failure {
    Failure::unavailable(format!("{address} opens no session within {CONNECT_TIMEOUT:?}"))
}

/// A frame of which answers are due.
struct Sent {
    at: Instant,
    left: usize,
    /// It arrived in the measured time.
    counts: bool,
}

/// One stream, and who it asks as.
struct Session {
    out: mpsc::Sender<v1::SessionFrame>,
    answers: tonic::Streaming<v1::SessionFrame>,
    client: Bytes,
    sequence: u64,
    frames: u64,
    sent: HashMap<u64, Sent>,
}

impl Session {
    async fn open(address: &str) -> Result<Session, Failure> {
        let refused = |why: String| Failure::unavailable(format!("{address}: {why}"));
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| refused(error.to_string()))?
            .tcp_nodelay(true);
        let channel = endpoint.connect().await.map_err(|error| refused(error.to_string()))?;
        let (out, frames) = mpsc::channel(FRAMES_WAITING_MAX);
        let hello =
            v1::SessionRequests { hello: Some(v1::SessionHello::default()), requests: Vec::new() };
        let hello = v1::SessionFrame { body: hello.encode_to_vec().into() };
        let outgoing =
            futures::stream::unfold((Some(hello), frames), async |(hello, mut frames)| {
                let frame = match hello {
                    Some(hello) => hello,
                    None => frames.recv().await?,
                };
                Some((frame, (None, frames)))
            });
        let mut client = KvClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        let answers = client.session(Box::pin(outgoing)).await;
        let mut answers = answers.map_err(|status| refused(status.to_string()))?.into_inner();
        // the welcome; what else comes with it answers nothing
        answers.message().await.map_err(|status| refused(status.to_string()))?;
        let client = Bytes::copy_from_slice(&rand::random::<u128>().to_be_bytes());
        Ok(Session { out, answers, client, sequence: 0, frames: 0, sent: HashMap::new() })
    }

    /// Sends what arrives until the time is over, then waits for answers that may still be in time.
    async fn work(
        mut self,
        offer: Offer,
        keys: Arc<Vec<usize>>,
        rate: f64,
        value: Bytes,
        from: Instant,
    ) -> Offered {
        let mut offered = Offered::new();
        let began = Instant::now();
        let until = from + offer.seconds;
        let end = until + offer.patience;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut arrived = 0;
        loop {
            let now = Instant::now();
            if now >= end || (now >= until && self.sent.is_empty()) {
                break;
            }
            tokio::select! {
                biased;
                frame = self.answers.message() => match frame {
                    Ok(Some(frame)) => {
                        let now = Instant::now();
                        let counts = now >= from && now < until;
                        self.take(frame, &mut offered, offer.patience, counts);
                    }
                    Ok(None) => break,
                    Err(status) => {
                        offered.errors += 1;
                        offered.error.get_or_insert_with(|| status.to_string());
                        break;
                    }
                },
                _ = ticks.tick() => {
                    let now = Instant::now();
                    if now >= until {
                        continue;
                    }
                    let due = ((now - began).as_secs_f64() * rate) as usize;
                    let counts = now >= from;
                    while arrived < due {
                        let count = FRAME_REQUESTS_MAX.min(due - arrived);
                        arrived += count;
                        offered.arrived += if counts { count as u64 } else { 0 };
                        if !self.send(count, &keys, &value, &offer, counts) && counts {
                            offered.held_back += count as u64;
                        }
                    }
                }
            }
        }
        let due = self.sent.values().filter(|sent| sent.counts).map(|sent| sent.left as u64);
        offered.unanswered += due.sum::<u64>();
        offered
    }

    /// Hands a frame of new puts to the stream, if that takes one.
    fn send(
        &mut self,
        count: usize,
        keys: &[usize],
        value: &Bytes,
        offer: &Offer,
        counts: bool,
    ) -> bool {
        let Ok(place) = self.out.try_reserve() else { return false };
        self.frames += 1;
        let timeout_ms = u32::try_from(offer.patience.as_millis()).unwrap_or(u32::MAX);
        let mut requests = Vec::with_capacity(count);
        for place_in_frame in 0..count as u64 {
            self.sequence += 1;
            let index = keys.get(rand::random_range(0..keys.len())).copied().unwrap_or_default();
            let request_id = v1::RequestId {
                origin_room: 0,
                client: self.client.clone(),
                sequence: self.sequence,
            };
            let context = v1::RequestContext {
                timeout_ms,
                request_id: Some(request_id),
                ..v1::RequestContext::default()
            };
            let put = v1::PutRequest {
                context: Some(context),
                key: key(index),
                value: value.clone(),
                ..v1::PutRequest::default()
            };
            let id = self.frames << PLACE_BITS | place_in_frame;
            requests.push(v1::SessionRequest { id, op: Some(Op::Put(put)) });
        }
        let body = v1::SessionRequests { hello: None, requests }.encode_to_vec();
        place.send(v1::SessionFrame { body: body.into() });
        let sent = Sent { at: Instant::now(), left: count, counts };
        self.sent.insert(self.frames, sent);
        true
    }

    fn take(
        &mut self,
        frame: v1::SessionFrame,
        offered: &mut Offered,
        patience: Duration,
        counts: bool,
    ) {
        let answers = match v1::SessionResponses::decode(frame.body) {
            Ok(answers) => answers,
            Err(error) => {
                offered.errors += 1;
                offered.error.get_or_insert_with(|| error.to_string());
                return;
            }
        };
        let now = Instant::now();
        for response in answers.responses {
            let frame = response.id >> PLACE_BITS;
            let Some(sent) = self.sent.get_mut(&frame) else { continue };
            sent.left = sent.left.saturating_sub(1);
            let took = now - sent.at;
            if sent.left == 0 {
                self.sent.remove(&frame);
            }
            if counts {
                offered.count(response.result, took, patience);
            }
        }
    }
}

impl Offered {
    fn count(&mut self, result: Option<Body>, took: Duration, patience: Duration) {
        match result {
            Some(Body::Error(error)) if error.code() == Code::Overloaded => {
                self.refused += 1;
                self.note_retry_after(error.retry_after_ms);
            }
            Some(Body::Error(error)) if error.code() == Code::DeadlineExceeded => self.late += 1,
            Some(Body::Error(error)) => {
                self.errors += 1;
                self.error.get_or_insert(error.message);
            }
            _ if took > patience => self.late += 1,
            _ => latency::record(&mut self.latency, took),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let mut offered = Offered::new();
        let (soon, patience) = (Duration::from_millis(3), Duration::from_secs(1));
        let error = |code: Code, retry_after_ms: u32| {
            let error = v1::Error { code: code.into(), retry_after_ms, ..v1::Error::default() };
            Some(Body::Error(error))
        };
        let done = || Some(Body::Put(v1::PutResponse::default()));
        offered.count(done(), soon, patience);
        offered.count(done(), 2 * patience, patience);
        offered.count(error(Code::Overloaded, 50), soon, patience);
        offered.count(error(Code::Overloaded, 20), soon, patience);
        offered.count(error(Code::DeadlineExceeded, 0), soon, patience);
        offered.count(error(Code::Unavailable, 0), soon, patience);
        let counts = (offered.latency.len(), offered.late, offered.refused, offered.errors);
        assert_eq!(counts, (1, 2, 2, 1));
        let mut sum = Offered::new();
        sum.add(offered).expect("added");
        sum.add(Offered::new()).expect("added");
        assert_eq!(sum.retry_after_ms, Some((20, 50)));
        assert_eq!((sum.refused, sum.late), (2, 2));
    }
}
