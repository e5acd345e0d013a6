use serde::{Deserialize, Serialize};

use super::{State, Verdict};
use crate::{CommandLine, Error, System};

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
        let format = "-f=${Package} ${db:Status-Status}\n";
        let args = ["-W", format]
            .into_iter()
            .chain(self.names.iter().map(String::as_str));
        // It fails when any of them is unknown to dpkg, and still lists the others.
        let (ran, _) = system.run_unchecked(&CommandLine::new("dpkg-query", args))?;
        Ok(not_installed(&self.names, &ran.output))
    }
}

fn not_installed(names: &[String], listing: &str) -> Vec<String> {
    let installed = |name: &&String| {
        listing
            .lines()
            .any(|line| line == format!("{name} installed"))
    };
    names
        .iter()
        .filter(|name| !installed(name))
        .cloned()
        .collect()
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
        let listing = "curl installed\n\
                       docker.io config-files\n\
                       vim half-configured\n\
                       dpkg-query: no packages found matching nfs-common\n";
        let names = ["curl", "docker.io", "vim", "nfs-common"].map(String::from);
        assert_eq!(
            not_installed(&names, listing),
            ["docker.io", "vim", "nfs-common"]
        );
    }

    #[test]
    fn apt_waits_for_the_lock_and_asks_nothing() {
        insta::assert_snapshot!(apt(["install", "--yes", "nfs-common"]), @"DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold --quiet install --yes nfs-common");
    }
}
