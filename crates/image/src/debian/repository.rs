//! A package repository of exactly the locked packages, from which apt installs without a choice to make.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use bramble_store::sha256_of_file;

use super::fetch::Deb;
use super::{ARCHITECTURE, SUITE, run};

/// Where the index is.
const INDEX: &str = "main/binary-arm64/Packages";

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
        stanzas += &format!(
            "{}\nFilename: {name}\nSize: {}\nSHA256: {}\n\n",
            fields(&deb.path())?.trim_end(),
            fs::metadata(&path)?.len(),
            sha256_of_file(&path)?,
        );
    }
    fs::write(&index, stanzas)?;
    fs::write(dists.join("Release"), release(&index)?)?;
    Ok(())
}

/// apt chooses by suite, so it is to find the one that it knows.
fn release(index: &Path) -> Result<String> {
    Ok(format!(
        "\
Origin: Debian
Label: Debian
Codename: {SUITE}
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

/// Copies the package `from` to `to`, uncompressed. See deb(5) for the format.
fn unpacked(from: &Path, to: &Path) -> Result<()> {
    let part = |what: &str| run(Command::new("dpkg-deb").arg(what).arg(from));
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar", part("--ctrl-tarfile")?),
        ("data.tar", part("--fsys-tarfile")?),
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
