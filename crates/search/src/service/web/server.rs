//! Taking connections: so many, of one address so many, and none that keeps a place without asking anything.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::service::crowd::Crowd;

/// How long the head of a request may take to arrive, and a connection be kept without one. Clients do not keep
/// theirs for so long.
pub(super) const SLOWEST_HEAD: Duration = Duration::from_secs(30);
/// Connections at a time, which fit into the memory that a stack gives web. Others wait until one is free.
const MOST: usize = 16_384;
/// Before the next attempt when none can be accepted, as when there are no file descriptors left.
const PAUSE: Duration = Duration::from_secs(1);

/// Answers by `app` until `stop` ends, and what was begun until it is done. Whom `crowd` does not let in is hung up on.
pub(super) async fn run(
    listener: TcpListener,
    app: Router,
    crowd: Option<Arc<Crowd>>,
    slowest_head: Duration,
    stop: impl Future<Output = ()>,
) {
    let app = TowerToHyperService::new(app);
    let places = Arc::new(Semaphore::new(MOST));
    let begun = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let (stream, from, place) = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut stop => break,
        };
        let guest = crowd.as_ref().map(|crowd| crowd.enter(from.ip()));
        if matches!(guest, Some(None)) {
            debug!("{from} has too many connections");
            continue;
        }
        let app = app.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(from));
            app.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(slowest_head)
            .serve_connection(TokioIo::new(stream), service);
        let connection = begun.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!("connection of {from}: {error}");
            }
            drop((guest, place));
        });
    }
    drop(listener);
    begun.shutdown().await;
}

/// The next connection, when there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => return (stream, from, place),
            Err(error) => {
                warn!("cannot accept a connection: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Result, Write as _};
    use std::net::TcpStream;

    use axum::routing::get;
    use tokio::runtime::Runtime;

    use super::*;

    /// A server that answers everything, for as long as it is held.
    fn server(crowd: Option<Arc<Crowd>>, slowest_head: Duration) -> (Runtime, SocketAddr) {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(get(async || "hello"));
        runtime.spawn(run(
            listener,
            app,
            crowd,
            slowest_head,
            std::future::pending(),
        ));
        (runtime, address)
    }

    /// Asks, and keeps the connection.
    fn ask(address: SocketAddr) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")?;
        stream.read_exact(&mut [0; 12])?;
        Ok(stream)
    }

    #[test]
    fn who_says_nothing_is_hung_up_on() {
        let (_runtime, address) = server(None, Duration::from_millis(1));
        let asked = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        for said in ["", "GET / HTTP/1.1\r\nhost: ", asked] {
            let mut stream = TcpStream::connect(address).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(60)))
                .unwrap();
            // It may be too late for that already.
            let _ = stream.write_all(said.as_bytes());
            let ended = stream.read_to_end(&mut Vec::new());
            let timed_out = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
            assert!(!ended.as_ref().is_err_and(timed_out), "{said:?}: {ended:?}");
        }
    }

    #[test]
    fn one_address_has_so_many_connections() {
        let (_runtime, address) = server(Some(Crowd::new(1)), SLOWEST_HEAD);
        let first = ask(address).unwrap();
        assert!(ask(address).is_err());
        drop(first);
        while ask(address).is_err() {
            std::thread::yield_now();
        }
    }
}
