//! Other circumstances: everything that two people who build the same release do not have in common.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use bramble_image::Shared;
use nix::unistd::Uid;

use super::Extent;
use crate::doctor::find;
use crate::project::{self, log_path, run_logged};

/// The number of a user whom no machine has, and their name where a name is needed.
const USER: u32 = 54_321;
const NAME: &str = "somebody";

/// Told to every program that asks for the time of day; see the source.
const LATER: &str = include_str!("later.c");

/// How many seconds later than now it is there.
const A_DAY: u32 = 86_400;

/// What is shared with nobody: variables that whoever calls may have set.
const OWN_TO_THE_CALLER: [&str; 7] = [
    "CARGO",
    "CARGO_MANIFEST_DIR",
    "CARGO_TARGET_DIR",
    "RUSTFLAGS",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "SOURCE_DATE_EPOCH",
];

/// A place where the release can be built again: a directory with a checkout, a home, a cargo home and an empty store.
pub(super) struct Elsewhere {
    dir: Shared,
    /// Where the compiler is.
    toolchain: PathBuf,
    /// Whether it can be done as another user, which takes root's rights.
    as_another: bool,
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.as_another {
            true => format!("by user {USER}"),
            false => "by the same user, for it takes root to be another".to_owned(),
        };
        write!(f, "{who}, a day later, in {}", self.dir.path().display())
    }
}

impl Elsewhere {
    /// Prepares everything for `commit`.
    ///
    /// # Errors
    /// It cannot be checked out, or there is no C compiler.
    pub(super) fn prepare(commit: &str) -> Result<Elsewhere> {
        let dir = Shared::new("bramble-release-")?;
        dir.open_to_all()?;
        let elsewhere = Elsewhere {
            toolchain: toolchain()?,
            as_another: can_be_another(),
            dir,
        };
        elsewhere.check_out(commit)?;
        elsewhere.copy_crates()?;
        elsewhere.make_clock()?;
        let program = env::current_exe().context("cannot find this very program")?;
        fs::copy(program, elsewhere.at("xtask")).context("cannot copy this very program")?;
        for own in ["home", "tmp", "toolchain"] {
            fs::create_dir_all(elsewhere.at(own))?;
        }
        if elsewhere.as_another {
            elsewhere.become_somebodys()?;
        }
        Ok(elsewhere)
    }

