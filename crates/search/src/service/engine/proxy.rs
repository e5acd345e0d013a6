//! `engine`: answers three questions about the cluster, and stands before the socket that would answer all.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::docker::{NODES, Node, SERVICES, Service, TASKS, Task};
use super::http::{self, Place};
use crate::cli::EngineArgs;
use crate::failure::Failure;
use crate::service::log;

/// Tasks that should run. Without this the engine tells of those that ended, too.
const TASKS_WANTED: &str = "/tasks?filters=%7B%22desired-state%22%3A%5B%22running%22%5D%7D";

pub(crate) fn main(args: &EngineArgs) -> Result<(), Failure> {
    log();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    Ok(runtime.block_on(serve(args))?)
}

async fn serve(args: &EngineArgs) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    info!(
        "answering for {} on {}",
        args.socket.display(),
        listener.local_addr()?
    );
    axum::serve(listener, router(args.socket.clone()))
        .with_graceful_shutdown(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        })
        .await?;
    Ok(())
}

/// All that is let through.
fn router(socket: PathBuf) -> Router {
    Router::new()
        .route(NODES, get(async |state| pass::<Node>(state, NODES).await))
        .route(
            SERVICES,
            get(async |state| pass::<Service>(state, SERVICES).await),
        )
        .route(
            TASKS,
            get(async |state| pass::<Task>(state, TASKS_WANTED).await),
        )
        .route("/healthz", get(async || "ok\n"))
        .with_state(Arc::new(Place::Unix(socket)))
}

/// Passes on an answer, less what has no place in it.
async fn pass<T: DeserializeOwned + Serialize>(
    State(engine): State<Arc<Place>>,
    path: &str,
) -> Response {
    match http::get::<Vec<T>>(&engine, path).await {
        Ok(known) => Json(known).into_response(),
        Err(error) => {
            warn!("{error:#}");
            let told = json!({ "error": "the engine does not answer" });
            (StatusCode::BAD_GATEWAY, Json(told)).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};
    use std::sync::Mutex;

    use axum::extract::Request;
    use serde_json::Value;
    use tempfile::TempDir;
    use tokio::net::UnixListener;
    use tokio::runtime::Runtime;

    use super::super::ask;
    use super::*;

    /// A proxy before an engine that answers as Docker 25 does, and remembers what it was asked.
    struct Cluster {
        address: SocketAddr,
        asked: Arc<Mutex<Vec<String>>>,
        runtime: Runtime,
        _socket: TempDir,
    }

    fn cluster() -> Cluster {
        let runtime = Runtime::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let engine = Router::new().fallback(async move |request: Request| {
            log.lock()
                .unwrap()
                .push(format!("{} {}", request.method(), request.uri()));
            Json(match request.uri().path() {
                "/nodes" => docker_says(include_str!("testdata/nodes.json")),
                "/services" => docker_says(include_str!("testdata/services.json")),
                "/tasks" => docker_says(include_str!("testdata/tasks.json")),
                path => json!({ "message": format!("{path} was let through") }),
            })
        });
        let address = runtime.block_on(async {
            let docker = UnixListener::bind(&socket).unwrap();
            tokio::spawn(async move { axum::serve(docker, engine).await });
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move { axum::serve(listener, router(socket)).await });
            address
        });
        Cluster {
            address,
            asked,
            runtime,
            _socket: directory,
        }
    }

    fn docker_says(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    impl Cluster {
        fn request(&self, method: &str, path: &str) -> (u16, String) {
            let mut stream = TcpStream::connect(self.address).unwrap();
            write!(
                stream,
                "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
            .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            (answer[9..12].parse().unwrap(), answer)
        }
    }

    #[test]
    fn only_three_questions_are_let_through() {
        let cluster = cluster();
        let cases = [
            ("GET", "/nodes", 200),
            ("GET", "/services", 200),
            ("GET", "/tasks?filters=%7B%7D", 200),
            ("POST", "/nodes", 405),
            ("DELETE", "/services", 405),
            ("POST", "/services/create", 404),
            ("GET", "/containers/json", 404),
            ("GET", "/secrets", 404),
            ("GET", "/v1.43/nodes", 404),
            ("GET", "/nodes/../secrets", 404),
            ("GET", "//nodes", 404),
            ("GET", "/nodes/", 404),
            ("GET", "/%6eodes/x", 404),
        ];
        for (method, path, expected) in cases {
            let (status, answer) = cluster.request(method, path);
            assert_eq!(status, expected, "{method} {path}: {answer}");
        }
        let asked = cluster.asked.lock().unwrap();
        assert_eq!(
            *asked,
            [
                "GET /nodes",
                "GET /services",
                &format!("GET {TASKS_WANTED}")
            ]
        );
    }

    #[test]
    fn secrets_stay_behind() {
        let cluster = cluster();
        for path in ["/nodes", "/services", "/tasks"] {
            let (_, answer) = cluster.request("GET", path);
            assert!(!answer.contains("hunter2"), "{answer}");
            assert!(!answer.contains("192.168."), "{answer}");
        }
    }

    #[test]
    fn what_runs_where() {
        let cluster = cluster();
        let view = ask("127.0.0.1", cluster.address.port());
        insta::assert_json_snapshot!(cluster.runtime.block_on(view).unwrap());
    }

    #[test]
    fn an_engine_that_is_away_is_no_secret() {
        let runtime = Runtime::new().unwrap();
        let place = Place::Unix("/nonexistent/docker.sock".into());
        let answer = runtime.block_on(http::get::<Vec<Node>>(&place, NODES));
        insta::assert_snapshot!(format!("{:#}", answer.unwrap_err()), @"asking /nonexistent/docker.sock for /nodes: No such file or directory (os error 2)");
    }
}
