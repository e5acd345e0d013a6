//! A Debian root file system for the nodes, and for the household machine of a rehearsal.
//!
//! `mmdebstrap` makes it from locked packages, with no more emulation than the packages' own scripts need: the
//! initramfs, which takes more than half of a plain build, is kept out and made on the host (see
//! [`crate::initramfs`]), and packages are decompressed here (see [`crate::debian::repository`]).

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use bramble_store::{Artifact, Key};

use crate::debian::{Along, SUITE, Set, repository};
use crate::layer::Layer;
use crate::shared::Shared;
use crate::{EPOCH, Inputs, tool};

/// Raised when the same inputs would be built into something else.
const VERSION: u32 = 3;

/// The file that a root file system is, in the store.
const ARCHIVE: &str = "rootfs.tar";

/// The user that a stock image comes with, id 1000, free to use `sudo`.
pub const FIRST_USER: &str = "pi";

/// The id of [`FIRST_USER`] and of their group.
pub const FIRST_USER_ID: u32 = 1000;

/// What every node needs to be provisioned: it boots, finds its network, answers SSH, and has Docker.
const NODE_PACKAGES: &[&str] = &[
    "busybox-static",
    "ca-certificates",
    "crun",
    "dbus",
    "docker-cli",
    "docker.io",
    // Its sfdisk grows the root partition to the card.
    "fdisk",
    "iproute2",
    "iptables",
    "kmod",
    "linux-image-arm64",
    "nfs-common",
    "openssh-server",
    "sudo",
    "systemd-resolved",
    "systemd-sysv",
    // A Pi has no clock that runs without power, and the certificates of a swarm have dates.
    "systemd-timesyncd",
    "udev",
];

/// What the household machine has beyond a node: the router's and the NAS's daemons.
const HOUSEHOLD_PACKAGES: &[&str] = &["dnsmasq-base", "nfs-kernel-server"];

/// What a node has so that others can manage it, as Raspberry Pi OS has: Ansible is written in Python, as are its modules for
/// Docker and apt.
const PYTHON_PACKAGES: &[&str] = &["python3", "python3-apt", "python3-docker"];

/// Run in a node's root file system, leaves one without an engine. Whatever came with it goes too.
const WITHOUT_ENGINE: &str = r#"chroot "$1" env DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes --auto-remove purge docker.io docker-cli crun nfs-common python3-docker"#;

