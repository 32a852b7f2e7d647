//! The appends of one replication stream: sent as soon as there is something to send, answered in
//! order, many under way.
//!
//! openraft makes a request whenever the stream is asked for one: of the entries that are not sent yet,
//! or, where there are none, as soon as the committed position has moved, one without entries that
//! carries only that. Under load the next entries follow within a millisecond or two and carry it as well; a
//! message of its own costs the two nodes about as much as one with entries. So this stream asks when the
//! log has new entries, and for a request without entries only after nothing was under way for
//! [`COMMIT_ALONE_AFTER`].
//!
//! # Invariant
//!
//! No answer to an append is taken for one to a request without entries that was made after it was sent.
//! openraft notes when each request was made and takes an answer for the answer to *every* request up to
//! the same position: the late answer to an append would count as a proof that this replica led when the
//! request without entries was made, and a read could rest on it. So a request without entries is asked
//! for only while nothing is under way. One may come all the same: openraft tells of new entries a moment
//! after the log has them, and then it may be the committed position that it finds. The answers to what was
//! under way by then are kept back; the one to the request itself, which was sent after them, says as much.

use std::time::Duration;

use futures::{Stream, StreamExt, stream::FuturesOrdered};
use openraft::{
    async_runtime::watch::WatchReceiver,
    base::BoxFuture,
    raft::{AppendEntriesRequest, StreamAppendResult},
};

use super::{
    types::{LogId, RpcError as Error, TypeConfig},
    watch,
};
use crate::{
    size::Size,
    time::local::{Instant, sleep},
};

/// Appends of one stream that are sent and not yet answered.
const UNDER_WAY_MAX: Size = Size::new("appends-under-way", 64, 1);
/// After such a silence the committed position travels alone.
const COMMIT_ALONE_AFTER: Duration = Duration::from_millis(20);

type Request = AppendEntriesRequest<TypeConfig>;
type Answer = Result<StreamAppendResult<TypeConfig>, Error>;

/// The log that the stream replicates, as far as it has to know it.
pub(super) struct Watched<L> {
    /// The last position of the log.
    pub(super) last: L,
    /// Learns of every append.
    pub(super) appended: watch::Receiver<()>,
}

/// Sends the requests of `input` by `append` and returns the answers, in order. Ends at the first refusal
/// or error: what was sent behind it is void.
pub(super) fn answers<'s, S, L, A>(
    input: S,
    log: Watched<L>,
    append: A,
) -> impl Stream<Item = Answer> + Send + use<'s, S, L, A>
where
    S: Stream<Item = Request> + Send + Unpin + 's,
    L: Fn() -> Option<LogId> + Send + 's,
    A: Fn(Request) -> BoxFuture<'s, Answer> + Send + 's,
{
    let appends = Appends {
        input,
        log,
        append,
        under_way: FuturesOrdered::new(),
        taken: 0,
        last: None,
        kept_back: 0,
        kept_back_from: None,
        quiet_since: Instant::now(),
        is_quiet: false,
        is_over: false,
    };
    futures::stream::unfold(appends, |mut appends| async move {
        let answer = appends.next().await?;
        Some((answer, appends))
    })
}

struct Appends<'s, S, L, A> {
    input: S,
    log: Watched<L>,
    append: A,
    under_way: FuturesOrdered<BoxFuture<'s, Answer>>,
    /// Requests so far; no more than two are told apart.
    taken: u8,
    /// The last position that was sent.
    last: Option<LogId>,
    /// How many of the next answers are to requests made before one without entries. Those of them that match as far
    /// as `kept_back_from`, which was `last` then, are kept back.
    kept_back: usize,
    kept_back_from: Option<LogId>,
    /// Since when nothing has been under way.
    quiet_since: Instant,
    /// Whether that has lasted long enough for the committed position to travel alone.
    is_quiet: bool,
    /// Nothing more comes, or matters.
    is_over: bool,
}

