//! The calls on single keys: read, write, remove, count, expire.
//!
//! Each takes what can become bytes at its edge and hands bytes on, so that the generic part of a call is a
//! few lines and everything below is compiled once. Whatever a call promises in general (deadline, retries,
//! exactly once) is `call.rs`; here are only the request of each and what its answer means.

use std::time::Duration;

use bytes::Bytes;
use quintet_proto::v1::{self, session_request::Op};

use crate::{
    checks::ttl_ms,
    client::Client,
    error::Error,
    pending::Answer,
    types::{Condition, Incremented, IntoBytes, PutOptions, Ttl, Version, Versioned},
};

impl Client {
    /// The newest value of a key, or `None` if there is none.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// if let Some(found) = client.get("key").await? {
    ///     println!("{:?} since version {}", found.value, found.version);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::DeadlineExceeded`] if no answer came in time, and any other error that a read can have.
    /// [`Error::maybe_committed`] is never true.
    pub async fn get(&self, key: impl IntoBytes) -> Result<Option<Versioned>, Error> {
        self.get_bytes(key.into_bytes()).await
    }

    pub(crate) async fn get_bytes(&self, key: Bytes) -> Result<Option<Versioned>, Error> {
        Ok(Versioned::from_wire(self.state(key).await?))
    }

    async fn state(&self, key: Bytes) -> Result<Option<v1::KeyState>, Error> {
        match self.caller.call(Op::Get(v1::GetRequest { key, ..v1::GetRequest::default() })).await?
        {
            Answer::Get(found) => Ok(found.state),
            _ => Err(Error::mismatch()),
        }
    }

