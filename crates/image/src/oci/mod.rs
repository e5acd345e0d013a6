//! Container images for the nodes, as OCI image layouts, made without a container engine.
//!
//! Each image holds what its program needs to start, and nothing else: the search service is one
//! static program; Redis and the registry are Debian's, with their libraries and licences.

mod closure;
mod here;
pub mod layout;
mod licences;
pub mod local;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use bramble_store::{Artifact, Key, Store};

use crate::Inputs;
use crate::debian::unpacked::{Node, Unpacked};
use crate::debian::{Along, Set};
use crate::layer::Layer;
pub use here::redis_of_here;
use layout::{Architecture, Image, Run};

/// Raise it when the images come out differently from the same inputs.
const RECIPE: u32 = 6;

/// Who runs Redis and the search service: nobody on any node.
const SERVICE_USER: u32 = 65532;

/// Who runs the registry and the worker of the search: the first user of a node and of a NAS, who can write to what they share.
const FIRST_USER: u32 = 1000;

/// One part of the search service: which it is stands in the arguments, the program is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seed {
    /// Lends ranges and takes results; the worker that writes the ledger runs from this image, too.
    Web,
    /// Computes.
    Miner,
}

impl Seed {
    fn image(self) -> (&'static str, &'static str, Run) {
        let run = Run {
            entrypoint: &["/bramble-search"],
            user: SERVICE_USER,
            directory: "/",
            ..Run::default()
        };
        match self {
            Seed::Web => (
                "seed-web",
                "Lends ranges of seeds, takes the results and writes the ledger",
                Run {
                    arguments: &["web"],
                    ports: &[3000],
                    health: &["/bramble-search", "healthcheck"],
                    ..run
                },
            ),
            Seed::Miner => (
                "seed-miner",
                "Computes ranges of seeds",
                Run {
                    arguments: &["miner"],
                    ..run
                },
            ),
        }
    }
}

/// Builds an image of the search service from the program `bramble-search`. Their only layer is the same. A program for the
/// nodes is static; one of this machine comes with the libraries that it is loaded with here.
///
/// # Errors
/// The program or a library cannot be read, or the store cannot be written.
pub fn search(
    store: &Store,
    seed: Seed,
    program: &Path,
    version: &str,
    architecture: Architecture,
) -> Result<Artifact> {
    let (name, description, run) = seed.image();
    let libraries = match architecture {
        Architecture::Arm64 => BTreeSet::new(),
        Architecture::OfThisMachine => local::libraries(program)?,
    };
    let mut key = Key::builder(&format!("oci-{name}"), RECIPE)
        .file("program", program)
        .text("run", format!("{run:#?}"))
        .text("architecture", format!("{architecture:?}"))
        .text("version", version);
    for path in &libraries {
        key = key.file(&path.display().to_string(), path);
    }
    let key = key.finish()?;
    store.get_or_build(&key, |dir| {
        let content =
            std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
        let mut files = base(SERVICE_USER, "bramble")
            .file("bramble-search", 0o755, content)
            // The worker keeps the ledger there; a fresh volume takes its owner from here.
            .directory_of(FIRST_USER, "var/lib/bramble", 0o755);
        for path in &libraries {
            files = local::with_file(files, path)?;
        }
        let image = Image {
            name,
            version: version.to_owned(),
            description,
            // The C library is linked into the program.
            licences: Some(format!(
                "({}) AND {}",
                env!("CARGO_PKG_LICENSE"),
                licences::of(["libc6"])?
            )),
            architecture,
            files,
            run,
        };
        layout::write(&image, dir).map(drop)
    })
}

/// Builds the image of Redis from Debian's packages.
///
/// # Errors
/// The packages cannot be fetched, or the store cannot be written.
pub fn redis(inputs: &Inputs, version: &str) -> Result<Artifact> {
    from_debian(inputs, version, &REDIS)
}

/// Builds the image of the registry from Debian's packages.
///
/// # Errors
/// The packages cannot be fetched, or the store cannot be written.
pub fn registry(inputs: &Inputs, version: &str) -> Result<Artifact> {
    from_debian(inputs, version, &REGISTRY)
}

/// An image of programs from Debian.
#[derive(Debug)]
struct Recipe {
    name: &'static str,
    description: &'static str,
    packages: &'static [&'static str],
    /// Their libraries come along.
    programs: &'static [&'static str],
    /// Path and content.
    config: &'static [(&'static str, &'static str)],
    run: Run,
}

