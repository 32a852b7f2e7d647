//! A removal of many keys, page by page, with word of how far it is: `kv del` and `bench clean`.

use std::time::Duration;

use quintet_client::RangeDeletion;
use tokio::time::Instant;

use super::{exit::Failure, output::note};

/// How often a long deletion tells how far it is.
const NOTE_EVERY: Duration = Duration::from_secs(5);

/// Runs a deletion; says now and then how far it is, and where it breaks off.
pub(super) async fn to_the_end(deletion: &mut RangeDeletion) -> Result<(), Failure> {
    let mut noted = Instant::now();
    loop {
        match deletion.step().await {
            Ok(false) => return Ok(()),
            Ok(true) if noted.elapsed() < NOTE_EVERY => {}
            Ok(true) => {
                noted = Instant::now();
                note(format!("{} keys removed so far", deletion.deleted()));
            }
            Err(error) => {
                if deletion.moment().is_some() {
                    let deleted = deletion.deleted();
                    note(format!("{deleted} keys were removed; the same command goes on"));
                }
                return Err(error.into());
            }
        }
    }
}
