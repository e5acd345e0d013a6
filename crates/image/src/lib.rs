//! Root file systems, disk images and OCI images.
