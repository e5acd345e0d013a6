//! Locked packages, fetched into the store.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail};
use bramble_store::{Blob, Package, Store};

use super::mirror::{Mirrors, SNAPSHOT};
use super::run;

/// How many packages are fetched at once.
const AT_ONCE: usize = 4;

/// A package's file in the store.
#[derive(Debug)]
pub struct Deb {
    /// What the lock says of it.
    pub package: Package,
    blob: Blob,
}

impl Deb {
    /// Where its file is; the name says nothing.
    pub fn path(&self) -> PathBuf {
        self.blob.path()
    }
}

/// Fetches what is not in the store yet, and holds all of it against the lock. In the order of `packages`.
///
/// # Errors
/// A package that no mirror has, or that is not what the lock says: it is named, with what to do.
pub fn fetch(store: &Store, mirrors: &Mirrors, packages: &[&Package]) -> Result<Vec<Deb>> {
    let queue = Mutex::new(packages.iter().enumerate());
    let next = || queue.lock().ok()?.next();
    let work = || -> Result<Vec<(usize, Deb)>> {
        let mut done = Vec::new();
        while let Some((index, package)) = next() {
            let blob = store
                .blob(&package.sha256, |path| download(mirrors, package, path))
                .with_context(|| format!("cannot get {} {}", package.name, package.version))?;
            let package = (*package).clone();
            done.push((index, Deb { package, blob }));
        }
        Ok(done)
    };
    let mut debs = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let mut debs = Vec::new();
        for worker in workers {
            let done = worker
                .join()
                .map_err(|_| anyhow::anyhow!("a download panicked"))?;
            debs.extend(done?);
        }
        anyhow::Ok(debs)
    })?;
    debs.sort_by_key(|(index, _)| *index);
    Ok(debs.into_iter().map(|(_, deb)| deb).collect())
}

/// By apt's own means, which knows of proxies and credentials, and checks what it gets.
fn download(mirrors: &Mirrors, package: &Package, to: &Path) -> Result<()> {
    let mut said = Vec::new();
    for base in mirrors.of(&package.archive)? {
        let mut helper = Command::new(helper());
        helper
            .args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2"])
            .arg("download-file")
            .arg(format!("{base}/{}", escaped(&package.file)))
            .arg(to)
            .arg(format!("SHA256:{}", package.sha256));
        match run(&mut helper) {
            Ok(_) => return Ok(()),
            Err(error) => said.push(error.to_string()),
        }
    }
    bail!(
        "no mirror gave {}:\n{}\n\
         If it is gone, take its successor with `cargo xtask lock --update {}`, or name a mirror that keeps \
         everything in {SNAPSHOT}, such as https://HOST/archive/{{archive}}/20260101T000000Z",
        package.file,
        said.join("\n"),
        package.name,
    )
}

/// It is not meant to be called by people, and so not on the `PATH`.
fn helper() -> &'static str {
    const DEBIAN: &str = "/usr/lib/apt/apt-helper";
    match Path::new(DEBIAN).exists() {
        true => DEBIAN,
        false => "apt-helper",
    }
}

/// A path as part of an address: versions have characters that mean something there.
fn escaped(path: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let escape = |byte: u8| match keep(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    path.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    /// `printf content | sha256sum`
    const SHA256: &str = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";

    fn package() -> Package {
        Package {
            name: "some".to_owned(),
            version: "1:2.0+b1".to_owned(),
            architecture: "arm64".to_owned(),
            archive: "debian".to_owned(),
            file: "pool/s/some_2.0+b1_arm64.deb".to_owned(),
            size: 7,
            sha256: SHA256.to_owned(),
            sets: BTreeSet::new(),
        }
    }

    /// A mirror in a directory, which has `content` as the package.
    fn mirror(dir: &Path, name: &str, content: Option<&str>) -> String {
        let pool = dir.join(name).join("pool/s");
        fs::create_dir_all(&pool).unwrap();
        if let Some(content) = content {
            fs::write(pool.join("some_2.0+b1_arm64.deb"), content).unwrap();
        }
        format!("copy:{}", dir.join(name).display())
    }

    #[test]
    fn what_has_left_the_mirror_is_in_the_store_or_in_a_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path().join("store")).unwrap();
        let empty = mirror(dir.path(), "empty", None);
        let full = mirror(dir.path(), "full", Some("content"));
        let package = package();

        let message = format!(
            "{:#}",
            fetch(&store, &Mirrors::fixed(&empty, None), &[&package]).unwrap_err()
        );
        for part in ["some 1:2.0+b1", "cargo xtask lock --update some", SNAPSHOT] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
        for mirrors in [
            Mirrors::fixed(&empty, Some(&full)),
            Mirrors::fixed(&empty, None),
        ] {
            let debs = fetch(&store, &mirrors, &[&package]).unwrap();
            assert_eq!(fs::read_to_string(debs[0].path()).unwrap(), "content");
        }
    }

    #[test]
    fn a_truncated_package_is_no_package() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path().join("store")).unwrap();
        let mirrors = Mirrors::fixed(&mirror(dir.path(), "broken", Some("conte")), None);
        let message = format!("{:#}", fetch(&store, &mirrors, &[&package()]).unwrap_err());
        assert!(message.contains("Hash Sum mismatch"), "{message}");
        assert_eq!(store.list().unwrap(), []);
    }

    #[test]
    fn addresses_are_escaped() {
        assert_eq!(
            escaped("pool/a/b_1:2.0+b1~x.deb"),
            "pool/a/b_1%3A2.0%2Bb1~x.deb"
        );
    }
}
