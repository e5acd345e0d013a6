//! The boot partition: a FAT file system, the only kind that a Pi's firmware reads, made and changed without
//! mounting it.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use fatfs::{
    Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider,
};

/// The bytes of the partition that the firmware reads: the first of a disk, or of an image of one, that is of a kind of
/// FAT.
///
/// # Errors
/// There is none within the disk, or it cannot be read.
pub fn partition(disk: &File) -> Result<Range<u64>> {
    /// What a partition table calls FAT16 and FAT32.
    const FAT: [u8; 4] = [0x06, 0x0b, 0x0c, 0x0e];
    let size = disk.metadata()?.len();
    let is_boot = |(kind, bytes): &(u8, Range<u64>)| FAT.contains(kind) && bytes.end <= size;
    match partitions(disk)?.into_iter().find(is_boot) {
        Some((_, bytes)) => Ok(bytes),
        None => {
            bail!("the image has no boot partition: none of its partitions is of a kind of FAT")
        }
    }
}

/// Whether an image of a disk is as long as its partition table says; it is not where a download was cut off.
///
/// # Errors
/// A partition ends beyond the image, or that cannot be read.
pub fn is_whole(image: &File) -> Result<()> {
    let size = image.metadata()?.len();
    let ends = partitions(image)?.into_iter().map(|(_, bytes)| bytes.end);
    match ends.max() {
        Some(end) if end > size => bail!(
            "it ends at byte {size}, and its partitions at byte {end}: was it downloaded whole?"
        ),
        _ => Ok(()),
    }
}

/// Kind and bytes of the partitions in a disk's first sector.
fn partitions(disk: &File) -> Result<Vec<(u8, Range<u64>)>> {
    /// Says that another kind of table is in use, and reaches as far as can be said here.
    const PROTECTIVE: u8 = 0xee;
    let mut sector = [0; 512];
    disk.read_exact_at(&mut sector, 0)?;
    let entry = |entry: &[u8]| {
        let number = |at: usize| {
            let bytes = [at, at + 1, at + 2, at + 3].map(|index| entry[index]);
            u64::from(u32::from_le_bytes(bytes))
        };
        let bytes = number(8) * 512..(number(8) + number(12)) * 512;
        (entry[4], bytes)
    };
    let entries = sector[446..510].chunks_exact(16).map(entry);
    Ok(entries
        .filter(|(kind, bytes)| *kind != PROTECTIVE && !bytes.is_empty())
        .collect())
}

/// A partition of a disk, or of an image of one.
///
/// Every change carries [`crate::EPOCH`] as its time, so that the same changes give the same bytes.
pub struct Fat<'a> {
    volume: FileSystem<Window<'a>>,
    disk: &'a File,
    dot: Rc<Cell<Option<u64>>>,
}

