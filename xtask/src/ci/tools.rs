//! Programs that only CI needs, compiled once into the store where they are not installed.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bramble_store::{Key, Store};

use crate::doctor::find;
use crate::project::{cargo, log_path, run_logged};

/// A program from the package registry.
pub(super) struct Tool {
    name: &'static str,
    /// The version to install; one that is installed already is taken as it is.
    version: &'static str,
}

/// Runs the tests, each in its own process.
pub(super) const NEXTEST: Tool = Tool {
    name: "cargo-nextest",
    version: "0.9.128",
};

/// Judges the dependencies.
pub(super) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
};

impl Tool {
    /// The program's path.
    ///
    /// # Errors
    /// It is not installed and cannot be compiled.
    pub(super) fn find_or_install(&self) -> Result<PathBuf> {
        if let Some(path) = find(self.name) {
            return Ok(path);
        }
        let key = Key::builder("cargo-tool", 1)
            .text("name", self.name)
            .text("version", self.version)
            .text("for", env::consts::ARCH)
            .finish()?;
        let installed = Store::open()?.get_or_build(&key, |dir| self.install(dir))?;
        Ok(installed.path.join("bin").join(self.name))
    }

    /// A `PATH` on which cargo finds the program.
    ///
    /// # Errors
    /// It is not installed and cannot be compiled.
    pub(super) fn on_path(&self) -> Result<OsString> {
        let program = self.find_or_install()?;
        let path = env::var_os("PATH").unwrap_or_default();
        let dirs = program.parent().map(Path::to_owned).into_iter();
        env::join_paths(dirs.chain(env::split_paths(&path)))
            .with_context(|| format!("cannot put {} on the PATH", program.display()))
    }

    /// Compiled for a short wait, not for speed: it runs for seconds.
    fn install(&self, root: &Path) -> Result<()> {
        eprintln!("ci: compiling {} {}, once", self.name, self.version);
        let mut command = cargo();
        command
            .args(["install", "--locked", self.name])
            .args(["--version", self.version, "--root"])
            .arg(root)
            .env_remove("CARGO_TARGET_DIR")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        run_logged(&mut command, &log_path(self.name)?)
    }
}