/// Files that no machine of a cluster reads.
const EXCLUDED: &[&str] = &[
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/doc/*",
];

/// Programs that maintainer scripts call and that take minutes under emulation: kept from running while packages
/// are configured. An initramfs is made on the host; for certificates, see [`CERTIFICATES`].
const SLOW: [&str; 2] = ["update-initramfs", "update-ca-certificates"];

/// Run in the new root file system before any package but the essential ones is configured.
const BEFORE: &[&str] = &[
    // Host keys are each machine's own; the package makes none where it finds some.
    r#"mkdir -p "$1/etc/ssh" && touch "$1/etc/ssh/ssh_host_rsa_key" "$1/etc/ssh/ssh_host_ecdsa_key" "$1/etc/ssh/ssh_host_ed25519_key""#,
];

/// Run in the new root file system when all packages are configured.
const AFTER: &[&str] = &[
    r#"rm "$1"/etc/ssh/ssh_host_*"#,
    CERTIFICATES,
    r#"chroot "$1" useradd --create-home --shell /bin/bash --groups sudo pi"#,
    // Provisioning decides what runs; NFSv4 needs no portmapper.
    r#"chroot "$1" systemctl --quiet disable docker.service docker.socket containerd.service rpcbind.service rpcbind.socket"#,
    r#"chroot "$1" systemctl --quiet enable systemd-networkd.service"#,
];

/// The package's own script does it, run by this machine's shell. Its links must not say where that was.
const CERTIFICATES: &str = r#"sh "$1/usr/sbin/update-ca-certificates" --sysroot "$1" && for link in "$1"/etc/ssl/certs/*.pem; do ln -sfn "$(readlink "$link" | sed "s|^$1/||")" "$link"; done"#;

fn divert(program: &str) -> String {
    format!(
        r#"chroot "$1" dpkg-divert --quiet --local --rename --divert /usr/sbin/{program}.real --add /usr/sbin/{program} && ln -s /bin/true "$1/usr/sbin/{program}""#
    )
}

fn restore(program: &str) -> String {
    format!(
        r#"rm "$1/usr/sbin/{program}" && chroot "$1" dpkg-divert --quiet --local --rename --divert /usr/sbin/{program}.real --remove /usr/sbin/{program}"#
    )
}

/// What of the caller's environment reaches a build: where things are, and what some let programs tell the time by.
/// Of what else is set there, packages' scripts would make something of their own.
const INHERITED: [&str; 4] = ["HOME", "LD_PRELOAD", "PATH", "TMPDIR"];

/// With this begin the variables by which whoever started a build finds it again. Nothing in it reads them.
const OURS: &str = "BRAMBLE_";

/// Run at the very end: what says when and where it was built, and what is made anew where it is missing.
const CLEAN: &[&str] = &[
    r#"rm -f "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old "$1"/var/cache/ldconfig/aux-cache"#,
    r#"rm -f "$1"/var/log/apt/* "$1"/var/log/*.log "$1"/etc/*- "$1"/var/lib/systemd/random-seed"#,
];

/// Where apt's list of sources waits while the machine's own is not the one to install from.
const SOURCES: &str = r#""$1/etc/apt/sources.list""#;

/// What a root file system is made from: all of it is in the artefact's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// What it is called in the store.
    pub name: &'static str,
    /// The name of its packages in the lock file.
    set: &'static str,
    /// Debian packages; their dependencies come along, recommendations do not.
    packages: &'static [&'static str],
    before: &'static [&'static str],
    after: &'static [&'static str],
    /// Whether it starts from another root file system instead of from nothing.
    pub extends: bool,
}

/// The root file system of every node: Debian's essential packages, systemd with its network and name services, OpenSSH's
/// server, Docker's engine, which is not started, `iproute2`, an NFS client, and BusyBox. What is not there under its own
/// name may be in BusyBox: `busybox ping`. The shell is dash, and bash and mawk are there.
pub fn node() -> Recipe {
    Recipe {
        name: "rootfs-node",
        set: "node",
        packages: NODE_PACKAGES,
        before: BEFORE,
        after: AFTER,
        extends: false,
    }
}

/// The root file system of the household machine: a node's, and the daemons of a router and a NAS.
pub fn household() -> Recipe {
    Recipe {
        name: "rootfs-household",
        set: "household",
        packages: HOUSEHOLD_PACKAGES,
        before: &[],
        after: &[r#"chroot "$1" systemctl --quiet disable nfs-server.service"#],
        extends: true,
    }
}

/// A node's root file system, and what Ansible needs there.
pub fn python() -> Recipe {
    Recipe {
        name: "rootfs-python",
        set: "python",
        packages: PYTHON_PACKAGES,
        before: &[],
        after: &[],
        extends: true,
    }
}

/// The root file system of a machine whose card nobody prepared, which extends [`python()`]: as Raspberry Pi OS it has
/// Python, and neither Docker nor an NFS client.
pub fn stock() -> Recipe {
    Recipe {
        name: "rootfs-stock",
        after: &[WITHOUT_ENGINE],
        ..python()
    }
}

/// The files by which a root file system of ours differs from a plain Debian one.
pub fn node_layer() -> Layer {
    Layer::new()
        .file("etc/hostname", 0o644, "bramble\n")
        .file(
            "etc/hosts",
            0o644,
            "127.0.0.1 localhost\n127.0.1.1 bramble\n",
        )
        .file("etc/default/locale", 0o644, "LANG=C.UTF-8\n")
        .file(
            "etc/systemd/resolved.conf.d/router-only.conf",
            0o644,
            RESOLVED,
        )
        .file(
            "etc/fstab",
            0o644,
            "LABEL=rootfs / ext4 defaults,noatime 0 1\n",
        )
        .file("etc/systemd/network/10-lan.network", 0o644, LAN)
        .file(
            "etc/sudoers.d/010_nopasswd",
            0o440,
            "%sudo ALL=(ALL:ALL) NOPASSWD: ALL\n",
        )
        .file(
            "etc/systemd/system/ssh.service.d/host-key.conf",
            0o644,
            WITH_HOST_KEY,
        )
        .symlink("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
        // Whether a machine waits for its network is provisioning's to say.
        .remove(
            "etc/systemd/system/network-online.target.wants/systemd-networkd-wait-online.service",
        )
        // Nothing is upgraded behind the back of whoever declared the cluster.
        .remove("etc/systemd/system/timers.target.wants/apt-daily.timer")
        .remove("etc/systemd/system/timers.target.wants/apt-daily-upgrade.timer")
}

/// The router pins each address to a MAC address, so that is what a machine is asked to show.
const LAN: &str = "[Match]
Name=eth0 end0

[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no

[DHCPv4]
ClientIdentifier=mac
UseHostname=no
";

/// Names come from the router; nodes do not ask each other.
const RESOLVED: &str = "[Resolve]
LLMNR=no
MulticastDNS=no
";

/// Without a host key of its own, a machine must not answer.
const WITH_HOST_KEY: &str = "[Unit]
ConditionPathExists=/etc/ssh/ssh_host_ed25519_key
";

impl Recipe {
    /// All packages that it is made from.
    pub fn set(&self) -> Set {
        let below: &[&str] = if self.extends { NODE_PACKAGES } else { &[] };
        Set {
            name: self.set,
            packages: [below, self.packages].concat(),
            along: Along::System,
        }
    }

    /// What is done, as text: a build is a function of this, of `base` and of the packages.
    pub fn inputs(&self) -> String {
        let base = self.extends.then_some(Path::new("BASE"));
        self.command(base, Path::new("PACKAGES"), Path::new("OUT"))
            .join("\n")
    }

    /// The `mmdebstrap` call that writes the tar archive `out` from the repository in the directory `packages`
    /// alone. The sources that a machine has in the end are `mmdebstrap`'s default.
    pub fn command(&self, base: Option<&Path>, packages: &Path, out: &Path) -> Vec<String> {
        let mut argv: Vec<String> = ["mmdebstrap", "--arch=arm64", "--components=main", "--quiet"]
            .map(str::to_owned)
            .into();
        argv.push(format!(
            "--variant={}",
            if base.is_some() { "custom" } else { "minbase" }
        ));
        if let Some(base) = base {
            argv.push("--skip=check/empty".to_owned());
            // Without root, devices cannot be made; `mmdebstrap` puts the usual ones into the archive by itself.
            argv.push(format!(
                "--setup-hook=tar -C \"$1\" --exclude='./dev/*' -xpf '{}'",
                base.display()
            ));
        }
        argv.push(format!("--setup-hook=mv {SOURCES} {SOURCES}.kept"));
        argv.push(format!(
            "--setup-hook=echo 'deb [trusted=yes] copy:{} {SUITE} main' > {SOURCES}",
            packages.display()
        ));
        argv.push(format!("--include={}", self.packages.join(",")));
        argv.push("--aptopt=APT::Install-Recommends \"false\"".to_owned());
        argv.push("--dpkgopt=force-unsafe-io".to_owned());
        argv.extend(
            EXCLUDED
                .iter()
                .map(|paths| format!("--dpkgopt=path-exclude={paths}")),
        );
        // The licences stay with what they are for.
        argv.push("--dpkgopt=path-include=/usr/share/doc/*/copyright".to_owned());
        let slow: &[&str] = if base.is_some() { &[] } else { &SLOW };
        let own = |hooks: &[&str]| {
            hooks
                .iter()
                .map(|&hook| hook.to_owned())
                .collect::<Vec<_>>()
        };
        let before = slow
            .iter()
            .map(|program| divert(program))
            .chain(own(self.before));
        let after = slow
            .iter()
            .map(|program| restore(program))
            .chain(own(self.after));
        argv.extend(before.map(|hook| format!("--essential-hook={hook}")));
        argv.extend(
            after
                .chain(own(CLEAN))
                .map(|hook| format!("--customize-hook={hook}")),
        );
        argv.push(format!("--customize-hook=mv {SOURCES}.kept {SOURCES}"));
        argv.push(SUITE.to_owned());
        argv.push(out.display().to_string());
        argv
    }

    /// The root file system of this recipe, from the store or built now; `base` is what it extends.
    ///
    /// # Errors
    /// The lock does not have its packages, they cannot be fetched, or `mmdebstrap` is missing or fails: the end of
    /// its log is in the error.
    pub fn get(&self, inputs: &Inputs, base: Option<&RootFs>) -> Result<RootFs> {
        let packages = inputs.packages(&self.set())?;
        let mmdebstrap = tool::version("mmdebstrap", "--version")?;
        let key = self.key(&packages.list(), base.map(|base| &base.key), &mmdebstrap)?;
        let artifact = inputs.store.get_or_build(&key, |dir| {
            let mut debs = packages.fetch()?;
            // What is installed already need not be found again, but a repository must not be empty.
            debs.retain(|deb| {
                !base.is_some_and(|base| deb.package.sets.contains(base.set))
                    || self.packages.contains(&deb.package.name.as_str())
            });
            let shared = Shared::new("bramble-packages-")?;
            let repository = shared.path().join("packages");
            repository::write(&debs, &repository)?;
            let copy = shared.path().join(ARCHIVE);
            if let Some(base) = base {
                fs::copy(base.archive(), &copy).context("cannot copy a root file system")?;
            }
            shared.open_to_all()?;
            self.build(base.map(|_| &*copy), &repository, dir)
        })?;
        Ok(RootFs {
            artifact,
            key,
            set: self.set,
        })
    }

    fn key(&self, packages: &str, base: Option<&Key>, mmdebstrap: &str) -> Result<Key> {
        Key::builder(self.name, VERSION)
            .text("command", self.inputs())
            .text("packages", packages)
            .text("base", base.map_or("", Key::hex))
            .text("mmdebstrap", mmdebstrap)
            .finish()
    }

    fn build(&self, base: Option<&Path>, packages: &Path, dir: &Path) -> Result<()> {
        let log = dir.join("mmdebstrap.log");
        let argv = self.command(base, packages, &dir.join(ARCHIVE));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let status = Command::new(&argv[0])
            .args(&argv[1..])
            .env_clear()
            .envs(inherited(env::vars_os()))
            .env("SOURCE_DATE_EPOCH", EPOCH.to_string())
            // A Pi 4's. QEMU's own choice signs return addresses, and takes a fifth longer over it.
            .env("QEMU_CPU", "cortex-a72")
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .stdout(file.try_clone()?)
            .stderr(file)
            .status()
            .context("cannot run mmdebstrap; `cargo xtask doctor` says how to install it")?;
        let said = fs::read_to_string(&log).unwrap_or_default();
        // What it said is about the build, not about what was built.
        fs::remove_file(&log)?;
        if !status.success() {
            let lines: Vec<&str> = said.lines().collect();
            let tail = lines[lines.len().saturating_sub(15)..].join("\n");
            bail!(
                "mmdebstrap could not build {} ({status}); the end of what it said:\n{tail}",
                self.name
            );
        }
        Ok(())
    }
}

