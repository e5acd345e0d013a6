//! Which files an artefact had when it was last read, so that what nobody has touched since need not be read again.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::replace;
use crate::store::walk;

/// File systems tell no two changes apart that are closer together than their clock ticks; none ticks as slowly as this.
const TICK: Duration = Duration::from_secs(2);

/// What the file system says of each file below a directory, a line for each: device, inode, length, when the content was
/// changed and when the inode was. The last of these nobody can set back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamps {
    text: String,
    /// Whether all changes were old enough that no other could have followed and looked the same.
    are_settled: bool,
}

impl Stamps {
    /// # Errors
    /// A directory cannot be read.
    pub(crate) fn of(dir: &Path) -> io::Result<Stamps> {
        let mut lines = Vec::new();
        let mut changed = 0;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_nanos();
        walk(dir, &mut |path, meta| {
            if meta.is_dir() {
                return Ok(());
            }
            let nanoseconds =
                |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
            let content = nanoseconds(meta.mtime(), meta.mtime_nsec());
            let inode = nanoseconds(meta.ctime(), meta.ctime_nsec());
            changed = inode.max(changed);
            let name = path.strip_prefix(dir).unwrap_or(path).display();
            let (device, number, length) = (meta.dev(), meta.ino(), meta.len());
            lines.push(format!(
                "{device} {number} {length} {content} {inode}  {name}\n"
            ));
            Ok(())
        })?;
        lines.sort();
        let settled = changed + TICK.as_nanos() as i128;
        Ok(Stamps {
            text: lines.concat(),
            are_settled: u128::try_from(settled).is_ok_and(|settled| settled < now),
        })
    }

    /// Whether the artefact at `artefact` had these when it was read.
    pub(super) fn are_known(&self, artefact: &Path) -> bool {
        fs::read_to_string(path(artefact)).is_ok_and(|known| known == self.text)
    }

    /// Notes that the artefact at `artefact` has been read since it had these.
    ///
    /// # Errors
    /// They cannot be written.
    pub(super) fn keep(&self, artefact: &Path) -> io::Result<()> {
        match self.are_settled {
            true => replace(&path(artefact), &self.text),
            false => Ok(()),
        }
    }
}

/// Has the artefact at `artefact` be read when it is next asked for.
pub(super) fn forget(artefact: &Path) {
    fs::remove_file(path(artefact)).ok();
}

/// Where the stamps of the artefact at `artefact` are: beside it.
pub(crate) fn path(artefact: &Path) -> PathBuf {
    artefact.with_extension("stamps")
}