const REDIS: Recipe = Recipe {
    name: "redis",
    description: "Redis, the queue of the search service",
    packages: &["busybox-static", "redis-server", "redis-tools"],
    programs: &[
        "usr/bin/busybox",
        "usr/bin/redis-check-aof",
        "usr/bin/redis-cli",
        "usr/bin/redis-server",
    ],
    config: &[("usr/bin/redis-start", REDIS_START)],
    run: Run {
        entrypoint: &["/usr/bin/busybox", "sh", "/usr/bin/redis-start"],
        // There is nobody on a container's own loopback to protect it for.
        arguments: &["--protected-mode", "no"],
        user: SERVICE_USER,
        environment: &[],
        ports: &[6379],
        volumes: &["/data"],
        directory: "/data",
        health: &["/usr/bin/redis-cli", "-e", "ping"],
    },
};

/// Starts Redis in its directory of data, as a power cut has left it.
const REDIS_START: &str = include_str!("redis-start.sh");

const REGISTRY: Recipe = Recipe {
    name: "registry",
    description: "A registry for the cluster's container images",
    // The registry has no program that asks how it is; busybox can.
    packages: &["busybox-static", "docker-registry"],
    programs: &["usr/bin/busybox", "usr/bin/docker-registry"],
    config: &[("etc/docker/registry/config.yml", REGISTRY_CONFIG)],
    run: Run {
        entrypoint: &["/usr/bin/docker-registry"],
        arguments: &["serve", "/etc/docker/registry/config.yml"],
        user: FIRST_USER,
        environment: &["REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/var/lib/registry"],
        ports: &[5000],
        volumes: &["/var/lib/registry"],
        directory: "/",
        health: &[
            "/usr/bin/busybox",
            "wget",
            "-q",
            "-O",
            "/dev/null",
            "http://127.0.0.1:5000/v2/",
        ],
    },
};

/// Whoever can reach the port may push and pull: the cluster's network is its fence.
const REGISTRY_CONFIG: &str = "\
version: 0.1
log:
  accesslog:
    disabled: true
storage:
  cache:
    blobdescriptor: inmemory
  delete:
    enabled: true
  filesystem: {}
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
";

/// The packages that the images are made from.
pub(crate) fn sets() -> Vec<Set> {
    [&REDIS, &REGISTRY].map(Recipe::set).into()
}

impl Recipe {
    fn set(&self) -> Set {
        Set {
            name: self.name,
            packages: self.packages.to_vec(),
            along: Along::Dependencies,
        }
    }
}

fn from_debian(inputs: &Inputs, version: &str, recipe: &Recipe) -> Result<Artifact> {
    let packages = inputs.packages(&recipe.set())?;
    let key = Key::builder(&format!("oci-{}", recipe.name), RECIPE)
        .text("packages", packages.list())
        .text("recipe", format!("{recipe:#?}"))
        .text("version", version)
        .finish()?;
    inputs.store.get_or_build(&key, |dir| {
        let files = Unpacked::read(&packages.fetch()?)?;
        layout::write(&image(recipe, version, &files)?, dir).map(drop)
    })
}

fn image(recipe: &Recipe, version: &str, files: &Unpacked) -> Result<Image> {
    let mut layer = base(recipe.run.user, recipe.name).symlink("lib", "usr/lib");
    let mut packages = BTreeSet::new();
    for path in closure::closure(files, recipe.programs)? {
        let Some(file) = files.get(&path) else {
            continue;
        };
        packages.insert(file.package.as_str());
        let path = path.display().to_string();
        layer = match &file.node {
            Node::File(mode, content) => layer.file(&path, *mode, content.clone()),
            Node::Symlink(target) => layer.symlink(&path, &target.display().to_string()),
        };
    }
    let mut list = String::new();
    for &package in &packages {
        let (path, text) = files.licence(package)?;
        layer = layer.file(&path, 0o644, text);
        let version = files.versions.get(package).map_or("", String::as_str);
        list += &format!("{package} {version}\n");
    }
    layer = layer.file("usr/share/doc/packages", 0o644, list);
    for (path, content) in recipe.config {
        layer = layer.file(path, 0o644, *content);
    }
    for volume in recipe.run.volumes {
        layer = layer.directory_of(recipe.run.user, volume.trim_start_matches('/'), 0o755);
    }
    Ok(Image {
        name: recipe.name,
        version: version.to_owned(),
        description: recipe.description,
        licences: Some(licences::of(packages)?),
        architecture: Architecture::Arm64,
        files: layer,
        run: recipe.run.clone(),
    })
}

/// What every image has: the names of its two users.
fn base(user: u32, name: &str) -> Layer {
    let passwd = format!("root:x:0:0:root:/:/nologin\n{name}:x:{user}:{user}:{name}:/:/nologin\n");
    let group = format!("root:x:0:\n{name}:x:{user}:\n");
    Layer::new()
        .file("etc/passwd", 0o644, passwd)
        .file("etc/group", 0o644, group)
        .directory_of(0, "tmp", 0o1777)
}

#[cfg(test)]
mod tests;
