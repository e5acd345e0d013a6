use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::super::chromium::{Browser, DESK, PHONE};
use super::super::tests::{FAILURE, logs, run};
use super::super::{Left, Run, keep, write};
use super::*;
use crate::definition::{Event, Happened};
use crate::rundir::RunDir;

/// A lab that runs as long as somebody holds its directory, and its page.
struct Exhibit {
    lab: TempDir,
    logs: TempDir,
    url: String,
    /// Serves as long as it lives.
    server: Runtime,
}

impl Exhibit {
    fn open() -> (Exhibit, RunDir) {
        let (lab, logs) = (tempfile::tempdir().expect("a directory"), logs());
        let mut left: Left =
            serde_json::from_slice(&fs::read(logs.path().join("lab.json")).expect("read"))
                .expect("JSON");
        left.started = began(100)
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs_f64();
        left.definition.logs = logs.path().to_owned();
        left.write().expect("written");
        let held = RunDir::hold(lab.path().to_owned()).expect("held");
        let server = Runtime::new().expect("a runtime");
        let listener = server
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shown = Shown {
            lab: Attached {
                dir: lab.path().to_owned(),
            },
            logs: Mutex::new(logs.path().to_owned()),
            port,
        };
        server.spawn(async move { axum::serve(listener, router(shown)).await });
        let url = format!("http://127.0.0.1:{port}");
        let exhibit = Exhibit {
            lab,
            logs,
            url,
            server,
        };
        (exhibit, held)
    }

    /// The status, the headers, and what is said.
    fn get(&self, path: &str, host: Option<&str>) -> (u16, String, String) {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .new_agent();
        let mut request = agent.get(format!("{}{path}", self.url));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let mut answer = request.call().expect("an answer");
        let headers = format!("{:?}", answer.headers());
        let text = answer.body_mut().read_to_string().expect("text");
        (answer.status().as_u16(), headers, text)
    }

    fn name(&self) -> String {
        let name = self.lab.path().file_name().expect("a name");
        name.to_string_lossy().into_owned()
    }
}

/// So many seconds ago.
fn began(seconds: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(seconds)
}

fn append(logs: &Path, file: &str, text: &str) {
    let mut file = OpenOptions::new()
        .append(true)
        .open(logs.join(file))
        .expect("a log");
    file.write_all(text.as_bytes()).expect("written");
}

/// A run whose second stage goes on.
fn half_done() -> Run {
    let mut half = run(None);
    half.stages.truncate(2);
    half.stages[1].is_running = true;
    half.stages[1].seconds = 0.0;
    half.stages[1].note = "1 of 2 online".to_owned();
    half
}

fn moment(now: Option<f64>, kept: Option<Kept>, logs: &Path) -> Moment {
    Moment {
        lab: "home".to_owned(),
        now,
        kept,
        material: Material::read(logs).expect("a lab's logs"),
    }
}

#[test]
fn what_is_said_of_a_lab_as_it_is_now() {
    let dir = logs();
    let half = Kept {
        is_over: false,
        runs: vec![half_done()],
    };
    let fragment = html::now(moment(Some(100.0), Some(half), dir.path())).into_string();
    insta::assert_snapshot!(fragment.replace("><", ">\n<"));
}

#[test]
fn a_lab_runs_or_has_ended() {
    let dir = logs();
    let half = Kept {
        is_over: false,
        runs: vec![half_done()],
    };
    let failed = Kept::over(&[run(Some(FAILURE))]);
    for (now, kept, title) in [
        (Some(100.0), Some(&half), "▶ partition"),
        (None, Some(&half), "■ partition"),
        (Some(100.0), None, "▶ home"),
        (None, None, "■ home"),
        (Some(100.0), Some(&failed), "✗ partition"),
        (None, Some(&failed), "✗ partition"),
    ] {
        let page = html::live(moment(now, kept.cloned(), dir.path())).into_string();
        assert!(page.contains(&format!("<title>{title}</title>")), "{title}");
        assert!(!page.contains("<script>"), "nothing is inline");
    }
}

#[test]
fn what_was_done_with_an_earlier_lab_is_forgotten() {
    let dir = logs();
    keep(&[half_done()], dir.path()).expect("kept");
    assert!(Kept::read(dir.path()).is_some_and(|kept| kept.runs == [half_done()]));
    Kept::forget(dir.path());
    assert_eq!(Kept::read(dir.path()), None);
    Kept::forget(dir.path());
}

