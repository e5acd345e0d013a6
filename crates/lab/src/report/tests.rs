use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;

use super::times::{Axis, life};
use super::*;
use crate::definition::{Board, Event, Gateway, Happened, Machine, Start};
use crate::fault::Fault;
use crate::launcher::Backend;
use crate::trouble::{Expected, Trouble};
use crate::watch::State;

const STARTED: u64 = 1_800_000_000;

fn machine(name: &str, last: u8) -> Machine {
    Machine {
        name: name.to_owned(),
        board: Board::Virt,
        kernel: "/store/vmlinuz".into(),
        initramfs: "/store/initramfs".into(),
        device_tree: None,
        command_line: String::new(),
        disk: format!("/lab/{name}.qcow2").into(),
        memory: 768,
        cpus: 1,
        niceness: 0,
        start: Start::Cold {
            mac: format!("dc:a6:32:b0:00:0{last}"),
        },
    }
}

/// What happened in the lab, in milliseconds.
pub(super) fn events() -> Vec<Event> {
    let online = || Happened::Says {
        text: "online".to_owned(),
    };
    let befell = |fault| Happened::Befell { fault };
    let oops = Happened::Trouble {
        trouble: Trouble::Oops,
        text: "[   88.100200] Internal error: Oops: 0000000096000045 [#1] SMP".to_owned(),
    };
    let happened = [
        (100, None, Happened::Listening),
        (900, Some("manager1"), Happened::Resumed),
        (1_000, Some("worker1"), Happened::Resumed),
        (12_000, Some("manager1"), online()),
        (15_000, Some("worker1"), online()),
        (40_000, Some("worker1"), befell(Fault::cut())),
        (
            60_000,
            Some("worker1"),
            Happened::Cleared {
                fault: Fault::cut(),
            },
        ),
        (70_000, Some("gateway"), befell(Fault::cut())),
        (88_000, Some("worker1"), oops),
        (90_000, Some("worker1"), befell(Fault::PowerCut)),
    ];
    let event = |(at, machine, what): (u64, Option<&str>, Happened)| Event {
        at,
        machine: machine.map(str::to_owned),
        what,
    };
    happened.map(event).into()
}

fn stage(name: &str, start: f64, seconds: f64, failure: Option<&str>) -> Stage {
    Stage {
        name: name.to_owned(),
        start,
        is_running: false,
        seconds,
        cpu: None,
        note: "a note with <b>marks</b> & more".to_owned(),
        failure: failure.map(str::to_owned),
    }
}

/// A lab's logs, with things in them that a page must not take for its own.
pub(super) fn logs() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let left = Left {
        started: 1_800_000_000.0,
        definition: Definition {
            logs: dir.path().to_owned(),
            scratch: None,
            backend: Backend::Processes,
            machines: vec![machine("manager1", 0), machine("worker1", 1)],
            gateway: Some(Gateway {
                subnet: "192.168.1.0/24".to_owned(),
                address: [192, 168, 1, 254].into(),
                name_server: [192, 168, 1, 253].into(),
                forwards: Vec::new(),
            }),
        },
    };
    left.write().expect("written");
    let lines: Vec<String> = events()
        .iter()
        .map(|event| serde_json::to_string(event).expect("JSON"))
        .collect();
    let long = (0..20_000).fold(String::new(), |log, number| {
        log + &format!("line {number} of a long journal\n")
    });
    for (name, text) in [
        ("events.jsonl", lines.join("\n")),
        ("manager1.console.log", "\x1b[1mLinux\x1b[0m 6.12\r\nmanager1 login: \n".to_owned()),
        (
            "worker1.console.log",
            "</pre><script>alert('worker1')</script>\r\n[   88.100200] Internal error: Oops: 0000000096000045 [#1] SMP\r\n"
                .to_owned(),
        ),
        ("worker1.journal.log", long),
        ("worker1.qmp.jsonl", "{\"lab\":{\"execute\":\"stop\"}}\n".to_owned()),
        ("bramble-provision.log", "$ bramble provision\nall is well\n".to_owned()),
        ("worker1.pcap", "0123456789".repeat(300)),
        ("odd name&.txt", "odd".to_owned()),
    ] {
        fs::write(dir.path().join(name), text).expect("written");
    }
    dir
}

