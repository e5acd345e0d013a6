//! `cargo xtask oci`: the container images, made without a container engine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bramble_image::oci::{self, Seed};

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
#[command(after_help = "Examples:\n  cargo xtask oci\n  skopeo inspect oci:target/oci/redis:0.1.0")]
pub(crate) struct Args {
    /// Where to put the image layouts [default: target/oci]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Compile the search service by means of `cross` (see Cross.toml)
    #[arg(long)]
    cross: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let choice = cross::choose(args.cross)?;
    let programs = cross::build(&choice)?;
    let out = args.out.clone().unwrap_or_else(default_dir);
    for layout in build(&programs.search, &out, None)? {
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
            oci::search(&inputs.store, Seed::Web, search_program, VERSION)?,
        ),
        (
            "seed-miner",
            oci::search(&inputs.store, Seed::Miner, search_program, VERSION)?,
        ),
    ];
    let copy = |(name, image): (&str, bramble_store::Artifact)| {
        let layout = out.join(name);
        copy_fresh(&image.path, &layout)
            .with_context(|| format!("cannot write the image layout {}", layout.display()))?;
        Ok(layout)
    };
    images.into_iter().map(copy).collect()
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
