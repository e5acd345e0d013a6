//! Pages as HTML, and answers that are none.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::super::view::View;
use super::super::{live, sample};
use super::server::Server;

/// Status, headers and body of an answer.
fn get(server: &Server, path: &str, headers: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

const BROWSER: &str = "accept: text/html,application/xhtml+xml\r\n";

#[test]
fn the_page_is_as_it_was() {
    let server = Server::showing(sample::view(sample::disputed()));
    let (status, _, body) = get(&server, "/", BROWSER);
    assert_eq!(status, 200);
    // A line for each element, without what changes with the assets.
    let body = body.replace("><", ">\n<");
    let lines = body.lines().filter(|line| !line.contains("/assets/"));
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn every_answer_is_guarded() {
    let server = Server::showing(View::default());
    for path in ["/", "/seed/default/1", "/assets/berry.svg", "/?job=nobody"] {
        let (_, head, _) = get(&server, path, BROWSER);
        assert!(
            head.contains("content-security-policy: default-src 'none'"),
            "{path}: {head}"
        );
        assert!(
            head.contains("x-content-type-options: nosniff"),
            "{path}: {head}"
        );
    }
}

#[test]
fn a_search_is_there_as_soon_as_it_was_submitted() {
    let submitted = sample::running();
    let path = format!("/?job={}", submitted.job.id);
    let server = Server::finding(View::default(), sample::view(submitted));
    assert_eq!(get(&server, &path, BROWSER).0, 200);
}

#[test]
fn what_is_not_there_is_said_to_be_so() {
    let server = Server::showing(sample::view(sample::running()));
    let cases = [
        (
            "/?job=nobody",
            404,
            "There is no search &quot;nobody&quot;.",
        ),
        (
            "/seed/nowhere/1",
            404,
            "The search has no level &quot;nowhere&quot;.",
        ),
        (
            "/seed/default/1?job=nobody",
            404,
            "There is no such search.",
        ),
        ("/seed/default/4294967296", 400, ""),
        (
            "/seed?level=default&seed=minus",
            400,
            "&quot;minus&quot; is no seed",
        ),
        ("/seed?level=%3Cscript%3E&seed=3", 303, ""),
        ("/seed/%3Cscript%3E/3", 404, "&lt;script&gt;"),
    ];
    for (path, expected, sentence) in cases {
        let (status, _, body) = get(&server, path, BROWSER);
        assert_eq!(status, expected, "{path}");
        assert!(body.contains(sentence), "{path}: {body}");
        assert!(!body.contains("<script>"), "{path}");
    }
}

#[test]
fn a_seed_is_explained_to_people_and_programs() {
    let server = Server::showing(sample::view(sample::running()));
    let (status, _, body) = get(&server, "/seed/default/42", BROWSER);
    assert_eq!(status, 200);
    assert!(body.contains("This seed can be completed, in"), "{body}");
    assert!(body.contains("Sphere 1"), "{body}");
    let (status, _, body) = get(&server, "/seed/default/42", "");
    assert_eq!(status, 200);
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told["verdict"], "completable");
    assert_eq!(told["placed"], 125);
}

#[test]
fn names_cannot_become_markup() {
    let mut job = sample::running();
    job.job.world_file = "<script>alert(1)</script>".to_owned();
    job.levels[0].level = "\"><img src=x>".to_owned();
    let (name, node) = job.nodes.pop_first().unwrap();
    job.nodes.insert(format!("{name}<b>"), node);
    let server = Server::showing(sample::view(job));
    let (_, _, body) = get(&server, "/", BROWSER);
    for evil in ["<script>alert", "<img", "worker1<b>"] {
        assert!(!body.contains(evil), "{evil}");
    }
}

#[test]
fn so_many_look_on_and_no_more() {
    let server = Server::showing(sample::view(sample::running()));
    let open = || {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        write!(stream, "GET /events HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        (stream, String::from_utf8_lossy(&head).into_owned())
    };
    let clients: Vec<_> = (0..live::MOST_CLIENTS).map(|_| open()).collect();
    assert!(clients.iter().all(|(_, head)| head == "HTTP/1.1 200"));
    assert_eq!(open().1, "HTTP/1.1 503");
}
