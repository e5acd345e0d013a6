//! The files that a machine of a lab has and a card has not:
//!
//! - a unit that says on the console when the machine has settled after booting, so that it can be saved; before,
//!   it has started and stopped Docker once, if there is one, and left containerd running;
//! - a unit that takes an identity from a disk when one is plugged in (see [`crate::identity`]), once;
//! - a unit that says on the console when the machine is online again after a later boot;
//! - a console that is logged in already;
//! - no service that asks the network for the time;
//! - time slices for a slow processor;
//! - warnings of the journal on the console, so that a unit that fails is seen there.
//!
//! What else is different is in [`crate::hardware`].

use bramble_image::layer::Layer;

/// The serial number of the disk that holds an identity.
pub(crate) const IDENTITY_SERIAL: &str = "bramble-identity";

/// What a booted machine says when nothing is left to do.
pub const SETTLED: &str = "settled";

/// What a machine says when it has its identity and its address, and answers SSH if there is a host key in its identity:
/// as a clone, and whenever it has booted since.
pub const ONLINE: &str = "online";

/// The files, to be laid over a root file system.
pub fn layer() -> Layer {
    Layer::new()
        // Not "uninitialized": that would make the first boot of the template enable every unit.
        .file("etc/machine-id", 0o444, "")
        .file("etc/udev/rules.d/90-bramble-lab.rules", 0o644, UDEV_RULE)
        .file(
            "etc/systemd/system/bramble-identity@.service",
            0o644,
            IDENTITY_UNIT,
        )
        .file(
            "etc/systemd/system/bramble-settled.service",
            0o644,
            SETTLED_UNIT,
        )
        .symlink(
            "etc/systemd/system/multi-user.target.wants/bramble-settled.service",
            "/etc/systemd/system/bramble-settled.service",
        )
        .file(
            "etc/systemd/system/bramble-online.service",
            0o644,
            ONLINE_UNIT,
        )
        .symlink(
            "etc/systemd/system/multi-user.target.wants/bramble-online.service",
            "/etc/systemd/system/bramble-online.service",
        )
        .file(
            "etc/systemd/journald.conf.d/90-bramble-lab.conf",
            0o644,
            JOURNAL,
        )
        // There is nobody to ask for the time, and the host's is right.
        .symlink("etc/systemd/system/systemd-timesyncd.service", "/dev/null")
        .file("etc/tmpfiles.d/90-bramble-lab.conf", 0o644, SLICES)
        .file("usr/lib/bramble/say-online", 0o755, SAY_ONLINE)
        .file("usr/lib/bramble/settle", 0o755, include_str!("settle.sh"))
        .file(
            "usr/lib/bramble/take-identity",
            0o755,
            include_str!("take-identity.sh"),
        )
        .file(
            "etc/systemd/system/serial-getty@ttyAMA0.service.d/autologin.conf",
            0o644,
            AUTOLOGIN,
        )
}

const UDEV_RULE: &str = "\
ACTION==\"add\", SUBSYSTEM==\"block\", ATTR{serial}==\"bramble-identity\", TAG+=\"systemd\", \
ENV{SYSTEMD_WANTS}+=\"bramble-identity@$kernel.service\"
";

const IDENTITY_UNIT: &str = "[Unit]
Description=Take the identity that is on /dev/%i
# A machine that boots once more is somebody already, and what has become of it since must stay.
ConditionPathExists=!/var/lib/bramble-lab/identity
# Whoever waits for this machine learns at once that it is in vain.
FailureAction=poweroff-force

[Service]
Type=oneshot
ExecStart=/usr/lib/bramble/take-identity /dev/%i
StandardError=journal+console
";

const SETTLED_UNIT: &str = "[Unit]
Description=Say on the console that the machine has settled
After=multi-user.target
ConditionPathExists=!/var/lib/bramble-lab/identity
# Whoever waits for this machine learns at once that it is in vain.
FailureAction=poweroff-force

[Service]
Type=idle
ExecStart=/usr/lib/bramble/settle
";

const ONLINE_UNIT: &str = "[Unit]
Description=Say on the console that the machine is online again
After=ssh.service systemd-networkd.service
ConditionPathExists=/var/lib/bramble-lab/identity

[Service]
Type=exec
ExecStart=/usr/lib/bramble/say-online
";

/// However long the network takes: nobody waits for this unit.
const SAY_ONLINE: &str = "#!/bin/sh
set -eu
/usr/lib/systemd/systemd-networkd-wait-online --interface=eth0:routable --timeout=0
echo 'bramble-lab: online' > /dev/console
";

/// systemd says at this level that a unit has failed; what it writes to the console by itself ends with the boot.
const JOURNAL: &str = "[Journal]
ForwardToConsole=yes
MaxLevelConsole=warning
";

/// Whenever another process is given the processor, an emulated one loses its TLB and what it knows of translated code
/// (QEMU flushes both when the ASID changes). The kernel's own slice is 0.7 ms with one processor and 2.1 ms with four, for
/// processors that get more done in that time.
const SLICES: &str = "\
w /sys/kernel/debug/sched/base_slice_ns - - - - 20000000
w /sys/kernel/debug/sched/features - - - - NO_WAKEUP_PREEMPTION
";

const AUTOLOGIN: &str = "[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --keep-baud 115200 %I $TERM
";

/// The files' paths.
#[cfg(test)]
pub(crate) fn paths() -> Vec<String> {
    let mut archive = Vec::new();
    layer().write_tar(&mut archive).expect("an archive");
    let mut archive = tar::Archive::new(archive.as_slice());
    let entries = archive.entries().expect("entries").map(|entry| {
        let entry = entry.expect("an entry");
        let path = entry.path().expect("a path").display().to_string();
        (!entry.header().entry_type().is_dir()).then_some(path)
    });
    entries.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::MARK;

    #[test]
    fn units_start_what_is_there() {
        let paths = paths();
        for unit in [IDENTITY_UNIT, SETTLED_UNIT, ONLINE_UNIT] {
            let start = unit
                .lines()
                .find_map(|line| line.strip_prefix("ExecStart="))
                .expect("a start");
            let program = start
                .split(' ')
                .next()
                .unwrap_or_default()
                .trim_start_matches('/');
            assert!(
                paths.iter().any(|path| path == program),
                "{program} is not in {paths:?}"
            );
        }
    }

    #[test]
    fn what_the_guest_says_is_what_the_lab_listens_for() {
        assert!(include_str!("settle.sh").contains(&format!("{MARK}{SETTLED} ")));
        assert!(include_str!("take-identity.sh").contains(&format!("{MARK}{ONLINE}")));
        assert!(SAY_ONLINE.contains(&format!("{MARK}{ONLINE}")));
        // What one script leaves is what the units look for.
        let left = include_str!("take-identity.sh").split("touch ").nth(1);
        let left = left.and_then(|rest| rest.lines().next()).expect("a mark");
        for unit in [IDENTITY_UNIT, SETTLED_UNIT, ONLINE_UNIT] {
            assert!(unit.contains(left), "{unit}");
        }
        assert!(UDEV_RULE.contains(&format!("\"{IDENTITY_SERIAL}\"")));
        assert!(
            IDENTITY_SERIAL.len() <= 20,
            "virtio disks have 20 bytes for it"
        );
    }
}
