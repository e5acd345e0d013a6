//! What keeps the service running, and what a person does about it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::cluster::{Cluster, program, wait_until};
use crate::{SEARCH, answer, run};

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

/// A directory of this machine, mounted as if it were another's. It ends with its test.
struct Remote(PathBuf);

impl Remote {
    /// `None` where nothing can be mounted.
    fn mount(dir: &Path) -> Option<Remote> {
        // What is asked to connect need not do so.
        let connect = dir.join("connect");
        std::fs::write(&connect, "#!/bin/sh\nexec /usr/lib/openssh/sftp-server\n").unwrap();
        std::fs::set_permissions(&connect, Permissions::from_mode(0o755)).unwrap();
        let (far, near) = (dir.join("far"), dir.join("near"));
        for dir in [&far, &near] {
            std::fs::create_dir(dir).unwrap();
        }
        let mut sshfs = Command::new("sshfs");
        sshfs.arg(format!("nas:{}", far.display())).arg(&near);
        sshfs.args(["-o", &format!("ssh_command={}", connect.display())]);
        let mounted = sshfs.status().is_ok_and(|status| status.success());
        mounted.then_some(Remote(near))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _ = Command::new("fusermount3").arg("-u").arg(&self.0).status();
    }
}

#[test]
fn a_ledger_on_a_network_file_system_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let Some(remote) = Remote::mount(dir.path()) else {
        eprintln!("SKIPPED: sshfs, openssh-sftp-server or /dev/fuse is missing");
        return;
    };
    let ledger = remote.0.join("ledger.sqlite");
    let output = program()
        .args(["worker", "--redis", "redis://localhost:1", "--ledger"])
        .arg(&ledger)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("it would be on a network file system (fuse.sshfs)"),
        "{stderr}"
    );
    assert!(!ledger.exists());
}

#[test]
fn a_backup_is_restored() {
    let mut cluster = Cluster::start("60");
    let search = [&SEARCH[..], &["--len", "3000"]].concat();
    let id = cluster.begin(&search);
    let miner = cluster.miner("a");
    let ended = cluster.end(&id);
    drop(miner);

    // One is made at the start, and then on a schedule.
    cluster.worker.stop();
    let backups = cluster.file("backups");
    cluster.start_worker_with(&["--backup-dir", backups.to_str().unwrap()]);
    wait_until("the backup", || {
        std::fs::read_dir(&backups).is_ok_and(|mut all| {
            all.any(|file| {
                file.unwrap()
                    .path()
                    .extension()
                    .is_some_and(|it| it == "sqlite")
            })
        })
    });
    let ledger = cluster.ledger();
    let restore = || {
        let mut restore = program();
        restore.args(["ledger", "restore", "--from"]).arg(&backups);
        restore.arg("--ledger").arg(&ledger).output().unwrap()
    };
    let refused = restore();
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && stderr.contains("stop the worker first"),
        "{stderr}"
    );

    // What was beside the ledger that is gone does not go with the copy.
    cluster.worker.kill();
    std::fs::remove_file(cluster.ledger()).unwrap();
    let restored = restore();
    assert!(
        restored.status.success(),
        "{}",
        String::from_utf8_lossy(&restored.stderr)
    );
    let told = String::from_utf8_lossy(&restored.stdout).into_owned();
    assert!(told.contains("(1 job, "), "{told}");
    cluster.start_worker();
    wait_until("the restored job", || {
        cluster.job(&id).as_ref() == Some(&ended)
    });
    assert_eq!(answer(&ended["report"]), run(&search));
}

#[test]
fn a_seed_is_explained() {
    let cluster = Cluster::start("60");
    let id = cluster.begin(&[&SEARCH[..], &["--len", "10"]].concat());
    let explained = program()
        .args(["explain", "--seed", "4000000000", "--json"])
        .args(&SEARCH[..6])
        .args(["--level", "masochist"])
        .output()
        .unwrap();
    let expected: Value = serde_json::from_slice(&explained.stdout).unwrap();
    for of in [String::new(), format!("?job={id}")] {
        let found = cluster
            .get(&format!("/v1/seed/masochist/4000000000{of}"))
            .unwrap();
        assert_eq!(found, expected);
    }
    for missing in [
        "/v1/seed/nowhere/1",
        "/v1/seed/default/4294967296",
        "/v1/seed/default/1?job=x",
    ] {
        assert!(cluster.get(missing).is_err(), "{missing}");
    }
}

