//! A node's card in an emulated machine, which boots from it as a Pi does: with the kernel, the initramfs and the
//! command line that are on its boot partition, and with no other.
//!
//! # What differs from a Pi
//!
//! On either board:
//! - The firmware is not run. It would read what is on the boot partition; that is done here.
//! - The kernel is told of the board's serial port, and not to isolate page tables, which is slow to emulate.
//! - A card of another size is a file that is longer or shorter.
//!
//! On [`Board::Raspi4b`]:
//! - QEMU models neither the firmware's clocks nor its GPIO expander, so the card's device tree is changed where
//!   devices would wait for them: see `for_qemu`.
//! - Two drivers do not start, for they look for devices that QEMU does not model, and panic.
//! - The network card is on USB, and its address begins with 40, whatever else it is told. Two drivers would take it, and
//!   the one that does not know its address is not loaded.
//! - There is nobody to ask for the time, and no clock that runs without power: the kernel is told the time.
//!
//! On [`Board::Virt`] everything but the card's content is QEMU's: disk, network, clock and device tree.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bramble_image::fat::{self, Fat};
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node, Property, ToPropertyValue};

use crate::definition::{Board, Machine, Start};
use crate::template;

/// The device tree of a Pi 4, on the boot partition.
const DEVICE_TREE: &str = "bcm2711-rpi-4-b.dtb";

/// A machine to put a card into.
#[derive(Debug, Clone, Copy)]
pub struct Slot<'a> {
    /// What the machine is called in the lab.
    pub name: &'a str,
    /// What it is a machine of.
    pub board: Board,
    /// Its network card's address.
    pub mac: &'a str,
    /// The card's size in MiB; a power of two, as cards have. What is not used takes no room.
    pub size: u32,
}

impl Slot<'_> {
    /// A machine that boots from a copy on write of the card image `image`, with its files in the directory `scratch`.
    ///
    /// # Errors
    /// When the image has no boot partition or lacks what a Pi boots, or the address is none that the board can have.
    pub fn insert(&self, image: &Path, scratch: &Path) -> Result<Machine> {
        ensure!(
            self.board != Board::Raspi4b || self.mac.starts_with("40:"),
            "{} has the address {}, and the network card of QEMU's raspi4b only has such as begin with 40",
            self.name,
            self.mac
        );
        let own = |what: &str| scratch.join(format!("{}.{what}", self.name));
        let boot = Boot::of(image)?;
        let put = |what: &str, content: &[u8]| -> Result<PathBuf> {
            let path = own(what);
            fs::write(&path, content)
                .with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path)
        };
        let device_tree = match self.board {
            Board::Virt => None,
            Board::Raspi4b => Some(put("dtb", &for_qemu(&boot.device_tree)?)?),
        };
        let (memory, cpus) = match self.board {
            Board::Virt => (1024, 1),
            Board::Raspi4b => (2048, 4),
        };
        let disk = own("qcow2");
        template::overlay_of(Some(u64::from(self.size) << 20), image, "raw", &disk)?;
        Ok(Machine {
            name: self.name.to_owned(),
            board: self.board,
            kernel: put("kernel", &boot.kernel)?,
            initramfs: put("initramfs", &boot.initramfs)?,
            device_tree,
            command_line: command_line(self.board, &boot.command_line, SystemTime::now()),
            disk,
            memory,
            cpus,
            niceness: 0,
            start: Start::Cold {
                mac: self.mac.to_owned(),
            },
        })
    }
}

/// What a boot partition has for the kernel.
struct Boot {
    kernel: Vec<u8>,
    initramfs: Vec<u8>,
    device_tree: Vec<u8>,
    command_line: String,
}

impl Boot {
    fn of(image: &Path) -> Result<Boot> {
        let disk = File::open(image).with_context(|| format!("cannot open {}", image.display()))?;
        let partition = Fat::open(&disk, fat::partition(&disk)?)?;
        let file = |name: &str| {
            let content = partition.read(name)?;
            content
                .with_context(|| format!("the boot partition of {} has no {name}", image.display()))
        };
        Ok(Boot {
            kernel: file("kernel8.img")?,
            initramfs: file("initramfs8")?,
            device_tree: file(DEVICE_TREE)?,
            command_line: String::from_utf8_lossy(&file("cmdline.txt")?)
                .trim()
                .to_owned(),
        })
    }
}

/// What the kernel is told at `time`: what the `card` says, and what only an emulated board needs. The last console
/// is the one that takes what programs say.
fn command_line(board: Board, card: &str, time: SystemTime) -> String {
    let microseconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_micros();
    match board {
        Board::Virt => format!("{card} console=ttyAMA0 kpti=off"),
        Board::Raspi4b => format!(
            "{card} earlycon=pl011,mmio32,0xfe201000 console=ttyAMA0,115200 kpti=off clk_ignore_unused \
             initcall_blacklist=brcmstb_l2_driver_init,brcmstb_i2c_driver_init module_blacklist=cdc_subset \
             systemd.clock_usec={microseconds}"
        ),
    }
}

