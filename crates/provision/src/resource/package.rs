use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{State, Verdict, apt};
use crate::{Error, System, release::Release};

/// What `dpkg` knows of packages. Read as it is: starting `dpkg-query` takes a busy node longer than all of the rest.
const STATUS: &str = "/var/lib/dpkg/status";

/// Debian packages that must be installed, in any version.
///
/// Where all of them are, no package mirror is asked for anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Packages {
    /// What they are for, where a plan has several of these.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Names as `apt` knows them.
    pub names: Vec<String>,
    /// Those that older systems do not have, with the number of the first release of Debian that does. There they are
    /// not wanted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub since: BTreeMap<String, u32>,
}

impl State for Packages {
    fn title(&self) -> String {
        match &*self.group {
            "" => "packages".into(),
            group => format!("packages for {group}"),
        }
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        Ok(match &*self.missing(system)? {
            [] => Verdict::Satisfied,
            missing => Verdict::change(format!("not installed: {}", missing.join(", "))),
        })
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        apt::configure(system)?;
        apt::get(system, ["update"])?;
        let install = ["install", "--yes", "--no-install-recommends"].map(String::from);
        apt::get(system, install.into_iter().chain(self.missing(system)?))?;
        Ok(())
    }
}

impl Packages {
    fn missing(&self, system: &System) -> Result<Vec<String>, Error> {
        let status = status(system)?;
        let installed: BTreeSet<&str> = installed(&status).collect();
        let release = Release::of(system)?.version;
        let exists = |name: &str| match (self.since.get(name), release) {
            (Some(since), Some(release)) => release >= *since,
            _ => true,
        };
        let missing = |name: &&String| !installed.contains(name.as_str()) && exists(name);
        Ok(self.names.iter().filter(missing).cloned().collect())
    }
}

fn status(system: &System) -> Result<String, Error> {
    system.read(STATUS)?.ok_or_else(|| {
        Error::state(format!(
            "there is no {STATUS}: is this Debian, or Raspberry Pi OS?"
        ))
    })
}

/// Whether a package is unpacked and configured.
pub(super) fn is_installed(system: &System, name: &str) -> Result<bool, Error> {
    let status = status(system)?;
    Ok(installed(&status).any(|found| found == name))
}

/// Names of the packages that are unpacked and configured. A paragraph for each, whose name comes first.
fn installed(status: &str) -> impl Iterator<Item = &str> {
    status.split("\n\n").filter_map(|paragraph| {
        let name = paragraph.trim_start().strip_prefix("Package: ")?;
        let mut lines = name.lines();
        let name = lines.next()?;
        lines
            .any(|line| line.starts_with("Status: ") && line.ends_with(" ok installed"))
            .then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fully_installed_packages_count() {
        let status = "Package: curl\nStatus: install ok installed\nPriority: optional\n\
                      Description: gets\n .\n Package: nfs-common\n\n\
                      Package: docker.io\nStatus: deinstall ok config-files\n\n\
                      Package: vim\nStatus: install ok half-configured\n\n\
                      Package: tzdata\nStatus: hold ok installed\n";
        assert_eq!(installed(status).collect::<Vec<_>>(), ["curl", "tzdata"]);
    }

    #[test]
    fn what_a_release_does_not_have_is_not_missing() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let packages = Packages {
            group: String::new(),
            names: vec!["docker.io".into(), "docker-cli".into()],
            since: [("docker-cli".to_owned(), 13)].into(),
        };
        let system = System::rooted(root.path());
        let status = "Package: docker.io\nStatus: install ok installed\n";
        assert!(packages.check(&system).is_err(), "no dpkg");
        write("var/lib/dpkg/status", status);
        for (release, missing) in [
            ("VERSION_ID=\"12\"\n", false),
            ("VERSION_ID=\"13\"\n", true),
            ("VERSION_CODENAME=forky\n", true),
        ] {
            write("etc/os-release", release);
            let wanted = match missing {
                true => Verdict::change("not installed: docker-cli"),
                false => Verdict::Satisfied,
            };
            assert_eq!(packages.check(&system).unwrap(), wanted, "{release}");
        }
    }
}
