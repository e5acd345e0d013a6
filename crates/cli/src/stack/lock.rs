//! `stacks.lock`: which image each name in the operator's own stacks means.
//!
//! A tag can mean another image tomorrow, and another on each node. The swarm asks the registry once, at the first
//! deployment; what it found is written down, and later deployments take that.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use bramble_cluster::spec::OwnStack;
use bramble_provision::Service;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::failure::Usage;
use crate::state::replace;

const HEAD: &str = "\
# Which image each name in `stacks` means. Written by `bramble stack deploy`, and by it alone with --update changed.
# Belongs into version control, beside the stacks.

";

/// The file, and what it says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lock {
    path: PathBuf,
    file: File,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Digests (`sha256:...`) by what stacks call the images.
    #[serde(default)]
    images: BTreeMap<String, String>,
}

impl Lock {
    /// Reads it; there need be none.
    pub(super) fn read(context: &Context) -> anyhow::Result<Self> {
        Self::at(context.beside("stacks.lock"))
    }

    fn at(path: PathBuf) -> anyhow::Result<Self> {
        let file = match fs::read_to_string(&path) {
            Ok(text) => parse(&text).map_err(|why| {
                Usage::new(format!("{} cannot be used: {why}", path.display())).help(
                    "take it from version control, or remove it: the next deployment writes what tags mean then",
                )
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => File::default(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        Ok(Self { path, file })
    }

    /// What an image is, if it is known.
    pub(super) fn digest(&self, reference: &str) -> Option<&str> {
        self.file.images.get(reference).map(String::as_str)
    }

    /// Has the images of a stack looked up anew.
    pub(super) fn forget(&mut self, stack: &OwnStack) {
        for image in &stack.images {
            self.file.images.remove(&image.reference);
        }
    }

    /// Takes what the swarm found the images of a stack to be, and writes the file if that is news. Returns the names
    /// of those that it does not know more about than the stack does.
    pub(super) fn take(
        &mut self,
        stack: &OwnStack,
        services: &[Service],
    ) -> anyhow::Result<Vec<String>> {
        let mut unknown = Vec::new();
        let movable = stack.images.iter().filter(|image| image.is_movable());
        for image in movable {
            let name = format!("{}_{}", stack.name, image.service);
            let service = services.iter().find(|service| service.name == name);
            match service.and_then(|service| service.image.split_once('@')) {
                Some((_, digest)) => {
                    let (reference, digest) = (image.reference.clone(), digest.to_owned());
                    self.file.images.insert(reference, digest);
                }
                None => unknown.push(image.reference.clone()),
            }
        }
        if !self.file.images.is_empty() {
            let text = format!("{HEAD}{}", toml::to_string(&self.file)?);
            replace(&self.path, text.as_bytes())?;
        }
        Ok(unknown)
    }
}

fn parse(text: &str) -> Result<File, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let is_digest = |digest: &str| {
        digest
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    match file.images.iter().find(|(_, digest)| !is_digest(digest)) {
        Some((image, digest)) => Err(format!("{digest} of {image} is no digest")),
        None => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use bramble_cluster::spec::Cluster;

    use super::*;

    fn stack() -> OwnStack {
        let cluster = include_str!("../../../../fixtures/clusters/eight-pi.toml");
        let (cluster, _) = Cluster::parse("eight-pi.toml", cluster).unwrap();
        let text = "\
services:
  plex: { image: 'plex:1' }
  proxy: { image: proxy }
  fixed: { image: 'fixed@sha256:00' }
";
        OwnStack::parse("media", "media.yml", text, &cluster, &[])
            .unwrap()
            .0
    }

    fn service(name: &str, image: String) -> Service {
        Service {
            name: name.into(),
            stack: Some("media".into()),
            image,
            desired: 1,
            running: 1,
            update: String::new(),
            tasks: vec![],
        }
    }

    #[test]
    fn what_a_tag_meant_once_it_means_until_told_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stacks.lock");
        let stack = stack();
        let mut lock = Lock::at(path.clone()).unwrap();
        assert_eq!(stack.pinned(|image| lock.digest(image)), stack.text);

        let digest = format!("sha256:{}", "0f".repeat(32));
        let services = [
            service("media_plex", format!("plex:1@{digest}")),
            service("media_proxy", "proxy:latest".into()),
            service("media_fixed", "fixed@sha256:00".into()),
        ];
        assert_eq!(lock.take(&stack, &services).unwrap(), ["proxy"]);

        let mut read = Lock::at(path.clone()).unwrap();
        assert_eq!(read, lock);
        let pinned = stack.pinned(|image| read.digest(image));
        assert_eq!(
            pinned,
            stack.text.replace("plex:1", &format!("plex:1@{digest}"))
        );
        insta::assert_snapshot!(fs::read_to_string(&path).unwrap());

        read.forget(&stack);
        assert_eq!(read.digest("plex:1"), None);
    }

    #[test]
    fn a_damaged_lock_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stacks.lock");
        for text in ["[images]\nplex = \"latest\"\n", "images = 1", "[tags]\n"] {
            fs::write(&path, text).unwrap();
            let error = Lock::at(path.clone()).unwrap_err();
            assert!(error.downcast_ref::<Usage>().is_some(), "{error}");
        }
    }
}