impl<'a> Fat<'a> {
    /// Makes an empty FAT32 file system of the bytes `place` of `disk`, with a label of at most 11 bytes and a
    /// fixed `id`.
    ///
    /// # Errors
    /// `disk` cannot be written, or the place is too small for FAT32.
    pub fn format(disk: &'a File, place: Range<u64>, label: &str, id: u32) -> Result<Fat<'a>> {
        let mut name = [b' '; 11];
        if label.len() > name.len() {
            bail!("{label:?} is too long for the label of a FAT file system");
        }
        name[..label.len()].copy_from_slice(label.as_bytes());
        let options = FormatVolumeOptions::new()
            .fat_type(FatType::Fat32)
            .bytes_per_cluster(512)
            .volume_label(name)
            .volume_id(id);
        let sectors = (place.end - place.start) / 512;
        let options =
            options.total_sectors(u32::try_from(sectors).context("the partition is too large")?);
        fatfs::format_volume(Window::new(disk, place.clone()), options)
            .context("cannot make the FAT file system")?;
        Self::open(disk, place)
    }

    /// Opens the FAT file system in the bytes `place` of `disk`.
    ///
    /// # Errors
    /// There is none.
    pub fn open(disk: &'a File, place: Range<u64>) -> Result<Fat<'a>> {
        let options = FsOptions::new()
            .time_provider(&FIXED)
            .update_accessed_date(false);
        let window = Window::new(disk, place);
        let dot = window.dot.clone();
        let volume = FileSystem::new(window, options)
            .context("the boot partition holds no FAT file system")?;
        Ok(Fat { volume, disk, dot })
    }

    /// A file's content; `None` if it is not there.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let failed = || format!("cannot read {path} of the boot partition");
        let mut file = match self.volume.root_dir().open_file(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(failed),
        };
        let mut content = Vec::new();
        file.read_to_end(&mut content).with_context(failed)?;
        Ok(Some(content))
    }

    /// Writes a file, and the directories above it; what was there is replaced.
    ///
    /// # Errors
    /// It cannot be written: the partition may be full.
    pub fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        let failed = || format!("cannot write {path} to the boot partition");
        let root = self.volume.root_dir();
        for (slash, _) in path.match_indices('/') {
            self.dot.set(None);
            root.create_dir(&path[..slash]).with_context(failed)?;
            if let Some(at) = self.dot.get() {
                let in_root = !path[..slash].contains('/');
                mend_dots(self.disk, at, in_root).with_context(failed)?;
            }
        }
        let mut file = root.create_file(path).with_context(failed)?;
        file.truncate().with_context(failed)?;
        file.write_all(content).with_context(failed)?;
        file.flush().with_context(failed)
    }

    /// Writes what is still in memory.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn close(self) -> Result<()> {
        // Counted, so that nobody else has to.
        self.volume
            .stats()
            .context("cannot count the boot partition's free clusters")?;
        self.volume
            .unmount()
            .context("cannot finish the boot partition")
    }
}

/// The short name of a directory's entry for itself.
const DOT: &[u8] = b".          ";

/// Mends the entries `.` and `..` of a directory that was just made. `fatfs` 0.3 gives them long names, and says
/// where the root directory is, for which other systems say 0: `fsck.fat` then finds neither. `at` is where the
/// entry `.` stands, behind its long name.
fn mend_dots(disk: &File, at: u64, in_root: bool) -> io::Result<()> {
    /// Bytes of an entry.
    const ENTRY: usize = 32;
    let mut entries = [0; 4 * ENTRY];
    let start = at - ENTRY as u64;
    disk.read_exact_at(&mut entries, start)?;
    let [_, dot, _, dots] = [0, 1, 2, 3].map(|index| &entries[index * ENTRY..][..ENTRY]);
    let mut short = [dot, dots].concat();
    short.resize(4 * ENTRY, 0);
    if in_root {
        // The upper and the lower half of the first cluster's number.
        for half in [20..22, 26..28] {
            short[ENTRY..][half].fill(0);
        }
    }
    disk.write_all_at(&short, start)
}

/// The bytes of a file that a partition is.
struct Window<'a> {
    disk: &'a File,
    place: Range<u64>,
    position: u64,
    /// Where in the file [`DOT`] was written last.
    dot: Rc<Cell<Option<u64>>>,
}

impl<'a> Window<'a> {
    fn new(disk: &'a File, place: Range<u64>) -> Self {
        let position = place.start;
        Window {
            disk,
            place,
            position,
            dot: Rc::default(),
        }
    }

    fn left(&self, wanted: usize) -> usize {
        let left = self.place.end.saturating_sub(self.position);
        wanted.min(usize::try_from(left).unwrap_or(usize::MAX))
    }
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.left(buffer.len());
        let count = self.disk.read_at(&mut buffer[..length], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for Window<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes == DOT {
            self.dot.set(Some(self.position));
        }
        let length = self.left(bytes.len());
        let count = self.disk.write_at(&bytes[..length], self.position)?;
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let base = match to {
            SeekFrom::Start(_) => Some(self.place.start),
            SeekFrom::Current(_) => Some(self.position),
            SeekFrom::End(_) => Some(self.place.end),
        };
        let position = match to {
            SeekFrom::Start(offset) => base.and_then(|base| base.checked_add(offset)),
            SeekFrom::Current(offset) | SeekFrom::End(offset) => {
                base.and_then(|base| base.checked_add_signed(offset))
            }
        };
        let position = position.filter(|position| *position >= self.place.start);
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position - self.place.start)
    }
}

