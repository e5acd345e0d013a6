//! Sparse files: which parts of one are no holes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

/// The size in bytes of a block, the least that can be a hole.
pub const BLOCK: u64 = 4096;

/// The parts of a sparse file of `size` bytes that are no holes, in whole blocks.
///
/// # Errors
/// The file cannot be sought in.
pub fn data(file: &File, size: u64) -> io::Result<Vec<Range<u64>>> {
    let seek = |from: u64, whence| -> io::Result<Option<u64>> {
        let offset = i64::try_from(from).map_err(io::Error::other)?;
        match lseek(file.as_fd(), offset, whence) {
            Ok(found) => Ok(u64::try_from(found).ok()),
            // No data any more.
            Err(Errno::ENXIO) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    };
    let mut found: Vec<Range<u64>> = Vec::new();
    let mut position = 0;
    while let Some(start) = seek(position, Whence::SeekData)? {
        let end = seek(start, Whence::SeekHole)?.unwrap_or(size);
        let bytes = start / BLOCK * BLOCK..end.next_multiple_of(BLOCK).min(size);
        position = bytes.end;
        match found.last_mut() {
            Some(last) if last.end >= bytes.start => last.end = bytes.end,
            _ => found.push(bytes),
        }
        if position >= size {
            break;
        }
    }
    Ok(found)
}
