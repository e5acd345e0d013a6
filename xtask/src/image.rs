//! `cargo xtask image`: the images of SD cards.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use bramble_image::bmap::Bmap;
use bramble_image::card;

use crate::{cross, lock, project};

/// Make the image of an SD card
///
/// Without --node, the image that is the same for every node; `bramble flash --base` makes of it the card of one.
/// With --node, the image of that node's card, which holds the node's private host key: only you can read it, and it is
/// to stay so.
///
/// Either is written to DIR/NAME.img.zst, with a block map beside it, which `bramble flash` and `bmaptool` use. No
/// root rights and no loop devices are needed.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask image
  cargo xtask image --node worker3 --cluster cluster.toml
  bramble flash --base target/images/card.img.zst worker3=/dev/sdb")]
pub(crate) struct Args {
    /// Make the image of this node's card; may be given more than once
    #[arg(long, value_name = "NAME")]
    node: Vec<String>,
    /// The cluster file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "cluster.toml",
        env = "BRAMBLE_CLUSTER"
    )]
    cluster: PathBuf,
    /// The directory of the cluster's keys [default: that of `bramble`]
    #[arg(long, value_name = "DIR", env = "BRAMBLE_STATE")]
    state: Option<PathBuf>,
    /// Where to put the images [default: target/images]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A Debian mirror [default: where apt gets this machine's packages from]
    #[arg(long, value_name = "URL", env = "BRAMBLE_DEBIAN_MIRROR")]
    mirror: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| project::target_dir().join("images"));
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let card = card::get(&lock::inputs(args.mirror.as_deref())?)?;
    let image = card.path.join(card::IMAGE);
    if args.node.is_empty() {
        let (packed, map) = pack(&image, &out, "card")?;
        println!("{}\n{}", packed.display(), map.display());
        return Ok(());
    }
    let bramble = cross::build_for_host()?.bramble;
    for node in &args.node {
        // It holds a private key, and without a name nothing of it stays behind, even if we are killed.
        let own = tempfile::tempfile_in(&out)
            .with_context(|| format!("cannot make a file in {}", out.display()))?;
        flash(&bramble, args, &image, node, own.try_clone()?)?;
        let path = format!("/proc/self/fd/{}", own.as_raw_fd());
        let (packed, map) = pack(Path::new(&path), &out, node)?;
        println!("{}\n{}", packed.display(), map.display());
    }
    Ok(())
}

/// As for a card of plastic.
fn flash(bramble: &Path, args: &Args, image: &Path, node: &str, to: File) -> Result<()> {
    let mut command = Command::new(bramble);
    command.arg("--cluster").arg(&args.cluster);
    if let Some(state) = &args.state {
        command.arg("--state").arg(state);
    }
    command.args(["flash", "--no-verify", "--base"]).arg(image);
    command.arg(format!("{node}=/dev/stdin")).stdin(to);
    command.stdout(Stdio::null());
    match command.status().context("cannot run bramble")? {
        status if status.success() => Ok(()),
        status => bail!("cannot make the card of {node} ({status})"),
    }
}

/// Writes `NAME.img.zst` and `NAME.img.bmap` into `out`.
pub(crate) fn pack(image: &Path, out: &Path, name: &str) -> Result<(PathBuf, PathBuf)> {
    let packed = out.join(format!("{name}.img.zst"));
    card::compress(image, &packed)?;
    let map = out.join(format!("{name}.img.bmap"));
    let text = Bmap::of(&File::open(image)?)?.render();
    fs::write(&map, text).with_context(|| format!("cannot write {}", map.display()))?;
    Ok((packed, map))
}
