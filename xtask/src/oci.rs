//! `cargo xtask oci`: the container images, made without a container engine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bramble_image::oci::layout::Architecture;
use bramble_image::oci::{self, Seed};
use bramble_store::Artifact;

use crate::cross;
use crate::lock;
use crate::project;

/// Their tag: the workspace's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Make the container images: seed-web, seed-miner, redis and registry
///
/// Each becomes an OCI image layout, DIR/NAME, for linux/arm64. No container engine is needed; Redis and
/// the registry are Debian's ARM64 packages, unpacked without running them.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask oci
  skopeo inspect oci:target/oci/redis:0.1.0
  cargo xtask oci --here && tar -C target/oci-here/seed-web -c . | docker load")]
pub(crate) struct Args {
    /// Where to put the image layouts [default: target/oci, target/oci-here]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Compile the search service by means of `cross` (see Cross.toml)
    #[arg(long)]
    cross: bool,
    /// For this machine's processor rather than the nodes': seed-web and seed-miner, and Redis as it is installed here
    #[arg(long, conflicts_with = "cross")]
    here: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let out = args.out.clone();
    let layouts = if args.here {
        here(&out.unwrap_or_else(|| project::target_dir().join("oci-here")))?
    } else {
        let choice = cross::choose(args.cross)?;
        let programs = cross::build(&choice)?;
        build(&programs.search, &out.unwrap_or_else(default_dir), None)?
    };
    for layout in layouts {
        println!("{}", layout.display());
    }
    Ok(())
}

/// Where the image layouts go unless told otherwise.
pub(crate) fn default_dir() -> PathBuf {
    project::target_dir().join("oci")
}

/// Makes the images, or takes them from the store, and puts their layouts into `out`, which are returned.
///
/// # Errors
/// Packages that cannot be fetched, files that cannot be written.
pub(crate) fn build(
    search_program: &Path,
    out: &Path,
    mirror: Option<&str>,
) -> Result<Vec<PathBuf>> {
    let inputs = lock::inputs(mirror)?;
    let images = [
        ("registry", oci::registry(&inputs, VERSION)?),
        ("redis", oci::redis(&inputs, VERSION)?),
        (
            "seed-web",
            oci::search(
                &inputs.store,
                Seed::Web,
                search_program,
                VERSION,
                Architecture::Arm64,
            )?,
        ),
        (
            "seed-miner",
            oci::search(
                &inputs.store,
                Seed::Miner,
                search_program,
                VERSION,
                Architecture::Arm64,
            )?,
        ),
    ];
    let images = images.into_iter();
    images
        .map(|(name, image)| copied(&image, &out.join(name)))
        .collect()
}

/// Makes the images that Docker Compose needs on this machine, and puts their layouts into `out`, which are returned.
///
/// # Errors
/// The compiler's; files that cannot be written.
pub(crate) fn here(out: &Path) -> Result<Vec<PathBuf>> {
    let program = cross::build_for_host()?.search;
    let store = lock::inputs(None)?.store;
    let mut layouts = Vec::new();
    for (name, seed) in [("seed-web", Seed::Web), ("seed-miner", Seed::Miner)] {
        let image = oci::search(&store, seed, &program, VERSION, Architecture::OfThisMachine)?;
        layouts.push(copied(&image, &out.join(name))?);
    }
    let redis = out.join("redis");
    if redis.exists() {
        fs::remove_dir_all(&redis)?;
    }
    match oci::redis_of_here(VERSION, &redis) {
        Ok(()) => layouts.push(redis),
        // A registry has it, where one can be reached.
        Err(error) => eprintln!("note: no image of redis: {error:#}"),
    }
    Ok(layouts)
}

/// Puts the layout of an image in place of what is at `layout`, which is returned.
fn copied(image: &Artifact, layout: &Path) -> Result<PathBuf> {
    copy_fresh(&image.path, layout)
        .with_context(|| format!("cannot write the image layout {}", layout.display()))?;
    Ok(layout.to_owned())
}

/// Replaces `to` with a copy of the directory `from`.
fn copy_fresh(from: &Path, to: &Path) -> std::io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    copy_dir(from, to)
}

fn copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_dir(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}
