//! However a lab ends, nothing of it is left: no process, no container, no file. Containers take a Docker engine, so
//! their tests are run where there is one: `cargo nextest run -p bramble-lab --run-ignored all`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bramble_lab::{Attached, RunDir, mark, remains};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A program that holds a lab of one machine, and the lab.
struct Holder {
    program: Child,
    name: String,
}

impl Holder {
    /// Starts `smallest_lab hold`, and returns when the lab runs.
    fn start(test: &str, launcher: &str) -> Holder {
        let name = format!("test-{test}-{launcher}-{}", std::process::id());
        let more = (launcher != "processes").then_some(launcher);
        let mut program = Command::new(example())
            .args(["hold", &name])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example, which is built along with the tests");
        let mut line = String::new();
        let stdout = program.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert_eq!(
            line.trim(),
            name,
            "the lab runs; is QEMU installed? `cargo xtask doctor` says"
        );
        Holder { program, name }
    }

    /// The lab's processes, by id: those whose command line names its directory of sockets. Those in containers do,
    /// too.
    fn processes(&self) -> Vec<(i32, String)> {
        let marker = format!("/{}", self.name);
        let processes = fs::read_dir("/proc")
            .expect("/proc")
            .flatten()
            .filter_map(|entry| {
                let line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
                let id = entry.file_name().to_str()?.parse().ok()?;
                line.contains(&marker)
                    .then(|| (id, line.replace('\0', " ")))
            });
        processes.collect()
    }

    /// The QEMU of its machine.
    fn machine(&self) -> i32 {
        let found = self.processes();
        let is_machine = |line: &str| {
            let program = line.split(' ').next().unwrap_or_default();
            program.ends_with("qemu-system-aarch64") && line.contains("-kernel")
        };
        let machine = found.iter().find(|(_, line)| is_machine(line));
        machine.unwrap_or_else(|| panic!("{found:?}")).0
    }

    fn kill_supervisor(&self) {
        for (id, line) in self.processes() {
            if line.contains("supervise") {
                kill(Pid::from_raw(id), Signal::SIGKILL).expect("killed");
            }
        }
    }

    fn is_listed(&self) -> bool {
        RunDir::running()
            .expect("a list")
            .iter()
            .any(|dir| dir.ends_with(&self.name))
    }

    fn scratch(&self) -> PathBuf {
        std::env::temp_dir().join(&self.name).join("scratch")
    }

    /// Whether there is nothing but logs.
    fn is_gone(&self) -> bool {
        !self.is_listed() && self.processes().is_empty() && !self.scratch().exists()
    }

