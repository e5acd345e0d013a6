//! How a machine of a lab differs from a Raspberry Pi 4 with a card, and what is the same: all of it, in one place.
//!
//! The lists are held against what the builders of command lines and of the guest's files really do: each of their
//! words must be named here, and whatever is named must occur.

use serde::Serialize;

/// A way in which a machine of a lab is not a Pi.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is about.
    pub what: &'static str,
    /// How a Pi with a card has it.
    pub card: &'static str,
    /// How a machine of a lab has it.
    pub lab: &'static str,
    /// What that means for a rehearsal.
    pub so: &'static str,
    /// What brings it about: beginnings of QEMU's arguments, of words of the kernel's command line (`kernel: WORD`) and
    /// of paths (`file: PATH`).
    #[serde(skip)]
    by: &'static [&'static str],
}

/// Everything that is different.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        what: "board",
        card: "Raspberry Pi 4, BCM2711",
        lab: "QEMU's virt, as of its version 10.0",
        so: "GPIO, sensors, power management and the firmware's mailbox are not there",
        by: &["-machine virt-10.0"],
    },
    Difference {
        what: "CPUs",
        card: "4",
        lab: "1, or as many as `--cpus` says",
        so: "races between the CPUs of a node may not show; what is parallel takes longer",
        by: &["-smp "],
    },
    Difference {
        what: "speed",
        card: "1.5 GHz and more",
        lab: "translated instruction by instruction, by as many CPUs as the host has",
        so: "times say nothing of a Pi; time limits must be generous",
        by: &["-accel tcg"],
    },
    Difference {
        what: "memory",
        card: "1 to 8 GiB",
        lab: "768 MiB, or as much as `--memory` says; that of clones is shared until they write to it",
        so: "what needs more ends by the OOM killer",
        by: &["-m ", "-object memory-backend"],
    },
    Difference {
        what: "boot",
        card: "the firmware reads config.txt, the kernel and the initramfs from the first partition",
        lab: "QEMU starts the same kernel and initramfs; clones go on from where a booted machine was saved",
        so: "config.txt is rendered and checked, but has no effect",
        by: &["-kernel ", "-initrd ", "-append", "-incoming"],
    },
    Difference {
        what: "disk",
        card: "a card, /dev/mmcblk0, of two partitions",
        lab: "a virtio disk, /dev/vda, that is the root file system; nothing waits for the host's disk",
        so: "a power cut loses what the kernel had not written, not what a card's controller had not",
        by: &["-drive if=none", "-device virtio-blk-pci", "kernel: root="],
    },
    Difference {
        what: "network card",
        card: "GENET, gigabit, by the name of eth0",
        lab: "virtio on PCI, as fast as the switch, by the name of eth0; a clone's is plugged in while it runs",
        so: "the driver and its quirks are not rehearsed; links are as slow as a scenario wants them",
        by: &[
            "-netdev stream",
            "-device virtio-net-pci",
            "-device pcie-root-port",
        ],
    },
    Difference {
        what: "console",
        card: "a screen, and ttyS1 on the header",
        lab: "ttyAMA0, logged and watched, with the journal's warnings, and root logged in",
        so: "who has the lab has root, as who has the Pi has",
        by: &[
            "-serial ",
            "kernel: console=",
            "kernel: quiet",
            "file: etc/systemd/journald.conf.d/90-bramble-lab.conf",
            "file: etc/systemd/system/serial-getty@ttyAMA0.service.d/autologin.conf",
        ],
    },
    Difference {
        what: "page table isolation",
        card: "off: the kernel knows that a Cortex-A72 needs none",
        lab: "off by `kpti=off`",
        so: "nothing; address randomisation would switch it on, which costs an emulated machine its TLB at every call",
        by: &["kernel: kpti=off"],
    },
    Difference {
        what: "time slices",
        card: "2 ms, and whoever wakes up may end another's",
        lab: "20 ms, and nobody ends another's",
        so: "fewer switches between processes, each of which costs an emulated machine its TLB; who wakes up waits longer",
        by: &["file: etc/tmpfiles.d/90-bramble-lab.conf"],
    },
    Difference {
        what: "the time",
        card: "systemd-timesyncd's, from the network",
        lab: "the host's, by the emulated clock",
        so: "nothing; time servers that cannot be reached are asked for every second, about a fifth of what an emulated machine computed",
        by: &["file: etc/systemd/system/systemd-timesyncd.service"],
    },
    Difference {
        what: "random numbers",
        card: "the SoC's generator",
        lab: "the host's, by virtio, and a clone's own seed",
        so: "nobody waits for randomness",
        by: &["-device virtio-rng-pci"],
    },
    Difference {
        what: "who a machine is",
        card: "flashed: host key and operator's key are on the card",
        lab: "a clone takes the same from a small disk that is plugged in, once, and says on the console that it is online",
        so: "nothing from then on",
        by: &[
            "file: etc/machine-id",
            "file: etc/udev/rules.d/90-bramble-lab.rules",
            "file: etc/systemd/system/bramble-",
            "file: etc/systemd/system/multi-user.target.wants/bramble-",
            "file: usr/lib/bramble/",
        ],
    },
];

