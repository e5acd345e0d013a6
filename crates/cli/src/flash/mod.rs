//! `bramble flash`: images onto cards.

mod boot;
mod device;
mod image;
mod progress;
mod write;

use std::io::{IsTerminal, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bramble_cluster::spec::{Cluster, Node};
use bramble_image::fat::Fat;
use serde::Serialize;

use crate::context::Context;
use crate::failure::Usage;
use crate::state::HOST_KEYS_GUIDE;
use crate::text::{bytes, count, table};
use boot::System;
use device::{Device, Kernel, Place, Target};
use image::{Card, Image};
use progress::Progress;
use write::Content;

/// Write images to SD cards, and read them back.
///
/// A card is written so that it is either whole or does not boot: its first sector comes last. It is then read back
/// past this machine's caches and compared. Disks that are mounted, a part of this machine, too small or
/// write-protected are refused.
///
/// With --base, each card becomes the card of one node: its name, keys and first-boot settings are written to its
/// boot partition. The image may be one of `cargo xtask image`, or Raspberry Pi OS 12 (Bookworm) or later.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bramble flash --list
  bramble flash --base card.img.zst worker1=/dev/sda worker2=/dev/sdb
  bramble flash --base 2025-10-01-raspios-trixie-arm64-lite.img.xz manager1=/dev/mmcblk0
  bramble flash --image worker3.img.zst /dev/sdb
  bramble flash --base card.img.zst worker3=worker3.img      to a file

A block map beside the image (card.img.bmap of card.img.zst) says what of it need not be written.")]
pub(crate) struct Args {
    /// The image to make the cards of nodes from: .img, .img.xz or .img.zst.
    #[arg(long, value_name = "IMAGE", required_unless_present_any = ["image", "list"])]
    base: Option<PathBuf>,

    /// An image to write as it is.
    #[arg(long, value_name = "IMAGE", conflicts_with = "base")]
    image: Option<PathBuf>,

    /// Show the disks that could be written to, and why others are not.
    #[arg(long, conflicts_with_all = ["base", "image", "targets"])]
    list: bool,

    /// What to write to: a whole disk or a file; with --base, after the name of the node that it is for.
    #[arg(value_name = "[NODE=]DEVICE", required_unless_present = "list")]
    targets: Vec<Wanted>,

    /// What the first boot of the base image understands [default: what its boot partition looks like].
    #[arg(long, value_name = "SYSTEM", requires = "base")]
    system: Option<System>,

    /// Erase what is on the disks without asking.
    #[arg(long)]
    yes: bool,

    /// Show what would be written where, and write nothing.
    #[arg(long)]
    dry_run: bool,

    /// Do not read the cards back.
    #[arg(long)]
    no_verify: bool,

    /// Print what came of it as JSON.
    #[arg(long)]
    json: bool,
}

/// A target as it is named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    node: Option<String>,
    path: PathBuf,
}

impl FromStr for Wanted {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A path may hold a `=`, the name of a node may hold no slash.
        let node = text.split_once('=').filter(|(node, _)| !node.contains('/'));
        Ok(match node {
            Some((node, path)) => Wanted {
                node: Some(node.to_owned()),
                path: path.into(),
            },
            None => Wanted {
                node: None,
                path: text.into(),
            },
        })
    }
}

/// A card to write.
struct Job<'a> {
    node: Option<String>,
    target: Target,
    card: Card<'a>,
}

/// What came of a card.
#[derive(Debug, Serialize)]
struct Done {
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    target: PathBuf,
    /// Bytes written, and read back if asked to.
    bytes: u64,
    verified: bool,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let kernel = Kernel::running();
    if args.list {
        return list(&kernel.disks()?, args.json);
    }
    let Some(path) = args.base.as_ref().or(args.image.as_ref()) else {
        return Err(Usage::new("name an image with --base or --image").into());
    };
    let targets = targets(&kernel, args, path)?;
    // Before the image is unpacked, so that a misspelt node costs no time.
    let cluster = args.base.is_some().then(|| context.cluster()).transpose()?;
    let nodes = nodes(cluster.as_ref(), &args.targets)?;

