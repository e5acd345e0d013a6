//! Writing an image to a card, so that it is either whole or does not boot, and reading it back.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context as _, bail};
use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};

/// Bytes that are read and written at once.
const CHUNK: usize = 4 << 20;

/// After so many bytes the card is asked to have written them, so that the rate shown is the card's.
const SYNC_EVERY: u64 = 64 << 20;

/// The part with the partition table: it is written last, and without it a Pi does not begin to boot.
const FIRST_SECTOR: u64 = 512;

/// What direct reads want their offset, length and memory to be a multiple of.
const ALIGNED: usize = 4096;

/// The mode of a file that its owner alone reads and writes.
const PRIVATE: u32 = 0o600;

/// What is to be on a card.
pub(crate) trait Content: Sync {
    /// In bytes.
    fn size(&self) -> u64;

    /// The parts that matter, in order, at multiples of 4096 bytes. What is between them is left as it is.
    fn ranges(&self) -> &[Range<u64>];

    /// Whether it may hold a node's private key, so that a file of it is for its owner alone.
    fn is_private(&self) -> bool;

    /// Fills `buffer` from `offset`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// What is going on, with the number of bytes that have just been dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Wrote(u64),
    Verified(u64),
}

/// How many bytes are written; as many are read back.
pub(crate) fn length(content: &dyn Content) -> u64 {
    content
        .ranges()
        .iter()
        .map(|range| range.end - range.start)
        .sum()
}

/// Writes `content` to the disk or file at `path`, and reads it back past all caches of this machine.
///
/// # Errors
/// It cannot be opened or written, or does not give back what it was given: the error says where.
pub(crate) fn write(
    content: &dyn Content,
    path: &Path,
    verify: bool,
    tell: &dyn Fn(Step),
) -> anyhow::Result<()> {
    let shown = path.display();
    let target = open(path, content.is_private())
        .with_context(|| format!("cannot open {shown} for writing"))?;
    let failed = |what: &str| format!("{shown}: cannot {what}");

    // Whatever was on it must not boot with half of something else.
    target
        .write_all_at(&[0; FIRST_SECTOR as usize], 0)
        .and_then(|()| target.sync_all())
        .with_context(|| failed("write the first sector"))?;
    let mut buffer = vec![0; CHUNK];
    let mut unsynced = 0;
    for chunk in chunks(content) {
        let buffer = &mut buffer[..(chunk.end - chunk.start) as usize];
        content
            .read_at(buffer, chunk.start)
            .with_context(|| format!("cannot read the image at byte {}", chunk.start))?;
        let skip = FIRST_SECTOR
            .saturating_sub(chunk.start)
            .min(buffer.len() as u64);
        target
            .write_all_at(&buffer[skip as usize..], chunk.start + skip)
            .with_context(|| failed(&format!("write at byte {}", chunk.start)))?;
        unsynced += buffer.len() as u64;
        if unsynced >= SYNC_EVERY {
            target.sync_data().with_context(|| failed("write"))?;
            unsynced = 0;
        }
        tell(Step::Wrote(buffer.len() as u64));
    }
    target
        .sync_all()
        .with_context(|| failed("finish writing"))?;
    if verify {
        compare(content, path, &target, FIRST_SECTOR, tell)?;
    }
    let mut first = [0; FIRST_SECTOR as usize];
    content
        .read_at(&mut first, 0)
        .context("cannot read the image's first sector")?;
    target
        .write_all_at(&first, 0)
        .and_then(|()| target.sync_all())
        .with_context(|| failed("write the first sector"))?;
    if verify {
        let found = Reader::open(path, &target)?
            .read(0, FIRST_SECTOR as usize)?
            .to_vec();
        if found != first {
            bail!("{shown} does not give back its first sector: {BROKEN}");
        }
    }
    Ok(())
}

const BROKEN: &str = "the card is worn out, not what it claims to be, or badly seated";