#[test]
fn only_this_machine_is_shown_only_logs() {
    let (exhibit, _held) = Exhibit::open();
    let own = exhibit.url.replace("http://127.0.0.1", "localhost");
    for (path, host, status, said) in [
        ("/", None, 200, "<title>▶ "),
        ("/", Some(own.as_str()), 200, "live.js"),
        ("/now", None, 200, "id=\"now\""),
        ("/style.css", None, 200, ".machines"),
        ("/script.js", None, 200, "search"),
        ("/live.js", None, 200, "PAUSE"),
        ("/ends/worker1.console.log", None, 200, "<script>alert"),
        ("/ends/worker1.journal.log", None, 200, "line 19999 of"),
        (
            "/ends/events.jsonl",
            None,
            200,
            "worker1      befell: power cut",
        ),
        ("/files/worker1.journal.log", None, 200, "line 0 of"),
        ("/ends/lab.json", None, 404, "no such log"),
        ("/files/lab.json", None, 404, "no such log"),
        (
            "/files/..%2F..%2F..%2Fetc%2Fpasswd",
            None,
            404,
            "no such log",
        ),
        ("/", Some("evil.example"), 421, "and nothing else"),
        (
            "/ends/worker1.console.log",
            Some("127.0.0.1"),
            421,
            "and nothing else",
        ),
    ] {
        let (found, headers, text) = exhibit.get(path, host);
        assert_eq!(found, status, "{path} {host:?}: {text}");
        assert!(text.contains(said), "{path}: {text}");
        let is_guarded = ["default-src 'none'", "nosniff", "no-store"]
            .iter()
            .all(|word| headers.contains(word));
        assert_eq!(is_guarded, status != 421, "{path}: {headers}");
    }
    let (_, headers, _) = exhibit.get("/files/worker1.console.log", None);
    assert!(
        headers.contains("text/plain"),
        "a log is no page: {headers}"
    );
    fs::remove_file(exhibit.logs.path().join("lab.json")).expect("removed");
    let (status, _, text) = exhibit.get("/now", None);
    assert_eq!(status, 503);
    assert!(text.contains("lab.json"), "{text}");
}

#[test]
fn a_browser_is_kept_up_to_date() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let (exhibit, held) = Exhibit::open();
    let logs = exhibit.logs.path();
    browser.look(DESK);
    browser.open(&exhibit.url);
    assert_eq!(browser.text("h1"), exhibit.name());
    assert_eq!(browser.text(".verdict"), "runs");

    // A stage begins, a machine joins, a log grows that somebody reads.
    browser.run("document.querySelector('#logs-manager1 details').open = true");
    browser.wait_for("document.querySelector('#logs-manager1 pre').textContent.includes('login')");
    let mut half = half_done();
    half.began = began(130);
    keep(&[half], logs).expect("kept");
    append(logs, "manager1.console.log", "a word of today\n");
    browser
        .wait_for("document.querySelector('#logs-manager1 pre').textContent.includes('of today')");
    browser.wait_for("document.querySelector('.bar.running')");
    assert_eq!(browser.text("h1"), "partition");
    assert!(browser.text("#now").contains("1 of 2 online"));
    assert!(browser.text(".machines").contains("a word of today"));
    for (look, name) in [(DESK, "live-desk"), (PHONE.dark(), "live-phone")] {
        browser.look(look);
        let width = browser.run("return document.documentElement.scrollWidth");
        assert_eq!(width, look.width, "{name} is as wide as its screen");
        browser.keep(name);
    }

    // Search fetches what nobody has opened, and new words are found in what was.
    fs::write(logs.join("bramble-check.log"), "nobody knew of this\n").expect("written");
    browser.wait_for("document.querySelector('[data-file=\"bramble-check.log\"]')");
    for (sought, found) in [
        ("nobody knew", "nobody knew"),
        ("line 19999", "line 19999"),
        ("of today", "of today"),
    ] {
        browser.run(&format!(
            "const it = document.getElementById('search'); it.value = '{sought}'; it.dispatchEvent(new Event('input'))"
        ));
        browser.wait_for("document.getElementById('found').innerText === '1 line'");
        browser.wait_for(&format!(
            "document.querySelector('mark')?.innerText === '{found}'"
        ));
    }

    // A log that becomes too long says where the whole of it is.
    append(logs, "bramble-check.log", &"and of this\n".repeat(20_000));
    browser.wait_for("document.querySelector('[data-file=\"bramble-check.log\"] p a')?.href.endsWith('/bramble-check.log')");

    // Whoever has put the cursor on a link keeps it there.
    browser.run("document.querySelector('.machines a').focus()");
    let befell = Event {
        at: 95_000,
        machine: Some("manager1".to_owned()),
        what: Happened::Befell {
            fault: crate::fault::Fault::Frozen,
        },
    };
    let befell = serde_json::to_string(&befell).expect("JSON");
    append(logs, "events.jsonl", &format!("\n{befell}\n"));
    browser.wait_for("document.querySelector('.machines').innerText.includes('frozen')");
    assert_eq!(
        browser.run("return document.activeElement.getAttribute('href')"),
        "#logs-manager1"
    );

    // It ends in the middle, and is shown to the end when that is known.
    drop(held);
    browser.wait_for("document.querySelector('.verdict').innerText === 'ended unfinished'");
    fs::remove_file(logs.join("bramble-check.log")).expect("removed");
    write(&[run(Some(FAILURE))], logs).expect("written");
    browser.wait_for("!document.querySelector('[data-file=\"bramble-check.log\"]')");
    browser.wait_for(
        "document.querySelector('#first-error')?.innerText.includes('worker1 is in trouble')",
    );
    assert!(
        browser
            .run("return document.title")
            .as_str()
            .is_some_and(|it| it.starts_with('✗'))
    );
    exhibit.server.shutdown_background();
    browser.wait_for("!document.getElementById('lost').hidden");
}
