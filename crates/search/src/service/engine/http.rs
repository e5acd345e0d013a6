//! One question over HTTP, to a socket or over the network, with bounds on time and size.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::service::names;

/// A cluster of a hundred nodes with as many services has less to say.
const MAX_ANSWER: usize = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a server is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Unix(PathBuf),
    /// Host and port.
    Tcp(String, u16),
}

/// Gets a JSON document.
///
/// # Errors
/// Nobody is there, the answer takes too long, is too long, no success, or not what is expected.
pub(super) async fn get<T: DeserializeOwned>(place: &Place, path: &str) -> Result<T> {
    let answer = timeout(PATIENCE, ask(place, path)).await;
    let bytes = answer.context("no answer in time").flatten();
    let bytes = bytes.with_context(|| match place {
        Place::Unix(socket) => format!("asking {} for {path}", socket.display()),
        Place::Tcp(host, port) => format!("asking {host}:{port} for {path}"),
    })?;
    serde_json::from_slice(&bytes).with_context(|| format!("the answer to {path}"))
}

async fn ask(place: &Place, path: &str) -> Result<Bytes> {
    match place {
        Place::Unix(socket) => exchange(UnixStream::connect(socket).await?, "docker", path).await,
        Place::Tcp(host, port) => {
            let addresses = names::resolve(host, *port).await?;
            exchange(TcpStream::connect(&addresses[..]).await?, host, path).await
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    host: &str,
    path: &str,
) -> Result<Bytes> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer; what goes wrong on the way is told to the sender.
    tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, host)
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    if !status.is_success() {
        bail!("the answer is {status}");
    }
    let body = Limited::new(response.into_body(), MAX_ANSWER);
    let body = body.collect().await;
    Ok(body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes())
}