    fn wait_until_nothing_is_left(&self) {
        let begin = Instant::now();
        while !self.is_gone() || self.is_found() {
            assert!(
                begin.elapsed() < Duration::from_secs(300),
                "left: {:?}, {:?}",
                self.processes(),
                remains()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether something of it would be swept up.
    fn is_found(&self) -> bool {
        let found = remains().expect("a look");
        found.iter().any(|left| left.lab == self.name)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
        let _ = fs::remove_dir_all(std::env::temp_dir().join(&self.name));
    }
}

/// Waits for what the kernel does in its own time.
fn wait_until(holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(300));
        thread::sleep(Duration::from_millis(20));
    }
}

fn example() -> PathBuf {
    let tests = std::env::current_exe().expect("this test's own file");
    let profile = tests
        .parent()
        .and_then(|deps| deps.parent())
        .expect("target/debug");
    profile.join("examples/smallest_lab")
}

fn ends_when_its_holder_says_so(launcher: &str) {
    let mut holder = Holder::start("orderly", launcher);
    assert!(holder.is_listed());
    holder.machine();
    drop(holder.program.stdin.take());
    assert!(holder.program.wait().expect("waited").success());
    assert!(holder.is_gone(), "{:?}", holder.processes());
}

fn ends_when_its_holder_is_killed(launcher: &str) {
    let mut holder = Holder::start("killed", launcher);
    holder.program.kill().expect("killed");
    holder.wait_until_nothing_is_left();
}

fn ends_when_somebody_else_asks(launcher: &str) {
    let holder = Holder::start("asked", launcher);
    Attached::find(Some(&holder.name))
        .expect("found")
        .down()
        .expect("down");
    holder.wait_until_nothing_is_left();
}

fn machines_do_not_outlive_a_killed_supervisor(launcher: &str) {
    let mut holder = Holder::start("orphaned", launcher);
    holder.kill_supervisor();
    // The holder keeps the sockets' directory; once it has ended, too, the next look sweeps it.
    holder.program.kill().expect("killed");
    holder.wait_until_nothing_is_left();
}

/// Looks without RunDir::running(), which would sweep.
fn what_is_left_is_found_and_cleared_away(launcher: &str) {
    let mut holder = Holder::start("swept", launcher);
    assert!(!holder.is_found(), "it is alive");
    holder.kill_supervisor();
    holder.program.kill().expect("killed");
    holder.program.wait().expect("waited");
    // A process has no command line before it lets go of its files.
    wait_until(|| holder.processes().is_empty() && holder.is_found());
    let found = remains().expect("a look");
    let left = found.iter().find(|left| left.lab == holder.name);
    let left = left.expect("its sockets and its scratch");
    assert!(left.directories.contains(&holder.scratch()), "{left:?}");
    left.clear_away().expect("cleared away");
    assert!(!holder.is_found() && holder.is_gone());
}

macro_rules! on_each_launcher {
    ($($test:ident)*) => {
        mod processes {
            $(#[test] fn $test() { super::$test("processes"); })*
        }
        mod containers {
            $(#[test] #[ignore = "takes a Docker engine"] fn $test() { super::$test("containers"); })*
        }
    };
}

on_each_launcher! {
    ends_when_its_holder_says_so
    ends_when_its_holder_is_killed
    ends_when_somebody_else_asks
    machines_do_not_outlive_a_killed_supervisor
    what_is_left_is_found_and_cleared_away
}

/// What a lab leaves behind is removed only where it is this very lab's.
#[test]
fn a_scratch_that_another_run_has_made_anew_stays() {
    let mut holder = Holder::start("anew", "processes");
    holder.kill_supervisor();
    holder.program.kill().expect("killed");
    holder.program.wait().expect("waited");
    fs::remove_dir_all(holder.scratch()).expect("removed");
    fs::create_dir(holder.scratch()).expect("made anew");
    // Each look sweeps, once the supervisor has let go.
    wait_until(|| !holder.is_listed());
    assert!(holder.scratch().exists());
}

/// A process that bears the mark of a dead run is found, whatever it is.
#[test]
fn a_stray_process_is_found_by_its_mark() {
    let lab = format!("test-stray-{}", std::process::id());
    let mut stray = Command::new("sleep")
        .arg("300")
        .env("BRAMBLE_LAB", format!("/nowhere/{lab}#1.1"))
        .spawn()
        .expect("sleep");
    let id = i32::try_from(stray.id()).expect("an id");
    // Its environment is to be seen a moment after it has begun.
    let is_marked = || {
        let marked = mark::bearers("BRAMBLE_LAB").expect("a look");
        marked.iter().any(|(bearer, _)| bearer.as_raw() == id)
    };
    let begin = Instant::now();
    while !is_marked() {
        assert!(begin.elapsed() < Duration::from_secs(300));
        thread::sleep(Duration::from_millis(20));
    }
    let found = remains().expect("a look");
    let left = found
        .iter()
        .find(|left| left.lab == lab)
        .expect("it is found");
    assert_eq!(left.processes, [(id, "sleep 300".to_owned())]);
    left.clear_away().expect("cleared away");
    assert!(!stray.wait().expect("waited").success());
}

/// What the kernel says of a machine in a container, not what the engine was asked for.
#[test]
#[ignore = "takes a Docker engine"]
fn a_container_can_do_nothing_but_emulate() {
    let holder = Holder::start("confined", "containers");
    let machine = Path::new("/proc").join(holder.machine().to_string());
    let status = fs::read_to_string(machine.join("status")).expect("its status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default()
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    assert_ne!(field("Uid:"), "0", "no root");
    for capabilities in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(
            field(capabilities).trim_start_matches('0'),
            "",
            "{capabilities}"
        );
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2", "a filter of system calls");
    let cards = fs::read_to_string(machine.join("net/dev")).expect("its network");
    let cards: Vec<&str> = cards
        .lines()
        .skip(2)
        .filter_map(|line| line.split(':').next())
        .collect();
    assert_eq!(
        cards.iter().map(|card| card.trim()).collect::<Vec<_>>(),
        ["lo"]
    );
    let mounts = fs::read_to_string(machine.join("mountinfo")).expect("its mounts");
    let root = mounts
        .lines()
        .find(|line| line.split(' ').nth(4) == Some("/"));
    let root = root
        .and_then(|line| line.split(' ').nth(5))
        .expect("a root");
    assert!(root.split(',').any(|option| option == "ro"), "{root}");
    let may_write: BTreeSet<&str> = mounts
        .lines()
        .filter(|line| {
            line.contains(&holder.name)
                && line
                    .split(' ')
                    .nth(5)
                    .is_some_and(|it| it.starts_with("rw"))
        })
        .filter_map(|line| line.split(' ').nth(4)?.rsplit('/').next())
        .collect();
    let own = [
        "disk.qcow2",
        "blank.lan",
        "blank.qemu.log",
        "blank.qmp",
        "blank.tty",
    ];
    assert_eq!(may_write, BTreeSet::from(own), "its own files alone");
}
