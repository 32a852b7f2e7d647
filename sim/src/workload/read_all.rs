//! Reads of all registers (`registers.rs`) as of one moment, over all ranges that hold some, while they are
//! overwritten and removed. A slow reader asks for versions that are being collected.

use futures::future::BoxFuture;

use super::{
    contract::{LastRead, Place, Turn, Workload},
    keys::REGISTER_PREFIX,
    settings::Settings,
};
use crate::{client::Caller, history::Call, judge::Judge};

struct ReadAll {
    /// Read all registers.
    read_all: u64,
    /// It waits up to this long before it takes the next key, but at the end.
    pause_ms_max: u64,
}

pub(super) fn of(settings: &mut Settings<'_>) -> Box<dyn Workload> {
    Box::new(ReadAll {
        read_all: settings.weight("read_all"),
        pause_ms_max: settings.number_or("read_all_pause_ms_max", 0),
    })
}

impl Workload for ReadAll {
    fn weight(&self) -> u64 {
        self.read_all
    }

    fn step<'a>(&'a self, caller: &'a mut Caller, _: Turn) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            caller.call_slowly(REGISTER_PREFIX, Call::ReadAll, self.pause_ms_max).await;
        })
    }

    fn last_reads(&self) -> Vec<LastRead> {
        let read = LastRead::call(Place::after(1), REGISTER_PREFIX, Call::ReadAll);
        if self.read_all > 0 { vec![read] } else { Vec::new() }
    }

    fn judges(&self) -> &'static [Judge] {
        if self.read_all > 0 { &[Judge::ReadAll] } else { &[] }
    }
}