/// Says that it is 2026-01-01, which is [`crate::EPOCH`].
#[derive(Debug)]
struct Fixed;

static FIXED: Fixed = Fixed;

impl TimeProvider for Fixed {
    fn get_current_date(&self) -> Date {
        Date {
            year: 2026,
            month: 1,
            day: 1,
        }
    }

    fn get_current_date_time(&self) -> DateTime {
        let midnight = Time {
            hour: 0,
            min: 0,
            sec: 0,
            millis: 0,
        };
        DateTime {
            date: self.get_current_date(),
            time: midnight,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const PLACE: Range<u64> = (1 << 20)..(65 << 20);

    /// A disk with a boot partition that was filled, changed and filled again.
    fn disk(dir: &std::path::Path, name: &str) -> File {
        let path = dir.join(name);
        let disk = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        disk.set_len(PLACE.end).unwrap();
        let fat = Fat::format(&disk, PLACE, "bootfs", 0x1234_abcd).unwrap();
        fat.write("overlays/a-rather-long-name.dtbo", &[7; 5000])
            .unwrap();
        fat.write("config.txt", &[b'#'; 3000]).unwrap();
        fat.close().unwrap();
        let fat = Fat::open(&disk, PLACE).unwrap();
        fat.write("config.txt", b"arm_64bit=1\n").unwrap();
        fat.close().unwrap();
        disk
    }

    #[test]
    fn files_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let disk = disk(dir.path(), "disk");
        let fat = Fat::open(&disk, PLACE).unwrap();
        assert_eq!(fat.read("CONFIG.TXT").unwrap().unwrap(), b"arm_64bit=1\n");
        assert_eq!(
            fat.read("overlays/a-rather-long-name.dtbo")
                .unwrap()
                .unwrap(),
            [7; 5000]
        );
        assert_eq!(fat.read("overlays/none").unwrap(), None);
        let error = fat
            .write("large", &vec![1; 70 << 20])
            .unwrap_err()
            .to_string();
        assert_eq!(error, "cannot write large to the boot partition");
        assert!(Fat::open(&disk, 0..4096).is_err());
    }

    #[test]
    fn the_same_changes_give_the_same_bytes_within_the_place() {
        let dir = tempfile::tempdir().unwrap();
        let content = |name| {
            let _ = disk(dir.path(), name);
            std::fs::read(dir.path().join(name)).unwrap()
        };
        let (one, two) = (content("one"), content("two"));
        assert!(one == two);
        assert!(one[..PLACE.start as usize].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn other_tools_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let _ = disk(dir.path(), "disk");
        let content = std::fs::read(dir.path().join("disk")).unwrap();
        let partition = dir.path().join("partition");
        std::fs::write(&partition, &content[PLACE.start as usize..]).unwrap();
        match Command::new("fsck.fat")
            .args(["-n", "-v"])
            .arg(&partition)
            .output()
        {
            Err(_) => eprintln!("SKIPPED: fsck.fat is not installed (package dosfstools)"),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(output.status.success(), "{said}");
            }
        }
        match Command::new("mdir")
            .args(["-b", "-/", "-i"])
            .arg(&partition)
            .output()
        {
            Err(_) => eprintln!("SKIPPED: mdir is not installed (package mtools)"),
            Ok(output) => {
                let listing = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(
                    listing.contains("::/overlays/a-rather-long-name.dtbo"),
                    "{listing}"
                );
            }
        }
    }
}
