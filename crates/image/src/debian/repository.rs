//! A package repository of exactly the locked packages, from which apt installs without a choice to make.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use bramble_store::sha256_of_file;

use super::fetch::Deb;
use super::{ARCHITECTURE, SUITE, run};

/// Where the index of a suite is, below the suite.
pub(super) const INDEX: &str = "main/binary-arm64/Packages";

/// Writes the repository into the directory `dir`. Nobody signs it: what is in it was held against the lock.
///
/// The packages come out uncompressed, for whoever unpacks them may be emulated.
///
/// # Errors
/// `dpkg-deb` is missing or a package is damaged; a file cannot be written.
pub fn write(debs: &[Deb], dir: &Path) -> Result<()> {
    let (pool, dists) = (dir.join("pool"), dir.join("dists").join(SUITE));
    let index = dists.join(INDEX);
    fs::create_dir_all(&pool)?;
    fs::create_dir_all(index.parent().unwrap_or(&dists))?;

    let mut stanzas = String::new();
    for deb in debs {
        let name = format!("pool/{}.deb", deb.package.sha256);
        let path = dir.join(&name);
        unpacked(&deb.path(), &path)
            .with_context(|| format!("cannot read the package {}", deb.package.name))?;
        stanzas += &stanza(&path, &name)?;
    }
    fs::write(&index, stanzas)?;
    fs::write(dists.join("Release"), release(SUITE, &index)?)?;
    Ok(())
}

/// What an index says of the package `deb`, which is called `name` there.
pub(super) fn stanza(deb: &Path, name: &str) -> Result<String> {
    Ok(format!(
        "{}\nFilename: {name}\nSize: {}\nSHA256: {}\n\n",
        fields(deb)?.trim_end(),
        fs::metadata(deb)?.len(),
        sha256_of_file(deb)?,
    ))
}

/// apt chooses by suite, so it is to find the one that it knows.
pub(super) fn release(suite: &str, index: &Path) -> Result<String> {
    Ok(format!(
        "\
Origin: Debian
Label: Debian
Codename: {suite}
Architectures: {ARCHITECTURE}
Components: main
Date: Thu, 01 Jan 2026 00:00:00 UTC
SHA256:
 {} {} {INDEX}
",
        sha256_of_file(index)?,
        fs::metadata(index)?.len(),
    ))
}

/// The control fields of a package.
fn fields(deb: &Path) -> Result<String> {
    let printed = run(Command::new("dpkg-deb").arg("--field").arg(deb))?;
    Ok(String::from_utf8_lossy(&printed).into_owned())
}

/// Copies the package `from` to `to`, uncompressed.
pub(super) fn unpacked(from: &Path, to: &Path) -> Result<()> {
    let control = part(from, "--ctrl-tarfile")?;
    assemble(control, part(from, "--fsys-tarfile")?, to)
}

/// One of the archives that the package `deb` consists of.
pub(super) fn part(deb: &Path, which: &str) -> Result<Vec<u8>> {
    run(Command::new("dpkg-deb").arg(which).arg(deb))
}

/// Writes the package `to` of its two tar archives, uncompressed. See deb(5) for the format.
pub(super) fn assemble(control: Vec<u8>, data: Vec<u8>, to: &Path) -> Result<()> {
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar", control),
        ("data.tar", data),
    ];
    let mut archive = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let header = format!(
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
            0,
            0,
            0,
            100644,
            content.len()
        );
        archive.extend(header.as_bytes());
        archive.extend(&content);
        if content.len() % 2 == 1 {
            archive.push(b'\n');
        }
    }
    fs::write(to, archive).with_context(|| format!("cannot write {}", to.display()))
}
