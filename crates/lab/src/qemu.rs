//! QEMU's command lines: pure functions of the definition.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::definition::{Board, Gateway, Machine, Start};
use crate::guest::IDENTITY_SERIAL;
use crate::launcher::Files;

/// The program.
pub(crate) const PROGRAM: &str = "qemu-system-aarch64";

/// The board of all machines that are no Pi. Versioned: a saved machine must mean the same to a later QEMU, and the QEMU
/// of that version is the first to know it.
pub const MACHINE_TYPE: &str = "virt-10.0";

/// The slots that network card and identity are plugged into while the machine runs.
pub(crate) const NETWORK_SLOT: &str = "slot1";
pub(crate) const IDENTITY_SLOT: &str = "slot2";

/// What a machine's end of its cable, and its disk, are called.
pub(crate) const NETWORK: &str = "lan";
pub(crate) const DISK: &str = "root";

/// Where the sockets of a lab are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sockets<'a>(pub(crate) &'a Path);

impl Sockets<'_> {
    /// The switch's port of a machine, listened on by the supervisor.
    pub(crate) fn port(self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.lan"))
    }

    /// A machine's console, listened on by the supervisor.
    pub(crate) fn console(self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.tty"))
    }

    /// The machine protocol (QMP) of a QEMU, listened on by the supervisor.
    pub(crate) fn qmp(self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.qmp"))
    }

    /// Where requests are answered.
    pub(crate) fn control(self) -> PathBuf {
        self.0.join("control")
    }
}

/// The arguments of a machine.
pub(crate) fn machine(machine: &Machine, sockets: Sockets) -> Vec<String> {
    match machine.board {
        Board::Virt => virt(machine, sockets),
        Board::Raspi4b => raspi4b(machine, sockets),
    }
}

/// A clone's arguments must be the saved machine's, but for where memory and disk are and for `-incoming`: QEMU
/// continues a state only in the same machine.
fn virt(machine: &Machine, sockets: Sockets) -> Vec<String> {
    let memory = format!("{}M", machine.memory);
    let file = |ram: &Path, how: &str| {
        format!("file,id=ram,size={memory},mem-path={},{how}", ram.display())
    };
    let ram = match &machine.start {
        Start::Boot { ram } => file(ram, "share=on"),
        Start::Clone { ram, .. } => file(ram, "share=off,readonly=on,rom=off"),
        Start::Cold { .. } | Start::Restored { .. } => format!("ram,id=ram,size={memory}"),
    };
    let board = format!("{MACHINE_TYPE},gic-version=2,memory-backend=ram");
    let mut argv = words([
        "-nodefaults",
        "-display",
        "none",
        "-machine",
        &board,
        "-cpu",
        "cortex-a72",
    ]);
    argv.extend(processors_and_memory(machine));
    argv.extend(["-object".to_owned(), format!("memory-backend-{ram}")]);
    argv.extend(boot(machine));
    argv.extend([
        "-device".to_owned(),
        format!("pcie-root-port,id={NETWORK_SLOT},chassis=1"),
        "-device".to_owned(),
        format!("pcie-root-port,id={IDENTITY_SLOT},chassis=2"),
        "-drive".to_owned(),
        disk(machine, "none"),
        "-device".to_owned(),
        format!("virtio-blk-pci,drive={DISK}"),
        "-device".to_owned(),
        "virtio-rng-pci".to_owned(),
    ]);
    argv.extend(console_and_monitor(machine, sockets));
    match &machine.start {
        Start::Boot { .. } => {}
        // It gets its network card once it runs.
        Start::Clone { .. } => argv.extend(words(["-incoming", "defer"])),
        Start::Cold { mac } => argv.extend(card_in_its_slot(mac, &sockets.port(&machine.name))),
        // What was plugged in while it ran must be there to be given back its state.
        Start::Restored { identity, mac, .. } => {
            argv.extend(card_in_its_slot(mac, &sockets.port(&machine.name)));
            if let Some(identity) = identity {
                argv.extend(identity_disk(identity));
            }
            argv.extend(words(["-incoming", "defer"]));
        }
    }
    argv
}

fn card_in_its_slot(mac: &str, port: &Path) -> [String; 4] {
    network_card(
        &format!("virtio-net-pci,bus={NETWORK_SLOT},netdev={NETWORK},mac={mac},romfile="),
        port,
    )
}

/// As it is plugged in while a clone runs.
fn identity_disk(identity: &Path) -> [String; 4] {
    [
        "-drive".to_owned(),
        format!(
            "if=none,id=identity,format=raw,read-only=on,file={}",
            identity.display()
        ),
        "-device".to_owned(),
        format!("virtio-blk-pci,bus={IDENTITY_SLOT},drive=identity,serial={IDENTITY_SERIAL}"),
    ]
}

