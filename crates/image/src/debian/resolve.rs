//! Which packages a set needs: apt says, on an empty system of its own, with the mirrors' newest indices.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use bramble_store::{LockFile, Package, Store};

use super::fetch::{self, Deb};
use super::mirror::{ARCHIVES, Mirrors};
use super::{ARCHITECTURE, Along, SUITE, Set, repository, run};

/// Where apt finds the keys that Debian signs its indices with.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The Pis' firmware is not free, but may be passed on.
const COMPONENTS: &str = "main non-free-firmware";

/// Resolves `sets` anew. Of what `old` has, nothing changes but the packages in `update`; all may, if it is empty.
///
/// # Errors
/// No mirror answers, a package is in none, or what is kept does not go together with what is updated.
pub fn resolve(
    store: &Store,
    mirrors: &Mirrors,
    sets: &[Set],
    old: Option<&LockFile>,
    update: &[String],
) -> Result<LockFile> {
    let mut lock = LockFile::new(SUITE);
    if let Some(old) = old {
        lock.tools = old.tools.clone();
        lock.image = old.image.clone();
    }
    let kept = match old {
        Some(old) if !update.is_empty() => {
            known(update, old, sets)?;
            kept(store, mirrors, old, update)?
        }
        _ => Vec::new(),
    };
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let apt = Apt::open(dir.path(), mirrors, kept)?;

    let mut packages: BTreeMap<Package, BTreeSet<String>> = BTreeMap::new();
    for set in sets {
        let chosen = apt
            .choose(set)
            .with_context(|| format!("cannot resolve the packages of {}", set.name))?;
        for package in chosen {
            packages
                .entry(package)
                .or_default()
                .insert(set.name.to_owned());
        }
        let mut asked: Vec<String> = set.packages.iter().map(|&name| name.to_owned()).collect();
        asked.sort();
        lock.sets.insert(set.name.to_owned(), asked);
    }
    let named = packages
        .into_iter()
        .map(|(package, sets)| Package { sets, ..package });
    lock.package = named.collect();
    Ok(lock)
}

/// A package that is to be updated is locked already, or somebody asks for it from now on.
fn known(update: &[String], old: &LockFile, sets: &[Set]) -> Result<()> {
    for name in update {
        let locked = old.package.iter().any(|package| package.name == *name);
        let asked = sets.iter().any(|set| set.packages.contains(&&**name));
        if !locked && !asked {
            bail!(
                "the lock file has no package {name} to update, and nothing that is built asks for it"
            );
        }
    }
    Ok(())
}

/// The locked packages that are to stay, from the store where the mirrors no longer have them.
fn kept(store: &Store, mirrors: &Mirrors, old: &LockFile, update: &[String]) -> Result<Vec<Deb>> {
    let stay = |package: &&Package| !update.contains(&package.name);
    fetch::fetch(
        store,
        mirrors,
        &old.package.iter().filter(stay).collect::<Vec<_>>(),
    )
}

