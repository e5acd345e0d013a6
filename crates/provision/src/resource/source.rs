use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Change, State, Verdict, apt, package::is_installed};
use crate::{CommandLine, Error, System, diff, release::Release, system::Access};

/// Where packages come from beside the distribution, and the key that they are signed with.
///
/// `$ID` and `$CODENAME` in its texts become the node's own, like `debian` and `trixie`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AptSource {
    /// Names its files: `docker`.
    pub name: String,
    /// `https://download.docker.com/linux/$ID`.
    pub uri: String,
    /// `stable`, `main`.
    pub component: String,
    /// Where the key is fetched from.
    pub key_url: String,
    /// What it must be, in hexadecimal digits: a server that was broken into cannot put another in its place.
    pub key_sha256: String,
    /// How the key is written: `asc` for text, `gpg` for bytes.
    pub key_format: String,
}

/// Docker's own packages are installed, by Docker's own script where they are not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DockerScript {
    /// Where the script is fetched from. It changes with time, so that its hash cannot be known.
    pub url: String,
    /// Where the script gets the packages from; `None` leaves that to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
}

const READABLE: Access = Access {
    mode: 0o644,
    owner: None,
};

impl State for AptSource {
    fn title(&self) -> String {
        format!("package source {}", self.name)
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let mut reasons: Vec<&str> = Vec::new();
        match system.read_bytes(&self.key())? {
            None => reasons.push("its key is missing"),
            Some(key) if sha256(&key) != self.key_sha256 => reasons.push("its key is another"),
            Some(_) => {}
        }
        let (now, wanted) = (system.read(&self.list())?, self.text(system)?);
        let now = now.unwrap_or_default();
        if now != wanted {
            reasons.push("the source is not as it should be");
        }
        let diff = (now != wanted).then(|| diff::unified(&self.list(), &now, &wanted));
        Ok(match &*reasons {
            [] => Verdict::Satisfied,
            reasons => Verdict::Change(Change {
                reason: reasons.join(", "),
                diff,
            }),
        })
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        let release = Release::of(system)?;
        let fetched = format!("{}.new", self.key());
        system.create_directory("/etc/apt/keyrings")?;
        let url = release.expand(&self.key_url);
        apt::fetch(system, &url, &fetched, Some(&self.key_sha256))?;
        let key = system.read_bytes(&fetched)?.unwrap_or_default();
        system.remove(&fetched)?;
        system.write(&self.key(), &key, READABLE)?;
        system.write(&self.list(), self.text(system)?.as_bytes(), READABLE)
    }
}

impl AptSource {
    fn key(&self) -> String {
        format!("/etc/apt/keyrings/{}.{}", self.name, self.key_format)
    }

    fn list(&self) -> String {
        format!("/etc/apt/sources.list.d/{}.sources", self.name)
    }

    /// The source in the form of deb822, which both tell apart from what a person wrote.
    fn text(&self, system: &System) -> Result<String, Error> {
        let release = Release::of(system)?;
        if release.codename.is_empty() {
            return Err(Error::state(
                "/etc/os-release names no VERSION_CODENAME, so the packages for this system cannot be told",
            ));
        }
        Ok(format!(
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: {}\nSigned-By: {}\n",
            release.expand(&self.uri),
            release.codename,
            self.component,
            self.key()
        ))
    }
}

impl State for DockerScript {
    fn title(&self) -> String {
        "docker by its own script".into()
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        Ok(match is_installed(system, "docker-ce")? {
            true => Verdict::Satisfied,
            false => Verdict::change("docker-ce is not installed"),
        })
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        const SCRIPT: &str = "/var/lib/bramble/get-docker.sh";
        apt::configure(system)?;
        system.create_directory("/var/lib/bramble")?;
        apt::fetch(system, &self.url, SCRIPT, None)?;
        let mut command = CommandLine::new("sh", [SCRIPT]);
        if let Some(mirror) = &self.mirror {
            command = command.env("DOWNLOAD_URL", mirror);
        }
        system.run(&command).map(drop)
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_key_and_a_file() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let system = System::rooted(root.path());
        let source = AptSource {
            name: "docker".into(),
            uri: "https://download.docker.com/linux/$ID".into(),
            component: "stable".into(),
            key_url: "https://download.docker.com/linux/$ID/gpg".into(),
            key_sha256: sha256(b"the key"),
            key_format: "asc".into(),
        };
        assert!(source.check(&system).is_err(), "no release");
        write("etc/os-release", "ID=debian\nVERSION_CODENAME=trixie\n");
        let Verdict::Change(change) = source.check(&system).unwrap() else {
            panic!("nothing is there")
        };
        assert_eq!(
            change.reason,
            "its key is missing, the source is not as it should be"
        );
        insta::assert_snapshot!(change.diff.unwrap(), @r"
        --- /etc/apt/sources.list.d/docker.sources (now)
        +++ /etc/apt/sources.list.d/docker.sources (wanted)
        @@ -0,0 +1,5 @@
        +Types: deb
        +URIs: https://download.docker.com/linux/debian
        +Suites: trixie
        +Components: stable
        +Signed-By: /etc/apt/keyrings/docker.asc
        ");
        write(
            "etc/apt/sources.list.d/docker.sources",
            &source.text(&system).unwrap(),
        );
        write("etc/apt/keyrings/docker.asc", "another key");
        assert_eq!(
            source.check(&system).unwrap(),
            Verdict::change("its key is another")
        );
        write("etc/apt/keyrings/docker.asc", "the key");
        assert_eq!(source.check(&system).unwrap(), Verdict::Satisfied);
    }
}