    let unpacking = Progress::unpacking(path);
    let image = Image::open(path, &|bytes| unpacking.advance(bytes))?;
    unpacking.finish();
    refuse(&targets, image.size)?;
    let cards = match &cluster {
        Some(cluster) => own_cards(context, args, cluster, &nodes, &image)?,
        None => targets.iter().map(|_| Card::plain(&image)).collect(),
    };
    let jobs: Vec<Job<'_>> = targets
        .into_iter()
        .zip(&args.targets)
        .zip(cards)
        .map(|((target, wanted), card)| Job {
            node: wanted.node.clone(),
            target,
            card,
        })
        .collect();
    if args.dry_run {
        print!("{}", plan(&jobs));
        return Ok(ExitCode::SUCCESS);
    }
    confirm(&jobs, args.yes)?;
    still_there(&kernel, &jobs)?;
    report(&write_all(&jobs, !args.no_verify), args.json)
}

/// What to write to: each something else, and none of it the image, which would be gone before it is read.
fn targets(kernel: &Kernel, args: &Args, image: &Path) -> anyhow::Result<Vec<Target>> {
    // Whether there is such an image is found out when it is opened.
    let image = Place::of(image).ok();
    let mut targets: Vec<Target> = Vec::new();
    let mut places = Vec::new();
    for wanted in &args.targets {
        let target = kernel.target(&wanted.path)?;
        let place = target.place()?;
        let shown = target.path().display();
        if image.as_ref() == Some(&place) {
            return Err(
                Usage::new(format!("{shown} is the image that is to be written"))
                    .help("name a disk or another file to write it to")
                    .into(),
            );
        }
        if let Some(first) = places.iter().position(|other| *other == place) {
            let first = targets[first].path().display();
            return Err(Usage::new(format!("{shown} is named twice, first as {first}")).into());
        }
        places.push(place);
        targets.push(target);
    }
    Ok(targets)
}

/// The nodes that the cards are for; none without a cluster.
fn nodes<'a>(cluster: Option<&'a Cluster>, wanted: &[Wanted]) -> anyhow::Result<Vec<&'a Node>> {
    let Some(cluster) = cluster else {
        if let Some(Wanted {
            node: Some(node),
            path,
        }) = wanted.iter().find(|wanted| wanted.node.is_some())
        {
            return Err(Usage::new(format!(
                "{node}={} asks for the card of a node",
                path.display()
            ))
            .help("name the image with --base to make cards of nodes; --image writes it as it is")
            .into());
        }
        return Ok(Vec::new());
    };
    let names = || {
        cluster
            .nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let node = |wanted: &Wanted| -> anyhow::Result<&Node> {
        let shown = wanted.path.display();
        let Some(name) = &wanted.node else {
            return Err(Usage::new(format!("whose card is {shown} to be?"))
                .help(format!("write NODE={shown}, with one of {}", names()))
                .into());
        };
        let found = cluster.nodes.iter().find(|node| node.name == *name);
        found.ok_or_else(|| {
            Usage::new(format!("the cluster {} has no node {name}", cluster.name))
                .help(format!("it has {}", names()))
                .into()
        })
    };
    let nodes: Vec<&Node> = wanted.iter().map(node).collect::<Result<_, _>>()?;
    for (index, node) in nodes.iter().enumerate() {
        if nodes[..index].iter().any(|other| other.name == node.name) {
            return Err(Usage::new(format!("{} would get two cards", node.name)).into());
        }
    }
    Ok(nodes)
}