    /// How long a key will be there, or `None` if it is not.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// use quintet_client::Ttl;
    /// match client.ttl("session/7").await? {
    ///     Some(Ttl::Left(left)) => println!("{left:?} left"),
    ///     Some(Ttl::Forever) => println!("does not expire"),
    ///     None => println!("there is no such key"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn ttl(&self, key: impl IntoBytes) -> Result<Option<Ttl>, Error> {
        let state = self.state(key.into_bytes()).await?.filter(|state| state.version != 0);
        Ok(state.map(|state| match state.expires_at {
            0 => Ttl::Forever,
            _ => Ttl::Left(Duration::from_millis(state.ttl_ms)),
        }))
    }

    /// Writes a key; the result is the version of the write. A key that would have expired does not
    /// any more.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// let version = client.put("key", "value").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where [`Error::maybe_committed`] is true the write may have happened, or may happen still; else it did
    /// not and will not.
    pub async fn put(&self, key: impl IntoBytes, value: impl IntoBytes) -> Result<Version, Error> {
        self.caller.put(key.into_bytes(), value.into_bytes(), PutOptions::new()).await
    }

    /// Writes a key if it is absent, or if it has an expected version.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// use quintet_client::{Condition, Error};
    /// match client.put_if("leader", "me", Condition::Absent).await {
    ///     Ok(version) => println!("elected at {version}"),
    ///     Err(Error::Conflict { current, .. }) => println!("taken: {current:?}"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Conflict`] with the current value and version if the condition does not hold; else
    /// as [`put`](Self::put).
    pub async fn put_if(
        &self,
        key: impl IntoBytes,
        value: impl IntoBytes,
        condition: Condition,
    ) -> Result<Version, Error> {
        let options = PutOptions::new().condition(condition);
        self.caller.put(key.into_bytes(), value.into_bytes(), options).await
    }

    /// Writes a key that expires, on a condition, or both: [`PutOptions`].
    ///
    /// From its expiry on the key is absent for all clients: it is not found, a write on condition that it is
    /// absent succeeds, and it does not come back, whichever node fails.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// use std::time::Duration;
    /// use quintet_client::PutOptions;
    ///
    /// let half_an_hour = PutOptions::new().ttl(Duration::from_secs(1_800));
    /// client.put_with("session/7", "alice", half_an_hour).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a time of zero or of more than 100 years; [`Error::Conflict`]
    /// if the condition does not hold; else as [`put`](Self::put).
    pub async fn put_with(
        &self,
        key: impl IntoBytes,
        value: impl IntoBytes,
        options: PutOptions,
    ) -> Result<Version, Error> {
        self.caller.put(key.into_bytes(), value.into_bytes(), options).await
    }

    /// Removes a key. The result is the version of the removal, or `None` if there was nothing to
    /// remove.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// if client.delete("key").await?.is_none() {
    ///     println!("there was no such key");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn delete(&self, key: impl IntoBytes) -> Result<Option<Version>, Error> {
        let version = self.delete_bytes(key.into_bytes(), None).await?;
        Ok((version.0 != 0).then_some(version))
    }

    /// Removes a key if it has this version; the result is the version of the removal.
    ///
    /// # Errors
    /// [`Error::Conflict`] with the current value and version if the key has another version or is
    /// absent; else as [`put`](Self::put).
    pub async fn delete_if(&self, key: impl IntoBytes, version: Version) -> Result<Version, Error> {
        self.delete_bytes(key.into_bytes(), Some(Condition::Version(version))).await
    }

    async fn delete_bytes(
        &self,
        key: Bytes,
        condition: Option<Condition>,
    ) -> Result<Version, Error> {
        let condition = condition.map(Into::into);
        match self
            .caller
            .call(Op::Delete(v1::DeleteRequest { context: None, key, condition }))
            .await?
        {
            Answer::Delete(deleted) => Ok(Version(deleted.version)),
            _ => Err(Error::mismatch()),
        }
    }

    /// Adds to the decimal number in a key; an absent key counts as 0. Done exactly once, however often it was
    /// retried.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// let left = client.increment("stock", -1).await?.value;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotANumber`] if the key holds something else or the sum does not fit in 64 bits;
    /// else as [`put`](Self::put).
    pub async fn increment(&self, key: impl IntoBytes, delta: i64) -> Result<Incremented, Error> {
        self.increment_bytes(key.into_bytes(), delta, None).await
    }

    /// As [`increment`](Self::increment), and sets the key's time to live: it expires `ttl` after this write.
    /// [`increment`](Self::increment) leaves the expiry as it is.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// use std::time::Duration;
    /// // calls of this user, forgotten a minute after the last one
    /// let calls = client.increment_with_ttl("calls/7", 1, Duration::from_secs(60)).await?.value;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a time of zero or of more than 100 years; else as
    /// [`increment`](Self::increment).
    pub async fn increment_with_ttl(
        &self,
        key: impl IntoBytes,
        delta: i64,
        ttl: Duration,
    ) -> Result<Incremented, Error> {
        self.increment_bytes(key.into_bytes(), delta, Some(ttl)).await
    }

    async fn increment_bytes(
        &self,
        key: Bytes,
        delta: i64,
        ttl: Option<Duration>,
    ) -> Result<Incremented, Error> {
        let increment = v1::IncrementRequest { context: None, key, delta, ttl_ms: ttl_ms(ttl)? };
        match self.caller.call(Op::Increment(increment)).await? {
            Answer::Increment(incremented) => {
                Ok(Incremented { value: incremented.value, version: Version(incremented.version) })
            }
            _ => Err(Error::mismatch()),
        }
    }

    /// Sets a key's time to live: it expires `ttl` from now, and keeps its value. The result is the version of
    /// this write, or `None` if there is no such key.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// use std::time::Duration;
    /// if client.expire("session/7", Duration::from_secs(1_800)).await?.is_none() {
    ///     println!("it has expired already");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a time of zero or of more than 100 years; else as
    /// [`put`](Self::put).
    pub async fn expire(
        &self,
        key: impl IntoBytes,
        ttl: Duration,
    ) -> Result<Option<Version>, Error> {
        self.expire_bytes(key.into_bytes(), Some(ttl), None).await
    }

    /// As [`expire`](Self::expire), if the key has this version.
    ///
    /// # Errors
    /// [`Error::Conflict`] with the current value and version if the key has another version or is
    /// absent; else as [`expire`](Self::expire).
    pub async fn expire_if(
        &self,
        key: impl IntoBytes,
        ttl: Duration,
        version: Version,
    ) -> Result<Option<Version>, Error> {
        let condition = Some(Condition::Version(version));
        self.expire_bytes(key.into_bytes(), Some(ttl), condition).await
    }

    /// Makes a key stay for ever, and leaves its value. The result is the version of this write, or
    /// `None` if there is no such key.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// let kept = client.persist("draft/7").await?.is_some();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn persist(&self, key: impl IntoBytes) -> Result<Option<Version>, Error> {
        self.expire_bytes(key.into_bytes(), None, None).await
    }

    async fn expire_bytes(
        &self,
        key: Bytes,
        ttl: Option<Duration>,
        condition: Option<Condition>,
    ) -> Result<Option<Version>, Error> {
        let condition = condition.map(Into::into);
        let expire = v1::ExpireRequest { context: None, key, ttl_ms: ttl_ms(ttl)?, condition };
        match self.caller.call(Op::Expire(expire)).await? {
            Answer::Expire(written) => {
                Ok((written.version != 0).then_some(Version(written.version)))
            }
            _ => Err(Error::mismatch()),
        }
    }
}
