//! Debian's packages: chosen once ([`resolve`]), fetched by their hash ([`fetch`]), installed from a repository
//! that holds nothing else ([`repository`]), or only unpacked ([`unpacked`]). Machines that install packages themselves
//! find some in an archive like Debian's own ([`archive`]).

pub mod archive;
pub mod fetch;
pub mod mirror;
pub mod repository;
pub mod resolve;
pub mod unpacked;

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The Debian release that every image is made from.
pub const SUITE: &str = "trixie";

/// The architecture of every image.
pub const ARCHITECTURE: &str = "arm64";

/// Packages that one kind of image is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// What the lock file calls it.
    pub name: &'static str,
    /// What is asked for by name.
    pub packages: Vec<&'static str>,
    /// What comes along.
    pub along: Along,
}

/// What comes along with the packages of a [`Set`]. Recommendations never do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// A system that can install packages, and what the packages depend on.
    System,
    /// What the packages depend on.
    Dependencies,
    /// Nothing: they are unpacked for some of their files.
    Nothing,
}

/// Every set that something is built from.
pub fn sets() -> Vec<Set> {
    let mut sets = vec![
        crate::rootfs::node().set(),
        crate::rootfs::household().set(),
        crate::rootfs::python().set(),
        archive::set(),
    ];
    sets.push(firmware());
    sets.extend(crate::oci::sets());
    sets
}

/// What a Pi runs before it runs Linux. It goes onto the boot partition, not into the root file system, whose
/// kernel would otherwise overwrite what stands there whenever it is upgraded.
pub fn firmware() -> Set {
    Set {
        name: "firmware",
        packages: vec!["raspi-firmware"],
        along: Along::Nothing,
    }
}

/// Runs a program and returns what it printed.
///
/// # Errors
/// It is missing, or fails: its own words are in the error.
fn run(command: &mut Command) -> Result<Vec<u8>> {
    let shown = format!("{command:?}").replace('"', "");
    let output = command.stdin(Stdio::null()).output().with_context(|| {
        format!("cannot run {shown}; `cargo xtask doctor` says what to install")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("`{shown}` failed ({}):\n{}", output.status, said.trim());
    }
    Ok(output.stdout)
}
