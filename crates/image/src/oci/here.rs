//! Redis for the machine that this runs on, of what is installed there: for those who try the service where no registry is reached.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::layout::{self, Architecture, Image};
use super::{REDIS, base};

/// Writes the layout of an image of the Redis that is installed here, with the libraries that it links to, into `out`. It is as this
/// machine is, and so nothing to hand on.
///
/// # Errors
/// Redis is not installed, or a file cannot be read or written.
pub fn redis_of_here(version: &str, out: &Path) -> Result<()> {
    let mut files = base(REDIS.run.user, REDIS.name).directory_of(REDIS.run.user, "data", 0o755);
    for program in REDIS.programs {
        let path = Path::new("/").join(program);
        ensure!(
            path.exists(),
            "{} is missing: apt-get install redis-server",
            path.display()
        );
        let libraries = libraries(&path)?;
        for path in libraries.into_iter().chain([path]) {
            let content =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let name = path.display().to_string();
            files = files.file(name.trim_start_matches('/'), 0o755, content);
        }
    }
    let image = Image {
        name: REDIS.name,
        version: version.to_owned(),
        architecture: Architecture::OfThisMachine,
        description: REDIS.description,
        licences: None,
        files,
        run: REDIS.run,
    };
    layout::write(&image, out).map(drop)
}

/// The libraries that a program is loaded with, and what loads them, where they are looked for.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output();
    let output = output.context("cannot run ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "ldd {}: {text}", program.display());
    let path = |line: &str| {
        let mut words = line.split_whitespace();
        words.find(|word| word.starts_with('/')).map(PathBuf::from)
    };
    Ok(text.lines().filter_map(path).collect())
}