#[test]
fn run_serves_while_it_searches_and_after() {
    let search = [&SEARCH[..], &["--start", "5", "--len", "4000"]].concat();
    let output = program()
        .arg("run")
        .args(&search)
        .args(["--serve", "127.0.0.1:0", "--json"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer(&report), run(&search));
    assert_eq!(report["nodes"]["here"]["seeds"], json!(8000));
}

#[test]
fn a_log_for_programs_has_the_request_id() {
    let log = tempfile::tempdir().unwrap();
    let path = log.path().join("log");
    let cluster = Cluster::start("60");
    cluster.ready();
    let listen = format!("127.0.0.1:{}", crate::cluster::free_port());
    let mut web = program();
    web.args(["web", "--listen", &listen, "--redis", "redis://127.0.0.1:1"]);
    web.env("BRAMBLE_LOG_FORMAT", "json")
        .stderr(std::fs::File::create(&path).unwrap());
    let _web = crate::cluster::Process::start(&mut web);
    let agent = ureq::Agent::new_with_config(
        ureq::config::Config::builder()
            .http_status_as_error(false)
            .build(),
    );
    let mut answer = None;
    wait_until("web", || {
        let asked = agent
            .get(format!("http://{listen}/nothing"))
            .header("x-request-id", "mine-1");
        answer = asked.call().ok();
        answer.is_some()
    });
    assert_eq!(answer.unwrap().headers()["x-request-id"], "mine-1");
    wait_until("the log", || {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.into_iter().any(|line| {
            line["message"] == "refused" && line["status"] == 404 && line["span"]["id"] == "mine-1"
        })
    });
}

/// What lies in Redis is bounded: when there is no room for a request, web says so at once, and there is room again.
#[test]
fn a_full_redis_is_told_and_recovers() {
    let mut cluster = Cluster::start("60");
    cluster.ready();
    let id = cluster.begin(&[&SEARCH[..], &["--len", "4000"]].concat());
    cluster.worker.kill();
    cluster.limit_redis("8mb");
    // Ever more large requests that nobody takes, each by one who waits for an answer.
    let result = json!({
        "job": "x".repeat(100_000), "level": 0, "start": 0, "len": 1, "epoch": 1, "node": "a", "seconds": 1.0,
        "tally": {
            "scanned": 1, "completable": 1, "dead": 0, "stuck": 0, "unreachable": 0, "spheres": {"1": 1},
            "digest": "0".repeat(16), "audit": "0".repeat(16), "first_dead": [],
        },
    });
    let result = result.to_string();
    let asked = std::thread::scope(|scope| {
        let ask = || cluster.try_post("/v1/results", None, result.as_bytes());
        let asked: Vec<_> = (0..100).map(|_| scope.spawn(ask)).collect();
        let asked = asked
            .into_iter()
            .map(|asked| asked.join().unwrap().unwrap());
        asked.collect::<Vec<_>>()
    });
    assert!(asked.iter().all(|(status, _)| *status == 503), "{asked:?}");
    assert!(cluster.redis_has_refused() > 0);
    assert!(cluster.redis.is_running());

    cluster.start_worker();
    cluster.ready();
    let _miner = cluster.miner("a");
    assert_eq!(cluster.end(&id)["state"], "done");
}

/// Nodes need not agree about what time it is for work to be lent.
#[test]
fn clocks_of_nodes_may_differ() {
    let cluster = Cluster::start("60");
    cluster.ready();
    let id = cluster.begin(&[&SEARCH[..], &["--len", "600000"]].concat());
    for (clock, node) in [(0.0, "behind"), (4e9, "ahead")] {
        let letter = json!({
            "web": "elsewhere", "number": 1, "caller": "admin", "at": clock,
            "request": {"lend": {"node": node, "wait_seconds": 0}},
        });
        wait_until(node, || {
            cluster.ask_worker(&letter);
            let snapshot = cluster.get(&format!("/v1/jobs/{id}/snapshot"));
            snapshot.is_ok_and(|job| job["nodes"][node]["lent"].as_u64() > Some(0))
        });
    }
}

/// A token that nobody sees is lost, so that is an error; everything else may be left unread.
#[test]
fn what_cannot_be_printed_is_said() {
    let cluster = Cluster::start_with_tokens("60");
    cluster.ready();
    let (url, admin) = (cluster.url(), cluster.file("admin"));
    let told = |args: &[&str], token: &str, to: Stdio| {
        let output = program()
            .args(&args[..1])
            .args(["--server", &url, token])
            .arg(&admin)
            .args(&args[1..])
            .stdout(to)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), stderr)
    };
    let full = || {
        let full = std::fs::File::options().write(true).open("/dev/full");
        Stdio::from(full.unwrap())
    };
    let closed = || Stdio::from(std::io::pipe().unwrap().1);
    let create = |name| ["token", "create", name];
    for (name, to) in [("alice", full()), ("bob", closed())] {
        let (code, stderr) = told(&create(name), "--admin-token-file", to);
        assert_eq!(code, Some(1), "{stderr}");
        let expected = format!("`bramble-search token revoke {name}` takes it back");
        assert!(stderr.contains(&expected), "{stderr}");
    }
    let submit = [&["submit"], &SEARCH[..], &["--len", "10", "--no-wait"]].concat();
    for (args, token) in [
        (&["token", "list"][..], "--admin-token-file"),
        (&submit[..], "--token-file"),
    ] {
        let (code, stderr) = told(args, token, full());
        assert_eq!(code, Some(1), "{args:?}: {stderr}");
        assert!(
            stderr.contains("cannot write to standard output"),
            "{stderr}"
        );
        let (code, stderr) = told(args, token, closed());
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}
