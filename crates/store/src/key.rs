use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The address of an artefact: the hash of its named inputs. Shows as 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    kind: String,
    hex: String,
    manifest: String,
}

impl Key {
    /// Starts a key for artefacts of one `kind` (a short word, which becomes a directory name).
    /// Raise `version` when the builder itself changes what it makes of the same inputs.
    pub fn builder(kind: &str, version: impl fmt::Display) -> KeyBuilder {
        KeyBuilder {
            kind: kind.to_owned(),
            version: version.to_string(),
            inputs: Vec::new(),
        }
    }

    /// What sort of artefact this is, as given to [`Key::builder`].
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The SHA-256 of [`Key::manifest`], in lower-case hexadecimal.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The named inputs as JSON, as they are written beside the artefact.
    pub fn manifest(&self) -> &str {
        &self.manifest
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex)
    }
}

/// Collects the named inputs of an artefact. Their order does not matter, their names do.
#[must_use = "a key comes from finish()"]
pub struct KeyBuilder {
    kind: String,
    version: String,
    inputs: Vec<(String, Source)>,
}

enum Source {
    Text(String),
    File(PathBuf),
}

impl KeyBuilder {
    /// An input that is a text: a package list, a setting, another artefact's key.
    pub fn text(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.inputs
            .push((name.to_owned(), Source::Text(value.to_string())));
        self
    }

    /// An input that is a file's content. Where the file lies plays no part.
    pub fn file(mut self, name: &str, path: impl AsRef<Path>) -> Self {
        self.inputs
            .push((name.to_owned(), Source::File(path.as_ref().to_owned())));
        self
    }

    /// Reads the files and hashes everything.
    ///
    /// # Errors
    /// A file that cannot be read, a name given twice, a kind that is no plain word.
    pub fn finish(self) -> Result<Key> {
        if !is_word(&self.kind) {
            bail!(
                "store: {:?} is not a kind of artefact: use lower-case letters, digits and hyphens",
                self.kind
            );
        }
        let mut inputs = BTreeMap::new();
        for (name, source) in self.inputs {
            let input = source.read()?;
            if inputs.insert(name.clone(), input).is_some() {
                bail!("store: input {name:?} of {} was given twice", self.kind);
            }
        }
        let manifest = Manifest {
            kind: &self.kind,
            version: &self.version,
            inputs,
        };
        let manifest = serde_json::to_string_pretty(&manifest)? + "\n";
        Ok(Key {
            hex: hex(&Sha256::digest(manifest.as_bytes())),
            kind: self.kind,
            manifest,
        })
    }
}

/// What is hashed, and what a person reads to see why a key changed.
#[derive(Serialize)]
struct Manifest<'a> {
    kind: &'a str,
    version: &'a str,
    inputs: BTreeMap<String, Input>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Input {
    Text(String),
    Sha256(String),
}

impl Source {
    fn read(self) -> Result<Input> {
        match self {
            Source::Text(text) => Ok(Input::Text(text)),
            Source::File(path) => sha256_of_file(&path)
                .map(Input::Sha256)
                .with_context(|| format!("store: cannot read input {}", path.display())),
        }
    }
}

/// The SHA-256 of a file's content, in lower-case hexadecimal.
///
/// # Errors
/// The file cannot be read.
pub fn sha256_of_file(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(hex(&hash.finalize()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_word(kind: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !kind.is_empty() && kind != "locks" && kind.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: &str, version: u32, inputs: &[(&str, &str)]) -> String {
        let builder = Key::builder(kind, version);
        let builder = inputs.iter().fold(builder, |b, (k, v)| b.text(k, v));
        builder.finish().unwrap().to_string()
    }

    #[test]
    fn every_input_counts_and_their_order_does_not() {
        let base = key("image", 1, &[("a", "1"), ("b", "2")]);
        assert_eq!(base, key("image", 1, &[("b", "2"), ("a", "1")]));
        let different = [
            key("other", 1, &[("a", "1"), ("b", "2")]),
            key("image", 2, &[("a", "1"), ("b", "2")]),
            key("image", 1, &[("a", "1")]),
            key("image", 1, &[("a", "1"), ("b", "3")]),
            key("image", 1, &[("a", "2"), ("b", "1")]),
            key("image", 1, &[("a", "1\",\"b\":\"2")]),
        ];
        for other in &different {
            assert_ne!(&base, other);
        }
    }

    #[test]
    fn a_file_counts_by_content_not_by_place() {
        let dir = tempfile::tempdir().unwrap();
        let key_of = |name: &str, content: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            Key::builder("image", 1).file("in", path).finish().unwrap()
        };
        assert_eq!(key_of("one", "same"), key_of("two", "same"));
        assert_ne!(key_of("one", "same"), key_of("one", "other"));
    }

    #[test]
    fn the_key_is_the_hash_of_the_manifest() {
        let key = Key::builder("image", 1).text("a", "1").finish().unwrap();
        assert_eq!(key.hex(), hex(&Sha256::digest(key.manifest())));
        assert!(key.manifest().contains("\"text\": \"1\""));
    }

    #[test]
    fn mistakes_are_named() {
        let message = |builder: KeyBuilder| format!("{:#}", builder.finish().unwrap_err());
        let twice = Key::builder("image", 1).text("a", "1").text("a", "1");
        assert_eq!(
            message(twice),
            "store: input \"a\" of image was given twice"
        );
        let missing = Key::builder("image", 1).file("a", "/no/such/file");
        assert!(message(missing).starts_with("store: cannot read input /no/such/file: "));
        for kind in ["", "locks", "../up", "Rootfs"] {
            assert!(message(Key::builder(kind, 1)).contains("not a kind of artefact"));
        }
    }
}
