use serde::{Deserialize, Serialize};

use super::{State, Verdict};
use crate::{Error, System, system::Access};

const FILE: &str = "/etc/hostname";
const KERNEL: &str = "/proc/sys/kernel/hostname";

/// The node's own name, now and after a boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hostname {
    /// A host name without a domain.
    pub name: String,
}

impl State for Hostname {
    fn title(&self) -> String {
        "hostname".into()
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let mut reasons = Vec::new();
        for (path, what) in [(FILE, "at boot"), (KERNEL, "now")] {
            let name = system.read(path)?.unwrap_or_default();
            if name.trim() != self.name {
                reasons.push(format!(
                    "{what} it is `{}`, not `{}`",
                    name.trim(),
                    self.name
                ));
            }
        }
        Ok(Verdict::from_reasons(&reasons, None))
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        let line = format!("{}\n", self.name);
        system.write(
            FILE,
            line.as_bytes(),
            Access {
                mode: 0o644,
                owner: None,
            },
        )?;
        system.poke(KERNEL, &line)
    }
}