/// apt with a configuration, a state and a cache of its own.
struct Apt {
    config: PathBuf,
    /// Addresses and the archives that they are of.
    archives: Vec<(String, &'static str)>,
    kept: Vec<Deb>,
}

impl Apt {
    /// Makes it in `dir`, and fetches the indices.
    fn open(dir: &Path, mirrors: &Mirrors, kept: Vec<Deb>) -> Result<Apt> {
        if !Path::new(KEYRING).exists() {
            bail!("{KEYRING} is missing: install the package debian-archive-keyring");
        }
        let mut archives = Vec::new();
        for archive in ARCHIVES {
            // The first is the one to ask: a snapshot only has what is gone.
            let address = mirrors.of(archive)?.into_iter().next();
            archives.extend(address.map(|address| (address, archive)));
        }
        for sub in ["lists/partial", "cache/archives/partial", "none", "kept"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        repository::write(&kept, &dir.join("kept"))?;
        fs::write(dir.join("status"), "")?;
        fs::write(
            dir.join("sources.list"),
            sources(&archives, &dir.join("kept")),
        )?;
        fs::write(dir.join("preferences"), pins(&kept))?;
        let config = dir.join("apt.conf");
        fs::write(&config, configuration(dir))?;
        let apt = Apt {
            config,
            archives,
            kept,
        };
        run(apt.get().args(["--quiet", "--error-on=any", "update"]))
            .context("cannot get the mirrors' indices")?;
        Ok(apt)
    }

    fn get(&self) -> Command {
        let mut get = Command::new("apt-get");
        get.env("APT_CONFIG", &self.config).env("LC_ALL", "C.UTF-8");
        get
    }

    fn choose(&self, set: &Set) -> Result<Vec<Package>> {
        let mut get = self.get();
        get.args(["--quiet=2", "--print-uris", "--yes"]);
        match set.along {
            Along::Nothing => get.arg("download"),
            Along::Dependencies => get.arg("install"),
            // What `mmdebstrap --variant=minbase` begins with.
            Along::System => get.args(["install", "?essential", "?priority(required)", "apt"]),
        };
        let printed = run(get.args(&set.packages))?;
        let printed = String::from_utf8_lossy(&printed).into_owned();
        printed.lines().map(|line| self.package(line)).collect()
    }

    /// Reads a line of `--print-uris`: `'ADDRESS' NAME_VERSION_ARCHITECTURE.deb SIZE SHA256:HASH`.
    fn package(&self, line: &str) -> Result<Package> {
        let strange = || format!("apt printed what is no package: {line}");
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [address, name, size, hash] = fields[..] else {
            bail!(strange());
        };
        let name = unescaped(name.trim_end_matches(".deb"));
        let parts: Vec<&str> = name.split('_').collect();
        let [name, version, architecture] = parts[..] else {
            bail!(strange());
        };
        let same = |deb: &&Deb| deb.package.name == name && deb.package.version == version;
        if let Some(deb) = self.kept.iter().find(same) {
            return Ok(Package {
                sets: BTreeSet::new(),
                ..deb.package.clone()
            });
        }
        let address = unescaped(address.trim_matches('\''));
        let (file, archive) = self
            .archives
            .iter()
            .find_map(|(base, archive)| {
                let base = unescaped(base) + "/";
                Some((address.strip_prefix(&base)?, archive))
            })
            .with_context(strange)?;
        Ok(Package {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: architecture.to_owned(),
            archive: (*archive).to_owned(),
            file: file.to_owned(),
            size: size.parse().with_context(strange)?,
            sha256: hash
                .strip_prefix("SHA256:")
                .with_context(strange)?
                .to_owned(),
            sets: BTreeSet::new(),
        })
    }
}

fn sources(archives: &[(String, &str)], kept: &Path) -> String {
    let mut text = format!("deb [trusted=yes] copy:{} {SUITE} main\n", kept.display());
    let options = format!("[arch={ARCHITECTURE} signed-by={KEYRING}]");
    for (address, archive) in archives {
        let suites: &[&str] = match *archive == ARCHIVES[0] {
            true => &["", "-updates"],
            false => &["-security"],
        };
        for suffix in suites {
            text += &format!("deb {options} {address} {SUITE}{suffix} {COMPONENTS}\n");
        }
    }
    text
}

/// Above 1000, so that a kept version wins over a newer one. See apt_preferences(5).
fn pins(kept: &[Deb]) -> String {
    let pin = |deb: &Deb| {
        let Package { name, version, .. } = &deb.package;
        format!("Package: {name}\nPin: version {version}\nPin-Priority: 1001\n\n")
    };
    kept.iter().map(pin).collect()
}

fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        r#"APT::Architecture "{ARCHITECTURE}";
APT::Architectures {{ "{ARCHITECTURE}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::ForceHash "SHA256";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Dir::Cache "{dir}/cache";
Dir::Etc::preferences "{dir}/preferences";
Dir::Etc::preferencesparts "{dir}/none";
Dir::Etc::sourcelist "{dir}/sources.list";
Dir::Etc::sourceparts "{dir}/none";
Dir::State::lists "{dir}/lists";
Dir::State::status "{dir}/status";
"#
    )
}

/// Without the `%3a` that apt writes for what means something in addresses.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| after.get(..2)).flatten();
        let escaped = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apt() -> Apt {
        Apt {
            config: PathBuf::new(),
            archives: vec![
                ("http://m.example/debian".to_owned(), ARCHIVES[0]),
                ("http://m.example/debian-security".to_owned(), ARCHIVES[1]),
            ],
            kept: Vec::new(),
        }
    }

    #[test]
    fn a_line_of_apt_is_a_package() {
        let hash = "0123456789abcdef".repeat(4);
        let line = |address: &str| format!("'{address}' b_1%3a2.0+c_arm64.deb 12 SHA256:{hash}");
        let package = apt()
            .package(&line(
                "http://m.example/debian-security/pool/b_2.0%2bc_arm64.deb",
            ))
            .unwrap();
        assert_eq!(package.archive, "debian-security");
        assert_eq!(package.file, "pool/b_2.0+c_arm64.deb");
        assert_eq!((package.version.as_str(), package.size), ("1:2.0+c", 12));
        for wrong in [
            line("http://other.example/pool/b.deb"),
            "W: a warning".to_owned(),
        ] {
            let error = apt().package(&wrong).unwrap_err().to_string();
            assert!(error.contains("no package"), "{error}");
        }
    }

    #[test]
    fn what_is_updated_is_locked_or_asked_for() {
        let mut old = LockFile::new(SUITE);
        old.package = vec![Package {
            name: "locked".to_owned(),
            version: String::new(),
            architecture: String::new(),
            archive: String::new(),
            file: String::new(),
            size: 0,
            sha256: String::new(),
            sets: BTreeSet::new(),
        }];
        let sets = [Set {
            name: "node",
            packages: vec!["asked-for"],
            along: Along::Nothing,
        }];
        for (name, expected) in [("locked", true), ("asked-for", true), ("neither", false)] {
            let found = known(&[name.to_owned()], &old, &sets);
            assert_eq!(found.is_ok(), expected, "{name}: {found:?}");
        }
    }

    #[test]
    fn apt_reads_nothing_of_this_machine() {
        insta::assert_snapshot!(format!(
            "{}\n{}",
            configuration(Path::new("/tmp/apt")),
            sources(&apt().archives, Path::new("/tmp/apt/kept"))
        ));
    }
}
