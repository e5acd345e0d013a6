use std::{fmt::Write as _, os::unix::fs::MetadataExt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Change, Notice, State, Verdict, apt};
use crate::{Error, System, system::Access};

/// What `apt` knows of the packages that there are.
const LISTS: &str = "/var/lib/apt/lists";

/// For which lists all upgrades were made; it is as old as these.
const STAMP: &str = "/var/lib/bramble/upgraded";

/// Packages whose new version is not in use before the next boot.
const NEED_REBOOT: [&str; 6] = [
    "linux-image-",
    "raspberrypi-kernel",
    "raspberrypi-bootloader",
    "raspi-firmware",
    "firmware-",
    "rpi-eeprom",
];

/// Every installed package has the newest version that there was not long ago.
///
/// While the lists of packages are those for which all upgrades were made, nothing need be run to know that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Upgrade {
    /// How old the lists may be, in hours.
    pub max_age_hours: u32,
}

/// A package that can be upgraded.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Newer {
    package: String,
    /// `None` for one that comes in addition.
    from: Option<String>,
    to: String,
}

impl State for Upgrade {
    fn title(&self) -> String {
        "upgrade of packages".into()
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let lists = fingerprint(system)?;
        // Others make upgrades too; then the lists are as old as their directory.
        let since = match system.metadata(STAMP)? {
            Some(stamp) => Some(stamp),
            None if lists.is_empty() => None,
            None => system.metadata(LISTS)?,
        };
        let Some(since) = since else {
            return Ok(Verdict::change("there are no lists of packages yet"));
        };
        // A clock that was set back makes them young, which the next day mends.
        let age = since.modified().ok().and_then(|at| at.elapsed().ok());
        let age = age.unwrap_or_default();
        if age > Duration::from_secs(u64::from(self.max_age_hours) * 3600) {
            let hours = age.as_secs() / 3600;
            return Ok(Verdict::change(format!(
                "the lists of packages are {hours} hours old"
            )));
        }
        if system
            .read(STAMP)?
            .is_some_and(|upgraded| upgraded == lists)
        {
            return Ok(Verdict::Satisfied);
        }
        Ok(verdict(&newer(system)?))
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        apt::configure(system)?;
        apt::get(system, ["update"])?;
        let newer = newer(system)?;
        if !newer.is_empty() {
            if newer.iter().any(Newer::needs_reboot) {
                Notice::Reboot.leave(system)?;
            }
            apt::get(system, ["dist-upgrade", "--yes"])?;
        }
        let access = Access {
            mode: 0o644,
            owner: None,
        };
        system.write(STAMP, fingerprint(system)?.as_bytes(), access)
    }
}

/// Names, sizes and times of the lists: other ones have other packages in them.
fn fingerprint(system: &System) -> Result<String, Error> {
    let mut text = String::new();
    for name in system.names_in(LISTS)? {
        let data = system.metadata(&format!("{LISTS}/{name}"))?;
        if let Some(data) = data.filter(|data| data.is_file() && name != "lock") {
            writeln!(text, "{name} {} {}", data.size(), data.mtime()).expect("a String takes all");
        }
    }
    Ok(text)
}

/// What a dist-upgrade would bring, without doing it.
fn newer(system: &System) -> Result<Vec<Newer>, Error> {
    let plan = apt::get(system, ["--simulate", "dist-upgrade"])?;
    Ok(plan.output.lines().filter_map(Newer::parse).collect())
}

fn verdict(newer: &[Newer]) -> Verdict {
    if newer.is_empty() {
        return Verdict::Satisfied;
    }
    let lines = newer.iter().map(|newer| {
        let old = newer.from.as_ref();
        let old = old.map_or(String::new(), |from| format!("-{} {from}\n", newer.package));
        format!("{old}+{} {}\n", newer.package, newer.to)
    });
    Verdict::Change(Change {
        reason: match newer {
            [one] => format!("{} has a newer version", one.package),
            many => format!("{} packages have newer versions", many.len()),
        },
        diff: Some(lines.collect()),
    })
}

impl Newer {
    /// Reads a line like `Inst curl [7.88.1-10] (7.88.1-10+deb12u5 Debian:12/stable [arm64])`.
    fn parse(line: &str) -> Option<Self> {
        let (package, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
        let from = rest
            .strip_prefix('[')
            .and_then(|rest| rest.split(']').next());
        let to = rest.split_once('(')?.1.split([' ', ')']).next()?;
        Some(Self {
            package: package.into(),
            from: from.map(Into::into),
            to: to.into(),
        })
    }

    fn needs_reboot(&self) -> bool {
        NEED_REBOOT
            .iter()
            .any(|begin| self.package.starts_with(begin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulation_says_what_is_newer() {
        let output = "Reading package lists...\nInst curl [7.88.1-10] (7.88.1-10+deb12u5 Debian:12.4/stable [arm64])\n\
                      Inst linux-image-6.1.0-40-arm64 (6.1.153-1 Debian:12.12/oldstable [arm64])\n\
                      Conf curl (7.88.1-10+deb12u5 Debian:12.4/stable [arm64])\n";
        let newer: Vec<_> = output.lines().filter_map(Newer::parse).collect();
        let Verdict::Change(change) = verdict(&newer) else {
            panic!("there is something to do")
        };
        assert_eq!(change.reason, "2 packages have newer versions");
        insta::assert_snapshot!(change.diff.unwrap(), @r"
        -curl 7.88.1-10
        +curl 7.88.1-10+deb12u5
        +linux-image-6.1.0-40-arm64 6.1.153-1
        ");
        let reboot: Vec<_> = newer.iter().map(Newer::needs_reboot).collect();
        assert_eq!(reboot, [false, true]);
        assert_eq!(verdict(&[]), Verdict::Satisfied);
    }

    #[test]
    fn the_same_lists_need_no_second_look() {
        let root = tempfile::tempdir().unwrap();
        let system = System::rooted(root.path());
        let upgrade = Upgrade { max_age_hours: 24 };
        assert_eq!(
            upgrade.check(&system).unwrap(),
            Verdict::change("there are no lists of packages yet")
        );
        let lists = root.path().join("var/lib/apt/lists");
        std::fs::create_dir_all(&lists).unwrap();
        std::fs::write(lists.join("trixie_InRelease"), "one").unwrap();
        assert!(
            upgrade.check(&system).is_err(),
            "apt is asked whether somebody else has made them, and cannot run below a root"
        );
        let stamp = root.path().join("var/lib/bramble/upgraded");
        std::fs::create_dir_all(stamp.parent().unwrap()).unwrap();
        std::fs::write(&stamp, fingerprint(&system).unwrap()).unwrap();
        assert_eq!(upgrade.check(&system).unwrap(), Verdict::Satisfied);

        std::fs::write(lists.join("trixie_InRelease"), "three").unwrap();
        assert!(
            upgrade.check(&system).is_err(),
            "apt is asked, and cannot run below a root"
        );
        let yesterday = std::time::SystemTime::now() - Duration::from_secs(25 * 3600);
        let file = std::fs::File::options().append(true).open(&stamp).unwrap();
        file.set_modified(yesterday).unwrap();
        assert_eq!(
            upgrade.check(&system).unwrap(),
            Verdict::change("the lists of packages are 25 hours old")
        );
    }
}
