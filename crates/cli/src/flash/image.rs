//! Images as files: raw or compressed, with or without a block map, opened so that any part can be read.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bramble_image::bmap::{self, Bmap};
use bramble_image::fat;

use super::write::Content;
use crate::failure::Usage;

/// A disk image, uncompressed. What is compressed is unpacked once, into a sparse file without a name.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) file: File,
    pub(crate) size: u64,
    /// What matters of it: all, if there is no block map.
    pub(crate) ranges: Vec<Range<u64>>,
    /// Whether its owner alone may read it: it may be of a node's card, with that node's key.
    pub(crate) is_private: bool,
}

/// What a file is compressed with, by how it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Raw,
    Xz,
    Zstd,
}

impl Image {
    /// Opens the image at `path`. `tell` hears how many bytes have been unpacked, if they must be.
    ///
    /// # Errors
    /// It is no disk image, is damaged, or is not the one that the block map beside it is of.
    pub(crate) fn open(path: &Path, tell: &dyn Fn(u64)) -> anyhow::Result<Image> {
        let shown = path.display();
        let file = File::open(path)
            .map_err(|error| Usage::new(format!("cannot open the image {shown}: {error}")))?;
        let is_private = file.metadata()?.mode() & 0o077 == 0;
        let file = match packing(&file).with_context(|| format!("cannot read {shown}"))? {
            Packing::Raw => file,
            Packing::Xz => unpack(
                liblzma::read::XzDecoder::new_multi_decoder(BufReader::new(file)),
                tell,
            )
            .with_context(|| format!("cannot unpack {shown}"))?,
            Packing::Zstd => {
                let unpacked = zstd::stream::read::Decoder::new(file);
                unpack(
                    unpacked.with_context(|| format!("cannot unpack {shown}"))?,
                    tell,
                )
                .with_context(|| format!("cannot unpack {shown}"))?
            }
        };
        let size = file.metadata()?.len();
        let mut signature = [0; 2];
        if size % 512 != 0
            || file.read_exact_at(&mut signature, 510).is_err()
            || signature != [0x55, 0xaa]
        {
            return Err(Usage::new(format!(
                "{shown} is no disk image: it has no partition table"
            ))
            .into());
        }
        fat::is_whole(&file).map_err(|error| Usage::new(format!("{shown}: {error}")))?;
        let ranges = match map_of(path)? {
            Some((map, place)) => {
                map.check(&file)
                    .with_context(|| format!("{} and {shown}", place.display()))?;
                map.ranges.into_iter().map(|range| range.bytes).collect()
            }
            None => std::iter::once(0..size).collect(),
        };
        Ok(Image {
            file,
            size,
            ranges,
            is_private,
        })
    }
}

fn packing(file: &File) -> io::Result<Packing> {
    let mut begins = [0; 6];
    let count = file.read_at(&mut begins, 0)?;
    Ok(match &begins[..count] {
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Packing::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
        _ => Packing::Raw,
    })
}

/// Where zeros are, the file has holes.
fn unpack(mut packed: impl Read, tell: &dyn Fn(u64)) -> anyhow::Result<File> {
    // Memory often stands behind /tmp, and an image may be larger than it.
    let dir = [Path::new("/var/tmp").to_owned(), std::env::temp_dir()];
    let dir = dir
        .iter()
        .find(|dir| dir.is_dir())
        .context("there is no directory for temporary files")?;
    let file = tempfile::tempfile_in(dir)?;
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match packed.read(&mut buffer[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        if filled == 0 {
            break;
        }
        for (index, block) in buffer[..filled].chunks(bmap::BLOCK as usize).enumerate() {
            if block.iter().any(|&byte| byte != 0) {
                file.write_all_at(block, size + index as u64 * bmap::BLOCK)
                    .with_context(|| format!("cannot unpack into {}", dir.display()))?;
            }
        }
        size += filled as u64;
        tell(filled as u64);
    }
    file.set_len(size)?;
    Ok(file)
}

/// The block map beside an image: `card.bmap` or `card.img.bmap` of `card.img.zst`.
fn map_of(image: &Path) -> anyhow::Result<Option<(Bmap, PathBuf)>> {
    let mut name = image.to_owned();
    loop {
        let mut place = name.clone().into_os_string();
        place.push(".bmap");
        let place = PathBuf::from(place);
        if place.is_file() {
            let text = std::fs::read_to_string(&place)
                .with_context(|| format!("cannot read {}", place.display()))?;
            let map =
                Bmap::parse(&text).with_context(|| format!("cannot use {}", place.display()))?;
            return Ok(Some((map, place)));
        }
        if name.extension().is_none() {
            return Ok(None);
        }
        name = name.with_extension("");
    }
}

/// An image whose boot partition is a card's own.
#[derive(Debug)]
pub(crate) struct Card<'a> {
    pub(crate) image: &'a Image,
    /// The boot partition's bytes, and a file that has them at the same place.
    pub(crate) boot: Option<(Range<u64>, File)>,
    ranges: Vec<Range<u64>>,
}

