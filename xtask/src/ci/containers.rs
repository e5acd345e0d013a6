//! The same machines in containers, and the search service: of the Docker engine that answers, or of one that is started for it.

use std::env;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getuid};
use tempfile::TempDir;

use super::compose;
use super::steps::Outcome;
use super::tools::NEXTEST;
use crate::doctor::{self, Scope};
use crate::project::{cargo, log_path, run_logged};

/// How long an engine may take to answer, or to end.
const PROMPT: Duration = Duration::from_secs(60);

/// What the directories of engines that are started here are called.
const PREFIX: &str = "bramble-docker-";

/// Which scenario is run: whatever is different in a container, it does.
const SCENARIO: &str = "first-light";

/// Runs the lab's tests that take an engine, a scenario, and the search service by Docker Compose.
///
/// # Errors
/// One fails, or an engine that should start does not.
pub(super) fn run() -> Result<Outcome> {
    if bramble_lab::Backend::engine_answers() {
        return all(None).map(|()| Outcome::Done);
    }
    if !(getuid().is_root() && doctor::fix_is_implied()) {
        return Ok(Outcome::Skipped(
            "no Docker engine answers; one is installed and started for this only by root with CI=true".to_owned(),
        ));
    }
    doctor::ensure(Scope::Containers, true)?;
    let engine = Engine::start()?;
    all(Some(&engine)).map(|()| Outcome::Done)
}

fn all(engine: Option<&Engine>) -> Result<()> {
    let at = engine.map(|engine| ("DOCKER_HOST", engine.host()));
    let mut tests = cargo();
    tests.env("PATH", NEXTEST.on_path()?).envs(at.clone());
    tests.args(["nextest", "run", "--locked", "--package", "bramble-lab"]);
    tests.args([
        "--test",
        "endings",
        "--test",
        "launchers",
        // The lab's owner, which they start.
        "--examples",
        "--run-ignored",
        "only",
    ]);
    run_logged(&mut tests, &log_path("ci-containers-tests")?)?;

    let xtask = env::current_exe().context("cannot find this very program")?;
    let mut rehearsal = Command::new(xtask);
    rehearsal
        .args(["vm-test", SCENARIO, "--launcher", "containers"])
        .envs(at.clone());
    let status = rehearsal.status()?;
    if !status.success() {
        bail!("{SCENARIO} failed in containers ({status})");
    }
    compose::run(at)
}

/// An engine of our own, which has nothing to do with any other on this machine.
struct Engine {
    daemon: Child,
    /// Its socket, and all that it keeps.
    place: TempDir,
}

impl Engine {
    /// Starts one that leaves this machine's firewall alone: what runs in it reaches nothing but itself. It is waited for.
    fn start() -> Result<Engine> {
        remove_what_the_killed_left()?;
        let place = TempDir::with_prefix(PREFIX)?;
        let log = log_path("ci-dockerd")?;
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let below = |name: &str| place.path().join(name).display().to_string();
        let daemon = Command::new("dockerd")
            .args(["--host", &format!("unix://{}", below("docker.sock"))])
            .args(["--data-root", &below("data"), "--exec-root", &below("run")])
            .args(["--pidfile", &below("pid")])
            .args(["--bridge", "none", "--iptables=false", "--ip6tables=false"])
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot start dockerd")?;
        let mut engine = Engine { daemon, place };
        let begin = Instant::now();
        while !engine.answers() {
            if let Some(status) = engine.daemon.try_wait()? {
                bail!("dockerd has ended ({status}); its log is {}", log.display());
            }
            if begin.elapsed() > PROMPT {
                bail!("dockerd does not answer; its log is {}", log.display());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(engine)
    }

    fn socket(&self) -> std::path::PathBuf {
        self.place.path().join("docker.sock")
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn answers(&self) -> bool {
        std::os::unix::net::UnixStream::connect(self.socket()).is_ok()
    }
}

impl Drop for Engine {
    /// Asked to, it ends its containers, too, and takes down what it has mounted.
    fn drop(&mut self) {
        let id = i32::try_from(self.daemon.id()).unwrap_or_default();
        let begin = Instant::now();
        let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        while matches!(self.daemon.try_wait(), Ok(None)) {
            if begin.elapsed() > PROMPT {
                let _ = self.daemon.kill();
            }
            thread::sleep(Duration::from_millis(100));
        }
        unmount_below(self.place.path());
    }
}

/// An engine that was killed, and not asked to end, leaves its directory.
fn remove_what_the_killed_left() -> Result<()> {
    for entry in fs::read_dir(env::temp_dir())?.flatten() {
        let (name, place) = (entry.file_name(), entry.path());
        let ours = name.as_encoded_bytes().starts_with(PREFIX.as_bytes());
        let daemon = fs::read_to_string(place.join("pid")).unwrap_or_default();
        let runs = Path::new("/proc").join(daemon.trim()).join("stat").exists();
        if ours && !daemon.is_empty() && !runs {
            unmount_below(&place);
            // What cannot be removed now may be the next time.
            let _ = fs::remove_dir_all(&place);
        }
    }
    Ok(())
}

/// A directory with something mounted in it cannot be removed.
fn unmount_below(place: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let own = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for point in own.filter(|point| Path::new(point).starts_with(place)) {
        let _ = nix::mount::umount(point);
    }
}
