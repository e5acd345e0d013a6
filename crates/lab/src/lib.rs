//! Emulated machines, the network between them, and the process that owns both.
//!
//! A lab is described by data ([`Definition`]) and run by a supervisor: a process of its own that holds the
//! switch and the consoles, starts every QEMU, and takes all of it down when whoever started the lab ends,
//! however that happens.
//!
//! ```text
//!  test ── lifeline (pipe) ──> supervisor ──┬── QEMU manager1 ── console, machine protocol (QMP)
//!       <── events (JSON lines) ──          ├── QEMU worker1       │
//!                                           ├── …                  │ Ethernet frames on unix sockets
//!  host's ssh ── 127.0.0.1:port ──> gateway ┴────────────── switch ┘
//! ```
//!
//! Machines are booted once and cloned ([`template`]): memory and disk of a booted machine are the
//! copy-on-write base of every machine like it, and each clone gets its identity ([`identity`]) by a small
//! disk that is plugged in while it runs. From then on it is a machine like any other: it can be started anew, and
//! when its power was cut it boots from its disk.
//!
//! # Processes or containers
//!
//! [`Backend`] says what machines run as. As processes they take nothing but QEMU; in containers of a Docker engine, each
//! has no network, no capabilities and no files but its own. A lab is the same on either, and ends with whoever started
//! it on either. [`remains()`] finds what is left of labs that were killed together with their supervisors. How a machine
//! of a lab differs from a real Pi is in [`hardware`].
//!
//! Where the very image of a card is to boot, cold and on a board of choice, it is put into a machine ([`card`]).
//!
//! # What can befall machines
//!
//! [`Fault`] is the list: links that are cut, slow or lossy in one direction or both, pairs of machines that do not
//! hear each other, pulled cables, power cuts, machines that stand still, clocks that jump, disks that are full,
//! read-only or slow. [`Attached::inflict`] has one befall a machine, [`Attached::clear`] clears all that has befallen
//! it; what has, is in [`Attached::afflictions`]. The household's machine, and the gateway's link, are no exceptions.
//!
//! # When something goes wrong
//!
//! A kernel panic or oops, a process that is killed for want of memory, a lockup, a unit that fails, a QEMU that ends:
//! any of these makes [`Lab::wait`] and [`Lab::down`] fail, in the machine's own words, unless [`Watch::expect`] said
//! that it is part of the plan. Whoever does something else meanwhile asks [`Watch::check`], or has a thread sit in
//! [`Watch::wait_for_trouble`].
//!
//! Everything that is said lies in [`Definition::logs`] as it happens: `MACHINE.console.log`, `MACHINE.qmp.jsonl`,
//! `MACHINE.qemu.log`, `events.jsonl` ([`Event`], a line each). [`Attached::collect`] adds the journals and the last frames of
//! every machine, and [`report::write`] makes one page of it all.
//!
//! # A scenario of one's own
//!
//! Two machines, of which one loses its power and comes back, is cut off and heard again, and has a unit that fails as it
//! should. They are made of the root file system that bramble's nodes have: of the packages in `bramble.lock`, built the
//! first time, which takes minutes, and ever after taken from the store in `~/.cache/bramble`, which first reads it
//! against its hashes. [`rootfs::node`](bramble_image::rootfs::node) says which programs there are. (Any other kernel,
//! initramfs and disk with the files of [`guest::layer`] do as well: [`template::Recipe`].)
//!
//! The program may be a crate of its own, anywhere. It depends, by path, on `bramble-lab`, `bramble-image` and
//! `bramble-store`, and on `anyhow`; and is given the path of `bramble.lock`, at the top of bramble's repository. Of the
//! host it asks for QEMU, and for `mmdebstrap` the first time: `cargo xtask doctor` says what is missing. (A lab without
//! any of this but QEMU, of one machine that has nothing to run, is `examples/smallest_lab.rs`.)
//!
//! ```no_run
//! use std::path::{Path, PathBuf};
//! use std::time::Duration;
//!
//! use bramble_image::Inputs;
//! use bramble_image::layer::Layer;
//! use bramble_image::rootfs;
//! use bramble_lab::identity::Identity;
//! use bramble_lab::report::{self, Run};
//! use bramble_lab::template::Template;
//! use bramble_lab::{Backend, Definition, Expected, Fault, Lab, Trouble, Waiting, guest, supervise};
//! use bramble_store::Store;
//!
//! fn main() -> anyhow::Result<()> {
//!     // The lab is owned by a process of its own, which is this program once more.
//!     let arguments: Vec<String> = std::env::args().collect();
//!     if let [_, verb, dir] = &arguments[..] && verb == "supervise" {
//!         return supervise(Path::new(dir));
//!     }
//!     let supervisor = [std::env::current_exe()?.display().to_string(), "supervise".to_owned()];
//!
//!     // Booted the first time, and taken from the store ever after: 768 MiB, one CPU, as the nodes of `vm-test` have.
//!     let inputs = Inputs::open(Store::open()?, Path::new("bramble.lock"), None)?;
//!     let rootfs = rootfs::node().get(&inputs, None)?;
//!     let template = Template::of_rootfs(&inputs.store, "node", &rootfs, (768, 1), &supervisor)?;
//!
//!     // Disks and identities belong to one lab alone, and go with it; logs stay.
//!     let (scratch, logs) = (PathBuf::from("target/example/scratch"), PathBuf::from("target/example/logs"));
//!     let _ = std::fs::remove_dir_all("target/example");
//!     std::fs::create_dir_all(&scratch)?;
//!     let mut machines = Vec::new();
//!     for (number, name) in ["alice", "bob"].into_iter().enumerate() {
//!         // An address of its own, as no router gives it one here.
//!         let network = format!("[Match]\nName=eth0\n[Network]\nAddress=10.0.0.{}/24\n", number + 1);
//!         let identity = Identity {
//!             hostname: name.to_owned(),
//!             user: "pi".to_owned(),
//!             authorized_keys: String::new(),
//!             host_key: None,
//!             files: Layer::new().file("etc/systemd/network/05-own.network", 0o644, network),
//!             configure: Some("#!/bin/sh\nnetworkctl reload\n".to_owned()),
//!         };
//!         let path = scratch.join(format!("{name}.identity"));
//!         identity.write(&path)?;
//!         machines.push(template.clone_as(name, &format!("52:54:00:00:00:0{number}"), &path, &scratch)?);
//!     }
//!     let definition = Definition {
//!         logs: logs.clone(),
//!         scratch: Some(scratch),
//!         backend: Backend::Processes,
//!         machines,
//!         // Commands are typed at the consoles; for SSH from here, machines need a gateway and host keys.
//!         gateway: None,
//!     };
//!     let mut run = Run::begin("bob loses his power");
//!     let mut lab = Lab::launch("example", &definition, &supervisor)?;
//!     let outcome = scenario(&mut lab);
//!     if let Err(error) = &outcome {
//!         run.failure = Some(format!("{error:#}"));
//!         lab.attached().collect()?;
//!     }
//!     println!("see {}", report::write(&[run], &logs)?.display());
//!     outcome?;
//!     lab.down()
//! }
//!
//! fn scenario(lab: &mut Lab) -> anyhow::Result<()> {
//!     let online = |names: &[&str]| Waiting {
//!         machines: names.iter().map(|&name| name.to_owned()).collect(),
//!         text: guest::ONLINE,
//!         patience: Duration::from_secs(600),
//!     };
//!     lab.wait(&online(&["alice", "bob"]), |event| println!("{event:?}"))?;
//!
//!     // What bob has written and synced is there when he is back; a bad line only makes alice wait for him.
//!     lab.attached().type_in("bob", "echo remember > /root/note; sync")?;
//!     lab.attached().inflict_for("bob", &Fault::PowerCut, Duration::from_secs(5))?;
//!     lab.wait(&online(&["bob"]), |_| {})?;
//!     assert_eq!(lab.attached().type_in("bob", "cat /root/note")?.trim(), "remember");
//!
//!     // A command that fails is an error: with the link cut, that is what is to happen.
//!     let ping = || lab.attached().type_in("alice", "busybox ping -c 1 -W 2 10.0.0.2");
//!     ping()?;
//!     lab.attached().inflict("alice", &Fault::cut())?;
//!     assert!(ping().is_err());
//!     lab.attached().clear("alice")?;
//!     ping()?;
//!
//!     // Had nobody expected it, this would fail every later wait, and the lab's end.
//!     lab.watch().expect(vec![Expected {
//!         machine: Some("bob".to_owned()),
//!         trouble: Trouble::FailedUnit,
//!         text: " doomed.service".to_owned(),
//!     }]);
//!     lab.attached().type_in("bob", "systemd-run --unit=doomed false").map(drop)
//! }
//! ```

pub mod card;
pub mod guest;
pub mod hardware;
pub mod identity;
pub mod mark;
pub mod report;
pub mod template;

mod client;
mod console;
mod deed;
mod definition;
mod fault;
mod launcher;
mod link;
mod qemu;
mod qmp;
mod recorder;
mod remains;
mod rundir;
mod supervisor;
mod switch;
mod trouble;
mod typing;
mod watch;

pub use client::{Attached, Lab, Waiting, last_line};
pub use definition::{
    Board, Definition, Event, Gateway, Happened, Machine, OfMachine, Reply, Request, Start, Usage,
};
pub use fault::{Affliction, Direction, Fault, Impairment, Rate, Share};
pub use launcher::Backend;
pub use qemu::{MACHINE_TYPE, version as qemu_version};
pub use remains::{Remains, remains};
pub use rundir::RunDir;
pub use supervisor::supervise;
pub use trouble::{Expected, Trouble};
pub use watch::{Condition, State, Watch};