/// What of an environment a build inherits.
fn inherited(
    all: impl Iterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (OsString, OsString)> {
    all.filter(|(name, _)| {
        let name = name.to_string_lossy();
        INHERITED.contains(&&*name) || name.starts_with(OURS)
    })
}

/// A root file system in the store.
#[derive(Debug)]
pub struct RootFs {
    artifact: Artifact,
    /// Identifies what it was made from.
    pub key: Key,
    /// The name of its packages in the lock file.
    set: &'static str,
}

impl RootFs {
    /// Whether it was in the store already.
    pub fn was_cached(&self) -> bool {
        self.artifact.was_cached
    }

    /// The tar archive of its files.
    pub fn archive(&self) -> PathBuf {
        self.artifact.path.join(ARCHIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_is_one_call() {
        let shown = |recipe: Recipe, base: Option<&str>| {
            let packages = Path::new("/store/packages");
            recipe
                .command(
                    base.map(Path::new),
                    packages,
                    Path::new("/store/rootfs.tar"),
                )
                .join("\n")
        };
        insta::assert_snapshot!("node", shown(node(), None));
        insta::assert_snapshot!("household", shown(household(), Some("/store/node.tar")));
    }

    #[test]
    fn another_mmdebstrap_makes_another_root_file_system() {
        let key = |version: &str| {
            let key = node().key("adduser 3.152", None, version);
            key.expect("a key").hex().to_owned()
        };
        assert_eq!(key("mmdebstrap 1.5.5"), key("mmdebstrap 1.5.5"));
        assert_ne!(key("mmdebstrap 1.5.5"), key("mmdebstrap 1.5.6"));
    }

    #[test]
    fn of_an_environment_little_reaches_a_build() {
        let kept = |name: &str| {
            let all = [(name.into(), "value".into())];
            inherited(all.into_iter()).count() == 1
        };
        for (name, expected) in [
            ("PATH", true),
            ("TMPDIR", true),
            ("BRAMBLE_RUN", true),
            ("DEBIAN_FRONTEND", false),
            ("TAR_OPTIONS", false),
            ("LANG", false),
        ] {
            assert_eq!(kept(name), expected, "{name}");
        }
    }

    #[test]
    fn a_stock_card_has_no_engine() {
        let command = stock().command(
            Some(Path::new("/python.tar")),
            Path::new("/p"),
            Path::new("/o"),
        );
        let purge = command.iter().find(|word| word.contains("purge"));
        assert!(
            purge.is_some_and(|hook| hook.contains("docker.io") && hook.contains("nfs-common"))
        );
        assert!(
            !python()
                .command(None, Path::new("/p"), Path::new("/o"))
                .join(" ")
                .contains("purge")
        );
    }

    #[test]
    fn the_hooks_name_the_first_user() {
        assert!(
            AFTER
                .iter()
                .any(|hook| hook.ends_with(&format!("--groups sudo {FIRST_USER}")))
        );
    }
}
