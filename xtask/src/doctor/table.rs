//! What the machine must have, as data.

use clap::ValueEnum;
use serde::Serialize;

/// What the machine is to be ready for. Each includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scope {
    /// `cargo xtask vm-test`
    Rehearse,
    /// `cargo xtask ci`
    Ci,
    /// CI's step `containers`, with a Docker engine that it starts
    Containers,
}

/// One thing that must be there.
#[derive(Debug)]
pub(crate) struct Requirement {
    /// What a person would call it.
    pub(crate) name: &'static str,
    /// What goes wrong without it.
    pub(crate) why: &'static str,
    pub(crate) scope: Scope,
    pub(crate) probe: Probe,
    /// The packages that bring it, on Debian and its kin.
    pub(crate) packages: &'static [Package],
}

/// How one finds out.
#[derive(Debug)]
pub(crate) enum Probe {
    /// A program that says its version when given `ask`, and the least version that will do.
    Program {
        name: &'static str,
        ask: &'static [&'static str],
        least: &'static [u32],
    },
    /// Something that must work, whatever provides it.
    Capability(Capability),
}

/// What is found out by trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Capability {
    /// `mke2fs -d` takes a tar archive.
    FillExt4FromTar,
    /// The kernel hands ARM64 programs to QEMU.
    RunArm64Programs,
    /// mmdebstrap may be root in a namespace of its own, or is root.
    MapUserIds,
    /// `aarch64-linux-gnu-gcc` can link statically.
    LinkArm64Statically,
    /// Some Rust compiler here has the standard library for ARM64.
    CompileRustForArm64,
}

/// A Debian package, where its name or its suite depends on the release.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    /// Its name in Debian 12, where that was another.
    pub(crate) bookworm_name: Option<&'static str>,
    /// Debian 12 itself has too old a one; its backports will do.
    pub(crate) bookworm_backport: bool,
}

const fn package(name: &'static str) -> Package {
    Package {
        name,
        bookworm_name: None,
        bookworm_backport: false,
    }
}

const fn backport(name: &'static str) -> Package {
    Package {
        name,
        bookworm_name: None,
        bookworm_backport: true,
    }
}

/// QEMU's parts must come from one release, the first that has the lab's machine type; `raspi4b`, `file:` migration and
/// `reconnect-ms` are older.
const QEMU: &[u32] = &[10, 0];