/// A disk is opened for ourselves alone: the kernel then refuses if any part of it is mounted. A private file is closed
/// to others before there is anything in it.
fn open(path: &Path, is_private: bool) -> io::Result<File> {
    let is_disk = path.metadata().is_ok_and(|meta| !meta.is_file());
    let mut options = OpenOptions::new();
    options.write(true).read(true);
    if is_disk {
        options.custom_flags(OFlag::O_EXCL.bits());
        return options.open(path);
    }
    options.create(true).truncate(false);
    if !is_private {
        return options.open(path);
    }
    let file = options.mode(PRIVATE).open(path)?;
    // It may have been there before.
    file.set_permissions(Permissions::from_mode(PRIVATE))?;
    Ok(file)
}

/// The ranges of `content` in pieces of at most [`CHUNK`] bytes.
fn chunks(content: &dyn Content) -> impl Iterator<Item = Range<u64>> + '_ {
    content.ranges().iter().flat_map(|range| {
        let end = range.end;
        range
            .clone()
            .step_by(CHUNK)
            .map(move |start| start..end.min(start + CHUNK as u64))
    })
}

fn compare(
    content: &dyn Content,
    path: &Path,
    target: &File,
    from: u64,
    tell: &dyn Fn(Step),
) -> anyhow::Result<()> {
    let mut reader = Reader::open(path, target)?;
    let mut expected = vec![0; CHUNK];
    for chunk in chunks(content) {
        let expected = &mut expected[..(chunk.end - chunk.start) as usize];
        content
            .read_at(expected, chunk.start)
            .context("cannot read the image again")?;
        let found = reader.read(chunk.start, expected.len())?;
        let skip = from.saturating_sub(chunk.start).min(expected.len() as u64) as usize;
        if found[skip..] != expected[skip..] {
            let differs = |index: &usize| found[*index] != expected[*index];
            let at = (skip..expected.len()).find(differs).unwrap_or(skip);
            bail!(
                "{} does not give back what was written at byte {}: {BROKEN}",
                path.display(),
                chunk.start + at as u64
            );
        }
        tell(Step::Verified(expected.len() as u64));
    }
    Ok(())
}

/// Reads what is on the medium, not what this machine remembers of it.
struct Reader {
    file: File,
    buffer: Vec<u8>,
    /// Where in `buffer` an aligned part begins.
    start: usize,
}

impl Reader {
    fn open(path: &Path, written: &File) -> anyhow::Result<Reader> {
        // Some file systems know no direct reads; then at least the pages are dropped.
        posix_fadvise(written, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
            .context("cannot drop what is remembered of the card")?;
        let direct = OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_DIRECT.bits())
            .open(path);
        let file = direct
            .or_else(|_| File::open(path))
            .with_context(|| format!("cannot open {} for reading", path.display()))?;
        let buffer = vec![0; CHUNK + 2 * ALIGNED];
        let start = buffer.as_ptr().align_offset(ALIGNED);
        Ok(Reader {
            file,
            buffer,
            start,
        })
    }

    /// `length` bytes at `offset`, which is a multiple of [`ALIGNED`].
    fn read(&mut self, offset: u64, length: usize) -> anyhow::Result<&[u8]> {
        let rounded = length.next_multiple_of(ALIGNED);
        let buffer = &mut self.buffer[self.start..self.start + rounded];
        let mut filled = 0;
        while filled < length {
            let count = self
                .file
                .read_at(&mut buffer[filled..], offset + filled as u64)
                .with_context(|| format!("cannot read the card back at byte {offset}"))?;
            if count == 0 {
                bail!("the card ends at byte {}: {BROKEN}", offset + filled as u64);
            }
            filled += count;
        }
        Ok(&buffer[..length])
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::fs;

    use super::*;

    struct Bytes {
        bytes: Vec<u8>,
        ranges: Vec<Range<u64>>,
        /// Reading at or beyond this fails.
        breaks_at: u64,
        is_private: bool,
    }

    impl Content for Bytes {
        fn size(&self) -> u64 {
            self.bytes.len() as u64
        }
        fn ranges(&self) -> &[Range<u64>] {
            &self.ranges
        }
        fn is_private(&self) -> bool {
            self.is_private
        }
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            if offset >= self.breaks_at {
                return Err(io::Error::other("the image broke"));
            }
            let offset = offset as usize;
            buffer.copy_from_slice(&self.bytes[offset..offset + buffer.len()]);
            Ok(())
        }
    }

