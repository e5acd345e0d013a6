//! `web`: the HTTP side. It keeps nothing: every request is answered by worker.

mod answer;
mod api;
pub(crate) mod caller;
mod feed;
mod seed;
mod server;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{Instrument as _, debug, info, info_span, warn};

use super::explainer::Explainer;
use super::page;
use super::queue::{self, Bus};
use super::token::Token;
use super::{log, redis_info};
use crate::cli::WebArgs;
use crate::failure::Failure;
use answer::Refusal;
use caller::Gate;

/// Tells a request from others in logs and in complaints.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What requests share.
pub(crate) struct App {
    pub(crate) bus: Bus,
    gate: Gate,
    explainer: Arc<Explainer>,
    /// Turns true when the process is to end.
    stopping: watch::Receiver<bool>,
}

pub(crate) fn main(args: &WebArgs) -> Result<(), Failure> {
    log();
    let redis = redis_info(&args.redis).map_err(|error| Failure::Usage(format!("{error:#}")))?;
    let admin = Token::read_any(args.admin_token_file.as_deref())?;
    let member = Token::read_any(args.miner_token_file.as_deref())?;
    if member.is_some() && admin.is_none() {
        return Err(Failure::Usage(
            "--miner-token-file makes no sense without --admin-token-file: everybody may do everything then".to_owned(),
        ));
    }
    if admin.is_none() {
        warn!(
            "no administrator's token (--admin-token-file): whoever reaches this address may do everything"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let served = runtime.block_on(async {
        let bus = queue::redis::connect_web(redis)?;
        let listener = listen(args.listen).await?;
        let gate = Gate::new(admin.as_ref(), member.as_ref());
        serve(listener, bus, gate, args.engine.clone(), asked_to_stop()?).await;
        anyhow::Ok(())
    });
    Ok(served?)
}

pub(crate) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    info!("listening on {}", listener.local_addr()?);
    Ok(listener)
}

/// Ends when the process is asked to.
fn asked_to_stop() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    })
}

/// Everybody may do everything: for a server in the same process.
pub(crate) fn open_gate() -> Gate {
    Gate::new(None, None)
}

/// Serves until `stop` ends, and what was begun until it is done.
pub(crate) async fn serve(
    listener: TcpListener,
    bus: Bus,
    gate: Gate,
    engine: Option<(String, u16)>,
    stop: impl Future<Output = ()>,
) {
    let (stopped, stopping) = watch::channel(false);
    let told = feed::Told(bus.clone());
    let explainer = feed::explainer(told.clone());
    let page = page::feed::page(told, explainer.clone(), engine, stopping.clone());
    let app = Arc::new(App {
        bus,
        gate,
        explainer,
        stopping,
    });
    let crowd = app.gate.connections();
    let app = router(page::router(page), app);
    let stop = async move {
        stop.await;
        stopped.send_replace(true);
    };
    server::run(listener, app, crowd, server::SLOWEST_HEAD, stop).await;
    info!("stopped");
}

/// The page's paths and the API's.
fn router(page: Router, app: Arc<App>) -> Router {
    let mut router = Router::new();
    for (path, methods) in api::routes() {
        router = router.route(path, methods);
    }
    let api = router
        .fallback(async || Refusal(StatusCode::NOT_FOUND, "there is nothing here".to_owned()))
        .with_state(app.clone());
    page.fallback_service(api)
        .layer(middleware::from_fn_with_state(app, caller::admitted))
        .layer(middleware::from_fn(identified))
}

/// Gives each request an id, if it brings none: it is in the log and in the answer.
async fn identified(request: Request, next: Next) -> Response {
    let brought = request.headers().get(REQUEST_ID);
    let brought = brought.and_then(|id| id.to_str().ok()).filter(|id| {
        (1..=64).contains(&id.len())
            && id
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    });
    let id = brought.map_or_else(new_id, str::to_owned);
    let span = info_span!("request", id, method = %request.method(), path = request.uri().path());
    let mut response = next.run(request).instrument(span.clone()).await;
    span.in_scope(|| match response.status() {
        status if status.is_server_error() => warn!(status = status.as_u16(), "failed"),
        status if status.is_client_error() => info!(status = status.as_u16(), "refused"),
        status => debug!(status = status.as_u16(), "answered"),
    });
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

fn new_id() -> String {
    let mut bytes = [0; 8];
    // An id that is not unique does no harm.
    let _ = getrandom::fill(&mut bytes);
    format!("{:016x}", u64::from_le_bytes(bytes))
}
