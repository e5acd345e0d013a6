//! Which system a node runs.

use crate::{Error, System};

/// What `/etc/os-release` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    /// `debian`, or `raspbian` on 32 bits.
    pub(crate) id: String,
    /// `trixie`; empty where there is none yet.
    pub(crate) codename: String,
    /// `13`; `None` for what is not released yet, which has all that is.
    pub(crate) version: Option<u32>,
}

impl Release {
    /// Reads it.
    pub(crate) fn of(system: &System) -> Result<Self, Error> {
        let text = system.read("/etc/os-release")?.unwrap_or_default();
        let field = |name: &str| {
            let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned());
            let value = text.lines().find_map(value).unwrap_or_default();
            value.trim_matches(['"', '\'']).to_owned()
        };
        Ok(Self {
            id: field("ID"),
            codename: field("VERSION_CODENAME"),
            version: field("VERSION_ID").parse().ok(),
        })
    }

    /// `text` with the node's own `$ID` and `$CODENAME`.
    pub(crate) fn expand(&self, text: &str) -> String {
        text.replace("$ID", &self.id)
            .replace("$CODENAME", &self.codename)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_a_name_and_a_number() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let text = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nVERSION_ID=\"13\"\n\
                    VERSION_CODENAME=trixie\nID=debian\n";
        std::fs::write(root.path().join("etc/os-release"), text).unwrap();
        let release = Release::of(&System::rooted(root.path())).unwrap();
        assert_eq!(release.version, Some(13));
        assert_eq!(
            release.expand("https://download.docker.com/linux/$ID $CODENAME"),
            "https://download.docker.com/linux/debian trixie"
        );
    }
}
