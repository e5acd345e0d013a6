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

/// What the ARM64 program is held to as well, by `cargo xtask ci --only neon`.
#[test]
fn ranges_have_the_digests_that_are_known() {
    let known = include_str!("../../../fixtures/worlds/axiom-verge.digests.json");
    let known: Vec<serde_json::Value> = serde_json::from_str(known).unwrap();
    assert_eq!(known.len(), 20);
    for range in known {
        let option = |name: &str| format!("--{name}={}", range[name].to_string().trim_matches('"'));
        let options = ["fill", "rng", "level", "start", "len"].map(option);
        let found = json("run", &options.each_ref().map(String::as_str));
        for key in ["digest", "audit"] {
            assert_eq!(found["levels"][0][key], range[key], "{key} of {range}");
        }
    }
}

/// All that is needed to go on is in the checkpoint, wherever the run was interrupted.
#[test]
fn an_interrupted_run_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = dir.path().join("checkpoint.json");
    let search = [
        "run",
        "--world",
        "axiom-verge.toml",
        "--fill",
        "shuffle",
        "--rng",
        "dotnet",
        "--level",
        "default,advanced",
        "--start",
        "2147300000",
        "--len",
        "600000",
        "--json",
        // More would do all of it before they write the first checkpoint.
        "--threads",
        "2",
    ];
    let at = ["--checkpoint", checkpoint.to_str().unwrap(), "--resume"];
    let start = || {
        Command::new(env!("CARGO_BIN_EXE_bramble-search"))
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/worlds"))
            .args(search.iter().chain(&at))
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut interrupted = 0;
    let mut report = loop {
        let mut child = start();
        // Interrupt it as soon as it has written anything new, a few times.
        if interrupted < 3 {
            let before = std::fs::read(&checkpoint).ok();
            while std::fs::read(&checkpoint).ok() == before && child.try_wait().unwrap().is_none() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            Command::new("kill")
                .args(["-INT", &child.id().to_string()])
                .status()
                .unwrap();
        }
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            Some(130) => interrupted += 1,
            Some(0) => break serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap(),
            code => panic!("{code:?}: {}", String::from_utf8_lossy(&output.stderr)),
        }
        assert!(String::from_utf8_lossy(&output.stderr).contains("--resume"));
        nothing_begins_over(&checkpoint, &[&search[..], &at[..2]].concat());
    };
    assert!(interrupted > 0 && !checkpoint.exists());
    let whole = stdout(&[&search[..], &at[..2]].concat());
    let mut whole: serde_json::Value = serde_json::from_str(&whole).unwrap();
    for report in [&mut report, &mut whole] {
        for level in report["levels"].as_array_mut().unwrap() {
            level["seconds"] = "some".into();
            level["seeds_per_second"] = "some".into();
        }
    }
    assert_eq!(report, whole);
}

