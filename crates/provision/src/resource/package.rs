use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{State, Verdict};
use crate::{CommandLine, Error, System};

/// What `dpkg` knows of packages. Read as it is: starting `dpkg-query` takes a busy node longer than all of the rest.
const STATUS: &str = "/var/lib/dpkg/status";

/// Debian packages that must be installed, in any version.
///
/// Where all of them are, no package mirror is asked for anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Packages {
    /// Names as `apt` knows them.
    pub names: Vec<String>,
}

impl State for Packages {
    fn title(&self) -> String {
        "packages".into()
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        Ok(match &*self.missing(system)? {
            [] => Verdict::Satisfied,
            missing => Verdict::change(format!("not installed: {}", missing.join(", "))),
        })
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        // An earlier run may have been cut off between unpacking and configuring.
        system.run(&noninteractive(
            "dpkg",
            ["--configure", "-a", "--force-confdef", "--force-confold"],
        ))?;
        system.run(&apt(["update"]))?;
        let install = ["install", "--yes", "--no-install-recommends"].map(String::from);
        system.run(&apt(install.into_iter().chain(self.missing(system)?)))?;
        Ok(())
    }
}

impl Packages {
    fn missing(&self, system: &System) -> Result<Vec<String>, Error> {
        let status = system.read(STATUS)?.ok_or_else(|| {
            Error::state(format!(
                "there is no {STATUS}: is this Debian, or Raspberry Pi OS?"
            ))
        })?;
        let installed: BTreeSet<&str> = installed(&status).collect();
        let missing = |name: &&String| !installed.contains(name.as_str());
        Ok(self.names.iter().filter(missing).cloned().collect())
    }
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

fn apt<S: Into<String>>(args: impl IntoIterator<Item = S>) -> CommandLine {
    let options = [
        "-o",
        // Updates of the machine's own may hold it for minutes after boot.
        "DPkg::Lock::Timeout=300",
        "-o",
        "Dpkg::Options::=--force-confdef",
        "-o",
        "Dpkg::Options::=--force-confold",
        "--quiet",
    ];
    noninteractive(
        "apt-get",
        options
            .map(String::from)
            .into_iter()
            .chain(args.into_iter().map(Into::into)),
    )
}

fn noninteractive<S: Into<String>>(
    program: &str,
    args: impl IntoIterator<Item = S>,
) -> CommandLine {
    CommandLine::new(program, args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("NEEDRESTART_MODE", "l")
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
    fn apt_waits_for_the_lock_and_asks_nothing() {
        insta::assert_snapshot!(apt(["install", "--yes", "nfs-common"]), @"DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold --quiet install --yes nfs-common");
    }
}