pub(super) fn run(failure: Option<&str>) -> Run {
    Run {
        title: "partition".to_owned(),
        shows: "a cable that is cut changes no answer".to_owned(),
        expected: Vec::new(),
        failure: failure.map(str::to_owned),
        skipped: None,
        stages: vec![
            stage("programs", 0.0, 20.5, None),
            stage("machines", 30.0, 16.0, None),
            stage("worker1: link: cut", 70.0, 50.0, failure),
        ],
        began: UNIX_EPOCH + Duration::from_secs(STARTED - 30),
    }
}

pub(super) const FAILURE: &str =
    "stage `worker1: link: cut` failed: worker1 is in trouble (kernel oops): <oops>";

#[test]
fn the_page_of_a_failure() {
    let dir = logs();
    let path = write(&[run(Some(FAILURE))], dir.path()).expect("written");
    write(&[run(Some(FAILURE))], dir.path()).expect("written anew");
    let page = fs::read_to_string(path).expect("a page");
    assert!(!page.contains("runs.json"), "what it is made of is in it");
    assert!(!page.contains("<script>alert"), "a log is no script");
    assert!(page.contains("&lt;oops&gt;") && page.contains("./odd%20name%26.txt"));
    assert!(page.contains("line 19999 of") && !page.contains("line 9999 of"));
    assert!(page.len() < 400_000, "{} bytes", page.len());
    for external in ["src=", "http://", "https://", "@import", "url("] {
        assert!(
            !page.contains(external),
            "nothing else is needed: {external}"
        );
    }
    // What is long in it is seen elsewhere.
    let begin = page.find("<body>").expect("a body");
    let end = page.find("line 19").map_or(page.len(), |at| at - 100);
    insta::assert_snapshot!(page[begin..end].replace("><", ">\n<"));
}

#[test]
fn a_page_says_what_was_skipped() {
    let dir = logs();
    let skipped = Run {
        skipped: Some("there is no pip".to_owned()),
        ..run(None)
    };
    for (runs, title, verdict) in [
        (vec![run(None)], "✓ partition", "verdict good\">holds"),
        (
            vec![skipped.clone()],
            "– partition",
            "verdict none\">skipped",
        ),
        (
            vec![run(None), skipped.clone()],
            "✓ partition, partition",
            "verdict good\">holds",
        ),
        (
            vec![skipped, run(Some(FAILURE))],
            "✗ partition, partition",
            "verdict bad\">failed",
        ),
    ] {
        let path = write(&runs, dir.path()).expect("written");
        let page = fs::read_to_string(path).expect("a page");
        assert!(page.contains(&format!("<title>{title}</title>")), "{title}");
        assert!(page.contains(verdict), "{title}: {verdict}");
        let says_why = page.contains("<b>partition</b> SKIPPED: there is no pip");
        assert_eq!(says_why, runs.iter().any(|run| run.skipped.is_some()));
    }
}

#[test]
fn trouble_that_is_part_of_the_plan_alarms_nobody() {
    let dir = logs();
    let oops = Expected {
        machine: None,
        trouble: Trouble::Oops,
        text: String::new(),
    };
    let planned = |seconds: u64, expected: &[&Expected]| Run {
        expected: expected.iter().map(|it| (*it).clone()).collect(),
        began: UNIX_EPOCH + Duration::from_secs(STARTED + seconds),
        ..run(None)
    };
    // It comes 88 seconds after the lab's start, in whichever run is the last to have begun before.
    for (runs, is_expected) in [
        (vec![planned(0, &[&oops])], true),
        (vec![planned(0, &[])], false),
        (vec![planned(0, &[&oops]), planned(80, &[])], false),
        (vec![planned(0, &[]), planned(80, &[&oops])], true),
        (vec![planned(0, &[&oops]), planned(90, &[])], true),
    ] {
        let path = write(&runs, dir.path()).expect("written");
        let page = fs::read_to_string(path).expect("a page");
        for (words, are_there) in [
            ("The first trouble", !is_expected),
            ("1 × trouble<", !is_expected),
            ("1 × trouble as expected", is_expected),
            ("class=\"mark expected\"", is_expected),
        ] {
            assert_eq!(page.contains(words), are_there, "{words}: {runs:?}");
        }
    }
}