    /// Builds the release, and returns the directory that it is in.
    ///
    /// # Errors
    /// The build's, with the end of its log.
    pub(super) fn build(&self, extent: Extent) -> Result<PathBuf> {
        let mut arguments = vec!["release", "--out", "dist"];
        arguments.extend(extent.flag());
        let mut command = self.command(&arguments);
        run_logged(&mut command, &log_path("release-check")?).context("the second build failed")?;
        Ok(self.at("checkout/dist"))
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// The program, with a umask, a user and mounts of its own. The compiler moves, too: it may lie in the home of a
    /// user who lets nobody in.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match self.as_another {
            true => {
                let mut command = Command::new("unshare");
                command.args(["--mount", "sh", "-c", AS_ANOTHER, "sh"]);
                command.args([self.dir.path(), &self.toolchain]);
                command.args([USER.to_string()]);
                command
            }
            false => {
                let mut command = Command::new("sh");
                command.args(["-c", "umask 077; exec env \"$@\"", "sh"]);
                command
            }
        };
        let compiler = match self.as_another {
            true => self.at("toolchain"),
            false => self.toolchain.clone(),
        };
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(
            [compiler.join("bin")]
                .into_iter()
                .chain(env::split_paths(&path)),
        );
        command.arg(format!("LD_PRELOAD={}", self.at("later.so").display()));
        command.arg(self.at("xtask")).args(arguments);
        command
            .current_dir(self.at("checkout"))
            .env("PATH", path.unwrap_or_default())
            .env("CARGO_HOME", self.at("cargo"))
            .env("HOME", self.at("home"))
            .env("TMPDIR", self.at("tmp"))
            .env("USER", NAME)
            .env("LOGNAME", NAME)
            .env("TZ", "Pacific/Chatham")
            .env("LC_ALL", "C")
            .env("CARGO_BUILD_JOBS", "3")
            .env("BRAMBLE_STORE", self.at("store"));
        for variable in OWN_TO_THE_CALLER {
            command.env_remove(variable);
        }
        // The program looks for its checkout where cargo would say it is.
        command.env("CARGO_MANIFEST_DIR", self.at("checkout/xtask"));
        command
    }

    /// With objects of its own, which may then belong to somebody else.
    fn check_out(&self, commit: &str) -> Result<()> {
        let log = log_path("release-checkout")?;
        let checkout = self.at("checkout");
        let mut clone = Command::new("git");
        clone.args(["clone", "--quiet", "--no-checkout", "--no-hardlinks"]);
        run_logged(clone.arg(project::root()).arg(&checkout), &log)?;
        let mut check_out = Command::new("git");
        check_out.current_dir(&checkout);
        check_out.args(["checkout", "--quiet", "--detach", commit]);
        run_logged(&mut check_out, &log)
    }

    /// What cargo has downloaded, so that a build without a network stays one; what it has unpacked, it unpacks anew.
    fn copy_crates(&self) -> Result<()> {
        let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
        let Some(from) = env::var_os("CARGO_HOME").map(PathBuf::from).or(home) else {
            return Ok(());
        };
        let to = self.at("cargo");
        fs::create_dir_all(to.join("registry"))?;
        for name in ["config.toml", "registry/index", "registry/cache"] {
            if from.join(name).exists() {
                let mut copy = Command::new("cp");
                copy.args(["-r", "--reflink=auto"]);
                copy.arg(from.join(name)).arg(to.join(name));
                run_logged(&mut copy, &log_path("release-crates")?)?;
            }
        }
        Ok(())
    }

    fn make_clock(&self) -> Result<()> {
        let source = self.at("later.c");
        fs::write(&source, LATER)?;
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror"]);
        compile.arg(format!("-DLATER={A_DAY}"));
        compile.arg("-o").arg(self.at("later.so")).arg(source);
        run_logged(&mut compile, &log_path("release-clock")?)
    }

    /// Hands everything over, and writes what makes them a user with ids to map.
    fn become_somebodys(&self) -> Result<()> {
        let passwd = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        let entry = format!(
            "{NAME}:x:{USER}:{USER}::{}:/bin/sh\n",
            self.at("home").display()
        );
        fs::write(self.at("passwd"), passwd + &entry)?;
        fs::write(self.at("subid"), format!("{NAME}:1000000:65536\n"))?;
        let mut own = Command::new("chown");
        own.args(["--recursive", &format!("{USER}:{USER}")]);
        run_logged(own.arg(self.dir.path()), &log_path("release-owner")?)
    }
}

/// Arguments: the directory, the toolchain, the user, then a command for env(1).
const AS_ANOTHER: &str = r#"
set -eu
dir=$1 toolchain=$2 user=$3
shift 3
mount --bind "$toolchain" "$dir/toolchain"
mount --bind "$dir/passwd" /etc/passwd
for ids in /etc/subuid /etc/subgid; do
    [ ! -e "$ids" ] || mount --bind "$dir/subid" "$ids"
done
umask 077
exec setpriv --reuid="$user" --regid="$user" --clear-groups --inh-caps=-all env "$@"
"#;

/// Whether what a second build of `extent` needs is there, as far as that can be known before the first.
///
/// # Errors
/// It is not.
pub(super) fn is_possible(extent: Extent) -> Result<()> {
    let maps_ids = || find("newuidmap").is_some() && Path::new("/etc/subuid").exists();
    if extent == Extent::All && can_be_another() && !maps_ids() {
        bail!(
            "the card is built again by another user, who needs newuidmap and /etc/subuid (Debian: uidmap): install it, \
             or leave the card out by --no-card"
        );
    }
    Ok(())
}

fn can_be_another() -> bool {
    Uid::effective().is_root() && can_have_own_mounts()
}

/// Containers may keep even root from that.
fn can_have_own_mounts() -> bool {
    let tried = Command::new("unshare").args(["--mount", "true"]).output();
    tried.is_ok_and(|output| output.status.success())
}

/// Where the compiler and cargo are that build here.
fn toolchain() -> Result<PathBuf> {
    let asked = Command::new("rustc").args(["--print", "sysroot"]).output();
    let output = asked.context("cannot run rustc")?;
    if !output.status.success() {
        bail!("rustc does not say where it is");
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}
