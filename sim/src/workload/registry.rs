//! Which workloads there are, and which of them a client does next.
//!
//! The order of draws belongs to what a seed means: first whether it is a batch, where the scenario has batches; then
//! two numbers of keys; then one number that falls on a workload and on one of its operations, by their weights.

use std::collections::BTreeSet;

use toml::Table;

use super::{
    batches,
    contract::{LastRead, Turn, Workload},
    counters, expiring, followers, holds, inserts, lists, pages, past,
    preparation::Preparation,
    read_all, registers, scans,
    section::Section,
    settings::{Settings, Wrong},
    sweeps, time_servers, timestamps, watches,
};
use crate::{
    client::Caller,
    history::Op,
    judge::{Judge, Verdict},
};

/// All workloads that are drawn together, in the order in which a draw falls on them: that belongs to what a seed
/// means, so new ones go to the end.
fn drawn(settings: &mut Settings<'_>) -> Vec<Box<dyn Workload>> {
    vec![
        registers::of(settings),
        counters::of(settings),
        expiring::of(settings),
        scans::of(settings),
        lists::of(settings),
        read_all::of(settings),
        pages::of(settings),
        inserts::of(settings),
        sweeps::of(settings),
        past::of(settings),
        holds::of(settings),
        time_servers::of(settings),
        watches::of(settings),
        followers::of(settings),
        timestamps::of(settings),
    ]
}

/// The workloads of a scenario.
pub struct Workloads {
    /// Whether it is this one is drawn before all others.
    batches: Box<dyn Workload>,
    drawn: Vec<Box<dyn Workload>>,
    keys: u64,
}

/// Reads the section `[workload]` of a scenario, or says what is wrong with it.
pub fn parse(table: &Table) -> Result<Section, Wrong> {
    let mut settings = Settings::new(table);
    let section = Section::of(table, &mut settings);
    Workloads::with(&mut settings);
    settings.end().map(|()| section)
}

impl Workloads {
    /// Those of a scenario.
    pub fn of(section: &Section) -> Workloads {
        Workloads::with(&mut section.settings())
    }

    fn with(settings: &mut Settings<'_>) -> Workloads {
        Workloads { batches: batches::of(settings), drawn: drawn(settings), keys: settings.keys() }
    }

    fn each(&self) -> impl Iterator<Item = &dyn Workload> {
        self.drawn.iter().chain([&self.batches]).map(|workload| &**workload)
    }

    /// What has to be done before the first client begins, if anything has.
    pub fn setup(&self) -> Option<Preparation> {
        let calls: Vec<_> = self.each().flat_map(Workload::setup).collect();
        (!calls.is_empty()).then_some(Preparation(calls))
    }

    /// One step of a client.
    pub(super) async fn step(&self, caller: &mut Caller) {
        let (workload, turn) = self.draw(caller);
        workload.step(caller, turn).await;
    }

    fn draw(&self, caller: &Caller) -> (&dyn Workload, Turn) {
        let singles: u64 = self.drawn.iter().map(|workload| workload.weight()).sum();
        // A draw less where no scenario asks for it: seeds keep their meaning.
        let batches = self.batches.weight();
        if batches > 0 && caller.random() % (singles + batches) < batches {
            return (&*self.batches, Turn::default());
        }
        let register = caller.random() % self.keys;
        let counter = caller.random() % self.keys;
        let random = caller.random();
        let mut fall = random % singles;
        let hit = self.drawn.iter().find(|workload| {
            let hit = fall < workload.weight();
            fall -= if hit { 0 } else { workload.weight() };
            hit
        });
        (&**hit.expect("below the total"), Turn { register, counter, fall, random })
    }

    /// What is read once all faults have ended, in this order.
    pub(super) fn last_reads(&self) -> Vec<LastRead> {
        let mut reads: Vec<_> = self.each().flat_map(Workload::last_reads).collect();
        reads.sort_by_key(|read| read.place);
        reads
    }

