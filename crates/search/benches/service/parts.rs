//! The service as processes, with a Redis of their own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

/// Redis, worker and web.
pub(crate) struct Service {
    pub(crate) address: String,
    pub(crate) ledger: PathBuf,
    parts: Vec<(&'static str, Running)>,
    dir: tempfile::TempDir,
}

pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Service {
    pub(crate) fn start() -> Result<Self> {
        // Flushing to a disk is part of what is measured, and the system's own directory may be in memory.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let ledger = dir.path().join("ledger.sqlite");
        let (redis, web) = (free_port()?, free_port()?);
        let url = format!("redis://127.0.0.1:{redis}");
        let address = format!("127.0.0.1:{web}");
        let mut parts = Vec::new();
        let mut start = |name, command: &mut Command| -> Result<()> {
            let child = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::inherit());
            let child = child.spawn();
            parts.push((
                name,
                Running(child.with_context(|| format!("cannot start {name}"))?),
            ));
            Ok(())
        };
        let mut messages = Command::new("redis-server");
        messages.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &redis.to_string(),
            "--appendonly",
            "yes",
        ]);
        start(
            "redis",
            messages
                .args(["--loglevel", "warning", "--dir"])
                .arg(dir.path()),
        )?;
        start(
            "worker",
            program()
                .args(["worker", "--redis", &url, "--ledger"])
                .arg(&ledger),
        )?;
        start(
            "web",
            program().args(["web", "--redis", &url, "--listen", &address]),
        )?;
        Ok(Service {
            address,
            ledger,
            parts,
            dir,
        })
    }

    /// The most memory that each had, in MiB, as Linux counts it.
    pub(crate) fn memory(&self) -> Result<Vec<(&'static str, u64)>> {
        let peak = |part: &(&'static str, Running)| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", part.1.0.id()))?;
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmHWM:"))
                .context("VmHWM")?;
            let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
            Ok((part.0, kib / 1024))
        };
        self.parts.iter().map(peak).collect()
    }

    /// Gives nobody a chance. The files remain while the answer is held.
    pub(crate) fn kill(mut self) -> tempfile::TempDir {
        self.parts.clear();
        self.dir
    }
}

/// The program under test.
pub(crate) fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_bramble-search"));
    program.env("BRAMBLE_LOG", "warn");
    program
}

/// The checked-in world.
pub(crate) fn world() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/worlds/axiom-verge.toml")
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port())
}