/// All objections at once.
fn refuse(targets: &[Target], size: u64) -> anyhow::Result<()> {
    let objection = |target: &Target| match target {
        Target::Device(device) => device
            .refusal(size)
            .map(|why| format!("{} ({}): {why}", device.path.display(), device.name())),
        Target::File(_) => None,
    };
    let objections: Vec<String> = targets.iter().filter_map(objection).collect();
    match objections.is_empty() {
        true => Ok(()),
        false => Err(Usage::new(format!("not written: {}", objections.join("; "))).into()),
    }
}

fn own_cards<'a>(
    context: &Context,
    args: &Args,
    cluster: &Cluster,
    nodes: &[&Node],
    image: &'a Image,
) -> anyhow::Result<Vec<Card<'a>>> {
    let state = context.state(cluster)?;
    let own = |node: &&Node| -> anyhow::Result<Card<'a>> {
        let card = Card::own(image)?;
        if let Some((place, copy)) = &card.boot {
            let partition = Fat::open(copy, place.clone())?;
            let system = match args.system {
                Some(system) => system,
                None => System::of(&partition)?,
            };
            boot::customise(&partition, system, cluster, node, &state)
                .with_context(|| format!("cannot make the card of {}", node.name))?;
            partition.close()?;
            if system == System::Bookworm {
                eprintln!("{}", own_host_key(&node.name));
            }
        }
        Ok(card)
    };
    nodes.iter().map(own).collect()
}

/// What is left to do where the first boot takes no host key.
fn own_host_key(node: &str) -> String {
    format!(
        "warning: {node}: Raspberry Pi OS 12 makes its own host key at its first boot; bring it the one that `bramble \
         keys` made after that, as {HOST_KEYS_GUIDE} says, or use an image of version 13"
    )
}

fn plan(jobs: &[Job<'_>]) -> String {
    let row = |job: &Job<'_>| {
        let (what, size) = match &job.target {
            Target::Device(device) => (device.name(), bytes(device.size)),
            Target::File(_) => ("a file".to_owned(), bytes(job.card.image.size)),
        };
        let node = job
            .node
            .clone()
            .unwrap_or_else(|| "the image as it is".to_owned());
        let writes = format!("{} to write", bytes(write::length(&job.card)));
        [
            job.target.path().display().to_string(),
            what,
            size,
            format!("<- {node}"),
            writes,
        ]
    };
    table(&jobs.iter().map(row).collect::<Vec<_>>())
}

/// Files are not asked about: they are named by whoever wants them.
fn confirm(jobs: &[Job<'_>], yes: bool) -> anyhow::Result<()> {
    let is_disk = |job: &&Job<'_>| matches!(job.target, Target::Device(_));
    let disks = jobs.iter().filter(is_disk).count();
    if yes || disks == 0 {
        return Ok(());
    }
    eprint!("{}", plan(jobs));
    if !stdin().is_terminal() {
        return Err(
            Usage::new("nobody is here to confirm that these disks may be erased")
                .help("say so with --yes")
                .into(),
        );
    }
    eprint!(
        "Everything on {} will be lost. Type `yes` to go on: ",
        count(disks, "disk")
    );
    stdout().flush().ok();
    let mut answer = String::new();
    stdin()
        .read_line(&mut answer)
        .context("cannot read the answer")?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => bail!("nothing was written"),
    }
}