/// The device tree of a Pi 4 for QEMU's.
///
/// - The serial port that has a connector is the console: it leads to no Bluetooth chip, and has a clock of its own.
/// - The other one, whose interrupts never end, is off.
/// - Either SD controller has a clock of its own and no switchable power; none leads to a WLAN chip.
///
/// # Errors
/// When `tree` is no device tree, or has not these devices.
fn for_qemu(tree: &[u8]) -> Result<Vec<u8>> {
    let fdt =
        Fdt::new(tree).map_err(|error| anyhow::anyhow!("{DEVICE_TREE} is damaged: {error}"))?;
    let mut tree = DeviceTree::from_fdt(&fdt);
    let serial_clock = add_clock(&mut tree, "clock-qemu-serial", 48_000_000)?;
    let card_clock = add_clock(&mut tree, "clock-qemu-card", 100_000_000)?;

    let serial = device(&mut tree, "/soc/serial@7e201000")?;
    serial.remove_child("bluetooth");
    set(serial, "clocks", vec![serial_clock; 2])?;
    set(
        device(&mut tree, "/soc/serial@7e215040")?,
        "status",
        "disabled",
    )?;

    let card = device(&mut tree, "/emmc2bus/mmc@7e340000")?;
    card.remove_property("vmmc-supply");
    card.remove_property("vqmmc-supply");
    set(card, "clocks", card_clock)?;

    let wlan = device(&mut tree, "/soc/mmc@7e300000")?;
    wlan.remove_child("wifi@1");
    wlan.remove_property("mmc-pwrseq");
    set(wlan, "clocks", card_clock)?;
    Ok(tree.to_dtb())
}

fn device<'a>(tree: &'a mut DeviceTree, path: &str) -> Result<&'a mut DeviceTreeNode> {
    tree.find_node_mut(path).with_context(|| {
        format!("{DEVICE_TREE} has no {path}: is it a kernel that the lab does not know?")
    })
}

/// Adds a clock that always ticks, and returns the handle it is known by.
fn add_clock(tree: &mut DeviceTree, name: &str, hertz: u32) -> Result<u32> {
    let handle = highest_handle(&tree.root) + 1;
    let mut clock = DeviceTreeNode::new(name)?;
    set(&mut clock, "compatible", "fixed-clock")?;
    set(&mut clock, "#clock-cells", 0_u32)?;
    set(&mut clock, "clock-frequency", hertz)?;
    set(&mut clock, "phandle", handle)?;
    tree.root.add_child(clock);
    Ok(handle)
}

fn highest_handle(node: &DeviceTreeNode) -> u32 {
    let own = node.property("phandle");
    let own = own.and_then(|property| property.value_as::<u32>().ok());
    let below = node.children().map(highest_handle);
    below.chain(own).max().unwrap_or(0)
}

fn set(node: &mut DeviceTreeNode, name: &str, value: impl ToPropertyValue) -> Result<()> {
    node.add_property(DeviceTreeProperty::new(name, value)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a Pi 4's has, as far as it is changed.
    fn tree() -> DeviceTree {
        let node = |name: &str, properties: &[(&str, u32)], children: Vec<DeviceTreeNode>| {
            let mut node = DeviceTreeNode::new(name).expect("a name");
            for (name, value) in properties {
                set(&mut node, name, *value).expect("a property");
            }
            children.into_iter().for_each(|child| node.add_child(child));
            node
        };
        let leaf = |name: &str| node(name, &[], vec![]);
        let mut tree = DeviceTree::new();
        tree.root
            .add_child(node("clocks", &[("phandle", 41)], vec![]));
        tree.root.add_child(node(
            "soc",
            &[],
            vec![
                node(
                    "serial@7e201000",
                    &[("clocks", 7), ("reg", 1)],
                    vec![leaf("bluetooth")],
                ),
                node("serial@7e215040", &[("clocks", 7)], vec![]),
                node(
                    "mmc@7e300000",
                    &[("clocks", 7), ("mmc-pwrseq", 9)],
                    vec![leaf("wifi@1")],
                ),
            ],
        ));
        let card = [("clocks", 7), ("vmmc-supply", 8), ("vqmmc-supply", 9)];
        tree.root.add_child(node(
            "emmc2bus",
            &[],
            vec![node("mmc@7e340000", &card, vec![])],
        ));
        tree
    }

    #[test]
    fn a_device_tree_is_changed_where_qemu_is_no_pi() {
        let changed = for_qemu(&tree().to_dtb()).expect("changed");
        let read = Fdt::new(&changed).expect("a device tree");
        insta::assert_snapshot!(read.to_string());
    }

    #[test]
    fn a_device_tree_of_something_else_is_refused() {
        let mut other = tree();
        let soc = other.find_node_mut("/soc").expect("there");
        soc.remove_child("mmc@7e300000");
        for (tree, expected) in [
            (other.to_dtb(), "has no /soc/mmc@7e300000"),
            (vec![1, 2, 3], "is damaged"),
        ] {
            let error = for_qemu(&tree).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_last_console_is_the_boards() {
        let time = UNIX_EPOCH + std::time::Duration::from_secs(1_767_225_600);
        let told = |board| command_line(board, "console=tty0 root=PARTUUID=6272616d-02", time);
        insta::assert_snapshot!(format!("{}\n{}", told(Board::Virt), told(Board::Raspi4b)));
    }

    #[test]
    fn an_address_that_the_board_cannot_have_is_refused() {
        let slot = Slot {
            name: "worker1",
            board: Board::Raspi4b,
            mac: "dc:a6:32:00:00:01",
            size: 4096,
        };
        let error = slot
            .insert(Path::new("card.img"), Path::new("."))
            .expect_err("refused");
        assert!(error.to_string().contains("begin with 40"), "{error}");
    }
}
