//! Resources: what a node must look like, and how it is brought there.
//!
//! A [`Plan`] is data: stages of named [`Resource`]s, in the order in which they hold. [`apply()`] walks it
//! on the node: each resource is checked, and only what differs is changed. Applying twice changes
//! nothing, and an apply that was cut off is completed by the next one.
//!
//! Nothing in here knows how a plan travels, or what a cluster file is. Everything that is read or
//! changed goes through a [`System`], which is rooted at a directory: `/` on a node, a temporary
//! directory in a test.
//!
//! ```
//! use bramble_provision::{Resource, System, Verdict, resource::Link};
//!
//! let root = tempfile::tempdir().unwrap();
//! let system = System::rooted(root.path());
//! let shared = Resource::Link(Link { path: "/shared".into(), target: "/mnt/nfs/pi-cluster".into() });
//!
//! assert!(matches!(shared.check(&system), Ok(Verdict::Change(_))));
//! shared.apply(&system).unwrap();
//! assert!(matches!(shared.check(&system), Ok(Verdict::Satisfied)));
//! ```

mod accounts;
mod apply;
mod diff;
mod engine;
mod error;
mod event;
mod facts;
mod http;
mod plan;
mod release;
pub mod resource;
mod secret;
mod swarm;
mod system;

pub use apply::{Mode, apply};
pub use error::Error;
pub use event::{Event, Outcome, Summary};
pub use facts::{Address, Docker, Facts, Fan, Memory, Mounted, Space};
pub use plan::{Plan, Stage, Step};
pub use resource::{Change, Notice, Resource, Verdict};
pub use secret::Secret;
pub use swarm::{Availability, LocalSwarm, Member, Role, Service, SwarmView, Task, Tokens};
pub use system::{CommandLine, Ran, System};
