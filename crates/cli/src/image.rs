//! `bramble image`: container images from this machine to the cluster.

use std::io::{BufWriter, pipe};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context as _, bail};
use bramble_cluster::render::stacks;
use bramble_cluster::spec::Cluster;
use serde::Serialize;

use crate::context::Context;
use crate::layout::Layout;
use crate::registry::Registry;
use crate::remote::{Remote, quoted};
use crate::text::{bytes, table};

/// Bring container images to the cluster.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bramble image load images/registry               before there is a registry
  bramble image push images/redis images/seed-web images/seed-miner")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Load images into the Docker engine of the registry's node
    Load(Images),
    /// Push images to the cluster's registry, through an SSH tunnel
    Push(Images),
}

#[derive(Debug, clap::Args)]
struct Images {
    /// Directories that hold an OCI image layout each; the directory's name is the image's.
    #[arg(required = true, value_name = "LAYOUT")]
    layouts: Vec<PathBuf>,
    /// Print what became of each image as JSON.
    #[arg(long)]
    json: bool,
}

/// What became of an image.
#[derive(Debug, Serialize)]
struct Brought {
    reference: String,
    digest: String,
    /// Bytes of all its blobs.
    size: u64,
    /// Bytes that had to be sent; none if it was there already.
    sent: u64,
}

pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let cluster = context.cluster()?;
    let (bring, images): (fn(&_, &_, &_) -> _, _) = match &args.verb {
        Verb::Load(images) => (load, images),
        Verb::Push(images) => (push, images),
    };
    let layouts: Vec<_> = images
        .layouts
        .iter()
        .map(|dir| Layout::read(dir))
        .collect::<Result<_, _>>()?;
    let remote = Remote::open(context, &cluster)?;
    let brought: Vec<Brought> = bring(&cluster, &remote, &layouts)?;
    match images.json {
        true => println!("{}", serde_json::to_string_pretty(&brought)?),
        false => print!("{}", shown(&brought)),
    }
    Ok(ExitCode::SUCCESS)
}

fn load(cluster: &Cluster, remote: &Remote, layouts: &[Layout]) -> anyhow::Result<Vec<Brought>> {
    layouts
        .iter()
        .map(|layout| load_one(cluster, remote, layout))
        .collect()
}

fn load_one(cluster: &Cluster, remote: &Remote, layout: &Layout) -> anyhow::Result<Brought> {
    let node = &cluster.registry_node().name;
    let reference = stacks::tagged(cluster, &layout.name);
    // Docker calls an image by its configuration, or by its manifest where containerd keeps it.
    let script = format!(
        "case \"$(sudo -n docker image inspect --format '{{{{.Id}}}}' {reference} 2>/dev/null)\" in \
         {}|{}) echo present;; *) exec sudo -n docker load --quiet;; esac",
        layout.config.digest,
        layout.manifest.digest,
        reference = quoted(&reference),
    );
    let mut said = String::new();
    let ended = thread::scope(|scope| {
        let (input, archive) = pipe()?;
        let writing = scope.spawn(|| layout.write_archive(&reference, BufWriter::new(archive)));
        let ended = remote.run(node, &script, input, |line| {
            said.push_str(line);
            Ok(())
        })?;
        match writing.join() {
            // The archive is not wanted where the image is.
            Ok(Err(error)) if ended.code == 0 && said != "present" => Err(error),
            _ => Ok(ended),
        }
    })?;
    if ended.code != 0 {
        bail!("{node}: docker cannot load {reference}: {}", ended.errors);
    }
    let sent = if said == "present" { 0 } else { layout.size() };
    Ok(brought(layout, reference, sent))
}

fn push(cluster: &Cluster, remote: &Remote, layouts: &[Layout]) -> anyhow::Result<Vec<Brought>> {
    let node = cluster.registry_node();
    // To the port that all nodes use, so that what is pushed can be pulled.
    let tunnel = remote.tunnel(&node.name, node.ip, cluster.registry.port)?;
    let registry = Registry::at(tunnel.port)
        .with_context(|| format!("{} on {}", cluster.registry.authority(), node.name))?;
    let push = |layout: &Layout| {
        let pushed = registry.push(layout, stacks::TAG)?;
        Ok(brought(
            layout,
            stacks::tagged(cluster, &layout.name),
            pushed.sent,
        ))
    };
    layouts.iter().map(push).collect()
}

fn brought(layout: &Layout, reference: String, sent: u64) -> Brought {
    Brought {
        reference,
        digest: layout.manifest.digest.clone(),
        size: layout.size(),
        sent,
    }
}

fn shown(brought: &[Brought]) -> String {
    let rows = brought.iter().map(|image| {
        let sent = if image.sent == 0 {
            "was there".into()
        } else {
            format!("sent {}", bytes(image.sent))
        };
        [
            image.reference.clone(),
            image.digest.clone(),
            bytes(image.size),
            sent,
        ]
    });
    table(&rows.collect::<Vec<_>>())
}
