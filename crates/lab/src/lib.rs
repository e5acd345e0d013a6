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
//! # Going back
//!
//! [`checkpoint`] saves a lab while it runs, and starts labs that go on from there: what takes minutes to bring about is
//! brought about once.
//!
//! # What can befall machines
//!
//! [`Fault`] is the list: links that are cut, slow or lossy in one direction or both, pairs of machines that do not
//! hear each other, pulled cables, power cuts, machines that stand still, clocks that jump, disks that are full,
//! read-only or slow. [`Attached::inflict`] has one befall a machine, [`Attached::clear`] clears all that has befallen
//! it, and [`Attached::clear_one`] what is of one kind; what has, is in [`Attached::afflictions`]. The household's machine
//! is no exception; of the gateway, which is no machine, only the link can suffer.
//!
//! # When something goes wrong
//!
//! A kernel panic or oops, a process that is killed for want of memory, a lockup, a unit that fails, a QEMU that ends:
//! any of these makes [`Lab::wait`], [`Lab::down`], [`Watch::until`] and all of a [`Guest`]'s verbs that run something or wait
//! for something fail at once, in the machine's own words, unless [`Watch::expect`] said that it is part of the plan.
//! ([`Run::expected`](report::Run::expected) says so to the page.) Whoever does something else meanwhile asks [`Watch::check`],
//! or has a thread sit in [`Watch::wait_for_trouble`].
//!
//! Everything that is said lies in [`Definition::logs`] as it happens: `MACHINE.console.log`, `MACHINE.qmp.jsonl`,
//! `MACHINE.qemu.log`, `events.jsonl` ([`Event`], a line each). [`Attached::collect`] adds the journals and the last frames of
//! every machine, and [`report::write`] makes one page of it all; [`report::serve`] shows it while the lab runs.
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
//! `[profile.dev.package.sha2]` with `opt-level = 3` in its `Cargo.toml` saves a debug build a minute, in which it would
//! read the store.
//!
//! ```no_run
//! use std::path::Path;
//! use std::time::Duration;
//!
//! use bramble_image::Inputs;
//! use bramble_image::rootfs;
//! use bramble_lab::report::{self, Run};
//! use bramble_lab::template::Template;
//! use bramble_lab::{Expected, Fault, Lab, Topology, Trouble, supervised_by_itself};
//! use bramble_store::Store;
//!
//! const MINUTE: Duration = Duration::from_secs(60);
//!
//! fn main() -> anyhow::Result<()> {
//!     // The lab is owned by a process of its own, which is this program once more.
//!     let Some(supervisor) = supervised_by_itself()? else {
//!         return Ok(());
//!     };
//!     // Booted the first time, and taken from the store ever after: 768 MiB, one CPU, as the nodes of `vm-test` have.
//!     let inputs = Inputs::open(Store::open()?, Path::new("bramble.lock"), None)?;
//!     let rootfs = rootfs::node().get(&inputs, None)?;
//!     let template = Template::of_rootfs(&inputs.store, "node", &rootfs, (768, 1), &supervisor)?;
//!
//!     let pair = Topology::new("example", "target/example")
//!         .machine("alice", &template)
//!         .machine("bob", &template);
//!     let mut run = Run::begin("bob loses his power");
//!     let lab = pair.launch(&supervisor)?;
//!     let outcome = run.stage("a day of bob's", &pair.logs(), || scenario(&lab));
//!     if outcome.is_err() {
//!         lab.attached().collect()?;
//!     }
//!     // The end fails, too, if a machine was in trouble that nobody expected.
//!     let outcome = outcome.and(lab.down());
//!     run.failure = outcome.as_ref().err().map(|error| format!("{error:#}"));
//!     println!("see {}", report::write(&[run], &pair.logs())?.display());
//!     outcome
//! }
//!
//! fn scenario(lab: &Lab) -> anyhow::Result<()> {
//!     let (alice, bob) = (lab.guest("alice"), lab.guest("bob"));
//!
//!     // What bob has written and synced is there when he is back.
//!     bob.write("/root/note", "remember")?;
//!     bob.run("sync")?;
//!     bob.loses_power(Duration::from_secs(5))?;
//!     assert_eq!(bob.read("/root/note")?, b"remember");
//!
//!     // With the link cut, a command is to fail; keyboards are no matter of the network.
//!     alice.run("busybox ping -c 1 -W 2 bob")?;
//!     alice.suffers(&Fault::cut())?;
//!     alice.fails("busybox ping -c 1 -W 2 bob")?;
//!     alice.recovers()?;
//!     alice.until("busybox ping -c 1 -W 2 bob", MINUTE)?;
//!
//!     // Programs of the host reach what listens on a machine.
//!     bob.run("systemd-run --unit=page busybox httpd -f -p 80 -h /root")?;
//!     bob.until_active("page.service", MINUTE)?;
//!     bob.until_open(80, MINUTE)?;
//!     lab.attached().forward(8080, [192, 168, 77, 2].into(), 80)?;
//!
//!     // Had nobody expected it, this would fail whatever is waited for from then on, and the lab's end.
//!     lab.watch().expect(vec![Expected {
//!         machine: Some("bob".to_owned()),
//!         trouble: Trouble::FailedUnit,
//!         text: " doomed.service".to_owned(),
//!     }]);
//!     bob.run("systemd-run --unit=doomed false").map(drop)
//! }
//! ```
//!
//! [`Guest`] has the verbs. What they are made of, for other networks, identities, keys for SSH and machines that nobody
//! waits for, is [`Definition`], [`identity::Identity`], [`Lab::launch`] and [`Lab::wait`].
//!
//! In tests of `cargo test`, where `main` is not one's own, a test that is ignored is the supervisor:
//!
//! ```no_run
//! use std::path::Path;
//!
//! #[test]
//! #[ignore = "runs the labs of the others"]
//! fn supervise() {
//!     let dir = std::env::args().next_back().expect("where the lab is");
//!     bramble_lab::supervise(Path::new(&dir)).expect("a lab");
//! }
//!
//! fn supervisor() -> Vec<String> {
//!     let own = std::env::current_exe().expect("a path").display().to_string();
//!     let test = ["--ignored", "--nocapture", "--exact", "supervise"];
//!     std::iter::once(own).chain(test.map(str::to_owned)).collect()
//! }
//! ```

pub mod card;
pub mod checkpoint;
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
mod hands;
mod launcher;
mod link;
mod qemu;
mod qmp;
mod recorder;
mod remains;
mod room;
mod rundir;
mod supervisor;
mod switch;
mod topology;
mod trouble;
mod typing;
mod watch;

pub use client::{Attached, Lab, Waiting, last_line};
pub use definition::{
    Board, Definition, Event, Gateway, Happened, Machine, OfMachine, Reply, Request, Start, Usage,
};
pub use fault::{Affliction, Direction, Fault, Impairment, Rate, Share, Unreadable};
pub use hands::Guest;
pub use launcher::Backend;
pub use qemu::{MACHINE_TYPE, version as qemu_version};
pub use remains::{Remains, remains};
pub use rundir::RunDir;
pub use supervisor::{supervise, supervised_by_itself};
pub use topology::{Topology, fresh_directory};
pub use trouble::{Expected, Trouble};
pub use watch::{Condition, State, Watch};