impl<'a> Card<'a> {
    /// The image as it is.
    pub(crate) fn plain(image: &'a Image) -> Card<'a> {
        Card {
            image,
            boot: None,
            ranges: image.ranges.clone(),
        }
    }

    /// The image with a boot partition that can be changed: a copy of its own, in a sparse file.
    ///
    /// # Errors
    /// There is no boot partition, or no room for the copy.
    pub(crate) fn own(image: &'a Image) -> anyhow::Result<Card<'a>> {
        let boot = fat::partition(&image.file)?;
        let copy = tempfile::tempfile().context("there is no room for a boot partition")?;
        copy.set_len(boot.end)?;
        let mut buffer = vec![0; 1 << 20];
        for range in bmap::data(&image.file, image.size)? {
            let mut position = range.start.max(boot.start);
            while position < range.end.min(boot.end) {
                let length = (range.end.min(boot.end) - position).min(buffer.len() as u64) as usize;
                image.file.read_exact_at(&mut buffer[..length], position)?;
                copy.write_all_at(&buffer[..length], position)?;
                position += length as u64;
            }
        }
        let ranges = with(&image.ranges, &boot);
        Ok(Card {
            image,
            boot: Some((boot, copy)),
            ranges,
        })
    }
}

/// `ranges` and one more, joined where they touch.
fn with(ranges: &[Range<u64>], more: &Range<u64>) -> Vec<Range<u64>> {
    let mut all = [ranges, std::slice::from_ref(more)].concat();
    all.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in all {
        match joined.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

impl Content for Card<'_> {
    fn size(&self) -> u64 {
        self.image.size
    }

    fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    fn is_private(&self) -> bool {
        self.boot.is_some() || self.image.is_private
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.image.file.read_exact_at(buffer, offset)?;
        let Some((place, copy)) = &self.boot else {
            return Ok(());
        };
        let end = offset + buffer.len() as u64;
        let own = place.start.max(offset)..place.end.min(end);
        if own.is_empty() {
            return Ok(());
        }
        let within = (own.start - offset) as usize..(own.end - offset) as usize;
        copy.read_exact_at(&mut buffer[within], own.start)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// An image of 64 blocks with a FAT partition, mostly holes.
    pub(crate) fn sample() -> Vec<u8> {
        let mut bytes = vec![0; 64 * 4096];
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes[446 + 4] = 0x0c;
        bytes[446 + 8] = 64;
        bytes[446 + 12] = 32;
        bytes[40_000] = 7;
        bytes[200_000] = 9;
        bytes
    }

    fn read(card: &dyn Content) -> Vec<u8> {
        let mut all = vec![0; card.size() as usize];
        card.read_at(&mut all, 0).unwrap();
        all
    }

    #[test]
    fn any_packing_gives_the_same_image() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = sample();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("raw.img"), &bytes).unwrap();
        fs::write(path("a.img.zst"), zstd::encode_all(&bytes[..], 3).unwrap()).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&bytes).unwrap();
        fs::write(path("b.img.xz"), xz.finish().unwrap()).unwrap();
        for name in ["raw.img", "a.img.zst", "b.img.xz"] {
            let image = Image::open(&path(name), &|_| ()).unwrap();
            assert!(read(&Card::plain(&image)) == bytes, "{name}");
            assert_eq!(
                image.ranges,
                std::slice::from_ref(&(0..64 * 4096)),
                "{name}"
            );
            assert_eq!(fat::partition(&image.file).unwrap(), 64 * 512..96 * 512);
        }
    }

    #[test]
    fn a_block_map_says_what_matters() {
        let dir = tempfile::tempdir().unwrap();
        let packed = dir.path().join("card.img.zst");
        fs::write(&packed, zstd::encode_all(&sample()[..], 3).unwrap()).unwrap();
        let map = Bmap::of(&Image::open(&packed, &|_| ()).unwrap().file).unwrap();
        fs::write(dir.path().join("card.img.bmap"), map.render()).unwrap();
        let image = Image::open(&packed, &|_| ()).unwrap();
        assert_eq!(image.ranges, [0..4096, 36864..40960, 196608..200704]);

        let mut other = sample();
        other[40_000] = 8;
        fs::write(&packed, zstd::encode_all(&other[..], 3).unwrap()).unwrap();
        let error = format!("{:#}", Image::open(&packed, &|_| ()).unwrap_err());
        assert!(
            error.contains("not the one that its block map is of"),
            "{error}"
        );
    }

    #[test]
    fn a_card_has_its_own_boot_partition() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&sample(), 0).unwrap();
        let image = Image {
            size: 64 * 4096,
            ranges: vec![0..4096, 196608..200704],
            is_private: false,
            file,
        };
        let card = Card::own(&image).unwrap();
        let (place, copy) = card.boot.as_ref().unwrap();
        copy.write_all_at(&[5], place.start).unwrap();
        copy.write_all_at(&[6], place.end - 1).unwrap();
        let mut expected = sample();
        expected[64 * 512] = 5;
        expected[96 * 512 - 1] = 6;
        assert!(read(&card) == expected);
        assert_eq!(card.ranges(), [0..4096, 64 * 512..96 * 512, 196608..200704]);
        assert!(read(&Card::plain(&image)) == sample());
        assert!(card.is_private() && !Card::plain(&image).is_private());
    }

    #[test]
    fn what_only_its_owner_reads_stays_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("worker3.img.zst");
        fs::write(&path, zstd::encode_all(&sample()[..], 3).unwrap()).unwrap();
        for (mode, expected) in [(0o600, true), (0o400, true), (0o640, false), (0o644, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let image = Image::open(&path, &|_| ()).unwrap();
            assert_eq!(Card::plain(&image).is_private(), expected, "{mode:o}");
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        let message = |path: &Path| format!("{:#}", Image::open(path, &|_| ()).unwrap_err());
        assert!(message(&path).starts_with("cannot open the image"));
        fs::write(&path, "not a disk").unwrap();
        assert!(message(&path).contains("it has no partition table"));
        let beyond = 90 * 512;
        fs::write(&path, &sample()[..beyond]).unwrap();
        assert!(message(&path).contains("it ends at byte 46080, and its partitions at byte 49152"));
        let packed = zstd::encode_all(&sample()[..], 3).unwrap();
        fs::write(&path, &packed[..packed.len() / 2]).unwrap();
        assert!(
            message(&path).contains("cannot unpack"),
            "{}",
            message(&path)
        );
    }
}
