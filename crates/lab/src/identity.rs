//! Who a clone is: what no two machines may share, as an archive that is plugged in as a disk.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use bramble_image::layer::Layer;
use bramble_image::rootfs::FIRST_USER_ID;

/// Where the machine finds what is for [the script](crate::guest) rather than for itself.
const DIRECTORY: &str = "run/bramble-identity";

/// The smallest disk QEMU makes of a file: whole sectors.
const SECTOR: usize = 512;

/// A clone's identity.
///
/// It must get an address on `eth0`, from a DHCP server among the machines or from one of its `files`: in a clone that has
/// none after five minutes `bramble-identity@….service` fails, and it switches itself off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The host name the machine begins with.
    pub hostname: String,
    /// The name of the first user (id 1000).
    pub user: String,
    /// Public keys, one a line, that may log in as `user`.
    pub authorized_keys: String,
    /// The SSH host key, private and public: an ed25519 pair in OpenSSH's formats. A machine without one does
    /// not answer SSH.
    pub host_key: Option<(String, String)>,
    /// Further files, such as a static address in `etc/systemd/network`. What runs already has not read them.
    pub files: Layer,
    /// A script, with its `#!`, that root runs once the files are there: `networkctl reload` for an address.
    pub configure: Option<String>,
}

impl Identity {
    /// Writes the archive to the new file `path`, readable by its owner alone, with a machine id and random
    /// bytes of its own.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut random = [0; 16 + 256];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let (machine_id, seed) = random.split_at(16);

        let mut archive = Vec::new();
        self.layer(machine_id, seed).write_tar(&mut archive)?;
        archive.resize(archive.len().next_multiple_of(SECTOR), 0);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(file.write_all(&archive)?)
    }

    fn layer(&self, machine_id: &[u8], seed: &[u8]) -> Layer {
        let machine_id: String = machine_id
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let home = format!("home/{}", self.user);
        let own = |name: &str| format!("{DIRECTORY}/{name}");
        let mut layer = self
            .files
            .clone()
            .file("etc/hostname", 0o644, format!("{}\n", self.hostname))
            .file("etc/machine-id", 0o444, format!("{machine_id}\n"))
            .directory_of(FIRST_USER_ID, &home, 0o755)
            .directory_of(FIRST_USER_ID, &format!("{home}/.ssh"), 0o700)
            .file_of(
                FIRST_USER_ID,
                &format!("{home}/.ssh/authorized_keys"),
                0o600,
                self.authorized_keys.as_str(),
            )
            .file(&own("random"), 0o600, seed)
            .file(&own("user"), 0o644, self.user.as_str());
        if let Some((private, public)) = &self.host_key {
            layer = layer
                .file("etc/ssh/ssh_host_ed25519_key", 0o600, private.as_str())
                .file("etc/ssh/ssh_host_ed25519_key.pub", 0o644, public.as_str());
        }
        if let Some(script) = &self.configure {
            layer = layer.file(&own("configure"), 0o755, script.as_str());
        }
        layer
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_identity_is_private_and_never_the_same_twice() -> Result<()> {
        let identity = Identity {
            hostname: "bramble".to_owned(),
            user: "pi".to_owned(),
            authorized_keys: "ssh-ed25519 AAAA operator\n".to_owned(),
            host_key: Some(("PRIVATE".to_owned(), "PUBLIC".to_owned())),
            files: Layer::new(),
            configure: Some("#!/bin/sh\n".to_owned()),
        };
        let dir = tempfile::tempdir()?;
        let written = ["a", "b"].map(|name| {
            let path = dir.path().join(name);
            identity.write(&path).expect("written");
            assert_eq!(
                std::fs::metadata(&path)
                    .expect("there")
                    .permissions()
                    .mode()
                    & 0o777,
                0o600
            );
            std::fs::read(path).expect("read")
        });
        assert!(written[0] != written[1]);
        assert_eq!(written[0].len() % SECTOR, 0);

        let mut listing = String::new();
        for entry in tar::Archive::new(written[0].as_slice()).entries()? {
            let entry = entry?;
            let header = entry.header();
            listing += &format!(
                "{:4o} {:4} {}\n",
                header.mode()?,
                header.uid()?,
                entry.path()?.display()
            );
        }
        insta::assert_snapshot!(listing);
        Ok(())
    }
}
