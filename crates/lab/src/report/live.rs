//! A lab's page while it runs, for a browser on this machine.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use super::html::{self, Moment};
use super::kept::Kept;
use super::material::Material;
use crate::client::Attached;

/// Nothing from elsewhere, nobody around it; bars are placed by the style of each.
const POLICY: &str = "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; connect-src 'self'; \
    form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/// Shows a lab at `http://127.0.0.1:PORT/`, of `listener`, as it is now: its machines and what befalls them, the stages
/// that [`keep`](super::keep) tells of, and logs as they grow. It goes on when the lab has ended, and with the next lab
/// of that name: it does not return until the process ends, and is best given a thread.
///
/// ```no_run
/// # fn show(lab: &bramble_lab::Lab) -> anyhow::Result<()> {
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// eprintln!("see http://{}/", listener.local_addr()?);
/// let attached = lab.attached().clone();
/// std::thread::spawn(move || {
///     if let Err(error) = bramble_lab::report::serve(&attached, listener) {
///         eprintln!("there is no page: {error:#}");
///     }
/// });
/// # Ok(())
/// # }
/// ```
///
/// It only shows; nothing can be done to the lab with it. Requests that are not for this machine's own names are
/// refused, so that no other site's page can read it.
///
/// # Errors
/// When the lab does not answer at the beginning, or nobody can listen.
pub fn serve(lab: &Attached, listener: TcpListener) -> Result<()> {
    let shown = Shown {
        logs: Mutex::new(lab.place()?.1),
        lab: lab.clone(),
        port: listener.local_addr()?.port(),
    };
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, router(shown)).await
    })?;
    Ok(())
}

/// What is shown, and where.
struct Shown {
    lab: Attached,
    /// Those of the lab that runs, or ran last.
    logs: Mutex<PathBuf>,
    port: u16,
}

impl Shown {
    fn look(&self) -> Result<Moment> {
        let is_running = self.lab.is_running();
        if is_running && let Ok((_, logs)) = self.lab.place() {
            // The next lab of that name may have others.
            *self.logs.lock().unwrap_or_else(PoisonError::into_inner) = logs;
        }
        let (kept, material) = (Kept::read(&self.logs()), self.material()?);
        Ok(Moment {
            lab: self.lab.name(),
            now: is_running.then(|| material.now()),
            kept,
            material,
        })
    }

    fn material(&self) -> Result<Material> {
        Material::read(&self.logs())
    }

    fn logs(&self) -> PathBuf {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.clone()
    }

    fn is_meant(&self, request: &Request) -> bool {
        let host = request.headers().get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok());
        ["127.0.0.1", "localhost"]
            .iter()
            .any(|own| host == Some(&format!("{own}:{}", self.port)))
    }
}

/// The machine has it, and cannot show it: as where the lab is just being started anew.
struct Unreadable(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Unreadable {
    fn from(error: E) -> Unreadable {
        Unreadable(error.into())
    }
}

impl IntoResponse for Unreadable {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{:#}", self.0)).into_response()
    }
}

fn router(shown: Shown) -> Router {
    let shown = Arc::new(shown);
    let style = (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8")],
        html::STYLE,
    );
    let script = |text: &'static str| {
        (
            [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")],
            text,
        )
    };
    Router::new()
        .route("/", get(page))
        .route("/now", get(now))
        .route("/ends/{file}", get(end))
        .route("/files/{file}", get(file))
        .route("/style.css", get(style))
        .route("/script.js", get(script(html::SCRIPT)))
        .route("/live.js", get(script(html::LIVE)))
        .layer(middleware::from_fn_with_state(shown.clone(), guard))
        .with_state(shown)
}

async fn guard(State(shown): State<Arc<Shown>>, request: Request, next: Next) -> Response {
    if !shown.is_meant(&request) {
        let own = format!(
            "this is http://127.0.0.1:{}/ and nothing else\n",
            shown.port
        );
        return (StatusCode::MISDIRECTED_REQUEST, own).into_response();
    }
    let mut answer = next.run(request).await;
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    answer
}

async fn page(State(shown): State<Arc<Shown>>) -> Result<Html<String>, Unreadable> {
    Ok(Html(html::live(shown.look()?).into_string()))
}

async fn now(State(shown): State<Arc<Shown>>) -> Result<Html<String>, Unreadable> {
    Ok(Html(html::now(shown.look()?).into_string()))
}

/// What is shown of a log: its end.
async fn end(
    State(shown): State<Arc<Shown>>,
    Path(file): Path<String>,
) -> Result<Response, Unreadable> {
    let material = shown.material()?;
    if file == "events.jsonl" {
        return Ok(html::happened(&material).into_response());
    }
    Ok(match material.log(&file) {
        Some(log) => log.text()?.into_response(),
        None => unknown(),
    })
}

/// A whole log, as it is.
async fn file(
    State(shown): State<Arc<Shown>>,
    Path(file): Path<String>,
) -> Result<Response, Unreadable> {
    let material = shown.material()?;
    let Some(log) = material.log(&file) else {
        return Ok(unknown());
    };
    let text = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((text, std::fs::read(&log.path)?).into_response())
}

fn unknown() -> Response {
    (StatusCode::NOT_FOUND, "there is no such log\n").into_response()
}

#[cfg(test)]
mod tests;