    /// Puts a finished run before every judge that its workloads ask for, each once. `skew_ns`: how far two clocks of
    /// the cluster may be apart.
    pub fn judge(&self, ops: &[Op], skew_ns: u64) -> Verdict {
        let asked = self.each().flat_map(|workload| workload.judges().iter().copied());
        let judges: BTreeSet<Judge> = asked.chain([Judge::Linearizable, Judge::Order]).collect();
        let said = judges.into_iter().map(|judge| judge.check(ops, skew_ns));
        said.fold(Verdict::Holds, Verdict::and)
    }
}

#[cfg(test)]
mod tests {
    use futures::future::BoxFuture;

    use super::*;
    use crate::{history::Call, workload::contract::Read};

    /// One that needs a key to be there.
    struct Needs(&'static str);

    impl Needs {
        fn call(&self) -> (String, Call) {
            (self.0.to_owned(), Call::Insert { value: "there".to_owned() })
        }
    }

    impl Workload for Needs {
        fn weight(&self) -> u64 {
            0
        }

        fn setup(&self) -> Vec<(String, Call)> {
            vec![self.call()]
        }

        fn step<'a>(&'a self, _: &'a mut Caller, _: Turn) -> BoxFuture<'a, ()> {
            Box::pin(async {})
        }
    }

    /// Also of those that are never drawn: others may write to their keys.
    #[test]
    fn every_workload_is_asked_what_it_needs() {
        let mut workloads = workloads("get = 1");
        assert_eq!(workloads.setup(), None);
        workloads.drawn.extend([Needs("a"), Needs("b")].map(|needs| Box::new(needs) as Box<_>));
        workloads.batches = Box::new(Needs("c"));
        let calls = ["a", "b", "c"].map(|key| Needs(key).call()).to_vec();
        assert_eq!(workloads.setup(), Some(Preparation(calls)));
    }

    fn workloads(mix: &str) -> Workloads {
        let text = format!(
            "clients = 1\nkeys = 2\nthink_time_ms_max = 0\noperation_timeout_ms = 1\nmix = {{ {mix} }}"
        );
        Workloads::of(&parse(&text.parse().unwrap()).unwrap())
    }

    /// Other workloads write to registers, so they are read whatever the mix is.
    #[test]
    fn last_reads_go_number_by_number_and_then_kind_by_kind() {
        let read = |workloads: &Workloads| -> Vec<String> {
            let what = |last: LastRead| match last.read {
                Read::Call(key, call) => format!("{key} {:?}", call.operation()),
                Read::Feeds(prefix) => format!("feeds of {prefix:?}"),
                Read::Walk(walk) => format!("pages, backwards {}", walk.first.reverse),
            };
            workloads.last_reads().into_iter().map(what).collect()
        };
        let all = "increment = 1, add_ttl = 1, append = 1, read_all = 1, pages = 1, insert = 1";
        let expected = [
            "key/0 Read",
            "list/0 List",
            "counter/0 Read",
            "key/1 Read",
            "list/1 List",
            "counter/1 Read",
            "ttl/0 Read",
            "ttl/sum/0 Read",
            "ttl/1 Read",
            "ttl/sum/1 Read",
            "key/ ReadAll",
            "set/ Scan",
            "pages, backwards false",
            "pages, backwards true",
        ];
        assert_eq!(read(&workloads(all)), expected);
        assert_eq!(read(&workloads("batch = 1")), ["key/0 Read", "key/1 Read"]);
    }

    #[test]
    fn a_judge_looks_where_its_workload_has_a_weight() {
        let undecided = |mix: &str| matches!(workloads(mix).judge(&[], 0), Verdict::Undecided(_));
        assert!(!undecided("get = 1, list = 1, sweep = 1, batch = 1, put_ttl = 1"));
        for judged in ["increment", "append", "insert", "scan", "read_all", "pages", "watch"] {
            assert!(undecided(&format!("{judged} = 1")), "{judged}");
        }
    }
}
