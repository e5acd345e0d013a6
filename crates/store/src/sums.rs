//! What the files of an artefact were when it was published, against which they are read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::key::hex;
use crate::sparse::{BLOCK, data};
use crate::store::walk;

mod stamps;

pub(crate) use stamps::{Stamps, path as stamps_path};

/// The hash of each file below a directory, by its path from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sums(BTreeMap<String, String>);

impl Sums {
    /// Reads all files below `dir`.
    ///
    /// # Errors
    /// One cannot be read.
    pub(crate) fn of(dir: &Path) -> io::Result<Sums> {
        let mut sums = BTreeMap::new();
        walk(dir, &mut |path, meta| {
            let name = path.strip_prefix(dir).unwrap_or(path).display().to_string();
            if meta.is_file() {
                sums.insert(name, content(path, meta.len())?);
            } else if meta.is_symlink() {
                let target = fs::read_link(path)?;
                sums.insert(name, format!("-> {}", target.display()));
            }
            Ok(())
        })?;
        Ok(Sums(sums))
    }

    /// As text: a line for each file, its hash and its path.
    pub(crate) fn render(&self) -> String {
        let line = |(path, sum): (&String, &String)| format!("{sum}  {path}\n");
        self.0.iter().map(line).collect()
    }

    /// What [`Sums::render`] wrote. A line that it cannot have written means a file that is not there.
    pub(crate) fn parse(text: &str) -> Sums {
        let entry = |line: &str| {
            let (sum, path) = line.split_once("  ").unwrap_or(("", line));
            (path.to_owned(), sum.to_owned())
        };
        Sums(text.lines().map(entry).collect())
    }

    /// The first file that is in one of both alone, or not the same in both.
    pub(crate) fn difference<'a>(&'a self, other: &'a Sums) -> Option<&'a str> {
        let paths = self.0.keys().chain(other.0.keys());
        let mut differing = paths.filter(|path| self.0.get(*path) != other.0.get(*path));
        differing.next().map(String::as_str)
    }
}

/// How an artefact is held against its sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Its files are read, unless they have not been touched since they were.
    WhatIsNew,
    /// They are read.
    All,
}

/// Why the artefact at `artefact` is not what was published there; `None` where it is, or where there is none. One that
/// is from before there were sums is taken as it is, and has some from now on.
pub(crate) fn damage(artefact: &Path, reading: Reading) -> Result<Option<String>> {
    if !artefact.is_dir() {
        return Ok(None);
    }
    let failed = || format!("store: cannot read {}", artefact.display());
    let published = match fs::read_to_string(path(artefact)) {
        Ok(text) => Some(Sums::parse(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(failed),
    };
    let stamps = Stamps::of(artefact).with_context(failed)?;
    if published.is_some() && reading == Reading::WhatIsNew && stamps.are_known(artefact) {
        return Ok(None);
    }
    let now = Sums::of(artefact).with_context(failed)?;
    let Some(published) = published else {
        write(artefact, &now).with_context(failed)?;
        return Ok(None);
    };
    let changed = now.difference(&published);
    match changed {
        // It will be read again where they cannot be kept, as on a disk that is full.
        None => drop(stamps.keep(artefact)),
        Some(_) => stamps::forget(artefact),
    }
    Ok(changed.map(|file| {
        format!(
            "{} is not what was published",
            artefact.join(file).display()
        )
    }))
}

/// Takes the place of what is there whole or not at all: another process may be reading it.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let thread = format!("{}-{:?}", std::process::id(), std::thread::current().id());
    let mut own = path.as_os_str().to_owned();
    own.push(format!(".{thread}"));
    let written = fs::write(&own, text).and_then(|()| fs::rename(&own, path));
    if written.is_err() {
        fs::remove_file(&own).ok();
    }
    written
}

pub(crate) fn write(artefact: &Path, sums: &Sums) -> io::Result<()> {
    replace(&path(artefact), &sums.render())
}

/// Where the sums of the artefact at `artefact` are: beside it.
pub(crate) fn path(artefact: &Path) -> PathBuf {
    artefact.with_extension("sums")
}

/// The SHA-256 of a file's length and of those of its blocks that are not all zeros, each after its number (64 bits,
/// little-endian). The disks of emulated machines are mostly holes, which this does not read, and whether zeros are
/// holes makes no difference.
fn content(path: &Path, length: u64) -> io::Result<String> {
    let file = File::open(path)?;
    let mut hash = Sha256::new();
    hash.update(length.to_le_bytes());
    let mut buffer = vec![0; 256 * BLOCK as usize];
    for range in data(&file, length)? {
        let mut position = range.start;
        while position < range.end {
            let part = (range.end - position).min(buffer.len() as u64) as usize;
            file.read_exact_at(&mut buffer[..part], position)?;
            for (number, block) in (position / BLOCK..).zip(buffer[..part].chunks(BLOCK as usize)) {
                if block.iter().any(|byte| *byte != 0) {
                    hash.update(number.to_le_bytes());
                    hash.update(block);
                }
            }
            position += part as u64;
        }
    }
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(dir: &Path, write: impl FnOnce(&File)) -> String {
        let path = dir.join("file");
        write(&File::create(&path).unwrap());
        content(&path, fs::metadata(&path).unwrap().len()).unwrap()
    }

    #[test]
    fn content_counts_and_holes_do_not() {
        let dir = tempfile::tempdir().unwrap();
        const END: u64 = 3 << 20;
        let sparse = sum(dir.path(), |file| {
            file.set_len(END).unwrap();
            file.write_all_at(b"x", 1 << 20).unwrap();
        });
        let mut whole = vec![0; END as usize];
        whole[1 << 20] = b'x';
        let written = |bytes: &[u8]| sum(dir.path(), |file| file.write_all_at(bytes, 0).unwrap());
        assert_eq!(sparse, written(&whole));

        let mut others = BTreeMap::from([(sparse, "as it was")]);
        let mut different = |sum: String, how| assert_eq!(others.insert(sum, how), None, "{how}");
        different(written(&whole[..whole.len() - 1]), "a byte shorter");
        whole[1 << 20] ^= 1;
        different(written(&whole), "a flipped bit");
        whole[1 << 20] = 0;
        different(written(&whole), "nothing but zeros");
        whole[(1 << 20) + BLOCK as usize] = b'x';
        different(written(&whole), "a block further");
        different(written(&[]), "empty");
    }

    #[test]
    fn sums_are_read_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/two  words"), "1").unwrap();
        std::os::unix::fs::symlink("sub", dir.path().join("link")).unwrap();
        let sums = Sums::of(dir.path()).unwrap();
        assert_eq!(Sums::parse(&sums.render()), sums);
        assert_eq!(sums.difference(&sums), None);

        let check = |changed: &str| {
            let now = Sums::of(dir.path()).unwrap();
            assert_eq!(sums.difference(&now), Some(changed));
            assert_eq!(now.difference(&sums), Some(changed));
        };
        fs::write(dir.path().join("sub/two  words"), "2").unwrap();
        check("sub/two  words");
        fs::write(dir.path().join("sub/two  words"), "1").unwrap();
        fs::write(dir.path().join("more"), "").unwrap();
        check("more");
        assert_eq!(Sums::parse("torn").difference(&sums), Some("torn"));
    }
}
