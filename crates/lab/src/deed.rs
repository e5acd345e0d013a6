//! What is done to a machine for a fault to befall it, and to clear it: as data.

use serde_json::{Value, json};

use crate::fault::{Direction, Fault, Impairment};
use crate::qemu::{DISK, NETWORK};

/// Something done to a machine, by the part of the lab that can.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Deed {
    /// By the switch: a link treats frames badly, or well again.
    Link(Direction, Option<Impairment>),
    /// By the switch: it and another are apart, or no longer.
    Apart(String, bool),
    /// By whoever owns its process.
    PowerOff,
    PowerOn,
    /// By QEMU: a command of its machine protocol.
    Qemu(&'static str, Value),
    /// By root at its console.
    Typed(String),
}

/// The file that fills a disk.
const FILLING: &str = "/var/tmp/bramble-lab-filling";

/// What makes `fault` befall a machine.
pub(crate) fn inflicts(fault: &Fault) -> Deed {
    match fault {
        Fault::Link {
            direction,
            impairment,
        } => Deed::Link(*direction, Some(*impairment)),
        Fault::Apart { from } => Deed::Apart(from.clone(), true),
        Fault::Unplugged => Deed::Qemu("set_link", json!({"name": NETWORK, "up": false})),
        Fault::Frozen => Deed::Qemu("stop", json!({})),
        Fault::PowerCut => Deed::PowerOff,
        Fault::ClockJump { seconds } => {
            Deed::Typed(format!("date --set \"@$(( $(date +%s) + {seconds} ))\""))
        }
        // The last of it is written, what is reserved for root too.
        Fault::DiskFull => Deed::Typed(format!(
            "fallocate --length $(( $(df --output=avail --block-size=1 / | tail -n 1) - 8388608 )) {FILLING}; \
             dd if=/dev/zero of={FILLING}.rest bs=1M status=none; test $(df --output=avail / | tail -n 1) -eq 0"
        )),
        // As the kernel does when writing fails; a remount would be refused while files are open for writing.
        Fault::DiskReadOnly => Deed::Typed("echo u > /proc/sysrq-trigger".to_owned()),
        Fault::DiskSlow { bytes_per_second } => throttle(*bytes_per_second),
    }
}

/// What clears `fault`. `now` is the time that a clock is set to, in seconds since 1970.
pub(crate) fn clears(fault: &Fault, now: u64) -> Deed {
    match fault {
        Fault::Link { direction, .. } => Deed::Link(*direction, None),
        Fault::Apart { from } => Deed::Apart(from.clone(), false),
        Fault::Unplugged => Deed::Qemu("set_link", json!({"name": NETWORK, "up": true})),
        Fault::Frozen => Deed::Qemu("cont", json!({})),
        Fault::PowerCut => Deed::PowerOn,
        Fault::ClockJump { .. } => Deed::Typed(format!("date --set @{now}")),
        Fault::DiskFull => Deed::Typed(format!("rm -f {FILLING} {FILLING}.rest")),
        Fault::DiskReadOnly => Deed::Typed("mount -o remount,rw /".to_owned()),
        Fault::DiskSlow { .. } => throttle(0),
    }
}

/// No limit at all, if it is 0.
fn throttle(bytes_per_second: u64) -> Deed {
    let mut arguments = json!({"device": DISK, "bps": bytes_per_second});
    for none in ["bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"] {
        arguments[none] = 0.into();
    }
    Deed::Qemu("block_set_io_throttle", arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeds() {
        let faults = [
            Fault::cut(),
            Fault::Apart {
                from: "manager1".to_owned(),
            },
            Fault::Unplugged,
            Fault::Frozen,
            Fault::PowerCut,
            Fault::ClockJump { seconds: -3600 },
            Fault::DiskFull,
            Fault::DiskReadOnly,
            Fault::DiskSlow {
                bytes_per_second: 1 << 20,
            },
        ];
        let shown = faults.map(|fault| {
            format!(
                "{fault}\n  inflicts: {:?}\n  clears:   {:?}\n",
                inflicts(&fault),
                clears(&fault, 1_800_000_000)
            )
        });
        insta::assert_snapshot!(shown.join("\n"));
    }
}
