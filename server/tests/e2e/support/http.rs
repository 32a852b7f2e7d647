//! The HTTP port, asked with as little as possible.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Time for one page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Status and body of a page.
pub(crate) async fn page(address: &str, path: &str) -> Result<(u16, String), String> {
    let asked = tokio::time::timeout(PAGE_TIMEOUT, ask(address, path)).await;
    let text = asked.map_err(|_| "no answer".to_owned())?.map_err(|error| error.to_string())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("no head: {text:?}"))?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.ok_or_else(|| format!("no status: {head:?}"))?, body.to_owned()))
}

/// A figure of a node's metrics, by its name and labels.
pub(crate) async fn figure(address: &str, name: &str) -> f64 {
    let (_, text) = page(address, "/metrics").await.expect("the metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

async fn ask(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
