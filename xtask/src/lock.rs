//! `cargo xtask lock`: the lock file, by which every build knows its inputs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use bramble_image::Inputs;
use bramble_image::debian::mirror::Mirrors;
use bramble_image::debian::{self, resolve};
use bramble_store::{Change, Image, LockFile, Store};

use crate::{cross, project, tools};

/// Write bramble.lock: every package, image and tool that builds use, by version and content
///
/// Builds never choose a package: they take what stands in the lock file, from the store or from a mirror, and
/// hold it against its hash. This chooses anew, with the newest indices of the mirror that apt uses here, and
/// prints what changed.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask lock                       take the newest of everything
  cargo xtask lock --update docker.io    take the newest of one package, and keep the rest
  cargo xtask lock --check               see whether the file has what builds ask for; needs no network

A package that has left the mirror is taken from the store, or from the mirror of old packages that the variable
BRAMBLE_DEBIAN_SNAPSHOT names.")]
pub(crate) struct Args {
    /// Only take the newest of this package; may be given more than once
    #[arg(long, value_name = "PACKAGE", conflicts_with = "check")]
    update: Vec<String>,
    /// Ask the registries of container images that others build for their digests, by skopeo
    #[arg(long, conflicts_with = "check")]
    images: bool,
    /// Write nothing; see whether the file has what builds ask for
    #[arg(long)]
    check: bool,
    /// Write nothing; print what would change
    #[arg(long, conflicts_with = "check")]
    dry_run: bool,
    /// Print what changed as JSON
    #[arg(long, conflicts_with = "check")]
    json: bool,
    /// A Debian mirror [default: where apt gets this machine's packages from]
    #[arg(long, value_name = "URL", env = "BRAMBLE_DEBIAN_MIRROR")]
    mirror: Option<String>,
}

/// Container images that stacks use and this repository does not build.
const FOREIGN: [&str; 2] = ["portainer/agent", "portainer/portainer-ce"];

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.check {
        return check();
    }
    let old = match path().exists() {
        true => Some(LockFile::read(&path())?),
        false => None,
    };
    let mirrors = Mirrors::new(args.mirror.as_deref());
    let mut new = resolve::resolve(
        &Store::open()?,
        &mirrors,
        &debian::sets(),
        old.as_ref(),
        &args.update,
    )?;
    new.tools = tools::used(tools::ALL, None);
    new.image = images(&new.image, args.images)?;

    let empty = LockFile::new(&new.suite);
    report(&old.as_ref().unwrap_or(&empty).changes(&new), args.json)?;
    warn_of_unresolved(&new);
    if args.dry_run {
        return Ok(());
    }
    fs::write(path(), new.render()?).with_context(|| format!("cannot write {}", path().display()))
}

/// What builds are made from, by the lock file of this checkout.
///
/// # Errors
/// There is no store or no lock file.
pub(crate) fn inputs(mirror: Option<&str>) -> Result<Inputs> {
    Inputs::open(Store::open()?, &path(), mirror)
}

fn path() -> PathBuf {
    project::root().join("bramble.lock")
}

/// Whether the lock file has what builds ask for.
///
/// # Errors
/// There is none, it is damaged, or it was written for something else.
pub(crate) fn check() -> Result<()> {
    let lock = LockFile::read(&path())?;
    let mut packages = 0;
    for set in debian::sets() {
        packages += lock.set(set.name, &set.packages)?.len();
    }
    for note in tools::notes(
        &lock.tools,
        &tools::used(tools::ALL, cross::native_or_debian()),
    ) {
        eprintln!("{note}");
    }
    warn_of_unresolved(&lock);
    let files = lock.package.len();
    println!("bramble.lock: {files} packages, used {packages} times, are what builds ask for");
    Ok(())
}

fn report(changes: &[Change], json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(changes)?);
        return Ok(());
    }
    for change in changes {
        println!("{change}");
    }
    println!("bramble.lock: {} changed", changes.len());
    Ok(())
}

fn warn_of_unresolved(lock: &LockFile) {
    for image in lock.image.iter().filter(|image| image.digest.is_none()) {
        eprintln!(
            "warning: {}:{} is UNRESOLVED: nobody has asked its registry for the digest yet, so a stack takes \
             whatever the tag means that day; where that registry can be reached, run `cargo xtask lock --images`",
            image.name, image.tag
        );
    }
}

fn images(old: &[Image], ask: bool) -> Result<Vec<Image>> {
    let tag = bramble_cluster::spec::PORTAINER_TAG;
    let image = |name: &str| -> Result<Image> {
        let known = old
            .iter()
            .find(|image| image.name == name && image.tag == tag);
        let digest = match ask {
            true => Some(digest(name, tag)?),
            false => known.and_then(|image| image.digest.clone()),
        };
        Ok(Image {
            name: name.to_owned(),
            tag: tag.to_owned(),
            digest,
        })
    };
    FOREIGN.into_iter().map(image).collect()
}

fn digest(name: &str, tag: &str) -> Result<String> {
    let reference = format!("docker://{name}:{tag}");
    let mut skopeo = Command::new("skopeo");
    skopeo.args([
        "inspect",
        "--no-tags",
        "--format",
        "{{.Digest}}",
        &reference,
    ]);
    let output = skopeo
        .output()
        .context("cannot run skopeo; install it to ask registries")?;
    if !output.status.success() {
        bail!(
            "cannot resolve {name}:{tag}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