/// QEMU sees to it that memory and CPUs are the board's.
fn raspi4b(machine: &Machine, sockets: Sockets) -> Vec<String> {
    let mut argv = words(["-nodefaults", "-display", "none", "-machine", "raspi4b"]);
    argv.extend(processors_and_memory(machine));
    argv.extend(boot(machine));
    argv.extend(["-drive".to_owned(), disk(machine, "sd")]);
    argv.extend(console_and_monitor(machine, sockets));
    if let Start::Cold { mac } = &machine.start {
        let card = format!("usb-net,netdev={NETWORK},mac={mac}");
        argv.extend(network_card(&card, &sockets.port(&machine.name)));
    }
    argv
}

fn processors_and_memory(machine: &Machine) -> [String; 6] {
    [
        "-smp".to_owned(),
        machine.cpus.to_string(),
        // All that has been translated is forgotten when its cache is full, and by default that is an eighth of the memory. An
        // engine that has just started takes 150 MiB, and 330 after half a dozen containers.
        "-accel".to_owned(),
        "tcg,thread=multi,tb-size=512".to_owned(),
        "-m".to_owned(),
        format!("{}M", machine.memory),
    ]
}

fn boot(machine: &Machine) -> Vec<String> {
    let mut argv = vec![
        "-kernel".to_owned(),
        machine.kernel.display().to_string(),
        "-initrd".to_owned(),
        machine.initramfs.display().to_string(),
        "-append".to_owned(),
        machine.command_line.clone(),
    ];
    if let Some(tree) = &machine.device_tree {
        argv.extend(["-dtb".to_owned(), tree.display().to_string()]);
    }
    argv
}

/// The disk ends with the lab: nothing waits for the host's.
fn disk(machine: &Machine, interface: &str) -> String {
    format!(
        "if={interface},id={DISK},format=qcow2,cache=unsafe,discard=unmap,file={}",
        machine.disk.display()
    )
}

fn console_and_monitor(machine: &Machine, sockets: Sockets) -> Vec<String> {
    let console = sockets.console(&machine.name);
    let mut argv = vec![
        "-chardev".to_owned(),
        format!("socket,id=console,path={}", console.display()),
        "-serial".to_owned(),
        "chardev:console".to_owned(),
    ];
    argv.extend(monitor(&sockets.qmp(&machine.name)));
    argv
}

/// What QEMU opens of a machine's, beside the disks under its disk.
pub(crate) fn files(machine: &Machine, sockets: Sockets) -> Files {
    let name = &machine.name;
    let mut files = Files {
        own: vec![sockets.port(name), sockets.console(name), sockets.qmp(name)],
        disk: Some(machine.disk.clone()),
        shared: vec![machine.kernel.clone(), machine.initramfs.clone()],
    };
    files.shared.extend(machine.device_tree.clone());
    match &machine.start {
        // The state is written beside it.
        Start::Boot { ram } => files.own.extend(ram.parent().map(Path::to_owned)),
        Start::Clone {
            ram,
            state,
            identity,
            ..
        } => {
            files.own.push(identity.clone());
            files.shared.extend([ram.clone(), state.clone()]);
        }
        Start::Restored {
            state, identity, ..
        } => {
            files.own.extend(identity.clone());
            files.shared.push(state.clone());
        }
        Start::Cold { .. } => {}
    }
    files
}

/// By what QEMU takes orders: it connects to a socket that the supervisor listens on, in a container as well.
fn monitor(socket: &Path) -> [String; 4] {
    [
        "-chardev".to_owned(),
        format!("socket,id=qmp,path={}", socket.display()),
        "-mon".to_owned(),
        "chardev=qmp,mode=control".to_owned(),
    ]
}

/// The network card of a machine that has it from the start: `device`, and its cable to the switch's `port`.
fn network_card(device: &str, port: &Path) -> [String; 4] {
    [
        "-netdev".to_owned(),
        format!(
            "stream,id={NETWORK},server=off,reconnect-ms=500,addr.type=unix,addr.path={}",
            port.display()
        ),
        "-device".to_owned(),
        device.to_owned(),
    ]
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}

/// What of a saved machine's arguments its clones share: an input of the template's key.
pub(crate) fn shape(saved: &Machine) -> String {
    let sockets = Sockets(Path::new("SOCKETS"));
    let mut anonymous = saved.clone();
    anonymous.name = "MACHINE".to_owned();
    anonymous.disk = "DISK".into();
    anonymous.start = Start::Boot { ram: "RAM".into() };
    machine(&anonymous, sockets).join(" ")
}

