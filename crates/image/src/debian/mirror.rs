//! Where packages come from. The lock file does not say: any mirror has the same bytes.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use super::run;

/// Debian's own name for its main archive, and for that of its security team.
pub const ARCHIVES: [&str; 2] = ["debian", "debian-security"];

/// The variable that names a mirror, for those who give none as an argument.
pub const MIRROR: &str = "BRAMBLE_DEBIAN_MIRROR";

/// The variable that names a mirror of what has left the others.
pub const SNAPSHOT: &str = "BRAMBLE_DEBIAN_SNAPSHOT";

/// Mirrors of Debian, in the order in which they are asked.
#[derive(Debug, Default)]
pub struct Mirrors {
    mirror: Option<String>,
    snapshot: Option<String>,
    /// What apt on this machine uses, asked for when it is needed.
    own: OnceLock<Vec<(String, String)>>,
}

impl Mirrors {
    /// `mirror`, or else those that apt on this machine uses; then a snapshot service, if the environment
    /// names one.
    pub fn new(mirror: Option<&str>) -> Mirrors {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Mirrors {
            mirror: mirror.map(str::to_owned).or_else(|| variable(MIRROR)),
            snapshot: variable(SNAPSHOT),
            own: OnceLock::new(),
        }
    }

    /// These mirrors, and a snapshot service after them.
    #[cfg(test)]
    pub(crate) fn fixed(mirror: &str, snapshot: Option<&str>) -> Mirrors {
        Mirrors {
            mirror: Some(mirror.to_owned()),
            snapshot: snapshot.map(str::to_owned),
            own: OnceLock::new(),
        }
    }

    /// The addresses of `archive`, without a slash at the end: at least one.
    ///
    /// # Errors
    /// Neither the user nor apt on this machine names a mirror of Debian.
    pub fn of(&self, archive: &str) -> Result<Vec<String>> {
        let mut found = match &self.mirror {
            Some(mirror) => vec![place(mirror, archive)],
            None => self.own(archive)?,
        };
        found.extend(self.snapshot.iter().map(|base| place(base, archive)));
        if found.is_empty() {
            bail!(
                "apt on this machine knows no mirror of the archive {archive}: name one in {MIRROR}, \
                 such as http://HOST/debian"
            );
        }
        Ok(found)
    }

    fn own(&self, archive: &str) -> Result<Vec<String>> {
        if self.own.get().is_none() {
            let mut ask = Command::new("apt-get");
            ask.args(["indextargets", "--format", FORMAT, "Created-By: Packages"]);
            let printed = run(&mut ask).context("cannot ask apt for its mirrors")?;
            let _ = self.own.set(targets(&String::from_utf8_lossy(&printed)));
        }
        let known = self.own.get().into_iter().flatten();
        let here = known.filter(|(name, _)| name == archive);
        Ok(here.map(|(_, address)| address.clone()).collect())
    }
}

/// What apt is asked to print of each of its indices.
const FORMAT: &str = "$(ORIGIN)|$(LABEL)|$(REPO_URI)";

/// The archives and their addresses, of those lines of [`FORMAT`] that are Debian's own.
fn targets(printed: &str) -> Vec<(String, String)> {
    let archive = |line: &str| {
        let mut fields = line.splitn(3, '|');
        let archive = match (fields.next()?, fields.next()?) {
            ("Debian", "Debian") => ARCHIVES[0],
            ("Debian", "Debian-Security") => ARCHIVES[1],
            _ => return None,
        };
        let address = fields.next()?.trim_end_matches('/');
        Some((archive.to_owned(), address.to_owned()))
    };
    let found: BTreeSet<_> = printed.lines().filter_map(archive).collect();
    found.into_iter().collect()
}

/// The address of `archive` on `mirror`, which may say where the archive's name goes, as
/// `http://HOST/archive/{archive}/20260101T000000Z`; otherwise it is the main archive's, whose neighbour the
/// other one is.
fn place(mirror: &str, archive: &str) -> String {
    let mirror = mirror.trim_end_matches('/');
    if mirror.contains("{archive}") {
        return mirror.replace("{archive}", archive);
    }
    match mirror.strip_suffix(ARCHIVES[0]) {
        Some(parent) => format!("{parent}{archive}"),
        None => mirror.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_has_its_place_on_a_mirror() {
        for (mirror, archive, expected) in [
            (
                "http://m.example/debian",
                "debian",
                "http://m.example/debian",
            ),
            (
                "http://m.example/debian/",
                "debian-security",
                "http://m.example/debian-security",
            ),
            (
                "http://m.example/all",
                "debian-security",
                "http://m.example/all",
            ),
            (
                "http://s.example/{archive}/2026",
                "debian-security",
                "http://s.example/debian-security/2026",
            ),
        ] {
            assert_eq!(place(mirror, archive), expected);
        }
    }

    #[test]
    fn only_debians_own_archives_count() {
        let printed = "\
Debian|Debian|http://m.example/debian/
Debian|Debian|http://m.example/debian/
Debian Backports|Debian Backports|http://m.example/debian/
Debian|Debian-Security|http://s.example/debian-security/
Ubuntu|Ubuntu|http://u.example/ubuntu/
";
        let expected = [
            ("debian", "http://m.example/debian"),
            ("debian-security", "http://s.example/debian-security"),
        ];
        assert_eq!(
            targets(printed),
            expected.map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
    }

    #[test]
    fn the_snapshot_is_asked_last() {
        let mirrors = Mirrors::fixed(
            "http://m.example/debian",
            Some("http://s.example/{archive}"),
        );
        assert_eq!(
            mirrors.of("debian").unwrap(),
            ["http://m.example/debian", "http://s.example/debian"]
        );
    }
}
