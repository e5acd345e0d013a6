//! Container images on this machine: OCI image layouts, one directory per image.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::failure::Usage;

/// An image of one platform in a layout of its own. Its name is that of the directory.
#[derive(Debug)]
pub(crate) struct Layout {
    dir: PathBuf,
    /// `redis`
    pub(crate) name: String,
    /// What `index.json` says of the manifest.
    pub(crate) manifest: Descriptor,
    /// How a container starts; its digest is what Docker knows the image by.
    pub(crate) config: Descriptor,
    /// From the lowest up.
    pub(crate) layers: Vec<Descriptor>,
}

/// A blob: what it is, which, and how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub(crate) digest: String,
    /// In bytes.
    pub(crate) size: u64,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

impl Layout {
    /// Reads a layout, which must hold one image.
    pub(crate) fn read(dir: &Path) -> anyhow::Result<Self> {
        let unusable = |what: String| {
            Usage::new(format!("{} is no OCI image layout: {what}", dir.display()))
                .help("name a directory that holds `oci-layout`, `index.json` and `blobs`")
        };
        let path = std::path::absolute(dir)?;
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name
            .ok_or_else(|| unusable("its name is no image's name".into()))?
            .to_owned();
        if !dir.join("oci-layout").is_file() {
            return Err(unusable("it has no file `oci-layout`".into()).into());
        }
        let index = fs::read(dir.join("index.json"))
            .map_err(|error| unusable(format!("index.json: {error}")))?;
        let index: Index = serde_json::from_slice(&index)
            .map_err(|error| unusable(format!("index.json: {error}")))?;
        let [manifest] = &index.manifests[..] else {
            return Err(unusable(format!(
                "it holds {} images instead of one",
                index.manifests.len()
            ))
            .into());
        };
        let mut layout = Self {
            dir: dir.to_owned(),
            name,
            manifest: manifest.clone(),
            config: manifest.clone(),
            layers: vec![],
        };
        let text = fs::read(layout.blob_path(manifest)?)
            .map_err(|error| unusable(format!("its manifest {}: {error}", manifest.digest)))?;
        let Manifest { config, layers } = serde_json::from_slice(&text)
            .map_err(|error| unusable(format!("its manifest {}: {error}", manifest.digest)))?;
        (layout.config, layout.layers) = (config, layers);
        Ok(layout)
    }

    /// All that the manifest names: the configuration and the layers.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        [&self.config].into_iter().chain(&self.layers)
    }

    /// Bytes of all blobs.
    pub(crate) fn size(&self) -> u64 {
        self.blobs().map(|blob| blob.size).sum()
    }

    /// Opens a blob, which must have its length.
    pub(crate) fn open(&self, blob: &Descriptor) -> anyhow::Result<File> {
        let path = self.blob_path(blob)?;
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let found = file.metadata()?.len();
        if found != blob.size {
            bail!(
                "{} has {found} bytes, not {}: build the image again",
                path.display(),
                blob.size
            );
        }
        Ok(file)
    }

    /// Writes an archive that `docker load` takes, whichever way the engine stores images, and knows as `reference`.
    pub(crate) fn write_archive(&self, reference: &str, to: impl Write) -> anyhow::Result<()> {
        let mut archive = tar::Builder::new(to);
        let mut add = |path: &str, size: u64, content: &mut dyn io::Read| {
            let mut header = tar::Header::new_ustar();
            header.set_size(size);
            header.set_mode(0o644);
            archive.append_data(&mut header, path, content)
        };
        for blob in self.blobs().chain([&self.manifest]) {
            add(&entry(blob), blob.size, &mut self.open(blob)?)?;
        }
        let tag = reference.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        let mut manifest = json!(self.manifest);
        manifest["annotations"] = json!({
            "io.containerd.image.name": reference,
            "org.opencontainers.image.ref.name": tag,
        });
        for (path, content) in [
            ("oci-layout", json!({"imageLayoutVersion": "1.0.0"})),
            (
                "index.json",
                json!({"schemaVersion": 2, "manifests": [manifest]}),
            ),
            (
                "manifest.json",
                json!([{
                    "Config": entry(&self.config),
                    "RepoTags": [reference],
                    "Layers": self.layers.iter().map(entry).collect::<Vec<_>>(),
                }]),
            ),
        ] {
            let content = content.to_string();
            add(path, content.len() as u64, &mut content.as_bytes())?;
        }
        archive.into_inner()?.flush()?;
        Ok(())
    }

    fn blob_path(&self, blob: &Descriptor) -> anyhow::Result<PathBuf> {
        // The digest becomes a path, and may not lead elsewhere.
        let digits = blob.digest.strip_prefix("sha256:").unwrap_or_default();
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            bail!(
                "{}: `{}` is no SHA-256 digest",
                self.dir.display(),
                blob.digest
            );
        }
        Ok(self.dir.join(entry(blob)))
    }
}

/// Where a blob lies in a layout and in an archive.
fn entry(blob: &Descriptor) -> String {
    format!("blobs/{}", blob.digest.replace(':', "/"))
}
