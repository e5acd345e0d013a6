//! OCI image layouts, written without any container engine.
//!
//! Every byte is a function of the image: files come sorted and with one time, JSON keys in the order
//! in which they stand here. The layout also has the `manifest.json` that `docker load` looks for.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::layer::Layer;

/// [`crate::EPOCH`] as the image formats write it.
const CREATED: &str = "2026-01-01T00:00:00Z";

/// A container image of one layer, for Linux.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What it is called in a registry.
    pub name: &'static str,
    /// Its tag.
    pub version: String,
    /// One sentence that says what it is.
    pub description: &'static str,
    /// Of what is in it, as an SPDX expression; `None` if it is not handed on.
    pub licences: Option<String>,
    /// What its programs were compiled for.
    pub architecture: Architecture,
    /// All that is in it.
    pub files: Layer,
    /// How a container of it starts.
    pub run: Run,
}

/// What programs are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// That of the nodes.
    Arm64,
    /// That of this program.
    OfThisMachine,
}

impl Architecture {
    /// As image formats call it, which is as Go does.
    fn name(self) -> &'static str {
        match self {
            Architecture::Arm64 => "arm64",
            Architecture::OfThisMachine => match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
        }
    }
}

/// How a container starts, unless told otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// The program, and the arguments that it always gets.
    pub entrypoint: &'static [&'static str],
    /// Arguments that give way to those of the service.
    pub arguments: &'static [&'static str],
    /// Who the program runs as, by number, since there need not be a user of that name.
    pub user: u32,
    /// `NAME=value`
    pub environment: &'static [&'static str],
    /// TCP ports that it listens on.
    pub ports: &'static [u16],
    /// Directories whose content is not the image's.
    pub volumes: &'static [&'static str],
    /// Where it starts.
    pub directory: &'static str,
    /// A program that says by its exit code whether the service is well; none, if empty. Engines of Docker's kind
    /// read it; a service's own check goes before it.
    pub health: &'static [&'static str],
}

/// The address of a blob: `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest(String);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes `image` as an OCI image layout into the directory `out`, which is made where needed, and
/// returns the manifest's digest: what a registry knows the image by.
///
/// # Errors
/// A file that cannot be written.
pub fn write(image: &Image, out: &Path) -> Result<Digest> {
    let blobs = Blobs::create(out)?;

    let mut tar = Vec::new();
    image.files.write_tar(&mut tar)?;
    let layer = blobs.add(&compressed(&tar)?, LAYER)?;
    let config = blobs.add_json(&config(image, &digest(&tar)), CONFIG)?;
    let manifest = blobs.add_json(&manifest(image, &config, &layer), MANIFEST)?;

    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": manifest.media_type,
            "digest": manifest.digest.0,
            "size": manifest.size,
            "platform": { "architecture": image.architecture.name(), "os": "linux" },
            "annotations": { "org.opencontainers.image.ref.name": image.version },
        }],
    });
    let for_docker = json!([{
        "Config": blob_path(&config.digest),
        "RepoTags": [format!("{}:{}", image.name, image.version)],
        "Layers": [blob_path(&layer.digest)],
    }]);
    let write = |name: &str, value: Value| {
        let path = out.join(name);
        fs::write(&path, value.to_string())
            .with_context(|| format!("cannot write {}", path.display()))
    };
    write("index.json", index)?;
    write("manifest.json", for_docker)?;
    // Last, because by this file a layout is recognised.
    write("oci-layout", json!({ "imageLayoutVersion": "1.0.0" }))?;
    Ok(manifest.digest)
}

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn config(image: &Image, diff_id: &Digest) -> Value {
    let set = |names: Vec<String>| -> BTreeMap<String, Value> {
        names.into_iter().map(|name| (name, json!({}))).collect()
    };
    let run = &image.run;
    let mut config = json!({
        "created": CREATED,
        "architecture": image.architecture.name(),
        "variant": "v8",
        "os": "linux",
        "config": {
            "User": format!("{0}:{0}", run.user),
            "ExposedPorts": set(run.ports.iter().map(|port| format!("{port}/tcp")).collect()),
            "Env": run.environment,
            "Entrypoint": run.entrypoint,
            "Cmd": run.arguments,
            "Volumes": set(run.volumes.iter().map(|path| (*path).to_owned()).collect()),
            "WorkingDir": run.directory,
            "Labels": labels(image),
        },
        "rootfs": { "type": "layers", "diff_ids": [diff_id.0] },
        "history": [{ "created": CREATED, "created_by": "bramble" }],
    });
    if image.architecture != Architecture::Arm64
        && let Some(config) = config.as_object_mut()
    {
        config.shift_remove("variant");
    }
    if !run.health.is_empty() {
        config["config"]["Healthcheck"] = health(run.health);
    }
    config
}

/// Times in nanoseconds, see `HealthConfig` of Docker's image format.
fn health(program: &[&str]) -> Value {
    const SECOND: u64 = 1_000_000_000;
    let test: Vec<&str> = ["CMD"].iter().chain(program).copied().collect();
    json!({
        "Test": test,
        "Interval": 30 * SECOND,
        "Timeout": 20 * SECOND,
        "StartPeriod": 120 * SECOND,
        "Retries": 3,
    })
}

fn manifest(image: &Image, config: &Blob, layer: &Blob) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
        "annotations": labels(image),
    })
}

/// The names of OCI's specification. There is no revision among them: what does not change with a commit keeps its
/// digest.
fn labels(image: &Image) -> Value {
    let mut labels = json!({
        "org.opencontainers.image.created": CREATED,
        "org.opencontainers.image.description": image.description,
        "org.opencontainers.image.source": env!("CARGO_PKG_REPOSITORY"),
        "org.opencontainers.image.title": image.name,
        "org.opencontainers.image.url": env!("CARGO_PKG_REPOSITORY"),
        "org.opencontainers.image.vendor": "bramble",
        "org.opencontainers.image.version": image.version,
    });
    if let Some(licences) = &image.licences {
        labels["org.opencontainers.image.licenses"] = licences.as_str().into();
    }
    labels
}

/// The directory of content-addressed files in a layout.
struct Blobs<'a> {
    layout: &'a Path,
}

struct Blob {
    media_type: &'static str,
    digest: Digest,
    size: usize,
}

impl Blobs<'_> {
    fn create(layout: &Path) -> Result<Blobs<'_>> {
        let dir = layout.join("blobs/sha256");
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Blobs { layout })
    }

    fn add(&self, bytes: &[u8], media_type: &'static str) -> Result<Blob> {
        let digest = digest(bytes);
        let path = self.layout.join(blob_path(&digest));
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Blob {
            media_type,
            digest,
            size: bytes.len(),
        })
    }

    fn add_json(&self, value: &Value, media_type: &'static str) -> Result<Blob> {
        self.add(value.to_string().as_bytes(), media_type)
    }
}

impl Blob {
    fn descriptor(&self) -> Value {
        json!({
            "mediaType": self.media_type,
            "digest": self.digest.0,
            "size": self.size,
        })
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}", digest.0.replace(':', "/"))
}

fn digest(bytes: &[u8]) -> Digest {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Digest(format!("sha256:{hex}"))
}

/// gzip without a name or a time in its header.
fn compressed(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().write(Vec::new(), Compression::default());
    gzip.write_all(bytes)?;
    Ok(gzip.finish()?)
}