/// The arguments of the gateway: a QEMU without a machine, whose user-mode network is bridged to the switch.
pub(crate) fn gateway(gateway: &Gateway, sockets: Sockets) -> Vec<String> {
    let mut user = format!(
        "user,id=user,ipv6=off,restrict=on,net={},host={},dns={}",
        gateway.subnet, gateway.address, gateway.name_server
    );
    for (from, address, port) in &gateway.forwards {
        user += &format!(",hostfwd=tcp:127.0.0.1:{from}-{address}:{port}");
    }
    let stream = format!(
        "stream,id=lan,server=off,addr.type=unix,addr.path={}",
        sockets.port(crate::switch::GATEWAY).display()
    );
    let bridge = [
        "-machine",
        "none",
        "-nodefaults",
        "-display",
        "none",
        "-netdev",
        &user,
        "-netdev",
        "hubport,id=hub-user,hubid=0,netdev=user",
        "-netdev",
        &stream,
        "-netdev",
        "hubport,id=hub-lan,hubid=0,netdev=lan",
    ];
    let monitor = monitor(&sockets.qmp(crate::switch::GATEWAY));
    bridge
        .map(str::to_owned)
        .into_iter()
        .chain(monitor)
        .collect()
}

/// The version of the QEMU that would be run, as it says it.
///
/// # Errors
/// When there is none.
pub fn version() -> Result<String> {
    let output = Command::new(PROGRAM)
        .arg("--version")
        .output()
        .with_context(|| {
            format!("cannot run {PROGRAM}; `cargo xtask doctor` says how to install it")
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The command lines of a machine in each way that it may start.
#[cfg(test)]
pub(crate) fn examples() -> Vec<Vec<String>> {
    let mac = "dc:a6:32:b0:00:03".to_owned();
    let ways = [
        Start::Boot {
            ram: "/store/template/ram".into(),
        },
        tests::clone(),
        tests::restored(),
        Start::Cold { mac },
    ];
    let sockets = Sockets(Path::new("/run/lab"));
    let argv = |way| machine(&tests::example(way), sockets);
    ways.into_iter().map(argv).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn example(start: Start) -> Machine {
        Machine {
            name: "worker3".to_owned(),
            board: Board::Virt,
            kernel: "/store/boot/vmlinuz".into(),
            initramfs: "/store/boot/initramfs".into(),
            device_tree: None,
            command_line: crate::template::COMMAND_LINE.to_owned(),
            disk: "/lab/worker3.qcow2".into(),
            memory: 768,
            cpus: 1,
            niceness: 0,
            start,
        }
    }

    pub(super) fn clone() -> Start {
        Start::Clone {
            ram: "/store/template/ram".into(),
            state: "/store/template/state".into(),
            identity: "/lab/worker3.identity".into(),
            mac: "dc:a6:32:b0:00:03".to_owned(),
        }
    }

    pub(super) fn restored() -> Start {
        Start::Restored {
            state: "/checkpoint/states/worker3".into(),
            identity: Some("/lab/worker3.identity".into()),
            mac: "dc:a6:32:b0:00:03".to_owned(),
        }
    }

    #[test]
    fn command_lines() {
        let sockets = Sockets(Path::new("/run/lab"));
        let shown = |argv: Vec<String>| argv.join("\n");
        insta::assert_snapshot!(
            "boot",
            shown(machine(
                &example(Start::Boot {
                    ram: "/store/template/ram".into()
                }),
                sockets
            ))
        );
        insta::assert_snapshot!("clone", shown(machine(&example(clone()), sockets)));
        insta::assert_snapshot!("restored", shown(machine(&example(restored()), sockets)));
        let mac = "dc:a6:32:b0:00:03".to_owned();
        insta::assert_snapshot!(
            "cold",
            shown(machine(&example(Start::Cold { mac }), sockets))
        );
        let mac = "40:a6:32:b0:00:03".to_owned();
        let pi = Machine {
            board: Board::Raspi4b,
            device_tree: Some("/lab/worker3.dtb".into()),
            command_line: "root=PARTUUID=6272616d-02".to_owned(),
            memory: 2048,
            cpus: 4,
            ..example(Start::Cold { mac })
        };
        insta::assert_snapshot!("raspi4b", shown(machine(&pi, sockets)));
        let forwards = vec![
            (40200, [192, 168, 1, 200].into(), 22),
            (40201, [192, 168, 1, 201].into(), 22),
        ];
        let way_in = Gateway {
            subnet: "192.168.1.0/24".to_owned(),
            address: [192, 168, 1, 254].into(),
            name_server: [192, 168, 1, 253].into(),
            forwards,
        };
        insta::assert_snapshot!("gateway", shown(gateway(&way_in, sockets)));
    }

    #[test]
    fn a_shape_is_the_same_for_every_machine_of_a_kind() {
        let other = Machine {
            name: "worker4".to_owned(),
            disk: "/elsewhere".into(),
            ..example(clone())
        };
        assert_eq!(shape(&example(clone())), shape(&other));
        assert_ne!(
            shape(&other),
            shape(&Machine {
                memory: 512,
                ..other.clone()
            })
        );
    }
}
