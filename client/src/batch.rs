//! Several keys in one call of the library. On the wire each item is a request of its own, with an id, a
//! deadline and a result of its own: a batch is not atomic, and one bad item spoils no other.
//!
//! For bulk loads, where items of one range travel together, there is `writer.rs`.
//!
//! Bound: items under way, [`BATCH_IN_FLIGHT_MAX`] of a batch; items at all, by the server's limit.

use bytes::Bytes;
use futures::{StreamExt, stream};

use crate::{
    client::Client,
    error::Error,
    types::{IntoBytes, PutOptions, Version, Versioned},
};

/// Items of one batch that are under way at the same time.
const BATCH_IN_FLIGHT_MAX: usize = 256;

impl Client {
    /// Reads several keys, each independently; results are in the order of the keys.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// for found in client.batch_get(["a", "b"]).await {
    ///     println!("{:?}", found?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn batch_get<K: IntoBytes>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Vec<Result<Option<Versioned>, Error>> {
        let keys: Vec<Bytes> = keys.into_iter().map(IntoBytes::into_bytes).collect();
        if let Some(error) = self.batch_error(keys.len()) {
            return keys.iter().map(|_| Err(error.clone())).collect();
        }
        let gets = keys.into_iter().map(|key| self.get_bytes(key));
        stream::iter(gets).buffered(BATCH_IN_FLIGHT_MAX).collect().await
    }

    /// Writes several keys. Each item is a write of its own, with a request id and a result of its
    /// own; results are in the order of the items. Items with the same key happen in any order.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// for result in client.batch_put([("a", "1"), ("b", "2")]).await {
    ///     result?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn batch_put<K: IntoBytes, V: IntoBytes>(
        &self,
        items: impl IntoIterator<Item = (K, V)>,
    ) -> Vec<Result<Version, Error>> {
        self.batch_put_with(items, PutOptions::new()).await
    }

    /// As [`batch_put`](Self::batch_put), with keys that expire, on a condition, or both: the options
    /// are those of every item.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// use std::time::Duration;
    /// use quintet_client::PutOptions;
    ///
    /// let an_hour = PutOptions::new().ttl(Duration::from_secs(3_600));
    /// for result in client.batch_put_with([("cache/a", "1"), ("cache/b", "2")], an_hour).await {
    ///     result?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn batch_put_with<K: IntoBytes, V: IntoBytes>(
        &self,
        items: impl IntoIterator<Item = (K, V)>,
        options: PutOptions,
    ) -> Vec<Result<Version, Error>> {
        let into_bytes = |(key, value): (K, V)| (key.into_bytes(), value.into_bytes());
        let items: Vec<(Bytes, Bytes)> = items.into_iter().map(into_bytes).collect();
        if let Some(error) = self.batch_error(items.len()) {
            return items.iter().map(|_| Err(error.clone())).collect();
        }
        let puts = items.into_iter().map(|(key, value)| self.caller.put(key, value, options));
        stream::iter(puts).buffered(BATCH_IN_FLIGHT_MAX).collect().await
    }

    fn batch_error(&self, items: usize) -> Option<Error> {
        let items_max = self.cluster().limits.batch_items_max;
        (items > items_max).then(|| {
            Error::InvalidArgument(format!("the batch has {items} items, the limit is {items_max}"))
        })
    }
}
