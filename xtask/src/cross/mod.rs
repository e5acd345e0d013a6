//! `cargo xtask cross`: what runs on the nodes, compiled here.
//!
//! Which Rust compiler does it is a choice behind one function, [`choose`]. Whatever the choice, the
//! programs come out static, so that they run on any ARM64 Linux and in an image without anything else.

mod check;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::doctor::{Version, find};
use crate::project;

/// What the nodes are, to Rust.
pub(crate) const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Compiles and links C for the nodes.
pub(crate) const LINKER: &str = "aarch64-linux-gnu-gcc";

/// The oldest Rust that the workspace takes.
const RUST: &[u32] = &[1, 88];

/// Where Debian's own packages put theirs.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// Compile what runs on the nodes: static ARM64 programs
///
/// Uses the Rust that runs cargo if it has the ARM64 standard library (`rustup target add`), else
/// Debian's rustc-web, or `cross` and a container engine when asked to. Puts bramble-node where `bramble
/// provision` looks for it: beside bramble in target/release.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask cross\n  cargo xtask cross --cross")]
pub(crate) struct Args {
    /// Compile in a container by means of `cross` (see Cross.toml)
    #[arg(long)]
    cross: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let choice = choose(args.cross)?;
    println!("toolchain: {choice}");
    let built = build(&choice)?;
    let release = project::target_dir().join("release");
    let node = release.join("bramble-node-aarch64");
    fs::create_dir_all(&release)
        .and_then(|()| fs::copy(&built.node, &node))
        .with_context(|| format!("cannot write {}", node.display()))?;
    println!("{}\n{}", node.display(), built.search.display());
    Ok(())
}

/// The programs for the nodes.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// `bramble-node`
    pub(crate) node: PathBuf,
    /// `bramble-search`
    pub(crate) search: PathBuf,
}

/// The programs for the operator's machine.
#[derive(Clone, Debug)]
pub(crate) struct HostPrograms {
    /// `bramble`
    pub(crate) bramble: PathBuf,
    /// `bramble-search`, which must lie beside it
    pub(crate) search: PathBuf,
}

/// Who compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The Rust that runs cargo.
    Native,
    /// Debian's packages rustc-web and libstd-rust-web-dev:arm64.
    Debian,
    /// `cross`, in a container.
    Cross,
}

impl Toolchain {
    /// Its compiler, unless that is in a container.
    pub(crate) fn rustc(self) -> Option<&'static str> {
        match self {
            Toolchain::Native => Some("rustc"),
            Toolchain::Debian => Some(DEBIAN_RUSTC),
            Toolchain::Cross => None,
        }
    }
}

/// Who compiles, and why; displays as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) toolchain: Toolchain,
    pub(crate) because: &'static str,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.toolchain {
            Toolchain::Native => "the Rust that runs cargo",
            Toolchain::Debian => "Debian's rustc-web",
            Toolchain::Cross => "cross",
        };
        write!(f, "{name}, because {}", self.because)
    }
}

/// Chooses the toolchain.
///
/// # Errors
/// There is none, or `cross` was asked for and is not installed.
pub(crate) fn choose(asked_for_cross: bool) -> Result<Choice> {
    if asked_for_cross {
        if find("cross").is_none() {
            bail!("--cross needs the program `cross`: cargo install --locked cross");
        }
        return Ok(Choice {
            toolchain: Toolchain::Cross,
            because: "--cross asks for it",
        });
    }
    native_or_debian().context(
        "no Rust compiler here has the standard library for ARM64: `cargo xtask doctor` says what to install",
    )
}

/// The choice between the compilers that are installed, if any will do.
pub(crate) fn native_or_debian() -> Option<Choice> {
    if has_arm64_std(Path::new("rustc")) {
        return Some(Choice {
            toolchain: Toolchain::Native,
            because: "it has the standard library for ARM64",
        });
    }
    let debian = Path::new(DEBIAN_RUSTC);
    let recent = printed(debian, &["--version"])
        .and_then(|text| Version::find(&text))
        .is_some_and(|version| version >= Version::new(RUST));
    (recent && has_arm64_std(debian)).then_some(Choice {
        toolchain: Toolchain::Debian,
        because: "the Rust that runs cargo has no standard library for ARM64 \
                  and `rustup target add` has not brought it",
    })
}

/// Can the C cross-compiler link statically? Some systems have it without any C library.
pub(crate) fn static_libc_is_there() -> bool {
    let libc = printed(Path::new(LINKER), &["-print-file-name=libc.a"]);
    libc.is_some_and(|path| Path::new(path.trim()).is_absolute())
}

fn has_arm64_std(rustc: &Path) -> bool {
    let Some(dir) = printed(rustc, &["--print", "target-libdir", "--target", TARGET]) else {
        return false;
    };
    let Ok(mut entries) = fs::read_dir(dir.trim()) else {
        return false;
    };
    entries.any(|entry| {
        let name = entry.map(|entry| entry.file_name());
        name.is_ok_and(|name| name.to_string_lossy().starts_with("libstd-"))
    })
}

