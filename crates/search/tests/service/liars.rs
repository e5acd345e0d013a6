//! Somebody from outside does everything wrong that can be done.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::cluster::{ADMIN, Cluster, MEMBER, wait_until};
use crate::{SEARCH, answer, run};

/// A result that adds up and is wrong.
fn lie(reservation: &Value, digest: &str) -> Value {
    let twins = u64::from(reservation["twins"] == true);
    let seeds = reservation["len"].as_u64().unwrap() * (1 + twins);
    let mut result = reservation.clone();
    let tally = json!({
        "scanned": seeds, "completable": seeds, "dead": 0, "stuck": 0, "unreachable": 0,
        "spheres": {"5": seeds}, "digest": digest, "audit": "0000000000000000", "first_dead": [],
    });
    let more = json!({ "node": "whoever", "seconds": 0.5, "tally": tally });
    result
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    result
}

pub(crate) fn changed(result: &Value, path: &str, value: Value) -> Value {
    let mut result = result.clone();
    *result.pointer_mut(path).unwrap() = value;
    result
}

#[test]
fn lies_are_refused_reported_and_do_no_harm() {
    let cluster = Cluster::start_with_tokens("60");
    cluster.ready();
    let search = [&SEARCH[..], &["--len", "40000"]].concat();
    let id = cluster.begin(&[&search[..], &["--reservation", "2000"]].concat());

    // Who is nobody gets nothing; who is granted something gets that and no more.
    let grant = json!({ "name": "mallory" });
    let ask = json!({ "node": "worker1" });
    assert_eq!(
        cluster
            .post_as("a-token-that-nobody-gave", "/v1/reservations", &ask)
            .0,
        401
    );
    assert_eq!(
        cluster
            .post("/v1/reservations", ask.to_string().as_bytes())
            .0,
        401
    );
    assert_eq!(cluster.post_as(MEMBER, "/v1/tokens", &grant).0, 401);
    let (status, made) = cluster.post_as(ADMIN, "/v1/tokens", &grant);
    assert_eq!(status, 201, "{made}");
    let token = made["token"].as_str().unwrap().to_owned();
    let post = |path: &str, body: &Value| cluster.post_as(&token, path, body);
    assert_eq!(post("/v1/jobs", &json!({"spec": {"world": "", "fill": "", "rng": "", "levels": [], "start": 0, "len": 0}})).0, 401);
    // The ledger has no token in it, only its hash.
    for file in ["ledger.sqlite", "ledger.sqlite-wal"] {
        let bytes = std::fs::read(cluster.file(file)).unwrap();
        assert!(
            !bytes
                .windows(token.len())
                .any(|window| window == token.as_bytes())
        );
    }

    let (status, reservation) = post("/v1/reservations", &ask);
    assert_eq!(status, 200, "{reservation}");
    let lie = lie(&reservation, "0000000000000001");
    let send = |result: &Value| post("/v1/results", result).0;
    // Wrong range; no such loan; no such job; what does not add up; what makes no sense.
    assert_eq!(send(&changed(&lie, "/start", json!(77))), 409);
    assert_eq!(send(&changed(&lie, "/level", json!(1))), 409);
    assert_eq!(send(&changed(&lie, "/epoch", json!(999_999))), 410);
    assert_eq!(send(&changed(&lie, "/job", json!("0123456789abcdef"))), 404);
    assert_eq!(send(&changed(&lie, "/tally/completable", json!(9))), 400);
    assert_eq!(send(&changed(&lie, "/seconds", json!(-1))), 400);
    assert_eq!(send(&changed(&lie, "/node", json!("../etc"))), 400);
    // Handed back, the loan is over.
    let hold = json!({ "epoch": reservation["epoch"], "node": "whoever" });
    assert_eq!(post("/v1/returns", &hold).0, 200);
    assert_eq!(post("/v1/renewals", &hold).0, 410);
    assert_eq!(send(&lie), 410);

    // One that adds up is taken, and does not count. Again it is the same; another is refused.
    let (_, reservation) = post("/v1/reservations", &ask);
    let lie = self::lie(&reservation, "0000000000000001");
    assert_eq!(
        post("/v1/results", &lie),
        (200, json!({ "outcome": "taken" }))
    );
    assert_eq!(
        post("/v1/results", &lie),
        (200, json!({ "outcome": "repeated" }))
    );
    assert_eq!(send(&self::lie(&reservation, "0000000000000002")), 409);
    assert_eq!(cluster.job(&id).unwrap()["progress"]["seeds_done"], 0);
    // A member cannot take the name, nor can anybody else's loan be ended.
    assert_eq!(
        cluster
            .post_as(MEMBER, "/v1/reservations", &json!({ "node": "mallory" }))
            .0,
        403
    );
    huge_body(&cluster, &token);
    assert!(half_a_body(&cluster, &token, "/v1/results").starts_with("HTTP/1.1 408"));
    // Who may not begin a job need not send one to learn it.
    assert!(half_a_body(&cluster, &token, "/v1/jobs").starts_with("HTTP/1.1 401"));

    // One honest node sees that something is wrong, two settle it.
    let _miners = [cluster.miner("a"), cluster.miner("b")];
    let ended = cluster.end(&id);
    assert_eq!(ended["state"], "done");
    assert_eq!(answer(&ended["report"]), run(&search));
    let snapshot = cluster.snapshot(&id);
    let mallory = &snapshot["nodes"]["mallory"];
    assert_eq!(
        (&mallory["health"], &mallory["outside"]),
        (&json!("faulty"), &json!(true))
    );
    // Those that reached the ledger's door: 409, 409, 410, 404, 400, 410, 409.
    assert_eq!(mallory["rejected"], 7);
    assert_eq!(post("/v1/reservations", &ask).0, 403);
    assert_eq!(post("/v1/nodes/mallory/forgive", &json!({})).0, 401);
    assert_eq!(
        cluster
            .post_as(ADMIN, "/v1/nodes/mallory/forgive", &json!({}))
            .0,
        200
    );
    assert_eq!(post("/v1/reservations", &ask).0, 204);
}