impl<'s, S, L, A> Appends<'s, S, L, A>
where
    S: Stream<Item = Request> + Send + Unpin,
    L: Fn() -> Option<LogId> + Send,
    A: Fn(Request) -> BoxFuture<'s, Answer> + Send,
{
    async fn next(&mut self) -> Option<Answer> {
        loop {
            let may_take = self.may_take();
            let waits = !may_take && !self.is_over;
            let silence = COMMIT_ALONE_AFTER.saturating_sub(self.quiet_since.elapsed());
            tokio::select! {
                biased;
                Some(answer) = self.under_way.next() => {
                    if self.under_way.is_empty() {
                        self.quiet_since = Instant::now();
                    }
                    if !matches!(answer, Ok(Ok(_))) {
                        self.is_over = true;
                        self.under_way.clear();
                    }
                    if !self.is_kept_back(&answer) {
                        return Some(answer);
                    }
                }
                request = self.input.next(), if may_take => match request {
                    Some(request) => self.send(request),
                    None => self.is_over = true,
                },
                // The log's end is looked at again, whatever comes.
                _ = self.log.appended.changed(), if waits => {}
                () = sleep(silence), if waits && self.under_way.is_empty() => self.is_quiet = true,
                else => return None,
            }
        }
    }

    /// Whether to ask for a request. The first two are asked for as soon as nothing is under way: a
    /// stream of one request (a heartbeat, a probe of where the logs meet) ends there.
    fn may_take(&self) -> bool {
        let may_be_empty = self.under_way.is_empty() && (self.taken < 2 || self.is_quiet);
        !self.is_over
            && self.under_way.len() < UNDER_WAY_MAX.get()
            && (may_be_empty || (self.log.last)() > self.last)
    }

    /// Whether an answer must not be told, see the invariant.
    fn is_kept_back(&mut self, answer: &Answer) -> bool {
        let is_older = self.kept_back > 0;
        self.kept_back = self.kept_back.saturating_sub(1);
        is_older && matches!(answer, Ok(Ok(matching)) if *matching >= self.kept_back_from)
    }

    fn send(&mut self, request: Request) {
        self.taken = (self.taken + 1).min(2);
        self.is_quiet = false;
        self.last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        if request.entries.is_empty() {
            self.kept_back = self.under_way.len();
            self.kept_back_from = self.last;
        }
        self.under_way.push_back((self.append)(request));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{Arc, Mutex},
        task::Poll,
    };

    use futures::FutureExt;
    use openraft::async_runtime::watch::{Watch as _, WatchSender};
    use tokio::sync::oneshot;

    use super::{
        super::types::{self, Entry, Payload},
        *,
    };
    use crate::{
        ids::ReplicaId,
        storage::format::raft::{Position, VoteRecord},
    };

    fn at(index: u64) -> LogId {
        types::log_id(Position { term: 1, index })
    }

    fn request(entries: std::ops::RangeInclusive<u64>, committed: u64) -> Request {
        let start = *entries.start();
        AppendEntriesRequest {
            vote: types::vote(VoteRecord { term: 1, replica: ReplicaId(1), committed: true }),
            prev_log_id: Some(at(start - 1)),
            leader_commit: Some(at(committed)),
            entries: entries
                .map(|index| Entry { log_id: at(index), payload: Payload::Blank })
                .collect(),
        }
    }

    fn without_entries(last: u64, committed: u64) -> Request {
        request(last + 1..=last, committed)
    }

    /// What openraft would make, what was sent, and who answers.
    #[derive(Default)]
    struct World {
        input: VecDeque<Request>,
        sent: Vec<(usize, u64)>,
        answers: VecDeque<oneshot::Sender<Answer>>,
        last: u64,
    }

    struct Bench {
        world: Arc<Mutex<World>>,
        grown: watch::Sender<()>,
        stream: std::pin::Pin<Box<dyn Stream<Item = Answer> + Send>>,
    }

    impl Bench {
        fn new() -> Bench {
            let world = Arc::new(Mutex::new(World::default()));
            let (grown, appended) = watch::Watch::channel(());
            let (of_last, of_input, of_send) = (world.clone(), world.clone(), world.clone());
            let last = move || Some(at(of_last.lock().unwrap().last));
            // Like openraft's: it makes a request when it is asked, or waits.
            let input = futures::stream::poll_fn(move |_| {
                match of_input.lock().unwrap().input.pop_front() {
                    Some(request) => Poll::Ready(Some(request)),
                    None => Poll::Pending,
                }
            });
            let append = move |request: Request| {
                let (tx, rx) = oneshot::channel();
                let mut world = of_send.lock().unwrap();
                let committed = request.leader_commit.map_or(0, |at| at.index());
                world.sent.push((request.entries.len(), committed));
                world.answers.push_back(tx);
                async move { rx.await.unwrap() }.boxed()
            };
            let log = Watched { last, appended };
            let stream = Box::pin(answers(input, log, append));
            Bench { world, grown, stream }
        }

        fn offer(&self, request: Request) {
            let mut world = self.world.lock().unwrap();
            world.last =
                world.last.max(request.entries.last().map_or(0, |entry| entry.log_id.index()));
            world.input.push_back(request);
            drop(world);
            self.grown.send(()).unwrap();
        }

        fn answer(&self, matching: u64) {
            let answer = self.world.lock().unwrap().answers.pop_front().unwrap();
            answer.send(Ok(Ok(Some(at(matching))))).ok().unwrap();
        }

        fn sent(&mut self) -> Vec<(usize, u64)> {
            while self.stream.next().now_or_never().is_some() {}
            self.world.lock().unwrap().sent.clone()
        }
    }

    #[tokio::test]
    async fn commit_travels_with_next_entries() {
        let mut bench = Bench::new();
        bench.offer(request(1..=1, 0));
        assert_eq!(bench.sent(), [(1, 0)]);
        bench.answer(1);
        bench.sent();
        bench.offer(request(2..=2, 0));
        assert_eq!(bench.sent(), [(1, 0), (1, 0)]);
        // The second is not answered: its commit has to wait, whatever the time.
        bench.world.lock().unwrap().input.push_back(without_entries(2, 2));
        let silence =
            crate::time::local::timeout(COMMIT_ALONE_AFTER * 3, bench.stream.next()).await;
        assert!(silence.is_err());
        assert_eq!(bench.sent().len(), 2);
        // Answered, it waits for entries, but not for ever.
        let answered = Instant::now();
        bench.answer(2);
        assert_eq!(bench.sent().len(), 2);
        while bench.sent().len() < 3 {
            crate::time::local::timeout(COMMIT_ALONE_AFTER / 4, bench.stream.next()).await.ok();
            assert!(answered.elapsed() < Duration::from_secs(10), "the commit never left");
        }
        assert!(answered.elapsed() >= COMMIT_ALONE_AFTER);
        assert_eq!(bench.sent(), [(1, 0), (1, 0), (0, 2)]);
    }

    #[tokio::test]
    async fn entries_do_not_wait_for_answers() {
        let mut bench = Bench::new();
        for index in 1..=5 {
            bench.offer(request(index..=index, index - 1));
        }
        assert_eq!(bench.sent().len(), 5);
        // And no more of them than the bound.
        for index in 6..=100 {
            bench.offer(request(index..=index, index - 1));
        }
        assert_eq!(bench.sent().len(), UNDER_WAY_MAX.get());
        bench.answer(1);
        assert_eq!(bench.sent().len(), UNDER_WAY_MAX.get() + 1);
    }

    #[tokio::test]
    async fn an_answer_is_not_told_for_a_later_request() {
        let mut bench = Bench::new();
        bench.offer(request(1..=1, 0));
        bench.offer(request(2..=2, 0));
        assert_eq!(bench.sent().len(), 2);
        // The log has entry 3, openraft finds the committed position instead.
        bench.world.lock().unwrap().input.push_back(without_entries(2, 1));
        bench.world.lock().unwrap().last = 3;
        bench.grown.send(()).unwrap();
        assert_eq!(bench.sent(), [(1, 0), (1, 0), (0, 1)]);
        let told = |bench: &mut Bench| {
            let answer = bench.stream.next().now_or_never().flatten()?;
            Some(answer.unwrap().unwrap().map_or(0, |at| at.index()))
        };
        bench.answer(1);
        assert_eq!(told(&mut bench), Some(1), "it says nothing of the later ones");
        bench.answer(2);
        assert_eq!(
            told(&mut bench),
            None,
            "the append's answer would count for what came after it"
        );
        bench.answer(2);
        assert_eq!(told(&mut bench), Some(2));
    }

    #[tokio::test]
    async fn probe_ends_as_soon_as_it_is_answered() {
        let probe = futures::stream::iter([without_entries(7, 3)]);
        let (_grown, appended) = watch::Watch::channel(());
        let log = Watched { last: || Some(at(9)), appended };
        let append = |_| async { Ok(Ok(Some(at(7)))) }.boxed();
        let all: Vec<_> = answers(probe, log, append).collect().now_or_never().unwrap();
        assert_eq!(all.len(), 1);
    }
}