/// Everything, in the order in which it is reported.
pub(crate) const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        name: "QEMU system emulator for ARM64",
        why: "it is the Pis of the rehearsal",
        scope: Scope::Rehearse,
        probe: Probe::Program {
            name: "qemu-system-aarch64",
            ask: &["--version"],
            least: QEMU,
        },
        packages: &[backport("qemu-system-arm")],
    },
    Requirement {
        name: "QEMU disk tool",
        why: "every clone has its own overlay over one disk",
        scope: Scope::Rehearse,
        probe: Probe::Program {
            name: "qemu-img",
            ask: &["--version"],
            least: QEMU,
        },
        packages: &[backport("qemu-utils")],
    },
    Requirement {
        name: "QEMU user emulator for ARM64",
        why: "packages of the root file system are configured by their own ARM64 scripts",
        scope: Scope::Rehearse,
        probe: Probe::Program {
            name: "qemu-aarch64-static",
            ask: &["--version"],
            least: QEMU,
        },
        packages: &[backport("qemu-user-static"), backport("qemu-user-binfmt")],
    },
    Requirement {
        name: "arch-test",
        why: "mmdebstrap asks it whether ARM64 programs run here",
        scope: Scope::Rehearse,
        probe: Probe::Program {
            name: "arch-test",
            ask: &[],
            least: &[],
        },
        packages: &[package("arch-test")],
    },
    Requirement {
        name: "ARM64 programs handed to QEMU (binfmt_misc)",
        why: "packages of the root file system are configured by their own ARM64 scripts",
        scope: Scope::Rehearse,
        probe: Probe::Capability(Capability::RunArm64Programs),
        packages: &[backport("qemu-user-binfmt")],
    },
    Requirement {
        name: "mmdebstrap",
        why: "it makes root file systems and unpacks Debian's ARM64 packages",
        scope: Scope::Rehearse,
        probe: Probe::Program {
            name: "mmdebstrap",
            ask: &["--version"],
            least: &[1, 5],
        },
        packages: &[backport("mmdebstrap")],
    },
    Requirement {
        name: "OpenSSL's program",
        why: "it names certificates in root file systems, where doing so emulated takes minutes",
        scope: Scope::Rehearse,
        probe: Probe::Program {
            name: "openssl",
            ask: &["version"],
            least: &[3, 0],
        },
        packages: &[package("openssl")],
    },
    Requirement {
        name: "user ids to map (newuidmap, /etc/subuid)",
        why: "without being root, mmdebstrap needs ids to give to the files that it makes",
        scope: Scope::Rehearse,
        probe: Probe::Capability(Capability::MapUserIds),
        packages: &[package("uidmap")],
    },
    Requirement {
        name: "e2fsprogs",
        why: "mke2fs 1.47.1 is the first that fills a file system from an archive, reproducibly",
        scope: Scope::Rehearse,
        probe: Probe::Program {
            name: "mke2fs",
            ask: &["-V"],
            least: &[1, 47, 1],
        },
        packages: &[backport("e2fsprogs")],
    },
    Requirement {
        name: "libarchive for mke2fs",
        why: "mke2fs loads it to read the archive that fills a root file system",
        scope: Scope::Rehearse,
        probe: Probe::Capability(Capability::FillExt4FromTar),
        packages: &[Package {
            name: "libarchive13t64",
            bookworm_name: Some("libarchive13"),
            bookworm_backport: false,
        }],
    },
    Requirement {
        name: "OpenSSH client",
        why: "nodes are reached by ssh",
        scope: Scope::Rehearse,
        probe: Probe::Program {
            name: "ssh",
            ask: &["-V"],
            least: &[8, 0],
        },
        packages: &[package("openssh-client")],
    },
    Requirement {
        name: "C compiler",
        why: "SQLite is compiled into the search service",
        scope: Scope::Rehearse,
        probe: Probe::Program {
            name: "cc",
            ask: &["--version"],
            least: &[],
        },
        packages: &[package("gcc"), package("libc6-dev")],
    },
    Requirement {
        name: "C cross-compiler for ARM64",
        why: "it links what runs on the nodes, statically",
        scope: Scope::Rehearse,
        probe: Probe::Capability(Capability::LinkArm64Statically),
        packages: &[
            package("gcc-aarch64-linux-gnu"),
            package("libc6-dev-arm64-cross"),
        ],
    },
    Requirement {
        name: "Rust for ARM64",
        why: "it compiles what runs on the nodes",
        scope: Scope::Rehearse,
        probe: Probe::Capability(Capability::CompileRustForArm64),
        packages: &[package("rustc-web"), package("libstd-rust-web-dev:arm64")],
    },
    Requirement {
        name: "Redis",
        why: "tests of the search service run against a real one",
        scope: Scope::Ci,
        probe: Probe::Program {
            name: "redis-server",
            ask: &["--version"],
            least: &[6, 0],
        },
        packages: &[package("redis-server")],
    },
    Requirement {
        name: "sshfs",
        why: "tests see that the search keeps no ledger on such a file system",
        scope: Scope::Ci,
        probe: Probe::Program {
            name: "sshfs",
            ask: &[],
            least: &[],
        },
        packages: &[package("sshfs"), package("openssh-sftp-server")],
    },
    Requirement {
        name: "newuidmap",
        why: "a release is built again by another user, who needs ids to give to the files of a card",
        scope: Scope::Ci,
        probe: Probe::Program {
            name: "newuidmap",
            ask: &[],
            least: &[],
        },
        packages: &[package("uidmap")],
    },
    Requirement {
        name: "sshd",
        why: "tests have bramble log in to one of their own",
        scope: Scope::Ci,
        probe: Probe::Program {
            name: "sshd",
            ask: &[],
            least: &[],
        },
        packages: &[package("openssh-server")],
    },
    Requirement {
        name: "container registry",
        why: "tests push images to one of their own",
        scope: Scope::Ci,
        probe: Probe::Program {
            name: "docker-registry",
            ask: &[],
            least: &[],
        },
        packages: &[package("docker-registry")],
    },
    Requirement {
        name: "dnsmasq",
        why: "tests have it read the rendered router configuration",
        scope: Scope::Ci,
        probe: Probe::Program {
            name: "dnsmasq",
            ask: &["--version"],
            least: &[2, 80],
        },
        packages: &[package("dnsmasq-base")],
    },
    Requirement {
        name: "dosfstools",
        why: "tests have its fsck judge boot partitions",
        scope: Scope::Ci,
        probe: Probe::Program {
            name: "fsck.fat",
            ask: &[],
            least: &[],
        },
        packages: &[package("dosfstools")],
    },
    Requirement {
        name: "mtools",
        why: "tests have it list boot partitions",
        scope: Scope::Ci,
        probe: Probe::Program {
            name: "mdir",
            ask: &[],
            least: &[],
        },
        packages: &[package("mtools")],
    },
    Requirement {
        name: "sfdisk",
        why: "tests have it read partition tables",
        scope: Scope::Ci,
        probe: Probe::Program {
            name: "sfdisk",
            ask: &[],
            least: &[],
        },
        packages: &[package("fdisk")],
    },
    Requirement {
        name: "Chromium and its driver",
        why: "tests look at the search's page in it, as people do",
        scope: Scope::Ci,
        probe: Probe::Program {
            name: "chromedriver",
            ask: &["--version"],
            least: &[115],
        },
        packages: &[package("chromium-driver"), package("fonts-dejavu-core")],
    },
    Requirement {
        name: "pip",
        why: "the nightly rehearsal fetches Ansible with it, to hold bramble against",
        scope: Scope::Ci,
        probe: Probe::Program {
            name: "pip3",
            ask: &["--version"],
            least: &[20, 3],
        },
        packages: &[package("python3-pip")],
    },
    Requirement {
        name: "Docker engine",
        why: "machines run in its containers, as well as without",
        scope: Scope::Containers,
        probe: Probe::Program {
            name: "dockerd",
            ask: &["--version"],
            least: &[20, 10],
        },
        packages: &[package("docker.io"), package("iptables")],
    },
    Requirement {
        name: "Docker client",
        why: "it loads the images of the search service",
        scope: Scope::Containers,
        probe: Probe::Program {
            name: "docker",
            ask: &["--version"],
            least: &[20, 10],
        },
        packages: &[Package {
            name: "docker-cli",
            bookworm_name: Some("docker.io"),
            bookworm_backport: false,
        }],
    },
    Requirement {
        name: "busybox",
        why: "the image of this machine's Redis starts by a script",
        scope: Scope::Containers,
        probe: Probe::Program {
            name: "busybox",
            ask: &[],
            least: &[],
        },
        packages: &[package("busybox-static")],
    },
    Requirement {
        name: "Docker Compose",
        why: "it starts the search service on one machine",
        scope: Scope::Containers,
        probe: Probe::Program {
            name: "docker-compose",
            ask: &["--version"],
            least: &[1, 29],
        },
        packages: &[package("docker-compose")],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_qemu_that_is_asked_for_has_the_labs_machine_type() {
        let least: Vec<String> = QEMU.iter().map(u32::to_string).collect();
        assert_eq!(
            format!("virt-{}", least.join(".")),
            bramble_lab::MACHINE_TYPE
        );
    }
}
