//! The document about the API, against the API.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::service::page::view::View;
use crate::service::queue::Queue as _;
use crate::service::wire::Reply;

/// A server whose worker answers everything so, or not at all.
fn server(gate: Gate, answer: Option<&'static str>) -> Router {
    let (bus, mut queue) = crate::service::queue::here::connect().unwrap();
    let worker = std::thread::spawn(move || {
        let Some(json) = answer else { return };
        while let Ok(asked) = queue.receive() {
            let answers = asked.into_iter();
            let answers = answers.map(|(ticket, _)| (ticket, Reply::Yes(json.to_owned())));
            queue.answer(answers.collect(), false).unwrap();
        }
    });
    if answer.is_none() {
        worker.join().unwrap();
    }
    let (_, stopping) = watch::channel(false);
    let explainer = feed::explainer(feed::Told(bus.clone()));
    let (_, views) = watch::channel(Arc::new(View::default()));
    let page = page::Page::new(views, stopping.clone(), explainer.clone());
    let app = Arc::new(App {
        bus,
        gate,
        explainer,
        stopping,
    });
    router(page::router(page), app)
}

fn request(method: &Method, path: &str, from: [u8; 4]) -> Request<Body> {
    let from = ConnectInfo(SocketAddr::from((from, 1)));
    let request = Request::builder().method(method).uri(path).extension(from);
    request.body(Body::empty()).unwrap()
}

/// What a server without a worker answers.
async fn ask(method: &Method, path: &str) -> Response {
    let app = server(open_gate(), None);
    app.oneshot(request(method, path, [127, 0, 0, 1]))
        .await
        .unwrap()
}

/// The reason of a refusal.
async fn reason(answer: Response) -> String {
    let body = axum::body::to_bytes(answer.into_body(), 10_000).await;
    let told: Value = serde_json::from_slice(&body.unwrap()).unwrap();
    told["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_answer_that_is_none_is_no_empty_one() {
    for (told, expected) in [("[]", (404, "no job yet")), ("{", (500, "list of jobs"))] {
        let app = server(open_gate(), Some(told));
        let asked = request(&Method::GET, "/v1/seed/default/1", [127, 0, 0, 1]);
        let answer = app.oneshot(asked).await.unwrap();
        assert_eq!(answer.status().as_u16(), expected.0, "{told}");
        let reason = reason(answer).await;
        assert!(reason.contains(expected.1), "{told}: {reason}");
    }
}

#[tokio::test]
async fn those_from_outside_are_held_back_whatever_they_ask() {
    let admin = Token::new().unwrap();
    let paths = [
        "/",
        "/seed?level=a&seed=1",
        "/metrics",
        "/readyz",
        "/v1/jobs",
        "/nothing",
    ];
    for (number, path) in (1..).zip(paths) {
        let app = server(Gate::new(Some(&admin), None), None);
        let ask = async |asked| app.clone().oneshot(asked).await.unwrap();
        let from = |last| request(&Method::GET, path, [192, 0, number, last]);
        let mut refused = 0;
        for _ in 0..1000 {
            refused += u32::from(ask(from(1)).await.status() == 429);
        }
        assert!(refused > 500, "{path}: {refused}");
        assert_ne!(ask(from(2)).await.status(), 429, "{path}");
        // The engine asks this from within, whoever else asks.
        let health = request(&Method::GET, "/healthz", [192, 0, number, 1]);
        assert_eq!(ask(health).await.status(), 200);
        let mut own = from(1);
        let token = format!("Bearer {}", admin.reveal());
        own.headers_mut()
            .insert("authorization", token.parse().unwrap());
        assert_ne!(ask(own).await.status(), 429, "{path}");
    }
}

#[tokio::test]
async fn one_address_does_not_take_all_places_to_look_on_from() {
    let admin = Token::new().unwrap();
    let app = server(Gate::new(Some(&admin), None), None);
    let open = async |last| {
        let asked = request(&Method::GET, "/events", [192, 0, 2, last]);
        app.clone().oneshot(asked).await.unwrap()
    };
    let mut seats = Vec::new();
    for _ in 0..6 {
        seats.push(open(1).await);
    }
    assert!(seats.iter().all(|answer| answer.status() == 200));
    assert_eq!(open(1).await.status(), 503);
    assert_eq!(open(2).await.status(), 200);
    seats.pop();
    assert_eq!(open(1).await.status(), 200);
}

/// Nor does it take worker's time, or Redis's memory.
#[tokio::test]
async fn the_body_of_one_without_a_token_is_not_read() {
    let admin = Token::new().unwrap();
    for path in [
        "/v1/reservations",
        "/v1/renewals",
        "/v1/returns",
        "/v1/results",
    ] {
        let app = server(Gate::new(Some(&admin), None), None);
        let asked = request(&Method::POST, path, [192, 0, 2, 1]);
        // With a body that is read it would be 400.
        let answer = app.oneshot(asked).await.unwrap();
        assert_eq!(answer.status(), 401, "{path}");
    }
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
        assert!(!reason(answer).await.is_empty(), "{method} {path}");
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
