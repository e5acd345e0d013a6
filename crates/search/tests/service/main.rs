//! The service, end to end: real processes and a real Redis, and whatever happens to them, the answer of `run`.

mod cluster;

use cluster::{Cluster, program, wait_until, worlds};
use serde_json::{Value, json};

const SEARCH: [&str; 8] = [
    "--world",
    "axiom-verge.toml",
    "--fill",
    "assumed",
    "--rng",
    "dotnet",
    "--level",
    "default,masochist",
];

/// A report without what differs from run to run.
fn answer(report: &Value) -> Value {
    let mut report = report.clone();
    for level in report["levels"].as_array_mut().unwrap() {
        level
            .as_object_mut()
            .unwrap()
            .retain(|key, _| !key.starts_with("seconds") && !key.starts_with("seeds_per"));
    }
    report.as_object_mut().unwrap().remove("nodes");
    report
}

fn run(search: &[&str]) -> Value {
    let output = program()
        .arg("run")
        .args(search)
        .arg("--json")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    answer(&serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn two_miners_find_what_run_finds() {
    let cluster = Cluster::start("60");
    let _miners = [cluster.miner("a"), cluster.miner("b")];
    let search = [&SEARCH[..], &["--start", "4294947296", "--len", "20000"]].concat();
    let output = cluster.submit(&[&search[..], &["--reservation", "300"]].concat());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer(&report), run(&search));

    let nodes = report["nodes"].as_object().unwrap();
    let sum = |what: &str| {
        nodes
            .values()
            .map(|node| node[what].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!((sum("seeds"), sum("ranges")), (40_000, 134));
    assert!(nodes.keys().all(|node| node == "a" || node == "b"));
}

#[test]
fn an_empty_range_is_done_at_once() {
    let cluster = Cluster::start("60");
    let search = [&SEARCH[..], &["--len", "0"]].concat();
    let output = cluster.submit(&search);
    assert_eq!(
        answer(&serde_json::from_slice(&output.stdout).unwrap()),
        run(&search)
    );
}

#[test]
fn whatever_is_killed_the_answer_is_the_same() {
    let mut cluster = Cluster::start("1");
    let search = [&SEARCH[..], &["--len", "100000"]].concat();
    let id = cluster.begin(&[&search[..], &["--reservation", "400"]].concat());
    let _steady = cluster.miner("steady");
    let mut victim = cluster.miner("victim");
    cluster.advance(&id, 2);

    victim.kill();
    cluster.advance(&id, 2);
    cluster.worker.kill();
    cluster.start_worker();
    cluster.advance(&id, 2);
    cluster.wipe_redis();
    cluster.advance(&id, 2);
    cluster.web.kill();
    cluster.start_web();
    cluster.advance(&id, 2);
    cluster.restart_redis();
    cluster.advance(&id, 2);
    // All that worker knows is now from the ledger, and all that web knows from worker.
    cluster.worker.kill();
    cluster.wipe_redis();
    cluster.start_worker();
    cluster.advance(&id, 2);

    let _fresh = cluster.miner("fresh");
    let ended = cluster.end(&id);
    assert_eq!(ended["state"], "done");
    assert_eq!(answer(&ended["report"]), run(&search));

    // A finished job is still known when everything was restarted.
    cluster.worker.stop();
    cluster.web.stop();
    cluster.restart_redis();
    cluster.start_worker();
    cluster.start_web();
    wait_until("the finished job", || {
        cluster.job(&id).as_ref() == Some(&ended)
    });
}

#[test]
fn a_miner_that_is_stopped_hands_back_what_it_has() {
    let cluster = Cluster::start("3600");
    let search = [&SEARCH[..], &["--len", "60000"]].concat();
    let id = cluster.begin(&[&search[..], &["--reservation", "60000"]].concat());
    let mut first = cluster.miner("first");
    wait_until("a loan", || cluster.on_loan() == 1);
    first.stop();
    wait_until("the return", || cluster.on_loan() == 0);
    let _second = cluster.miner("second");
    let ended = cluster.end(&id);
    assert_eq!(answer(&ended["report"]), run(&search));
}

#[test]
fn results_that_differ_are_shown_and_not_merged() {
    let cluster = Cluster::start("60");
    let id = cluster.begin(&[&SEARCH[..6], &["--level", "default", "--len", "10"]].concat());
    let lend = || {
        cluster.post(
            "/api/v1/reservations",
            br#"{"node": "liar", "wait_seconds": 20}"#,
        )
    };
    let (status, body) = lend();
    assert_eq!(status, 200, "{body}");
    let mut result: Value = serde_json::from_str(&body).unwrap();
    assert!(result["deadline"].as_u64().unwrap() > 0 && result["epoch"] == 1);
    let tally = json!({
        "scanned": 10, "completable": 10, "dead": 0, "stuck": 0, "unreachable": 0,
        "spheres": {"5": 10}, "digest": "0000000000000001", "audit": "0000000000000000", "first_dead": [],
    });
    let extra = json!({"node": "liar", "seconds": 0.5, "tally": tally});
    result
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    let send = |result: &Value| {
        cluster
            .post("/api/v1/results", result.to_string().as_bytes())
            .0
    };
    let changed = |path: &str, value: Value| {
        let mut changed = result.clone();
        *changed.pointer_mut(path).unwrap() = value;
        changed
    };

    // What does not add up goes no further than web; what nobody asked for no further than worker.
    assert_eq!(send(&changed("/tally/completable", json!(9))), 400);
    assert_eq!(send(&changed("/node", json!("../etc"))), 400);
    assert_eq!(send(&changed("/seconds", json!(-1))), 400);
    assert_eq!(send(&changed("/epoch", json!(2))), 202);
    assert_eq!(send(&changed("/job", json!("0123456789abcdef"))), 202);
    assert_eq!(send(&changed("/level", json!(7))), 202);

    // The same twice is one result; another one is a dispute.
    assert_eq!(send(&result), 202);
    assert_eq!(send(&result), 202);
    let honest = changed("/tally/digest", json!("0000000000000002"));
    assert_eq!(cluster.end(&id)["state"], "done");
    assert_eq!(send(&changed_node(&honest, "honest")), 202);
    wait_until("the dispute", || {
        cluster
            .job(&id)
            .is_some_and(|job| job["state"] == "disputed")
    });
    let job = cluster.job(&id).unwrap();
    assert_eq!(
        job["disputes"],
        json!([{"level": "default", "start": 0, "len": 10, "counted": "liar", "differs": "honest"}])
    );
    assert_eq!(job["report"]["levels"][0]["digest"], "0000000000000001");
    assert_eq!(job["report"]["nodes"]["liar"]["ranges"], 1);
}

fn changed_node(result: &Value, node: &str) -> Value {
    let mut result = result.clone();
    result["node"] = json!(node);
    result
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let cluster = Cluster::start("60");
    cluster.ready();
    let world = std::fs::read_to_string(worlds().join("axiom-verge.toml")).unwrap();
    let spec = json!({"world": world, "fill": "guarded", "rng": "dotnet", "levels": ["default"], "start": 0, "len": 10});
    let job = |key: &str, value: Value| {
        let mut spec = spec.clone();
        spec[key] = value;
        cluster.post("/api/v1/jobs", json!({"spec": spec}).to_string().as_bytes())
    };
    let broken = world.replacen("[\"Gun\"]", "[\"Gnu\"]", 1);
    let cases = [
        (job("fill", json!("magic")), "unknown fill \\\"magic\\\""),
        (job("levels", json!([])), "no level is given"),
        (job("len", json!(1u64 << 33)), "goes past the last seed"),
        (job("start", json!(-1)), "invalid value"),
        (job("colour", json!("red")), "unknown field `colour`"),
        (
            job("world", json!(broken)),
            "world.toml:24:22: unknown power \\\"Gnu\\\"",
        ),
        (cluster.post("/api/v1/jobs", b"{"), "EOF"),
        (
            cluster.post("/api/v1/reservations", br#"{"node": ""}"#),
            "node: a name of",
        ),
    ];
    for ((status, body), expected) in cases {
        assert_eq!(status, 400, "{body}");
        assert!(body.contains(expected), "{body}");
    }
    // A server that has seen enough may hang up before all of it is sent.
    match cluster.try_post("/api/v1/jobs", &vec![b' '; 5 << 20]) {
        Ok((status, _)) => assert_eq!(status, 413),
        Err(error) => assert!(matches!(error, ureq::Error::Io(_)), "{error}"),
    }
    assert_eq!(cluster.post("/api/v1/nothing", b"").0, 404);
    assert!(cluster.get("/api/v1/jobs/0123456789abcdef").is_err());
    let many = json!({"spec": {"world": world, "fill": "guarded", "rng": "dotnet", "levels": ["default"], "start": 0, "len": 1u64 << 32}, "reservation": 1});
    assert!(
        cluster
            .post("/api/v1/jobs", many.to_string().as_bytes())
            .1
            .contains("too many")
    );

    // The same request is the same job.
    let once = job("len", json!(11));
    assert_eq!((once.0, job("len", json!(11)).0), (201, 200));
}

#[test]
fn health_is_told() {
    let mut cluster = Cluster::start("60");
    cluster.ready();
    let healthcheck = |path: &str| {
        program()
            .args(["healthcheck", &format!("{}{path}", cluster.url())])
            .status()
            .unwrap()
            .code()
    };
    assert_eq!(
        (
            healthcheck("/healthz"),
            healthcheck("/readyz"),
            healthcheck("/nothing")
        ),
        (Some(0), Some(0), Some(1))
    );
    cluster.redis.kill();
    assert!(cluster.get("/healthz").is_ok());
    assert!(cluster.get("/readyz").is_err());
    cluster.web.stop();
    assert_eq!(
        program()
            .args(["healthcheck", &cluster.url()])
            .status()
            .unwrap()
            .code(),
        Some(1)
    );
}

#[test]
fn a_ledger_that_cannot_be_had_is_named() {
    let cluster = Cluster::start("60");
    cluster.ready();
    let missing = cluster
        .ledger()
        .with_file_name("missing")
        .join("ledger.sqlite");
    for (ledger, reason) in [(cluster.ledger(), "locked"), (missing, "unable to open")] {
        let output = program()
            .args(["worker", "--redis", "redis://localhost:1", "--ledger"])
            .arg(&ledger)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.contains(&format!("cannot use the ledger {}: ", ledger.display()))
                && stderr.contains(reason),
            "{stderr}"
        );
    }
    let output = program()
        .args(["worker", "--redis", "messages"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}