#[test]
fn a_run_is_told_of_by_stages() {
    let dir = logs();
    let kept = || Kept::read(dir.path()).expect("kept").runs;
    let mut run = Run::begin("bob loses his power");
    let found = run.stage("power", dir.path(), || {
        assert!(kept()[0].stages[0].is_running);
        anyhow::Ok(42)
    });
    assert_eq!(found.expect("it succeeds"), 42);
    let lost = run.stage("clock", dir.path(), || -> Result<()> {
        anyhow::bail!("it is behind")
    });
    assert_eq!(lost.expect_err("it fails").to_string(), "it is behind");
    assert_eq!(kept(), [run.clone()]);
    let told: Vec<_> = run
        .stages
        .iter()
        .map(|it| (it.name.as_str(), it.is_running, it.failure.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            ("power", false, None),
            ("clock", false, Some("it is behind"))
        ]
    );
    // Where nobody looks on, nobody is told.
    run.stage("alone", &dir.path().join("nowhere"), || anyhow::Ok(()))
        .expect("it succeeds");
}

#[test]
fn a_page_needs_a_lab() {
    let dir = tempfile::tempdir().expect("a directory");
    let error = write(&[Run::begin("nothing")], dir.path()).expect_err("no lab");
    assert!(format!("{error:#}").contains("lab.json"), "{error:#}");
}

#[test]
fn lives_are_spans() {
    let spans = life("worker1", &events(), 100.0, |_, _, _| false);
    let states: Vec<_> = spans
        .states
        .iter()
        .map(|it| (it.from, it.to, it.what))
        .collect();
    assert_eq!(
        states,
        [
            (0.0, 15.0, State::Starting),
            (15.0, 90.0, State::Online),
            (90.0, 100.0, State::Off)
        ]
    );
    let faults: Vec<_> = spans.faults.iter().map(|it| (it.from, it.to)).collect();
    assert_eq!(faults, [(40.0, 60.0), (90.0, 100.0)]);
    assert_eq!(spans.troubles.len(), 1);
}

#[test]
fn an_axis_has_round_ticks() {
    for (from, to, expected) in [
        (0.0, 5.0, vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        (-30.0, 95.0, vec![-30.0, 0.0, 30.0, 60.0, 90.0]),
        (
            0.0,
            400.0,
            vec![0.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0],
        ),
        (
            0.0,
            100_000.0,
            vec![
                0.0, 14_400.0, 28_800.0, 43_200.0, 57_600.0, 72_000.0, 86_400.0,
            ],
        ),
    ] {
        assert_eq!(Axis { from, to }.ticks(), expected);
    }
    assert_eq!(
        Axis {
            from: -50.0,
            to: 50.0
        }
        .place(0.0),
        50.0
    );
}

#[test]
fn it_is_read_on_a_phone_and_on_a_desk() {
    use super::chromium::{Browser, DESK, PHONE};
    let Some(browser) = Browser::start() else {
        return;
    };
    let dir = logs();
    for (name, failure, look) in [
        ("report-failed-desk", Some(FAILURE), DESK),
        ("report-failed-phone", Some(FAILURE), PHONE.dark()),
        ("report-passed-desk", None, DESK.dark()),
        ("report-passed-phone", None, PHONE),
    ] {
        let path = write(&[run(failure)], dir.path()).expect("written");
        browser.look(look);
        browser.open(&format!("file://{}", path.display()));
        let width = browser.run("return document.documentElement.scrollWidth");
        assert_eq!(width, look.width, "{name} is as wide as its screen");
        browser.keep(name);
    }
    // Search opens the logs that have it, and no others.
    browser.run(
        "const it = document.getElementById('search'); it.value = 'LINE 19999'; it.dispatchEvent(new Event('input'))",
    );
    browser.wait_for("document.getElementById('found').innerText === '1 line'");
    assert_eq!(browser.text("mark"), "line 19999");
    let open = "return document.querySelectorAll('details[open]').length";
    assert_eq!(browser.run(open), 1);
    browser.keep("report-search");
    browser.run(
        "const it = document.getElementById('search'); it.value = ''; it.dispatchEvent(new Event('input'))",
    );
    browser.wait_for("document.getElementById('found').innerText === ''");
    assert_eq!(browser.run(open), 0);
    // A machine's name leads to its console.
    browser.run("location.hash = '#logs-worker1'");
    browser.wait_for("document.querySelector('#logs-worker1 details').open");
    assert!(browser.text("#logs-worker1 pre").contains("<script>alert"));
}