/// A server that has seen enough may hang up before all of it is sent.
fn huge_body(cluster: &Cluster, token: &str) {
    match cluster.try_post("/v1/results", Some(token), &vec![b' '; 5 << 20]) {
        Ok((status, _)) => assert_eq!(status, 413),
        Err(error) => assert!(matches!(error, ureq::Error::Io(_)), "{error}"),
    }
}

/// The answer to a body that does not come.
fn half_a_body(cluster: &Cluster, token: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(cluster.url().trim_start_matches("http://")).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{{"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn those_who_ask_too_often_are_told_to_wait() {
    let cluster = Cluster::start_with_tokens("60");
    cluster.ready();
    let statuses: Vec<u16> = (0..400)
        .map(|_| cluster.post("/v1/reservations", br#"{"node": "x"}"#).0)
        .collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    // The cluster's own are not held back by that.
    assert_eq!(
        cluster
            .post_as(MEMBER, "/v1/reservations", &json!({ "node": "x" }))
            .0,
        204
    );
    wait_until("patience rewarded", || cluster.get("/v1/jobs").is_ok());
}

/// A loan that ran out and went to somebody else: whoever had it comes too late, and changes nothing.
#[test]
fn who_comes_too_late_is_refused() {
    let cluster = Cluster::start_with_tokens("1");
    cluster.ready();
    let search = [&SEARCH[..], &["--len", "20000"]].concat();
    let id = cluster.begin(&[&search[..], &["--reservation", "2000"]].concat());
    let post = |path: &str, body: &Value| cluster.post_as(MEMBER, path, body);
    let (status, reservation) = post("/v1/reservations", &json!({ "node": "slow" }));
    assert_eq!(status, 200, "{reservation}");
    let _miners = [cluster.miner("a"), cluster.miner("b")];
    // Nobody else can finish the job before it is taken from the slow one.
    let ended = cluster.end(&id);
    let late = self::lie(&reservation, "0000000000000001");
    let late = changed(&late, "/node", json!("slow"));
    let hold = json!({ "epoch": reservation["epoch"], "node": "slow" });
    assert_eq!(post("/v1/results", &late).0, 410);
    assert_eq!(post("/v1/renewals", &hold).0, 410);
    let after = cluster.job(&id).unwrap();
    assert_eq!(after["report"], ended["report"]);
    assert_eq!(answer(&after["report"]), run(&search));
}
