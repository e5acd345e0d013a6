//! What a lab consists of, and what is said about it while it runs: plain data, written as JSON.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::{Affliction, Fault};
use crate::launcher::Backend;
use crate::trouble::Trouble;

/// A lab: its machines and how the host reaches them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Where consoles and events are logged; it stays when the lab is gone.
    pub logs: PathBuf,
    /// The directory that the machines' disks and identities are in, and nothing else. It is there before the lab, and
    /// goes with it.
    pub scratch: Option<PathBuf>,
    /// What the machines run as.
    #[serde(default)]
    pub backend: Backend,
    /// The machines, started all at once.
    pub machines: Vec<Machine>,
    /// The host's way onto the network; without it there is none.
    pub gateway: Option<Gateway>,
}

/// An emulated machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Unique in the lab; names its files.
    pub name: String,
    /// What it is a machine of.
    pub board: Board,
    /// Kernel image, booted directly.
    pub kernel: PathBuf,
    /// Initramfs of that kernel.
    pub initramfs: PathBuf,
    /// Describes the board to the kernel. A [`Board::Virt`] describes itself.
    pub device_tree: Option<PathBuf>,
    /// What the kernel is told.
    pub command_line: String,
    /// The root disk, a qcow2 overlay that belongs to this machine alone.
    pub disk: PathBuf,
    /// Memory in MiB.
    pub memory: u32,
    /// Number of emulated CPUs.
    pub cpus: u8,
    /// How far it steps back for the others where the host's processors are scarce: 0, not at all, to 19, as
    /// nice(1) has it. A machine that others wait for should not.
    pub niceness: u8,
    /// Where its life begins.
    pub start: Start,
}

impl Machine {
    /// What it reads and others may read as well. Its disk stands on what is beside these.
    pub(crate) fn borrowed(&self) -> Vec<&Path> {
        let mut files = vec![self.kernel.as_path(), &self.initramfs];
        match &self.start {
            Start::Clone { ram, state, .. } => files.extend([ram.as_path(), state]),
            Start::Restored { state, .. } => files.push(state),
            Start::Boot { .. } | Start::Cold { .. } => {}
        }
        files
    }
}

/// What QEMU emulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Board {
    /// QEMU's own board, of devices that are quick to emulate.
    Virt,
    /// A Raspberry Pi 4B: 2048 MiB of memory, four CPUs, an SD card, and a network card on its USB, for QEMU lacks the
    /// one of the board. It is slow, cannot be saved, and so only starts [`Start::Cold`].
    Raspi4b,
}

/// How a machine comes to life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "how")]
pub enum Start {
    /// From its kernel, with its memory in the file `ram` and without a network card, so that it can be saved
    /// ([`Request::Save`]) and continued by others.
    Boot {
        /// Created, and left behind.
        ram: PathBuf,
    },
    /// From where a saved machine stopped, with memory copied on write.
    Clone {
        /// The saved machine's memory.
        ram: PathBuf,
        /// The saved machine's devices.
        state: PathBuf,
        /// A tar archive, plugged in as a disk: who this machine is. See [`crate::identity`].
        identity: PathBuf,
        /// The network card's address.
        mac: String,
    },
    /// From its kernel and its disk, as a machine that is switched on again: who it is stands on its disk.
    Cold {
        /// The network card's address.
        mac: String,
    },
    /// From where it stood when its lab was saved: see [`crate::checkpoint`]. All machines of a lab that start so go on at
    /// once, when the last of them can.
    Restored {
        /// Its memory and its devices.
        state: PathBuf,
        /// What was plugged in as [`Start::Clone::identity`], if it has not been switched off since.
        identity: Option<PathBuf>,
        /// The network card's address.
        mac: String,
    },
}

/// The host's way onto the lab's network: QEMU's user-mode network stack, attached to the switch. It
/// forwards ports of 127.0.0.1 and lets nothing out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// The network, as `192.168.1.0/24`.
    pub subnet: String,
    /// The address that forwarded connections come from.
    pub address: Ipv4Addr,
    /// The address of its name service, which nobody is told of.
    pub name_server: Ipv4Addr,
    /// From a port of 127.0.0.1 to an address and a port of the lab.
    pub forwards: Vec<(u16, Ipv4Addr, u16)>,
}

/// Something that happened in a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since the lab was started.
    pub at: u64,
    /// The machine it is about; the lab itself where there is none.
    pub machine: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub what: Happened,
}

