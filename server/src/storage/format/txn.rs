//! The id of a transaction. A version names the one that wrote it; a request on one range is one by itself.

use crate::ids::RequestId;
use serde::{Deserialize, Serialize};

/// A transaction: the request and which attempt of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TxnId {
    /// The request that the transaction answers.
    pub request: RequestId,
    /// Which attempt.
    pub attempt: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::format::golden::holds;

    #[test]
    fn transaction_ids() {
        let request = RequestId { origin_room: 3, client: 0x0102_0304, sequence: 9 };
        // Room, client and sequence of the request; attempt.
        holds(&TxnId { request, attempt: 2 }, "0103fc040302010902");
    }
}
