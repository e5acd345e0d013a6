//! What is on this machine. Nothing here decides anything.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use super::apt::Sources;
use super::table::{Capability, Probe, REQUIREMENTS};
use super::version::Version;
use crate::cross;

/// Everything that the plan is made from.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) system: System,
    /// We may install.
    pub(crate) root: bool,
    /// Who we are.
    pub(crate) user: String,
    pub(crate) sources: Sources,
    /// dpkg takes ARM64 packages beside the machine's own.
    pub(crate) foreign_arm64: bool,
    /// The programs that were found, with the version that they say they have.
    pub(crate) programs: BTreeMap<&'static str, Option<Version>>,
    pub(crate) capabilities: BTreeSet<Capability>,
    /// `/proc/sys/fs/binfmt_misc` has the kernel's registry in it.
    pub(crate) binfmt_mounted: bool,
    /// The registry knows ARM64 programs.
    pub(crate) binfmt_registered: bool,
    pub(crate) rustup: bool,
    /// `rustup target add` was tried in this run, and failed.
    pub(crate) rustup_refused: bool,
}

/// From `/etc/os-release`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct System {
    /// As the system calls itself.
    pub(crate) name: String,
    pub(crate) codename: String,
    /// It has apt and dpkg.
    pub(crate) debian_like: bool,
}

impl System {
    pub(crate) fn parse(os_release: &str) -> System {
        let value = |key: &str| {
            let line = os_release
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default()
                .trim_matches(['"', '\''])
                .to_owned()
        };
        let family = format!("{} {}", value("ID"), value("ID_LIKE"));
        System {
            name: value("PRETTY_NAME"),
            codename: value("VERSION_CODENAME"),
            debian_like: family.split_whitespace().any(|id| id == "debian"),
        }
    }
}

impl Facts {
    /// Asks every program at once, which takes as long as the slowest: some tenth of a second.
    pub(crate) fn gather() -> Facts {
        let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let system = System::parse(&os_release);
        thread::scope(|scope| {
            let programs: Vec<_> = REQUIREMENTS
                .iter()
                .filter_map(|requirement| match requirement.probe {
                    Probe::Program { name, ask, .. } => {
                        Some(scope.spawn(move || Some((name, ask_version(name, ask)?))))
                    }
                    Probe::Capability(_) => None,
                })
                .collect();
            let capabilities: Vec<_> = REQUIREMENTS
                .iter()
                .filter_map(|requirement| match requirement.probe {
                    Probe::Capability(what) => {
                        Some(scope.spawn(move || works(what).then_some(what)))
                    }
                    Probe::Program { .. } => None,
                })
                .collect();
            let foreign = scope.spawn(|| output("dpkg", &["--print-foreign-architectures"]));
            Facts {
                system,
                root: nix::unistd::geteuid().is_root(),
                user: user_name(),
                sources: Sources::read(Path::new("/etc/apt")),
                foreign_arm64: foreign
                    .join()
                    .ok()
                    .flatten()
                    .is_some_and(|text| text.lines().any(|line| line == "arm64")),
                programs: joined(programs).collect(),
                capabilities: joined(capabilities).collect(),
                binfmt_mounted: Path::new("/proc/sys/fs/binfmt_misc/register").exists(),
                binfmt_registered: Path::new("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists(),
                rustup: find("rustup").is_some(),
                rustup_refused: false,
            }
        })
    }
}

fn joined<T>(threads: Vec<thread::ScopedJoinHandle<'_, Option<T>>>) -> impl Iterator<Item = T> {
    threads
        .into_iter()
        .filter_map(|thread| thread.join().ok().flatten())
}

/// `None` where the program is missing; `Some(None)` where it does not say its version.
fn ask_version(name: &str, ask: &[&str]) -> Option<Option<Version>> {
    find(name)?;
    if ask.is_empty() {
        return Some(None);
    }
    Some(output(name, ask).as_deref().and_then(Version::find))
}

fn works(capability: Capability) -> bool {
    match capability {
        Capability::FillExt4FromTar => mke2fs_reads_tar(),
        Capability::RunArm64Programs => succeeds("arch-test", &["arm64"]),
        Capability::MapUserIds => may_map_user_ids(),
        Capability::LinkArm64Statically => cross::static_libc_is_there(),
        Capability::CompileRustForArm64 => cross::native_or_debian().is_some(),
    }
}

fn user_name() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    user.ok()
        .flatten()
        .map(|user| user.name)
        .unwrap_or_default()
}

fn may_map_user_ids() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    let has_range = |path: &str| {
        let ranges = fs::read_to_string(path).unwrap_or_default();
        let owner = format!("{}:", user_name());
        ranges.lines().any(|line| line.starts_with(&owner))
    };
    find("newuidmap").is_some() && has_range("/etc/subuid") && has_range("/etc/subgid")
}

/// mke2fs says that it can before it finds out that it cannot, so it has to fill a small one.
fn mke2fs_reads_tar() -> bool {
    let try_it = || -> std::io::Result<bool> {
        let mut archive = tempfile::NamedTempFile::new()?;
        archive.write_all(&[0; 1024])?;
        let image = tempfile::NamedTempFile::new()?;
        let Some(mke2fs) = find("mke2fs") else {
            return Ok(false);
        };
        let status = Command::new(mke2fs)
            .args(["-q", "-F", "-d"])
            .args([archive.path(), image.path()])
            .arg("512k")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        Ok(status.success())
    };
    try_it().unwrap_or(false)
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    let Some(path) = find(program) else {
        return false;
    };
    let status = Command::new(path)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// What a program prints, on either stream.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(find(program)?)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let bytes = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Where on the PATH a program is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_told_apart() {
        let check = |text: &str, codename: &str, debian_like: bool| {
            let system = System::parse(text);
            assert_eq!(
                (system.codename.as_str(), system.debian_like),
                (codename, debian_like)
            );
        };
        check(
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n",
            "bookworm",
            true,
        );
        check(
            "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n",
            "noble",
            true,
        );
        check("ID=\"linuxmint\"\nID_LIKE=\"ubuntu debian\"\n", "", true);
        check("ID=fedora\nVERSION_ID=42\n", "", false);
        check("", "", false);
    }
}
