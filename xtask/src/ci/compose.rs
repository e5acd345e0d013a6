//! The search service by Docker Compose on this machine, as docs/service.md has it: it must find what `run` finds.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::cross;
use crate::oci;
use crate::project::{self, log_path, run_logged, show};

const CLUSTER: &str = "fixtures/clusters/eight-pi.toml";

const SEARCH: &[&str] = &[
    "--world",
    "fixtures/worlds/axiom-verge.toml",
    "--fill",
    "guarded",
    "--rng",
    "dotnet",
    "--level",
    "default",
    "--len",
    "1048576",
    "--json",
];

/// What engines read of an environment.
type Variable = (&'static str, String);

/// Runs it in the engine that `host` names, or the usual one.
///
/// # Errors
/// Something does not start, or finds something else.
pub(super) fn run(host: Option<Variable>) -> Result<()> {
    let programs = cross::build_for_host()?;
    let place = TempDir::with_prefix("bramble-compose-")?;
    for layout in oci::here(&place.path().join("images"))? {
        load(&layout, host.clone())?;
    }
    let mut render = command(&programs.bramble);
    render.args(["--cluster", CLUSTER, "render", "--out"]);
    run_logged(
        render.arg(place.path()),
        &log_path("ci-containers-compose-render")?,
    )?;

    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let compose = Compose {
        file: place.path().join("seeds-local.yml"),
        environment: [
            ("BRAMBLE_PORT", port.to_string()),
            // The one that was just loaded: no registry is asked.
            (
                "BRAMBLE_REDIS_IMAGE",
                format!("redis:{}", env!("CARGO_PKG_VERSION")),
            ),
        ]
        .into_iter()
        .chain(host)
        .collect(),
    };
    compose.call("up", &["--detach"])?;
    let server = format!("http://127.0.0.1:{port}");
    let together = found(&programs.search, &["submit", "--server", &server]);
    if together.is_err() {
        // Why, is in there.
        compose.call("logs", &["--no-color"])?;
    }
    let together = together?;
    let checkpoint = place.path().join("checkpoint.json");
    let alone = found(
        &programs.search,
        &["run", "--checkpoint", &checkpoint.to_string_lossy()],
    )?;
    ensure!(
        together == alone,
        "the containers found {together}, `run` found {alone}"
    );
    Ok(())
}

/// The digest of what a search found.
fn found(program: &Path, how: &[&str]) -> Result<Value> {
    let mut search = command(program);
    let output = search.args(how).args(SEARCH).stderr(Stdio::inherit());
    let output = output.output()?;
    let shown = show(&search);
    ensure!(
        output.status.success(),
        "`{shown}` failed ({})",
        output.status
    );
    let mut report: Value = serde_json::from_slice(&output.stdout)?;
    let digest = report["levels"][0]["digest"].take();
    ensure!(digest.is_string(), "`{shown}` gives no digest");
    Ok(digest)
}

fn load(layout: &Path, host: Option<Variable>) -> Result<()> {
    let failed = || format!("cannot load {}", layout.display());
    let mut tar = command("tar")
        .arg("-C")
        .arg(layout)
        .args(["-c", "."])
        .stdout(Stdio::piped())
        .spawn()
        .with_context(failed)?;
    let archive = tar.stdout.take().with_context(failed)?;
    let status = command("docker")
        .args(["load", "--quiet"])
        .envs(host)
        .stdin(archive)
        .status()
        .with_context(failed)?;
    ensure!(tar.wait()?.success() && status.success(), failed());
    Ok(())
}

fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(project::root());
    command
}

/// The parts of the service, which end with it.
struct Compose {
    file: PathBuf,
    environment: Vec<Variable>,
}

impl Compose {
    fn call(&self, verb: &str, words: &[&str]) -> Result<()> {
        let mut compose = command("docker-compose");
        compose
            .envs(self.environment.iter().cloned())
            .arg("--file")
            .arg(&self.file)
            .arg(verb)
            .args(words);
        run_logged(
            &mut compose,
            &log_path(&format!("ci-containers-compose-{verb}"))?,
        )
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        if let Err(error) = self.call("down", &["--volumes"]) {
            eprintln!("ci: {error:#}");
        }
    }
}
