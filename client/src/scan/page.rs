//! A scan page by page, for a program that shows records to a user and keeps no stream open meanwhile. A cursor holds
//! what is left of the scan and the version that it shows.

use super::{
    options::ScanOptions,
    part::{Part, told},
};
use crate::{
    caller::Caller,
    error::Error,
    types::{Record, Version},
};

/// A page of a scan. From [`Client::scan_page`](crate::Client::scan_page).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScanPage {
    /// In the order of the scan: as many as the limit at most; there may be fewer, or none.
    pub records: Vec<Record>,
    /// The version that they show the state at.
    pub at: Version,
    /// Where the scan goes on; `None` at its end. What is left may hold no record.
    pub next: Option<ScanOptions>,
}

/// One page of a scan: `Client::scan_page`.
pub(crate) async fn page(
    caller: &Caller,
    options: &ScanOptions,
    at: Option<Version>,
) -> Result<ScanPage, Error> {
    let limit = options.limit.unwrap_or(0);
    if options.limit == Some(0) {
        let text = "a page of 0 records: set a limit of 1 at least, or none".to_owned();
        return Err(Error::InvalidArgument(text));
    }
    if options.empty {
        // Nobody has to be asked.
        return Ok(ScanPage { records: Vec::new(), at: at.unwrap_or_default(), next: None });
    }
    let (start, end) = (options.start.clone(), options.end.clone());
    let mut part = Part { start, end, ..Part::default() };
    let page = caller.scan_page(options.request(at.unwrap_or_default().0)).await?;
    let at = part.take(page, limit, options.reverse)?;
    let next =
        (!part.ended).then(|| ScanOptions { start: part.start, end: part.end, ..options.clone() });
    let records = part.records.into_iter().map(told).collect();
    Ok(ScanPage { records, at: Version(at), next })
}