    /// Two full chunks and some, none of it zero.
    fn bytes(ranges: &[Range<u64>]) -> Bytes {
        let bytes: Vec<u8> = (0..2 * CHUNK + 5000).map(|i| (i % 251) as u8 + 1).collect();
        let all = 0..bytes.len() as u64;
        let ranges = if ranges.is_empty() {
            vec![all]
        } else {
            ranges.to_vec()
        };
        Bytes {
            bytes,
            ranges,
            breaks_at: u64::MAX,
            is_private: false,
        }
    }

    #[test]
    fn what_is_written_is_there_and_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("card");
        let content = bytes(&[]);
        let steps = RefCell::new(Vec::new());
        write(&content, &path, true, &|step| steps.borrow_mut().push(step)).unwrap();
        assert!(fs::read(&path).unwrap() == content.bytes);
        let total = |pick: &dyn Fn(&Step) -> Option<u64>| {
            steps.borrow().iter().filter_map(pick).sum::<u64>()
        };
        let written = total(&|step| match step {
            Step::Wrote(n) => Some(*n),
            _ => None,
        });
        let verified = total(&|step| match step {
            Step::Verified(n) => Some(*n),
            _ => None,
        });
        assert_eq!((written, verified), (length(&content), length(&content)));
    }

    #[test]
    fn what_does_not_matter_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("card");
        let content = bytes(&[0..4096, 8192..12288]);
        fs::write(&path, vec![0xff; content.bytes.len()]).unwrap();
        write(&content, &path, true, &|_| ()).unwrap();
        let found = fs::read(&path).unwrap();
        assert!(found[..4096] == content.bytes[..4096]);
        assert!(found[4096..8192].iter().all(|&byte| byte == 0xff));
        assert!(found[8192..12288] == content.bytes[8192..12288]);
        assert!(found[12288..].iter().all(|&byte| byte == 0xff));
    }

    #[test]
    fn a_file_with_a_key_is_closed_before_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let usual = dir.path().join("usual");
        fs::write(&usual, "").unwrap();
        let usual = mode(&usual);
        for (what, before, is_private, expected) in [
            ("a new file", None, true, PRIVATE),
            ("a new file without a key", None, false, usual),
            ("one that all could read", Some(0o644), true, PRIVATE),
            ("one without a key stays open", Some(0o644), false, 0o644),
        ] {
            let path = dir.path().join(what);
            if let Some(mode) = before {
                fs::write(&path, "").unwrap();
                fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            }
            // Breaks before anything of the image is written.
            let content = Bytes {
                breaks_at: 0,
                is_private,
                ..bytes(&[])
            };
            write(&content, &path, true, &|_| ()).unwrap_err();
            assert_eq!(mode(&path), expected, "{what}");
        }
    }

    #[test]
    fn half_a_card_does_not_boot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("card");
        fs::write(&path, vec![0xff; CHUNK]).unwrap();
        let content = Bytes {
            breaks_at: CHUNK as u64,
            ..bytes(&[])
        };
        let error = write(&content, &path, true, &|_| ()).unwrap_err();
        assert!(
            format!("{error:#}").contains("the image broke"),
            "{error:#}"
        );
        let found = fs::read(&path).unwrap();
        assert_eq!(
            found[..512],
            [0; 512],
            "the old first sector is gone, the new one is not there"
        );
        assert!(found[512..4096] == content.bytes[512..4096]);
    }

    #[test]
    fn a_card_that_forgets_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("card");
        let content = bytes(&[]);
        write(&content, &path, false, &|_| ()).unwrap();
        let target = open(&path, false).unwrap();
        let position = CHUNK as u64 + 4097;
        target.write_all_at(&[0], position).unwrap();
        target.sync_all().unwrap();
        let error = compare(&content, &path, &target, 0, &|_| ())
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("at byte {position}:")), "{error}");
        target.set_len(CHUNK as u64).unwrap();
        let error = compare(&content, &path, &target, 0, &|_| ())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&format!("the card ends at byte {CHUNK}")),
            "{error}"
        );
    }
}
