use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{State, Verdict};
use crate::{CommandLine, Error, System, system::Kind};

/// Where NFS servers listen, unless a mount says otherwise.
const NFS_PORT: u16 = 2049;

/// How long an NFS server may take to answer. Lost packets are sent again after one, three and seven seconds.
const NFS_PATIENCE: Duration = Duration::from_secs(10);

/// How many links one path may lead through, as the kernel has it.
const MOST_LINKS: usize = 40;

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
    options: String,
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
        if let Some(found) = self.current(system)? {
            // Whoever takes leave of a server that is away would wait until it is back.
            let is_away = found.server().is_some_and(|server| ask(&server).is_err());
            let options: &[&str] = if is_away { &["--force", "--lazy"] } else { &[] };
            let options = options.iter().copied();
            system.run(&CommandLine::new("umount", options.chain([&*self.path])))?;
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
        options: fields.next()?,
    })
}

/// Fails where `path` lies on an NFS server that is away: whoever looked at it would be held up until that is back.
pub(crate) fn reachable(system: &System, path: &str) -> Result<(), Error> {
    let Some(mounted) = nfs_above(system, Path::new(path), MOST_LINKS)? else {
        return Ok(());
    };
    let Some(server) = mounted.server() else {
        return Ok(());
    };
    ask(&server).map_err(|error| {
        Error::state(format!(
            "{path} lies on {}, and the NFS server {server} does not answer ({error}); switch it on, see that this \
             node reaches it, then run the same command again",
            mounted.source
        ))
    })
}

/// Whether an NFS server is there.
fn ask(server: &SocketAddr) -> io::Result<()> {
    TcpStream::connect_timeout(server, NFS_PATIENCE).map(drop)
}

/// The NFS mount below which `path` lies, found without touching anything there.
fn nfs_above(system: &System, path: &Path, links: usize) -> Result<Option<Mounted>, Error> {
    let mounts = mounts(system)?;
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    for place in above {
        let top = mounts
            .iter()
            .rfind(|mounted| Path::new(&mounted.path) == place);
        if let Some(mounted) = top.filter(|mounted| mounted.fstype.starts_with("nfs")) {
            return Ok(Some(mounted.clone()));
        }
        if let (Some(target), Ok(rest)) = (target(system, place)?, path.strip_prefix(place))
            && links > 0
        {
            let parent = place.parent().unwrap_or(place);
            return nfs_above(system, &parent.join(target).join(rest), links - 1);
        }
    }
    Ok(None)
}

/// Where a link leads; `None` for everything else.
fn target(system: &System, place: &Path) -> Result<Option<String>, Error> {
    let place = place.to_string_lossy();
    match system.attributes(&place)? {
        Some(found) if found.kind == Kind::Link => system.link_target(&place),
        _ => Ok(None),
    }
}

impl Mounted {
    /// Where the server of an NFS mount listens, as the kernel found it when it was mounted; of no other mount.
    fn server(&self) -> Option<SocketAddr> {
        if !self.fstype.starts_with("nfs") {
            return None;
        }
        let option = |name: &str| {
            let mut options = self.options.split(',');
            options.find_map(|option| option.strip_prefix(name))
        };
        let address: IpAddr = option("addr=")?.parse().ok()?;
        let port = option("port=").and_then(|port| port.parse().ok());
        let port = port.filter(|port| *port != 0).unwrap_or(NFS_PORT);
        Some(SocketAddr::new(address, port))
    }
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

    #[test]
    fn a_server_listens_where_its_mount_says() {
        let cases = [
            (
                "rw,hard,clientaddr=192.168.1.9,local_lock=none,addr=192.168.1.2",
                Some("192.168.1.2:2049"),
            ),
            ("rw,port=0,addr=192.168.1.2", Some("192.168.1.2:2049")),
            ("rw,port=2050,addr=fe80::1", Some("[fe80::1]:2050")),
            ("rw,relatime", None),
        ];
        for (options, server) in cases {
            let mounted = parse(&format!("nas:/ /mnt nfs4 {options} 0 0")).unwrap();
            let server = server.map(|server| server.parse().unwrap());
            assert_eq!(mounted.server(), server, "{options}");
        }
        let other = parse("//nas/plex /mnt cifs rw,addr=192.168.1.2 0 0").unwrap();
        assert_eq!(other.server(), None);
    }
}
