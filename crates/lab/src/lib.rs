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
//! disk that is plugged in while it runs.

pub mod guest;
pub mod identity;
pub mod template;

mod client;
mod console;
mod deed;
mod definition;
mod fault;
mod link;
mod process;
mod qemu;
mod qmp;
mod rundir;
mod supervisor;
mod switch;
mod typing;

pub use client::{Attached, Lab, Waiting};
pub use definition::{Definition, Event, Gateway, Happened, Machine, Reply, Request, Start, Usage};
pub use fault::{Affliction, Direction, Fault, Impairment, Rate, Share};
pub use qemu::version as qemu_version;
pub use rundir::RunDir;
pub use supervisor::supervise;
