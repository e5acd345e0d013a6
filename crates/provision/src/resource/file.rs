use serde::{Deserialize, Serialize};

use super::{State, Verdict, mounts, reachable};
use crate::{
    Error, Notice, Secret, System,
    accounts::owner,
    diff,
    system::{Access, Kind},
};

/// A regular file: its whole content, its mode and its owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct File {
    /// Absolute path.
    pub path: String,
    /// What it holds.
    pub content: Content,
    /// Permission bits.
    #[serde(with = "octal")]
    pub mode: u32,
    /// The owning user, whose primary group it gets too; `None` is root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Who has to know when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifies: Option<Notice>,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Text that may be shown.
    Text(String),
    /// Text of which no diff is ever made.
    Secret(Secret),
}

/// A file that is there no more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Absent {
    /// Absolute path.
    pub path: String,
    /// Who has to know when it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifies: Option<Notice>,
}

/// A directory that exists; what is in it is not looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Directory {
    /// Absolute path.
    pub path: String,
    /// Permission bits; `None` leaves them to whoever creates it, as on a share that maps all users to one.
    #[serde(
        default,
        with = "octal::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub mode: Option<u32>,
    /// The owning user; `None` leaves it as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Absolute path of the link itself.
    pub path: String,
    /// Where it leads.
    pub target: String,
}

impl State for File {
    fn title(&self) -> String {
        format!("file {}", self.path)
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let owner = self.owner(system)?;
        let now = match system.attributes(&self.path)? {
            None => None,
            Some(found) if found.kind == Kind::Directory => {
                return Err(Error::state(format!(
                    "{} is a directory; move it away",
                    self.path
                )));
            }
            Some(found) => Some(found),
        };
        let text = system.read_bytes(&self.path)?.unwrap_or_default();
        let mut reasons = Vec::new();
        match now {
            None => reasons.push("it does not exist".into()),
            Some(found) if found.kind != Kind::File => {
                reasons.push("it is not a regular file".into())
            }
            Some(found) => {
                if text != self.content.text().as_bytes() {
                    reasons.push("the content differs".into());
                }
                if found.mode != self.mode {
                    reasons.push(format!(
                        "the mode is {:04o}, not {:04o}",
                        found.mode, self.mode
                    ));
                }
                if owner.is_some_and(|owner| owner != (found.uid, found.gid)) {
                    reasons.push(format!("it belongs to {}:{}", found.uid, found.gid));
                }
            }
        }
        let diff = match &self.content {
            Content::Text(wanted) => Some(diff::unified(
                &self.path,
                &String::from_utf8_lossy(&text),
                wanted,
            )),
            Content::Secret(_) => None,
        };
        Ok(Verdict::from_reasons(
            &reasons,
            diff.filter(|diff| !diff.is_empty()),
        ))
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        let access = Access {
            mode: self.mode,
            owner: self.owner(system)?,
        };
        if let Some(notice) = self.notifies {
            notice.leave(system)?;
        }
        system.write(&self.path, self.content.text().as_bytes(), access)
    }
}

impl File {
    fn owner(&self, system: &System) -> Result<Option<(u32, u32)>, Error> {
        self.owner
            .as_deref()
            .map(|name| owner(system, name))
            .transpose()
    }
}

impl State for Absent {
    fn title(&self) -> String {
        format!("no file {}", self.path)
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        match system.attributes(&self.path)? {
            None => Ok(Verdict::Satisfied),
            Some(found) if found.kind == Kind::Directory => Err(Error::state(format!(
                "{} is a directory; move it away",
                self.path
            ))),
            Some(_) => Ok(Verdict::change("it is still there")),
        }
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        if let Some(notice) = self.notifies {
            notice.leave(system)?;
        }
        system.remove(&self.path)
    }
}

impl Content {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Secret(secret) => secret.reveal(),
        }
    }
}

