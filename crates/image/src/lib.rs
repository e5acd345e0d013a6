//! Root file systems, disk images and container images, each built from named inputs.
//!
//! - [`debian`]: packages, chosen once and locked;
//! - [`rootfs`]: a Debian root file system, as a tar archive, by `mmdebstrap`;
//! - [`layer`]: files laid over it without unpacking it;
//! - [`initramfs`]: the few modules and the script that bring the kernel to that root file system;
//! - [`oci`]: container images, made without a container engine;
//! - [`disk`]: an ext4 image of it, made without root rights or loop devices.

pub mod bmap;
pub mod card;
pub mod debian;
pub mod disk;
pub mod fat;
pub mod initramfs;
mod inputs;
pub mod layer;
pub mod oci;
pub mod rootfs;
mod shared;
mod tool;

pub use inputs::{Inputs, Packages};
pub use shared::Shared;

/// The time that every file of an image carries, in seconds since 1970: images say what is in them,
/// not when they were made.
pub const EPOCH: u64 = 1_767_225_600;
