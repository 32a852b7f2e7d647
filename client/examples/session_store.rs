//! Keeps the sessions of a web site: who is logged in, for as long as they do something.
//!
//! A session is a key that expires. *Sliding renewal*: each request of its user sets the expiry anew,
//! but only when a good part of the time is gone, since that is a write. Nobody has to look for
//! sessions that are over: they are gone for everybody at the same moment, and stay gone.
//!
//! ```text
//! cargo run --example session_store -- 127.0.0.1:7001
//! ```

use std::time::Duration;

use quintet_client::{Client, Condition, Error, PutOptions, Ttl};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let node = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7001".to_owned());
    let client = Client::connect([node]).await?;
    run(&client, Duration::from_secs(2), tokio::time::sleep).await
}

/// Sessions of one cluster.
struct Sessions {
    client: Client,
    lifetime: Duration,
}

impl Sessions {
    /// Begins a session; false if the token is in use.
    async fn begin(&self, token: &str, user: &str) -> Result<bool, Error> {
        let options = PutOptions::new().ttl(self.lifetime).condition(Condition::Absent);
        match self.client.put_with(key(token), user, options).await {
            Ok(_) => Ok(true),
            Err(Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The user of a session, at each request; `None` if it is over.
    async fn touch(&self, token: &str) -> Result<Option<String>, Error> {
        let Some(session) = self.client.get(key(token)).await? else { return Ok(None) };
        let half = self.lifetime / 2;
        if let Some(Ttl::Left(left)) = self.client.ttl(key(token)).await?
            && left < half
            // it may have expired since it was read; then it stays so
            && self.client.expire(key(token), self.lifetime).await?.is_none()
        {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&session.value).into_owned()))
    }

    /// Ends a session.
    async fn end(&self, token: &str) -> Result<(), Error> {
        self.client.delete(key(token)).await.map(drop)
    }
}

fn key(token: &str) -> String {
    format!("example/session/{token}")
}

pub(crate) async fn run(
    client: &Client,
    lifetime: Duration,
    pass: impl AsyncFn(Duration),
) -> Result<(), Failure> {
    let sessions = Sessions { client: client.clone(), lifetime };
    sessions.end("7f3a").await?;
    assert!(sessions.begin("7f3a", "alice").await?);
    assert!(!sessions.begin("7f3a", "mallory").await?, "the token is taken");

    // whoever does something stays, for longer than a session would last by itself
    for _ in 0..4 {
        pass(lifetime.mul_f64(0.6)).await;
        let user = sessions.touch("7f3a").await?;
        println!("request of {user:?}");
        assert_eq!(user.as_deref(), Some("alice"));
    }

    // who does nothing is gone
    pass(lifetime.mul_f64(1.2)).await;
    assert_eq!(sessions.touch("7f3a").await?, None);
    println!("the session is over");
    assert!(sessions.begin("7f3a", "bob").await?, "the token is free again");
    sessions.end("7f3a").await?;
    Ok(())
}
