//! Jobs with a filter: what `find` lists, found by many.

use serde_json::{Value, json};

use crate::cluster::{ADMIN, Cluster, MEMBER, program, worlds};
use crate::liars::changed;

const WORLD: [&str; 6] = [
    "--world",
    "axiom-verge.toml",
    "--fill",
    "guarded",
    "--rng",
    "dotnet",
];

/// What `find` prints, and how it ends.
fn find(search: &[&str], filter: &str, json: bool) -> (String, String, Option<i32>) {
    let mut find = program();
    find.arg("find").args(search).args(["--where", filter]);
    find.args(json.then_some("--json"));
    let output = find.output().unwrap();
    (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
        output.status.code(),
    )
}

#[test]
fn miners_find_what_find_finds() {
    let cluster = Cluster::start("60");
    let _miners = [cluster.miner("a"), cluster.miner("b")];
    // On both sides of the middle, where seeds and their twins are.
    let range = [
        "--level",
        "masochist,default",
        "--start",
        "2147468648",
        "--len",
        "30000",
    ];
    let search = [&WORLD[..], &range].concat();
    for filter in [
        "spheres <= 3",
        r#"item("Grapple").sphere == 1 and spheres <= 5"#,
        "dead",
    ] {
        let (lines, _, _) = find(&search, filter, true);
        let more = ["--where", filter, "--reservation", "900"];
        let output = cluster.submit(&[&search[..], &more].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        // So that it can list all of them.
        assert!(lines.lines().count() < 1000, "{}", lines.lines().count());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), lines, "{filter}");
        let seeds = lines.lines().filter(|line| line.contains("default"));
        let told = format!("default: {} of 30,000 seeds\n", seeds.count());
        assert!(stderr.contains(&told), "{stderr}");
    }
}

#[test]
fn all_are_counted_and_the_lowest_are_listed() {
    let cluster = Cluster::start("60");
    let _miners = [cluster.miner("a"), cluster.miner("b")];
    let search = [&WORLD[..], &["--level", "default", "--len", "20000"]].concat();
    let (lines, _, _) = find(&search, "spheres >= 9", true);
    let all: Vec<&str> = lines.lines().collect();
    assert!(all.len() > 1000, "{}", all.len());

    let id = cluster.begin(
        &[
            &search[..],
            &["--where", "spheres >= 9", "--reservation", "700"],
        ]
        .concat(),
    );
    let level = cluster.end(&id)["report"]["levels"][0].clone();
    assert_eq!(level["scanned"], 20_000);
    assert_eq!(level["completable"], all.len());
    let listed = level["found"].as_array().unwrap();
    let listed: Vec<&Value> = listed.iter().map(|found| &found["seed"]).collect();
    let lowest: Vec<Value> = all
        .iter()
        .take(1000)
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seed"].clone())
        .collect();
    assert_eq!(listed, lowest.iter().collect::<Vec<_>>());
    // The page says so, too.
    let snapshot = cluster.snapshot(&id);
    assert_eq!(snapshot["job"]["search"]["filter"], "spheres >= 9");
    assert_eq!(snapshot["specials"][0]["why"], "found");
}

#[test]
fn a_filter_that_makes_no_sense_is_refused() {
    let cluster = Cluster::start("60");
    cluster.ready();
    let search = [&WORLD[..], &["--level", "default", "--len", "10"]].concat();
    let output = cluster.submit(&[&search[..], &["--where", "spheres <= few"]].concat());
    let (_, expected, code) = find(&search, "spheres <= few", false);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
    assert_eq!((output.status.code(), code), (Some(2), Some(2)));

    let world = std::fs::read_to_string(worlds().join("axiom-verge.toml")).unwrap();
    let spec = json!({"world": world, "fill": "guarded", "rng": "dotnet", "levels": ["default"], "start": 0, "len": 10,
        "filter": "item(\"Nothing\").sphere == 1"});
    let (status, body) = cluster.post("/v1/jobs", json!({"spec": spec}).to_string().as_bytes());
    assert_eq!(status, 400, "{body}");
    assert!(
        body.contains("filter:6: there is no item") && body.contains("Nothing"),
        "{body}"
    );
}

/// A member of the cluster, and so trusted, that says it found what it did not.
#[test]
fn who_lies_about_what_was_found_is_caught() {
    let cluster = Cluster::start_with_tokens("60");
    cluster.ready();
    let search = [
        &WORLD[..],
        &["--level", "default", "--start", "5", "--len", "40000"],
    ]
    .concat();
    let filter = "spheres <= 4";
    let (lines, _, _) = find(&search, filter, true);
    let job = ["--where", filter, "--reservation", "4000"];
    let id = cluster.begin(&[&search[..], &job].concat());

    let post = |path: &str, body: &Value| cluster.post_as(MEMBER, path, body);
    let (status, mut lie) = post("/v1/reservations", &json!({ "node": "liar" }));
    assert_eq!(status, 200, "{lie}");
    let (start, len) = (lie["start"].as_u64().unwrap(), lie["len"].as_u64().unwrap());
    let found = |seed: u64| json!({ "seed": seed, "completable": true, "spheres": 6 });
    let tally = json!({
        "scanned": len, "completable": 2, "dead": 0, "stuck": 0, "unreachable": 0, "spheres": {"6": 2},
        "digest": "0123456789abcdef", "audit": "0000000000000000", "first_dead": [],
        "found": [found(start + 1), found(start + 3)],
    });
    let more = json!({ "node": "liar", "seconds": 0.5, "tally": tally });
    lie.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    // What cannot be: fewer than are counted, out of order, elsewhere, other spheres, an audit, no list at all.
    let cases = [
        ("/tally/found", json!([found(start)]), "not as many"),
        (
            "/tally/found",
            json!([found(start + 3), found(start + 1)]),
            "ascending",
        ),
        (
            "/tally/found",
            json!([found(start), found(start + len)]),
            "outside the range",
        ),
        ("/tally/found/0/spheres", json!(5), "does not agree"),
        ("/tally/found/0/completable", json!(false), "does not agree"),
        ("/tally/audit", json!("0000000000000001"), "cannot be"),
        ("/tally/found", json!(null), "found is missing"),
        ("/tally/completable", json!(50_000), "cannot be"),
    ];
    for (path, value, expected) in &cases {
        let (status, body) = post("/v1/results", &changed(&lie, path, value.clone()));
        assert_eq!(status, 400, "{path} {value}: {body}");
        assert!(body["error"].as_str().unwrap().contains(expected), "{body}");
    }
    // What could be is taken, and found out: the first ranges of every node are computed again.
    assert_eq!(
        post("/v1/results", &lie),
        (200, json!({ "outcome": "taken" }))
    );
    let _miners = [cluster.miner("a"), cluster.miner("b")];
    let ended = cluster.end(&id);
    assert_eq!(ended["state"], "done");
    let list = ended["report"]["levels"][0]["found"].as_array().unwrap();
    let list = list.iter().map(|found| found["seed"].to_string());
    let expected = lines.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["seed"].to_string()
    });
    assert_eq!(list.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    let liar = &cluster.snapshot(&id)["nodes"]["liar"];
    assert_eq!(liar["health"], "faulty");
    assert_eq!(liar["rejected"], cases.len());
    assert_eq!(
        cluster
            .post_as(ADMIN, "/v1/nodes/liar/forgive", &json!({}))
            .0,
        200
    );
}
