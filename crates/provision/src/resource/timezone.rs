use serde::{Deserialize, Serialize};

use super::{State, Verdict};
use crate::{Error, System, system::Access};

const LINK: &str = "/etc/localtime";
const ZONES: &str = "/usr/share/zoneinfo";

/// Debian's own note of it, which newer systems do without.
const NOTE: &str = "/etc/timezone";

/// The time zone of clocks that people read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timezone {
    /// `Europe/Berlin`.
    pub name: String,
}

impl State for Timezone {
    fn title(&self) -> String {
        "time zone".into()
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let mut reasons = Vec::new();
        let target = system.link_target(LINK)?.unwrap_or_default();
        let zone = target
            .split_once("zoneinfo/")
            .map_or("UTC", |(_, zone)| zone);
        if zone != self.name {
            reasons.push(format!("it is {zone}, not {}", self.name));
        }
        if let Some(note) = system.read(NOTE)?.filter(|note| note.trim() != self.name) {
            reasons.push(format!("{NOTE} says {}", note.trim()));
        }
        Ok(Verdict::from_reasons(&reasons, None))
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        let zone = format!("{ZONES}/{}", self.name);
        if system.metadata(&zone)?.is_none() {
            return Err(Error::state(format!(
                "there is no {zone} on this node: does its package tzdata know this time zone?"
            )));
        }
        system.link(LINK, &zone)?;
        if system.metadata(NOTE)?.is_some() {
            let access = Access {
                mode: 0o644,
                owner: None,
            };
            system.write(NOTE, format!("{}\n", self.name).as_bytes(), access)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_and_note_agree() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let system = System::rooted(root.path());
        let berlin = Timezone {
            name: "Europe/Berlin".into(),
        };
        assert_eq!(
            berlin.check(&system).unwrap(),
            Verdict::change("it is UTC, not Europe/Berlin")
        );
        write("etc/timezone", "Etc/UTC\n");
        assert!(
            berlin
                .apply(&system)
                .unwrap_err()
                .to_string()
                .contains("tzdata")
        );
        write("usr/share/zoneinfo/Europe/Berlin", "");
        berlin.apply(&system).unwrap();
        assert_eq!(berlin.check(&system).unwrap(), Verdict::Satisfied);
        // As `timedatectl` makes it.
        std::fs::remove_file(root.path().join("etc/localtime")).unwrap();
        std::os::unix::fs::symlink(
            "../usr/share/zoneinfo/Europe/Berlin",
            root.path().join("etc/localtime"),
        )
        .unwrap();
        assert_eq!(berlin.check(&system).unwrap(), Verdict::Satisfied);
    }
}
