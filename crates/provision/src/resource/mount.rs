use serde::{Deserialize, Serialize};

use super::{State, Verdict};
use crate::{CommandLine, Error, System};

/// A file system that is mounted now. That it is again after a boot is a matter of `/etc/fstab`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    /// The mount point.
    pub path: String,
    /// `SERVER:/EXPORT`, as `/etc/fstab` has it.
    pub source: String,
    /// `nfs4`.
    pub fstype: String,
}

/// A line of the kernel's list of mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounted {
    pub(crate) path: String,
    pub(crate) source: String,
    pub(crate) fstype: String,
}

impl State for Mount {
    fn title(&self) -> String {
        format!("mount {}", self.path)
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        Ok(match self.current(system)? {
            None => Verdict::change("it is not mounted"),
            Some(found) if found.source != self.source => Verdict::change(format!(
                "{} is mounted there, not {}",
                found.source, self.source
            )),
            Some(found) if found.fstype != self.fstype => Verdict::change(format!(
                "it is mounted as {}, not {}",
                found.fstype, self.fstype
            )),
            Some(_) => Verdict::Satisfied,
        })
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        if self.current(system)?.is_some() {
            system.run(&CommandLine::new("umount", [&self.path]))?;
        }
        // By path alone, so that it is the line of /etc/fstab that is tried.
        system
            .run(&CommandLine::new("mount", [&self.path]))
            .map(drop)
    }
}

impl Mount {
    /// What is on top at the mount point; an automount that waits for its first use is nothing yet.
    fn current(&self, system: &System) -> Result<Option<Mounted>, Error> {
        let top = mounts(system)?
            .into_iter()
            .rfind(|mounted| mounted.path == self.path);
        Ok(top.filter(|mounted| mounted.fstype != "autofs"))
    }
}

/// All mounts, in the order in which they were made.
pub(crate) fn mounts(system: &System) -> Result<Vec<Mounted>, Error> {
    let table = system.read("/proc/self/mounts")?.unwrap_or_default();
    Ok(table.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Mounted> {
    let mut fields = line.split(' ').map(unescape);
    Some(Mounted {
        source: fields.next()?,
        path: fields.next()?,
        fstype: fields.next()?,
    })
}

/// The kernel writes blanks and backslashes as three octal digits.
fn unescape(field: &str) -> String {
    [
        (r"\040", " "),
        (r"\011", "\t"),
        (r"\012", "\n"),
        (r"\134", r"\"),
    ]
    .iter()
    .fold(field.to_owned(), |text, (escaped, plain)| {
        text.replace(escaped, plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(mounts: &str) -> Verdict {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc/self")).unwrap();
        std::fs::write(root.path().join("proc/self/mounts"), mounts).unwrap();
        let plex = Mount {
            path: "/mnt/nfs/plex".into(),
            source: "192.168.1.2:/plex".into(),
            fstype: "nfs4".into(),
        };
        plex.check(&System::rooted(root.path())).unwrap()
    }

    #[test]
    fn source_and_type_count() {
        let cases = [
            (
                "192.168.1.2:/plex /mnt/nfs/plex nfs4 rw,relatime 0 0\n",
                None,
            ),
            ("", Some("it is not mounted")),
            (
                "systemd-1 /mnt/nfs/plex autofs rw 0 0\n",
                Some("it is not mounted"),
            ),
            (
                "systemd-1 /mnt/nfs/plex autofs rw 0 0\n192.168.1.2:/plex /mnt/nfs/plex nfs4 rw 0 0\n",
                None,
            ),
            (
                "192.168.1.3:/plex /mnt/nfs/plex nfs4 rw 0 0\n",
                Some("192.168.1.3:/plex is mounted there, not 192.168.1.2:/plex"),
            ),
            (
                "192.168.1.2:/plex /mnt/nfs/plex nfs rw 0 0\n",
                Some("it is mounted as nfs, not nfs4"),
            ),
            (
                "192.168.1.2:/plex /mnt/nfs/plex\\0402 nfs4 rw 0 0\n",
                Some("it is not mounted"),
            ),
        ];
        for (mounts, reason) in cases {
            let wanted = reason.map_or(Verdict::Satisfied, Verdict::change);
            assert_eq!(verdict(mounts), wanted, "{mounts}");
        }
    }
}
