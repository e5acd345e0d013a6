//! The service, end to end: real processes and a real Redis, and whatever happens to them, the answer of `run`.

mod chaos;
mod cluster;
mod filters;
mod liars;
mod operations;

use cluster::{Cluster, program, wait_until, worlds};
use serde_json::{Value, json};

pub(crate) const SEARCH: [&str; 8] = [
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
pub(crate) fn answer(report: &Value) -> Value {
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

pub(crate) fn run(search: &[&str]) -> Value {
    // Tests run at the same time, and in the same directory.
    let dir = tempfile::tempdir().unwrap();
    let output = program()
        .args(["run", "--json", "--checkpoint"])
        .arg(dir.path().join("checkpoint.json"))
        .args(search)
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
    // Some were computed twice.
    assert!(sum("seeds") > 40_000 && sum("ranges") > 134, "{nodes:?}");
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
fn a_miner_that_is_stopped_hands_back_what_it_has() {
    let cluster = Cluster::start("3600");
    let search = [&SEARCH[..], &["--len", "60000"]].concat();
    let id = cluster.begin(&[&search[..], &["--reservation", "60000"]].concat());
    let mut first = cluster.miner("first");
    wait_until("a loan", || cluster.on_loan(&id) == 1);
    first.stop();
    wait_until("the return", || cluster.on_loan(&id) == 0);
    let _second = cluster.miner("second");
    let ended = cluster.end(&id);
    assert_eq!(answer(&ended["report"]), run(&search));
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
        cluster.post("/v1/jobs", json!({"spec": spec}).to_string().as_bytes())
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
        (cluster.post("/v1/jobs", b"{"), "EOF"),
        (
            cluster.post("/v1/reservations", br#"{"node": ""}"#),
            "node: a name of",
        ),
    ];
    for ((status, body), expected) in cases {
        assert_eq!(status, 400, "{body}");
        assert!(body.contains(expected), "{body}");
    }
    // A server that has seen enough may hang up before all of it is sent.
    match cluster.try_post("/v1/jobs", None, &vec![b' '; 5 << 20]) {
        Ok((status, _)) => assert_eq!(status, 413),
        Err(error) => assert!(matches!(error, ureq::Error::Io(_)), "{error}"),
    }
    assert_eq!(cluster.post("/v1/nothing", b"").0, 404);
    assert!(cluster.get("/v1/jobs/0123456789abcdef").is_err());
    // The same request is the same job.
    let once = job("len", json!(11));
    assert_eq!((once.0, job("len", json!(11)).0), (201, 200));
}
