//! What a time server has on disk: in [`Family::Log`](crate::storage::Family::Log) of the log engine, one record for
//! each time domain.

use serde::{Deserialize, Serialize};

use crate::{ids::TimeDomain, time::oracle::server::Record};

/// The record of a time server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeServerRecord {
    /// Whose time it gives.
    pub time_domain: TimeDomain,
    /// What it has promised.
    pub record: Record,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        storage::format::golden::holds,
        time::oracle::{Block, Config, Epoch, ServerId},
    };

    /// Came with `quintet 7` directories.
    #[test]
    fn format_1() {
        let config = Config { epoch: Epoch(3), members: [ServerId(5), ServerId(300)].into() };
        let record = Record { config, seeded: true, bound: Block(301) };
        // Domain; epoch, two members; seeded; the bound.
        holds(&TimeServerRecord { time_domain: TimeDomain(0), record }, "0100030205fb2c0101fb2d01");
    }
}
