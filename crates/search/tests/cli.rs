//! The program as a person calls it.

use std::path::Path;
use std::process::{Command, Output};

fn bramble_search(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bramble-search"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/worlds"))
        .args(args)
        .output()
        .unwrap()
}

fn stdout(args: &[&str]) -> String {
    let output = bramble_search(args);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

const MODEL: [&str; 2] = ["--world", "axiom-verge.toml"];

fn json(command: &str, rest: &[&str]) -> serde_json::Value {
    serde_json::from_str(&stdout(
        &[&[command], &MODEL[..], rest, &["--json"]].concat(),
    ))
    .unwrap()
}

#[test]
fn run_prints_the_agreed_json() {
    let search = [
        "--fill",
        "assumed",
        "--rng",
        "dotnet",
        "--level",
        "masochist,default",
        "--start",
        "65530",
        "--len",
        "200",
    ];
    let mut report = json("run", &search);
    for level in report["levels"].as_array_mut().unwrap() {
        assert!(level["seconds"].as_f64().unwrap() > 0.0);
        assert!(level["seeds_per_second"].as_f64().unwrap() > 0.0);
        level["seconds"] = "some".into();
        level["seeds_per_second"] = "some".into();
    }
    insta::assert_json_snapshot!(report);
    let mut one_thread = json("run", &[&search[..], &["--threads", "1"]].concat());
    for level in one_thread["levels"].as_array_mut().unwrap() {
        level["seconds"] = "some".into();
        level["seeds_per_second"] = "some".into();
    }
    assert_eq!(one_thread, report);
}

#[test]
fn explain_prints_the_agreed_json() {
    let seed = [
        "--fill", "forward", "--rng", "pcg32", "--level", "default", "--seed", "7",
    ];
    insta::assert_json_snapshot!(json("explain", &seed));
}

#[test]
fn explain_is_readable() {
    let seed = [
        "--fill",
        "guarded",
        "--rng",
        "dotnet",
        "--level",
        "advanced",
        "--seed",
        "4294967295",
    ];
    insta::assert_snapshot!(stdout(&[&["explain"], &MODEL[..], &seed].concat()));
}

#[test]
fn mistakes_end_with_two_and_a_message() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.toml");
    std::fs::write(&broken, "version = 1\nname = broken\n").unwrap();
    let good = [
        "--fill", "guarded", "--rng", "dotnet", "--level", "default", "--len", "10",
    ];
    let cases: [(&[&str], &str); 7] = [
        (
            &["--world", "missing.toml"],
            "cannot read missing.toml: No such file or directory",
        ),
        (&["--world", broken.to_str().unwrap()], "broken.toml:2:8: "),
        (
            &["--world", "axiom-verge.toml", "--start", "4294967290"],
            "goes past the last seed, 4294967295",
        ),
        (
            &["--world", "axiom-verge.toml", "--start", "4294967296"],
            "4294967296",
        ),
        (
            &["--world", "axiom-verge.toml", "--goal", "athetos"],
            "unknown goal \"athetos\"; there are \"all-locations\"",
        ),
        (
            &["--world", "axiom-verge.toml", "--level", "hard"],
            "unknown level \"hard\"; there are \"default\", \"advanced\", \"masochist\"",
        ),
        (
            &["--world", "axiom-verge.toml", "--level", "default"],
            "level \"default\" is given twice",
        ),
    ];
    for (args, expected) in cases {
        let output = bramble_search(&[&["run"], args, &good].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
        assert!(output.stdout.is_empty());
    }
}