/// Cards are quickly swapped, and unpacking takes minutes: what is written to is what was shown.
fn still_there(kernel: &Kernel, jobs: &[Job<'_>]) -> anyhow::Result<()> {
    for Job { target, .. } in jobs {
        let path = target.path();
        if !kernel.target(path)?.is_still(target) {
            bail!(
                "{} is no longer what it was when you were asked: nothing was written",
                path.display()
            );
        }
    }
    Ok(())
}

/// All cards at once, each at its own speed.
fn write_all(jobs: &[Job<'_>], verify: bool) -> Vec<Done> {
    let progress = Progress::writing(jobs.iter().map(|job| {
        let steps = if verify { 2 } else { 1 };
        let name = job
            .node
            .clone()
            .unwrap_or_else(|| job.target.path().display().to_string());
        (name, steps * write::length(&job.card))
    }));
    thread::scope(|scope| {
        let running: Vec<_> = jobs
            .iter()
            .zip(&progress)
            .map(|(job, progress)| scope.spawn(move || write_one(job, verify, progress)))
            .collect();
        let ended = running.into_iter().zip(jobs).map(|(thread, job)| {
            let panicked = |_| {
                job.done(
                    Duration::ZERO,
                    verify,
                    Err(anyhow::anyhow!("writing panicked")),
                )
            };
            thread.join().unwrap_or_else(panicked)
        });
        ended.collect()
    })
}

fn write_one(job: &Job<'_>, verify: bool, progress: &Progress) -> Done {
    let started = Instant::now();
    let outcome = write::write(&job.card, job.target.path(), verify, &|step| {
        progress.step(step)
    })
    .and_then(|()| finish(&job.target, job.card.size()));
    progress.finish();
    job.done(started.elapsed(), verify, outcome)
}

/// A file is as long as the image; of a disk, the kernel is told that it has other partitions now.
fn finish(target: &Target, size: u64) -> anyhow::Result<()> {
    let file = std::fs::File::options().write(true).open(target.path())?;
    match target {
        Target::File(_) => file.set_len(size).context("cannot end the file")?,
        // Whoever needs to know also finds out when the card is put in again.
        Target::Device(_) => device::reread_partitions(&file),
    }
    Ok(())
}

impl Job<'_> {
    fn done(&self, took: Duration, verify: bool, outcome: anyhow::Result<()>) -> Done {
        Done {
            node: self.node.clone(),
            target: self.target.path().to_owned(),
            bytes: write::length(&self.card),
            verified: verify && outcome.is_ok(),
            seconds: took.as_secs_f64(),
            error: outcome.err().map(|error| format!("{error:#}")),
        }
    }
}

fn report(done: &[Done], json: bool) -> anyhow::Result<ExitCode> {
    if json {
        println!("{}", serde_json::to_string_pretty(done)?);
    }
    for card in done {
        let name = card.node.clone().unwrap_or_default();
        let target = card.target.display();
        match &card.error {
            Some(error) => eprintln!("FAILED {target} {name}: {error}"),
            None if json => {}
            None => {
                let how = if card.verified {
                    "written and read back"
                } else {
                    "written, NOT read back"
                };
                let rate = card.bytes as f64 / card.seconds.max(0.001);
                let seconds = card.seconds;
                println!(
                    "{target} {name}: {} {how} in {seconds:.0} s, {}/s in all",
                    bytes(card.bytes),
                    bytes(rate as u64)
                );
            }
        }
    }
    Ok(match done.iter().any(|card| card.error.is_some()) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

fn list(disks: &[Device], json: bool) -> anyhow::Result<ExitCode> {
    if json {
        println!("{}", serde_json::to_string_pretty(disks)?);
        return Ok(ExitCode::SUCCESS);
    }
    let row = |disk: &Device| {
        let verdict = disk
            .refusal(1)
            .map_or_else(|| "can be written".to_owned(), |why| format!("no: {why}"));
        [
            disk.path.display().to_string(),
            bytes(disk.size),
            disk.name(),
            verdict,
        ]
    };
    print!("{}", table(&disks.iter().map(row).collect::<Vec<_>>()));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_may_be_for_a_node() {
        let check = |text: &str, node: Option<&str>, path: &str| {
            let wanted: Wanted = text.parse().unwrap();
            assert_eq!(
                (wanted.node.as_deref(), wanted.path.as_path()),
                (node, Path::new(path))
            );
        };
        check("/dev/sdb", None, "/dev/sdb");
        check("worker3=/dev/sdb", Some("worker3"), "/dev/sdb");
        check("worker3=card.img", Some("worker3"), "card.img");
        check("./a=b.img", None, "./a=b.img");
    }
}