impl State for Directory {
    fn title(&self) -> String {
        format!("directory {}", self.path)
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        // What is mounted there is not ours to judge, and asking a file server that is away would take for ever.
        if mounts(system)?
            .iter()
            .any(|mounted| mounted.path == self.path)
        {
            return Ok(Verdict::Satisfied);
        }
        reachable(system, &self.path)?;
        let Some(found) = system.attributes(&self.path)? else {
            return Ok(Verdict::change("it does not exist"));
        };
        if found.kind != Kind::Directory {
            return Err(Error::state(format!(
                "{} is in the way of a directory; move it away",
                self.path
            )));
        }
        let mut reasons = Vec::new();
        if let Some(mode) = self.mode.filter(|mode| *mode != found.mode) {
            reasons.push(format!("the mode is {:04o}, not {mode:04o}", found.mode));
        }
        if let Some(name) = &self.owner
            && owner(system, name)? != (found.uid, found.gid)
        {
            reasons.push(format!(
                "it belongs to {}:{}, not {name}",
                found.uid, found.gid
            ));
        }
        Ok(Verdict::from_reasons(&reasons, None))
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        system.create_directory(&self.path)?;
        let owner = self
            .owner
            .as_deref()
            .map(|name| owner(system, name))
            .transpose()?;
        match (self.mode, owner, system.attributes(&self.path)?) {
            (None, None, _) | (_, _, None) => Ok(()),
            (mode, owner, Some(found)) => system.change_access(
                &self.path,
                Access {
                    mode: mode.unwrap_or(found.mode),
                    owner,
                },
            ),
        }
    }
}

impl State for Link {
    fn title(&self) -> String {
        format!("link {}", self.path)
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        match system.attributes(&self.path)? {
            None => Ok(Verdict::change("it does not exist")),
            Some(found) if found.kind == Kind::Link => {
                Ok(match system.link_target(&self.path)? {
                    Some(target) if target == self.target => Verdict::Satisfied,
                    target => {
                        Verdict::change(format!("it leads to {}", target.unwrap_or_default()))
                    }
                })
            }
            Some(_) => Err(Error::state(format!(
                "{} is in the way of a link to {}; move it away",
                self.path, self.target
            ))),
        }
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        system.link(&self.path, &self.target)
    }
}

/// Permission bits as everybody writes them: `0644`.
mod octal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{mode:04o}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        u32::from_str_radix(&String::deserialize(deserializer)?, 8).map_err(D::Error::custom)
    }

    pub(super) mod option {
        use serde::{Deserializer, Serializer};

        pub(in super::super) fn serialize<S: Serializer>(
            mode: &Option<u32>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match mode {
                Some(mode) => super::serialize(mode, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<u32>, D::Error> {
            super::deserialize(deserializer).map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        net::{Ipv4Addr, TcpListener},
        os::unix::fs::symlink,
    };

    use super::*;

    /// What becomes of a look at `path`, on a node whose `/shared` leads to an NFS mount.
    fn look(path: &str, port: u16) -> Result<Verdict, String> {
        let root = tempfile::tempdir().unwrap();
        for directory in ["proc/self", "mnt/nfs/pi-cluster/registry", "srv/registry"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        symlink("mnt/nfs/pi-cluster", root.path().join("shared")).unwrap();
        symlink("/shared", root.path().join("also")).unwrap();
        let mounts = format!(
            "/dev/mmcblk0p2 / ext4 rw 0 0\n\
             192.168.1.2:/pi-cluster /mnt/nfs/pi-cluster nfs4 rw,hard,port={port},addr=127.0.0.1 0 0\n"
        );
        fs::write(root.path().join("proc/self/mounts"), mounts).unwrap();
        let directory = Directory {
            path: path.into(),
            mode: None,
            owner: None,
        };
        let system = System::rooted(root.path());
        directory.check(&system).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_server_that_is_away_is_not_waited_for() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(look("/shared/registry", port), Ok(Verdict::Satisfied));

        drop(listener);
        for path in [
            "/shared/registry",
            "/also/registry",
            "/mnt/nfs/pi-cluster/a/b",
        ] {
            let error = look(path, port).unwrap_err();
            let wanted = format!(
                "{path} lies on 192.168.1.2:/pi-cluster, and the NFS server 127.0.0.1:{port} does not answer"
            );
            assert!(error.starts_with(&wanted), "{error}");
        }
        for path in ["/mnt/nfs/pi-cluster", "/srv/registry"] {
            assert_eq!(look(path, port), Ok(Verdict::Satisfied), "{path}");
        }
    }
}