/// What is the same, and might have been expected not to be.
pub const SAME: &[(&str, &str)] = &[
    ("CPU model: Cortex-A72", "-cpu cortex-a72"),
    ("name of the network card", "kernel: net.ifnames=0"),
    (
        "root file system mounted for writing from the start",
        "kernel: rw",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{guest, qemu};

    /// By which the lab holds QEMU, and which machines do not see.
    const UNSEEN: &[&str] = &["-nodefaults", "-display none", "-chardev ", "-mon "];

    /// Whatever makes a lab's machine what it is.
    fn done() -> Vec<String> {
        let mut done: Vec<String> = qemu::examples()
            .iter()
            .flat_map(|argv| words(argv))
            .collect();
        done.extend(
            guest::paths()
                .into_iter()
                .map(|path| format!("file: {path}")),
        );
        done.sort();
        done.dedup();
        done
    }

    /// Flags with their values; of the kernel's command line, its words.
    fn words(argv: &[String]) -> Vec<String> {
        let mut words = Vec::new();
        let mut rest = argv.iter().peekable();
        while let Some(flag) = rest.next() {
            let value = rest.next_if(|word| !word.starts_with('-'));
            match (flag.as_str(), value) {
                ("-append", Some(line)) => {
                    words.push(flag.clone());
                    words.extend(line.split(' ').map(|word| format!("kernel: {word}")));
                }
                (_, Some(value)) => words.push(format!("{flag} {value}")),
                (_, None) => words.push(flag.clone()),
            }
        }
        words
    }

    fn named() -> Vec<&'static str> {
        let different = DIFFERENCES.iter().flat_map(|difference| difference.by);
        let same = SAME.iter().map(|(_, by)| by);
        different.chain(same).chain(UNSEEN).copied().collect()
    }

    #[test]
    fn whatever_is_done_is_named_once() {
        for word in done() {
            let named: Vec<_> = named()
                .into_iter()
                .filter(|by| word.starts_with(by))
                .collect();
            assert_eq!(named.len(), 1, "{word} is named by {named:?}");
        }
    }

    #[test]
    fn whatever_is_named_is_done() {
        let done = done();
        for by in named() {
            assert!(done.iter().any(|word| word.starts_with(by)), "{by}");
        }
    }

    /// What a card's kernel is told that a lab's is not.
    #[test]
    fn the_cards_command_line_is_accounted_for() {
        let lab = done();
        let told = bramble_image::card::command_line();
        for word in told.split_whitespace() {
            let same = lab.contains(&format!("kernel: {word}"));
            let reason = match word.split('=').next() {
                Some("console") => Some("console"),
                Some("root" | "rootfstype" | "rootwait") => Some("disk"),
                _ => None,
            };
            let listed = reason.is_some_and(|what| DIFFERENCES.iter().any(|it| it.what == what));
            assert!(same || listed, "a card's kernel is told {word}");
        }
    }
}