/// What an [`Event`] says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Happened {
    /// Requests are answered from now on.
    Listening,
    /// The machine's QEMU runs.
    Started,
    /// A clone has taken over the saved state and goes on.
    Resumed,
    /// The machine goes on from where it stood when its lab was saved, online as it was.
    Restored,
    /// The machine wrote a line `bramble-lab: TEXT` to its console.
    Says {
        /// What follows `bramble-lab: `.
        text: String,
    },
    /// The machine's console told of trouble.
    Trouble {
        /// Of which kind.
        trouble: Trouble,
        /// In which words.
        text: String,
    },
    /// Something befell the machine.
    Befell {
        /// What.
        fault: Fault,
    },
    /// It is over.
    Cleared {
        /// What was.
        fault: Fault,
    },
    /// The machine's QEMU has ended without having been asked to, or could not be used.
    Gone {
        /// Why, where it is known.
        reason: String,
    },
}

/// What a running lab can be asked for, on its control socket: one JSON line each, answered by a [`Reply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "request")]
pub enum Request {
    /// Stops a booted machine for good and writes the state of its devices.
    Save {
        /// Which.
        machine: String,
        /// The file to write.
        state: PathBuf,
    },
    /// Saves the whole lab, which stands still meanwhile and then goes on.
    Checkpoint {
        /// The directory to make.
        dir: PathBuf,
    },
    /// Connects the caller to a console; after the reply, the connection carries its bytes both ways.
    Console {
        /// Whose.
        machine: String,
    },
    /// Asks for what a machine sends and receives; after the reply, the connection carries a capture file.
    Capture {
        /// Which, or the gateway.
        machine: String,
    },
    /// Has the journals of all machines, and what they sent and received last, written to the logs.
    Collect,
    /// Starts one more machine.
    Add {
        /// It.
        machine: Machine,
    },
    /// Has the gateway forward one more port of 127.0.0.1.
    Forward {
        /// That port.
        from: u16,
        /// The address in the lab.
        address: Ipv4Addr,
        /// The port there.
        port: u16,
    },
    /// Has something befall a machine.
    Inflict {
        /// Whom.
        machine: String,
        /// What.
        fault: Fault,
        /// It is cleared after so long; only when asked for, if `None`.
        lasting: Option<Duration>,
    },
    /// Clears what has befallen a machine.
    Clear {
        /// Whose.
        machine: String,
        /// What is of this one's kind; everything, if `None`.
        like: Option<Fault>,
    },
    /// Asks what is in force.
    Afflictions,
    /// Asks for the names of all machines, on or off.
    Machines,
    /// Switches on a machine that is off, by power cut or of its own.
    PowerOn {
        /// Which.
        machine: String,
    },
    /// Has root run a shell command, typed at the console.
    Type {
        /// Where.
        machine: String,
        /// The command: a line for `sh -c`.
        command: String,
    },
    /// Asks what the lab uses.
    Usage,
    /// Asks where the lab's files are.
    Place,
    /// Lets the lab live on when whoever started it ends.
    Detach,
    /// Ends the lab.
    Down,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply")]
pub enum Reply {
    /// It is done.
    Done,
    /// It could not be done.
    Failed {
        /// Why.
        reason: String,
    },
    /// What [`Request::Afflictions`] asked for.
    Afflictions {
        /// In the order they were inflicted.
        afflictions: Vec<Affliction>,
    },
    /// What [`Request::Machines`] asked for.
    Machines {
        /// In the order of the alphabet.
        names: Vec<String>,
    },
    /// What a command of [`Request::Type`] came to.
    Typed {
        /// Its exit code.
        code: i32,
        /// What it wrote, to either output.
        output: String,
    },
    /// What [`Request::Collect`] asked for.
    Collected {
        /// What could not be had, and why.
        missing: Vec<String>,
    },
    /// What [`Request::Usage`] asked for.
    Usage(Usage),
    /// What [`Request::Place`] asked for.
    Place {
        /// As in [`Definition::scratch`].
        scratch: Option<PathBuf>,
        /// As in [`Definition::logs`].
        logs: PathBuf,
    },
}

/// What a lab uses of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Host memory now, in KiB: memory shared between machines counts once.
    pub memory: u64,
    /// The largest `memory` seen so far.
    pub peak_memory: u64,
    /// CPU time of all QEMUs so far, in milliseconds.
    pub cpu: u64,
    /// Those whose QEMU runs, and the gateway, by name.
    pub machines: BTreeMap<String, OfMachine>,
}

/// What one machine uses of the host, and of the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfMachine {
    /// Host memory now, in KiB; memory shared with other machines is divided among them.
    pub memory: u64,
    /// CPU time of its QEMU since that was started, in milliseconds.
    pub cpu: u64,
    /// Frames that it has sent in the life of the lab.
    pub frames_from: u64,
    /// Frames that it has been sent.
    pub frames_to: u64,
    /// Their bytes.
    pub bytes_from: u64,
    /// Their bytes.
    pub bytes_to: u64,
}