fn printed(program: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(text)
}

/// Compiles `bramble-node` and `bramble-search` for the nodes, and makes sure that they are static.
///
/// # Errors
/// The compiler's, with the end of its log; or a program that is not what the nodes can run.
pub(crate) fn build(choice: &Choice) -> Result<Programs> {
    let target_dir = target_dir(choice.toolchain);
    let mut command = command(choice.toolchain, &target_dir);
    command
        .args(["build", "--locked", "--release", "--target", TARGET])
        .args(["--package", "bramble-node", "--package", "bramble-search"]);
    project::run_logged(&mut command, &project::log_path("cross")?)?;

    let out = target_dir.join(TARGET).join("release");
    let programs = Programs {
        node: out.join("bramble-node"),
        search: out.join("bramble-search"),
    };
    for program in [&programs.node, &programs.search] {
        check::is_static_arm64(program)?;
    }
    Ok(programs)
}

/// Compiles `bramble` for operators whose machine is of the nodes' kind.
///
/// # Errors
/// As [`build`].
pub(crate) fn build_operator(choice: &Choice) -> Result<PathBuf> {
    let target_dir = target_dir(choice.toolchain);
    let mut command = command(choice.toolchain, &target_dir);
    command
        .args(["build", "--locked", "--release", "--target", TARGET])
        .args(["--package", "bramble-cli"]);
    project::run_logged(&mut command, &project::log_path("cross-operator")?)?;
    let program = target_dir.join(TARGET).join("release/bramble");
    check::is_static_arm64(&program)?;
    Ok(program)
}

/// Compiles `bramble` and `bramble-search` for machines of this one's kind, without a trace of where it was: what is
/// rehearsed is what is handed out.
///
/// # Errors
/// The compiler's, with the end of its log.
pub(crate) fn build_for_host() -> Result<HostPrograms> {
    let target = host_target();
    let target_dir = target_dir(Toolchain::Native);
    let mut command = project::cargo();
    command
        .env("CARGO_TARGET_DIR", &target_dir)
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", remapped().join("\x1f"))
        .env_remove("CFLAGS")
        .env(format!("CFLAGS_{}", target.replace('-', "_")), c_flags())
        .args(["build", "--locked", "--release", "--target", &target])
        .args(["--package", "bramble-cli", "--package", "bramble-search"]);
    project::run_logged(&mut command, &project::log_path("host-build")?)?;
    Ok(for_host())
}

/// Where [`build_for_host`] leaves them.
pub(crate) fn for_host() -> HostPrograms {
    let out = target_dir(Toolchain::Native)
        .join(host_target())
        .join("release");
    HostPrograms {
        bramble: out.join("bramble"),
        search: out.join("bramble-search"),
    }
}

fn host_target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// One for all kinds of machines: the macros and build scripts that they have in common are compiled once. A container may
/// have another C library than this machine, and could not run what was compiled here.
fn target_dir(toolchain: Toolchain) -> PathBuf {
    project::target_dir().join(match toolchain {
        Toolchain::Native | Toolchain::Debian => "programs",
        Toolchain::Cross => "cross",
    })
}

fn command(toolchain: Toolchain, target_dir: &Path) -> Command {
    let mut command = match toolchain {
        Toolchain::Cross => Command::new("cross"),
        Toolchain::Native | Toolchain::Debian => project::cargo(),
    };
    command
        .current_dir(project::root())
        .env("CARGO_TARGET_DIR", target_dir)
        .env_remove("RUSTFLAGS")
        .env_remove("CFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags().join("\x1f"));
    if toolchain == Toolchain::Debian {
        command.env("RUSTC", DEBIAN_RUSTC);
    }
    if toolchain != Toolchain::Cross {
        command
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
            .env("CC_aarch64_unknown_linux_gnu", LINKER)
            .env("CFLAGS_aarch64_unknown_linux_gnu", c_flags());
    }
    command
}

/// Static, and without a trace of where it was compiled.
fn rust_flags() -> Vec<String> {
    let flags = ["-Ctarget-feature=+crt-static".to_owned()];
    flags.into_iter().chain(remapped()).collect()
}

fn remapped() -> Vec<String> {
    let remap =
        |(from, to): &(PathBuf, &str)| format!("--remap-path-prefix={}={to}", from.display());
    places().iter().map(remap).collect()
}

fn c_flags() -> String {
    let map = |(from, to): &(PathBuf, &str)| format!("-ffile-prefix-map={}={to}", from.display());
    let flags: Vec<String> = places().iter().map(map).collect();
    flags.join(" ")
}

/// Where sources lie here, and what to call that instead.
fn places() -> Vec<(PathBuf, &'static str)> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| home.map(|home| home.join(".cargo")));
    let mut places = vec![(project::root(), "/bramble")];
    places.extend(cargo_home.map(|dir| (dir, "/cargo")));
    places
}
