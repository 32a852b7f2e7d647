//! The HTTP port: `/livez`, `/readyz`, `/metrics`. Reads state, changes nothing.
//!
//! Not in the simulation. Anybody may connect, so everything is bounded: connections, the time and
//! the bytes of a request's head, the time of the whole connection; bodies are never read.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tracing::{debug, warn};

use super::metrics::{Format, Metrics};
use crate::time::local;

/// Connections at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// Time for the head of a request, also the first on a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for all requests of one connection. A monitor that keeps one connects again after it.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);
/// Bytes buffered a connection; hyper's least is 8 KiB.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// Time for open requests at a shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after an error of `accept`, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Says whether the node is ready to serve clients, or why not.
pub type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;
/// What is wrong with the node although it is ready.
pub type Warning = Arc<dyn Fn() -> Option<String> + Send + Sync>;
/// Copies figures that somebody else keeps into the metrics' gauges.
pub type Refresh = Arc<dyn Fn(&Metrics) + Send + Sync>;

/// What the port shows.
#[derive(Clone)]
pub struct Shown {
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For `/readyz`.
    pub ready: Ready,
    /// For `/readyz`, where the node is ready.
    pub warning: Warning,
    /// Called before `/metrics` is written.
    pub refresh: Refresh,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

/// The HTTP port of a node. Dropping it closes the port and all connections.
#[derive(Debug)]
pub struct Http {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Http {
    /// Binds the port and serves it.
    pub async fn start(listen: SocketAddr, shown: Shown) -> std::io::Result<Http> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(serve(listener, router(shown), stopped));
        Ok(Http { address, stop, task })
    }

    /// The address that was really bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port; requests that have begun are answered, within a second.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        if local::timeout(DRAIN_TIMEOUT, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The three pages.
pub fn router(shown: Shown) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(shown)
}

async fn readyz(State(shown): State<Shown>) -> impl IntoResponse {
    match (shown.ready)() {
        Ok(()) => match (shown.warning)() {
            None => (StatusCode::OK, "ok\n".to_owned()),
            Some(warning) => (StatusCode::OK, format!("ok\nwarning: {warning}\n")),
        },
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn metrics(State(shown): State<Shown>, headers: HeaderMap) -> axum::response::Response {
    (shown.refresh)(&shown.metrics);
    // Several lines of the header are one list.
    let asked = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let format = Format::of_accept(&asked.collect::<Vec<_>>().join(","));
    match shown.metrics.render(format) {
        Ok(text) => {
            let told = [
                (header::CONTENT_TYPE, format.content_type()),
                (header::VARY, header::ACCEPT.as_str()),
            ];
            (told, text).into_response()
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "metrics can't be written\n").into_response(),
    }
}

/// Accepts connections until stopped, then lets those that are open end.
async fn serve(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        // Ended connections must be taken out, or the set grows.
        while connections.try_join_next().is_some() {}
        let accept = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            accepted = accept => accepted,
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        let Ok(permit) = permit else { break };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "the HTTP port can't accept a connection");
                local::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (router, mut stopped) = (router.clone(), stopped.clone());
        connections.spawn(async move {
            let _permit = permit;
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(BUFFER_BYTES_MAX)
                .max_headers(HEADERS_MAX);
            let service = TowerToHyperService::new(router);
            let mut connection =
                std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
            let served = local::timeout(CONNECTION_TIMEOUT, async {
                tokio::select! {
                    served = connection.as_mut() => return served,
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            });
            if let Ok(Err(error)) = served.await {
                debug!(%error, "an HTTP connection ended early");
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;
    use crate::ops::metrics::Queue;

    async fn start(ready: Arc<AtomicBool>) -> Http {
        let shown = Shown {
            metrics: Arc::new(Metrics::new()),
            ready: Arc::new(move || match ready.load(Ordering::Relaxed) {
                true => Ok(()),
                false => Err("no leader is known for range 2".to_owned()),
            }),
            warning: Arc::new(|| Some("the disk is nearly full".to_owned())),
            refresh: Arc::new(|metrics| {
                metrics.queue(Queue::Log).set(42);
            }),
        };
        Http::start(([127, 0, 0, 1], 0).into(), shown).await.expect("a free port")
    }

    /// Sends bytes and returns everything up to the end of the connection.
    async fn talk(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(request).await.expect("sent");
        let mut answer = Vec::new();
        // A reset after the answer is fine: the server closed while our bytes were under way.
        if let Err(error) = stream.read_to_end(&mut answer).await {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn page(address: SocketAddr, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        talk(address, request.as_bytes()).await
    }

    #[tokio::test]
    async fn serves_its_pages() {
        let ready = Arc::new(AtomicBool::new(false));
        let http = start(Arc::clone(&ready)).await;
        assert!(page(http.address(), "/livez").await.starts_with("HTTP/1.1 200"));
        let not_ready = page(http.address(), "/readyz").await;
        assert!(not_ready.starts_with("HTTP/1.1 503"), "{not_ready}");
        assert!(not_ready.ends_with("no leader is known for range 2\n"), "{not_ready}");
        ready.store(true, Ordering::Relaxed);
        let ready = page(http.address(), "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
        assert!(ready.ends_with("\r\n\r\nok\nwarning: the disk is nearly full\n"), "{ready}");
        let metrics = page(http.address(), "/metrics").await;
        assert!(metrics.contains("\r\ncontent-type: text/plain; version=0.0.4;"), "{metrics}");
        assert!(metrics.contains("quintet_queue_depth{queue=\"log\"} 42\n"), "{metrics}");
        assert!(!metrics.contains("# EOF"), "{metrics}");
        let asking = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                      accept: application/openmetrics-text; version=1.0.0\r\n\r\n";
        let metrics = talk(http.address(), asking.as_bytes()).await;
        assert!(metrics.contains("\r\ncontent-type: application/openmetrics-text; version=1.0.0;"));
        assert!(metrics.contains("quintet_queue_depth{queue=\"log\"} 42\n"), "{metrics}");
        assert!(metrics.ends_with("# EOF\n"), "{metrics}");
        assert!(page(http.address(), "/").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn garbage_and_endless_heads_end_the_connection() {
        let http = start(Arc::new(AtomicBool::new(true))).await;
        let answer = talk(http.address(), &[0xff; 1000]).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
        let long = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(10 * BUFFER_BYTES_MAX));
        let answer = talk(http.address(), long.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
        assert!(page(http.address(), "/livez").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn idle_connections_make_room_after_their_time() {
        let http = start(Arc::new(AtomicBool::new(true))).await;
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            idle.push(TcpStream::connect(http.address()).await.expect("connected"));
        }
        // Waits until the first of them is closed for its silence.
        let answer = local::timeout(4 * HEAD_TIMEOUT, page(http.address(), "/livez"));
        assert!(answer.await.expect("room again").starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn shutdown_closes_the_port() {
        let http = start(Arc::new(AtomicBool::new(true))).await;
        let address = http.address();
        let _idle = TcpStream::connect(address).await.expect("connected");
        local::timeout(2 * DRAIN_TIMEOUT, http.shutdown()).await.expect("ends");
        TcpStream::connect(address).await.expect_err("closed");
    }
}
