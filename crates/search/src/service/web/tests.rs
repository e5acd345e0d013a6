//! The document about the API, against the API.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;

/// A server without a worker.
async fn ask(method: &Method, path: &str) -> Response {
    let (bus, queue) = crate::service::queue::here::connect().unwrap();
    std::thread::spawn(move || drop(queue)).join().unwrap();
    let (_, stopping) = watch::channel(false);
    let explainer = feed::explainer(feed::Told(bus.clone()));
    let app = router(Arc::new(App {
        bus,
        gate: open_gate(),
        explainer,
        stopping,
    }));
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .unwrap();
    request
        .extensions_mut()
        .insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
    app.oneshot(request).await.unwrap()
}

#[tokio::test]
async fn the_document_names_what_there_is_and_nothing_else() {
    let document: Value = serde_json::from_str(api::OPENAPI).unwrap();
    let told: BTreeMap<&str, &Value> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, item)| (path.as_str(), item))
        .collect();
    let mut served: Vec<&str> = api::routes().iter().map(|(path, _)| *path).collect();
    served.sort_unstable();
    assert_eq!(told.keys().copied().collect::<Vec<_>>(), served);

    for (path, item) in told {
        let example = path.replace("{seed}", "1").replace(['{', '}'], "");
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
            let documented = item.get(method.as_str().to_lowercase()).is_some();
            let status = ask(&method, &example).await.status();
            assert_eq!(
                status != StatusCode::METHOD_NOT_ALLOWED,
                documented,
                "{method} {path}: {status}"
            );
            assert_ne!(status, StatusCode::NOT_FOUND, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn every_refusal_is_json() {
    let cases = [
        (Method::GET, "/v1/nothing", 404),
        (Method::GET, "/v1/jobs/%ff", 400),
        (Method::GET, "/v1/seed/default/%ff", 400),
        (Method::GET, "/v1/seed/default/1?colour=red", 400),
        (Method::GET, "/v1/seed/default/minus", 400),
        (Method::GET, "/v1/jobs", 503),
        (Method::POST, "/v1/jobs", 400),
    ];
    for (method, path, expected) in cases {
        let answer = ask(&method, path).await;
        assert_eq!(answer.status().as_u16(), expected, "{method} {path}");
        let body = axum::body::to_bytes(answer.into_body(), 10_000).await;
        let told: Value = serde_json::from_slice(&body.unwrap()).unwrap();
        assert!(told["error"].is_string(), "{method} {path}: {told}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document: Value = serde_json::from_str(api::OPENAPI).unwrap();
    let mut todo = vec![&document];
    let mut found = 0;
    while let Some(value) = todo.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                    assert!(
                        document
                            .pointer(reference.trim_start_matches('#'))
                            .is_some(),
                        "{reference}"
                    );
                    found += 1;
                }
                todo.extend(fields.values());
            }
            Value::Array(items) => todo.extend(items),
            _ => {}
        }
    }
    assert!(found > 20);
}
