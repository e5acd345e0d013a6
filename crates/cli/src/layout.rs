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

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use sha2::{Digest, Sha256};

    use super::*;

    /// Writes a layout with a configuration and a layer into `dir`.
    pub(crate) fn example(dir: &Path) -> Layout {
        let blob = |media_type: &str, content: &[u8]| {
            let digits: String = Sha256::digest(content)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
            fs::write(dir.join("blobs/sha256").join(&digits), content).unwrap();
            let digest = format!("sha256:{digits}");
            Descriptor {
                media_type: media_type.into(),
                digest,
                size: content.len() as u64,
            }
        };
        let config = blob("application/vnd.oci.image.config.v1+json", b"{}");
        let layer = blob(
            "application/vnd.oci.image.layer.v1.tar+gzip",
            b"not looked at",
        );
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer],
        });
        let manifest = blob(media_type, manifest.to_string().as_bytes());
        fs::write(
            dir.join("index.json"),
            json!({"manifests": [manifest]}).to_string(),
        )
        .unwrap();
        fs::write(dir.join("oci-layout"), "{}").unwrap();
        Layout::read(dir).unwrap()
    }

    #[test]
    fn the_archive_has_what_both_kinds_of_engine_look_for() {
        let dir = tempfile::tempdir().unwrap();
        let layout = example(&dir.path().join("redis"));
        let mut archive = Vec::new();
        layout
            .write_archive("cluster.gov:5000/redis:0.1.0", &mut archive)
            .unwrap();

        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            io::Read::read_to_string(&mut entry, &mut text).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), text);
        }
        insta::assert_yaml_snapshot!(files);
    }

    #[test]
    fn a_layout_is_looked_at_before_it_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let layout = example(dir.path());
        let index = |manifests: serde_json::Value| {
            fs::write(
                dir.path().join("index.json"),
                json!({"manifests": manifests}).to_string(),
            )
            .unwrap();
            format!("{:#}", Layout::read(dir.path()).unwrap_err())
        };
        let away = json!({"mediaType": "x", "digest": "sha256:../../etc/passwd", "size": 1});
        for (manifests, said) in [
            (json!([]), "it holds 0 images instead of one"),
            (
                json!([layout.manifest, layout.manifest]),
                "it holds 2 images instead of one",
            ),
            (
                json!([away]),
                "`sha256:../../etc/passwd` is no SHA-256 digest",
            ),
        ] {
            let error = index(manifests);
            assert!(error.contains(said), "{error}");
        }

        let cut = Descriptor {
            size: 5,
            ..layout.config.clone()
        };
        let error = layout.open(&cut).unwrap_err().to_string();
        assert!(error.contains("has 2 bytes, not 5"), "{error}");
    }
}