/// A checkpoint may be hours of work: what is not gone on with is left as it is.
fn nothing_begins_over(checkpoint: &Path, search: &[&str]) {
    let written = std::fs::read_to_string(checkpoint).unwrap();
    let changed = |key: &str, value: serde_json::Value| {
        let mut changed: serde_json::Value = serde_json::from_str(&written).unwrap();
        changed[key] = value;
        changed.to_string()
    };
    let (other, newer) = (changed("search", "b".into()), changed("version", 2.into()));
    let cases = [
        (
            &written,
            false,
            "holds a checkpoint of this search: add --resume",
        ),
        (&other, false, "this checkpoint belongs to another search"),
        (&other, true, "this checkpoint belongs to another search"),
        (&newer, false, "this checkpoint has version 2"),
        (&newer, true, "this checkpoint has version 2"),
        (&"{}".to_owned(), false, "this is no checkpoint"),
        (&"{}".to_owned(), true, "this is no checkpoint"),
    ];
    for (text, resume, expected) in cases {
        std::fs::write(checkpoint, text).unwrap();
        let resume: &[&str] = if resume { &["--resume"] } else { &[] };
        let output = bramble_search(&[search, resume].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(checkpoint.to_str().unwrap()), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
        assert_eq!(std::fs::read_to_string(checkpoint).unwrap(), *text);
    }
    std::fs::write(checkpoint, written).unwrap();
}

#[test]
fn parts_merge_to_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let part = |name: &str, level: &str, rng: &str, start: u64, len: u64| -> String {
        let (start, len) = (start.to_string(), len.to_string());
        let args = [
            "run",
            "--world",
            "axiom-verge.toml",
            "--fill",
            "assumed",
            "--json",
        ];
        let range = [
            "--rng", rng, "--level", level, "--start", &start, "--len", &len,
        ];
        let path = dir.path().join(name);
        std::fs::write(&path, stdout(&[&args[..], &range].concat())).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let a = part("a.json", "default,advanced", "dotnet", 65_000, 700);
    let b = part("b.json", "default", "dotnet", 65_700, 1300);
    let c = part("c.json", "advanced", "dotnet", 65_700, 1300);
    let whole = part("whole.json", "default,advanced", "dotnet", 65_000, 2000);
    let read = |text: &str| {
        let mut report: serde_json::Value = serde_json::from_str(text).unwrap();
        for level in report["levels"].as_array_mut().unwrap() {
            level["seconds"] = "some".into();
            level["seeds_per_second"] = "some".into();
        }
        report
    };
    let merged = stdout(&["merge", &c, &a, &b, "--json"]);
    let mut merged = read(&merged);
    merged["levels"]
        .as_array_mut()
        .unwrap()
        .sort_by_key(|level| level["level"] == "advanced");
    assert_eq!(merged, read(&std::fs::read_to_string(&whole).unwrap()));

    let other = part("other.json", "default", "pcg32", 67_000, 10);
    let far = part("far.json", "default", "dotnet", 70_000, 10);
    let newer = dir.path().join("newer.json");
    std::fs::write(&newer, r#"{"version": 2, "tiers": []}"#).unwrap();
    let newer = newer.to_str().unwrap().to_owned();
    for (parts, expected) in [
        ([&a, &newer], "newer.json: this report has version 2"),
        ([&a, &whole], "overlap"),
        ([&a, &far], "leave a gap"),
        ([&a, &other], "different searches"),
    ] {
        let output = bramble_search(&["merge", parts[0], parts[1]]);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(expected));
    }
}

#[test]
fn find_lists_seeds_in_order() {
    let search = [
        "find",
        "--world",
        "axiom-verge.toml",
        "--fill",
        "guarded",
        "--rng",
        "dotnet",
        "--level",
        "default",
        "--len",
        "60000",
        "--where",
        "item(\"Drill\").sphere == 1 and spheres <= 6",
    ];
    let found = stdout(&search);
    let seeds: Vec<u32> = found.lines().map(|line| line.parse().unwrap()).collect();
    assert!(seeds.is_sorted() && seeds.len() > 20, "{}", seeds.len());
    let first = seeds[0].to_string();
    let seed = [
        "--fill", "guarded", "--rng", "dotnet", "--level", "default", "--seed", &first,
    ];
    let explained = json("explain", &seed);
    assert!(explained["spheres"].as_u64().unwrap() <= 6);
    let drill = explained["placement"]
        .as_array()
        .unwrap()
        .iter()
        .find(|place| place["item"] == "Drill");
    assert_eq!(drill.unwrap()["sphere"], 1);
    let limited = stdout(&[&search[..], &["--limit", "3", "--threads", "2"]].concat());
    assert_eq!(
        limited.lines().collect::<Vec<_>>(),
        found.lines().take(3).collect::<Vec<_>>()
    );

    let wrong = bramble_search(&[&search[..12], &["at(\"Nova\") == \"Dril\""]].concat());
    assert_eq!(wrong.status.code(), Some(2));
    let told = String::from_utf8(wrong.stderr).unwrap();
    assert_eq!(
        told,
        "--where:15: there is no item in the pool of level \"default\" called \"Dril\"; did you mean \"Drill\"?\n"
    );
}

#[test]
fn prove_says_whether_it_can_get_stuck() {
    let mut told = String::new();
    for (world, fill) in [
        ("axiom-verge.toml", "guarded"),
        ("axiom-verge.toml", "ladder"),
        ("axiom-verge.toml", "forward"),
        ("pair.toml", "guarded"),
        ("backwards.toml", "ladder"),
    ] {
        told += &stdout(&["prove", "--world", world, "--fill", fill]);
    }
    told += &stdout(&[
        "prove",
        "--world",
        "pair.toml",
        "--fill",
        "guarded",
        "--json",
    ]);
    insta::assert_snapshot!(told);
    let refused = bramble_search(&["prove", "--world", "pair.toml", "--fill", "assumed"]);
    assert_eq!(refused.status.code(), Some(2));
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

/// Whoever reads it may have seen enough, which is no error; that there is no room for it is one.
#[test]
fn what_cannot_be_printed_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join("part.json");
    let search = [
        "--world",
        "axiom-verge.toml",
        "--fill",
        "guarded",
        "--rng",
        "dotnet",
        "--level",
        "default",
    ];
    let run = [&["run"], &search[..], &["--len", "10"]].concat();
    std::fs::write(&part, stdout(&[&run[..], &["--json"]].concat())).unwrap();
    let find = [
        &["find"],
        &search[..],
        &["--len", "10", "--where", "completable"],
    ]
    .concat();
    let explain = [&["explain"], &search[..], &["--seed", "1"]].concat();
    let commands = [
        run,
        find,
        explain,
        vec!["prove", "--world", "pair.toml", "--fill", "guarded"],
        vec!["merge", part.to_str().unwrap()],
    ];
    let told = |args: &[&str], to: std::process::Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bramble-search"));
        let worlds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/worlds");
        let command = command.current_dir(worlds).args(args).stdout(to);
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), stderr)
    };
    for args in &commands {
        for more in [&[][..], &["--json"]] {
            let args = [args, more].concat();
            let full = std::fs::File::options().write(true).open("/dev/full");
            let (code, stderr) = told(&args, full.unwrap().into());
            assert_eq!(code, Some(1), "{args:?}: {stderr}");
            let expected = "error: cannot write to standard output: No space left on device";
            assert!(stderr.contains(expected), "{args:?}: {stderr}");

            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let (code, stderr) = told(&args, writer.into());
            assert_eq!(code, Some(0), "{args:?}: {stderr}");
            assert!(!stderr.contains("error"), "{args:?}: {stderr}");
        }
    }
    // Nor is it a reason to panic that nobody hears of an error.
    let full = std::fs::File::options().write(true).open("/dev/full");
    let status = Command::new(env!("CARGO_BIN_EXE_bramble-search"))
        .args(["merge", "missing"])
        .stderr(full.unwrap())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let find = "find --world axiom-verge.toml --fill guarded --rng dotnet --level default --len 10 --where dead";
    let submit = "submit --server http://127.0.0.1:1 --world axiom-verge.toml --fill guarded --rng dotnet \
                  --level default --len 10";
    let worker = "worker --redis redis://127.0.0.1:1 --ledger /nowhere/ledger";
    for (command, option) in [
        (find, "--limit=0"),
        (submit, "--patience=18446744073709551615"),
        (worker, "--backup-every=0"),
        (worker, "--backup-every=18446744073709551615"),
        (worker, "--lease=0"),
        (worker, "--lease=18446744073709551615"),
        (worker, "--target=18446744073709551615"),
    ] {
        let args: Vec<&str> = command.split_whitespace().chain([option]).collect();
        let output = bramble_search(&args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{option}: {stderr}");
        let name = option.split('=').next().unwrap();
        assert!(stderr.contains(name), "{option}: {stderr}");
    }
}

/// Nothing that a file says is added up before it is known to be a range.
#[test]
fn a_report_of_seeds_that_do_not_exist_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report.json");
    for (start, len, refused) in [
        (0, 1 << 32, false),
        (u32::MAX, 1, false),
        (u32::MAX, 2, true),
        (1, 1 << 32, true),
        (0, (1 << 32) + 1, true),
        (7, u64::MAX, true),
    ] {
        let report = serde_json::json!({"version": 1, "levels": [{
            "level": "default", "start": start, "len": len, "scanned": len, "completable": len, "dead": 0, "stuck": 0,
            "unreachable": 0, "spheres": {"5": len}, "digest": "0".repeat(16), "audit": "0".repeat(16),
            "first_dead": [], "seconds": 1.0, "seeds_per_second": 1.0,
        }]});
        std::fs::write(&path, report.to_string()).unwrap();
        let output = bramble_search(&["merge", path.to_str().unwrap()]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        let expected = if refused { 2 } else { 0 };
        assert_eq!(
            output.status.code(),
            Some(expected),
            "{start} {len}: {stderr}"
        );
        let told = stderr.contains("level \"default\": ") && stderr.contains("past the last seed");
        assert_eq!(told, refused, "{start} {len}: {stderr}");
    }
}
