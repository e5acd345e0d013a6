//! A content-addressed store for built artefacts.
//!
//! An artefact's place is the hash of everything that went into it, so a warm run does no work and a
//! changed input can never be served from an old build. The store does not know what the artefacts mean, but it knows
//! what their files were: one that has been damaged since is built again.
//!
//! Files that come from elsewhere lie in it by the hash of their content, and are read against it ([`Store::blob`]);
//! which ones a build needs is in the lock file ([`LockFile`]).
//!
//! ```text
//! ~/.cache/bramble/
//!   rootfs/3f9c….json      the named inputs; the key is the SHA-256 of this very file
//!   rootfs/3f9c…/          the artefact: whatever the builder left in its directory
//!   rootfs/3f9c….sums      the hashes of its files, against which it is read
//!   rootfs/3f9c….stamps    what the file system said of them when they were last read
//!   rootfs/3f9c….partial/  being built, by whoever holds the lock; never handed out
//!   locks/rootfs-3f9c…     taken shared while an artefact is in use, exclusively to build or remove it
//! ```
//!
//! ```
//! # fn main() -> anyhow::Result<()> {
//! # let cache = tempfile::tempdir()?;
//! # let store = bramble_store::Store::at(cache.path())?;
//! let key = bramble_store::Key::builder("greeting", 1).text("who", "world").finish()?;
//! let artifact = store.get_or_build(&key, |dir| {
//!     std::fs::write(dir.join("hello.txt"), "hello, world")?;
//!     Ok(())
//! })?;
//! assert!(artifact.path.join("hello.txt").exists());
//! # Ok(())
//! # }
//! ```

mod blob;
mod key;
mod lock;
mod lockfile;
pub mod sparse;
mod store;
mod sums;

pub use blob::Blob;
pub use key::{Key, KeyBuilder, sha256_of_file};
pub use lockfile::{Change, Image, LockFile, Package};
pub use store::{Artifact, Entry, Garbage, Lease, LeftOver, Store};
