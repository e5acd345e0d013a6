//! What a card that nobody prepared becomes: programs by apt, a boot with what the kernel is told, upgrades.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

use crate::scenario::{Rehearsal, Stock};

/// Another one after every boot.
const BOOT_ID: &[&str] = &["cat", "/proc/sys/kernel/random/boot_id"];

/// The state of packages, in the order asked for, a line each; those that were never there have none.
const PACKAGES: &str = "dpkg-query --show --showformat '${Package} ${db:Status-Status} ${Version}\n' \
    docker.io nfs-common linux-image-arm64 2>/dev/null || true";

/// What is later than what the nodes' cards have, see [`bramble_image::debian::archive`].
const LATER: &str = "+later";

/// How the machines were before anybody provisioned them.
pub struct Before {
    /// Boot ids by node.
    boots: BTreeMap<String, String>,
}

/// Looks at the machines out of the box.
///
/// # Errors
/// When one cannot be asked, or has what it should not have.
pub fn out_of_the_box(rehearsal: &Rehearsal, stock: Stock) -> Result<Before> {
    rehearsal.report.stage("out of the box", |stage| {
        let mut boots = BTreeMap::new();
        let mut bare = Vec::new();
        for node in &rehearsal.cluster.nodes {
            if stock.includes(rehearsal.cluster, &node.name) {
                let packages = packages(rehearsal, &node.name)?;
                ensure!(
                    version(&packages, "docker.io").is_none(),
                    "{} should be without Docker, but has\n{packages}",
                    node.name
                );
                bare.push(node.name.clone());
            }
            boots.insert(node.name.clone(), boot(rehearsal, &node.name)?);
        }
        stage.note(format!("without Docker: {}", bare.join(", ")));
        Ok(Before { boots })
    })
}

/// Looks at them afterwards: what was missing is installed, and whoever began with a card that nobody prepared has
/// booted anew. With `upgraded`, all have the later version of a package that there is, and have booted with it.
///
/// # Errors
/// When one is not as it should be.
pub fn made_nodes(
    rehearsal: &Rehearsal,
    stock: Stock,
    before: &Before,
    upgraded: bool,
) -> Result<()> {
    rehearsal.report.stage("made nodes of", |stage| {
        let mut booted = Vec::new();
        for (name, boot_before) in &before.boots {
            let packages = packages(rehearsal, name)?;
            for needed in ["docker.io", "nfs-common"] {
                ensure!(
                    version(&packages, needed).is_some(),
                    "{name} has no {needed}:\n{packages}"
                );
            }
            let kernel = version(&packages, "linux-image-arm64").unwrap_or_default();
            if upgraded && !kernel.contains(LATER) {
                bail!("{name} was not upgraded, its kernel package is {kernel}");
            }
            let is_new = boot(rehearsal, name)? != *boot_before;
            let should = upgraded || stock.includes(rehearsal.cluster, name);
            ensure!(
                is_new == should,
                "{name} has {}booted since, and should{} have",
                if is_new { "" } else { "not " },
                if should { "" } else { " not" }
            );
            if is_new {
                booted.push(name.as_str());
            }
        }
        stage.note(format!("booted anew: {}", booted.join(", ")));
        Ok(())
    })
}

fn boot(rehearsal: &Rehearsal, node: &str) -> Result<String> {
    rehearsal.operator.look(node, BOOT_ID)
}

fn packages(rehearsal: &Rehearsal, node: &str) -> Result<String> {
    rehearsal.operator.look(node, &["sh", "-c", PACKAGES])
}

/// The version of a package that is installed.
fn version<'a>(packages: &'a str, name: &str) -> Option<&'a str> {
    packages.lines().find_map(|line| {
        let installed = line.strip_prefix(name)?.strip_prefix(" installed ")?;
        Some(installed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_has_a_version() {
        let packages = "docker.io config-files 26.1\nnfs-common installed 1:2.8\n";
        assert_eq!(version(packages, "docker.io"), None);
        assert_eq!(version(packages, "nfs-common"), Some("1:2.8"));
        assert_eq!(version(packages, "nfs"), None);
    }
}
