//! Block maps: which blocks of a disk image matter, and their hashes, in the format of `bmaptool`, version 2.0.
//!
//! An image is mostly free space, which need not be written to a card.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail, ensure};
pub use bramble_store::sparse::{BLOCK, data};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// What stands for the map's own hash while that is being computed.
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A block map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bmap {
    /// The image's size in bytes.
    pub size: u64,
    /// What matters of it, in order.
    pub ranges: Vec<Mapped>,
}

/// Blocks that matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// The bytes, from the beginning of a block to the end of one, or of the image.
    pub bytes: Range<u64>,
    /// SHA-256 of their content, in hexadecimal.
    pub sha256: String,
}

impl Bmap {
    /// The map of a sparse file: its holes do not matter.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(image: &File) -> Result<Bmap> {
        let size = image.metadata()?.len();
        let map = |bytes: Range<u64>| -> Result<Mapped> {
            let sha256 = hash(image, &bytes).context("cannot read the image")?;
            Ok(Mapped { bytes, sha256 })
        };
        let ranges = data(image, size)?
            .into_iter()
            .map(map)
            .collect::<Result<_>>()?;
        Ok(Bmap { size, ranges })
    }

    /// The map as text.
    pub fn render(&self) -> String {
        let text = self.with_own_hash(NO_HASH);
        self.with_own_hash(&hex(&Sha256::digest(&text)))
    }

    fn with_own_hash(&self, own: &str) -> String {
        let mapped: u64 = self.ranges.iter().map(|range| blocks(&range.bytes)).sum();
        let ranges = self.ranges.iter().map(|range| {
            let (first, last) = (range.bytes.start / BLOCK, (range.bytes.end - 1) / BLOCK);
            let span = if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            };
            format!(
                "        <Range chksum=\"{}\"> {span} </Range>\n",
                range.sha256
            )
        });
        format!(
            "\
<?xml version=\"1.0\" ?>
<bmap version=\"2.0\">
    <ImageSize> {size} </ImageSize>
    <BlockSize> {BLOCK} </BlockSize>
    <BlocksCount> {count} </BlocksCount>
    <MappedBlocksCount> {mapped} </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> {own} </BmapFileChecksum>
    <BlockMap>
{ranges}    </BlockMap>
</bmap>
",
            size = self.size,
            count = blocks(&(0..self.size)),
            ranges = ranges.collect::<String>(),
        )
    }

    /// Reads a map.
    ///
    /// # Errors
    /// It is damaged, or of a kind that this program does not know.
    pub fn parse(text: &str) -> Result<Bmap> {
        let file: BmapFile = quick_xml::de::from_str(text).context("it is no block map")?;
        ensure!(
            file.checksum_type.trim() == "sha256" && file.block_size.trim() == BLOCK.to_string(),
            "it is a block map of another kind: blocks of {} bytes, with {}",
            file.block_size.trim(),
            file.checksum_type.trim()
        );
        let own = file.own_checksum.trim();
        let found = hex(&Sha256::digest(text.replacen(own, NO_HASH, 1)));
        ensure!(
            found == own,
            "the block map is damaged: its SHA-256 is {found}, not {own}"
        );
        let size: u64 = file
            .image_size
            .trim()
            .parse()
            .context("its image has no size")?;
        let mut ranges = Vec::new();
        let mut end = 0;
        for range in file.map.ranges {
            let bytes = span(range.span.trim(), size)
                .with_context(|| format!("{:?} is no range of blocks", range.span.trim()))?;
            ensure!(
                bytes.start >= end && bytes.end > bytes.start,
                "its ranges are not in order"
            );
            end = bytes.end;
            ranges.push(Mapped {
                bytes,
                sha256: range.checksum,
            });
        }
        Ok(Bmap { size, ranges })
    }

    /// Holds an image against the map.
    ///
    /// # Errors
    /// It is not the image that the map is of.
    pub fn check(&self, image: &File) -> Result<()> {
        let size = image.metadata()?.len();
        if size != self.size {
            bail!(
                "the image has {size} bytes, and its block map is of one with {}",
                self.size
            );
        }
        for range in &self.ranges {
            if hash(image, &range.bytes)? != range.sha256 {
                bail!(
                    "the image is not the one that its block map is of: byte {} and on",
                    range.bytes.start
                );
            }
        }
        Ok(())
    }
}

fn hash(image: &File, bytes: &Range<u64>) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut position = bytes.start;
    while position < bytes.end {
        let left = bytes.end - position;
        let part = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        image.read_exact_at(&mut buffer[..part], position)?;
        hash.update(&buffer[..part]);
        position += part as u64;
    }
    Ok(hex(&hash.finalize()))
}

fn blocks(bytes: &Range<u64>) -> u64 {
    (bytes.end - bytes.start).div_ceil(BLOCK)
}

/// `3-7` or `3`, as bytes of an image of `size`.
fn span(text: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let end = last.checked_add(1)?.checked_mul(BLOCK)?.min(size);
    Some(first.checked_mul(BLOCK)?..end)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Deserialize)]
struct BmapFile {
    #[serde(rename = "ImageSize")]
    image_size: String,
    #[serde(rename = "BlockSize")]
    block_size: String,
    #[serde(rename = "ChecksumType")]
    checksum_type: String,
    #[serde(rename = "BmapFileChecksum")]
    own_checksum: String,
    #[serde(rename = "BlockMap")]
    map: Map,
}

#[derive(Deserialize)]
struct Map {
    #[serde(rename = "Range", default)]
    ranges: Vec<RangeOf>,
}

#[derive(Deserialize)]
struct RangeOf {
    #[serde(rename = "@chksum")]
    checksum: String,
    #[serde(rename = "$text")]
    span: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 blocks and a bit, of which blocks 2, 3 and the last matter.
    fn sparse() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(100 * BLOCK + 100).unwrap();
        file.write_all_at(&[1; 2 * BLOCK as usize], 2 * BLOCK)
            .unwrap();
        file.write_all_at(b"end", 100 * BLOCK + 97).unwrap();
        file
    }

    #[test]
    fn holes_do_not_matter() {
        let map = Bmap::of(&sparse()).unwrap();
        insta::assert_snapshot!(map.render());
        assert_eq!(Bmap::parse(&map.render()).unwrap(), map);
        map.check(&sparse()).unwrap();
    }

    #[test]
    fn damage_is_found() {
        let map = Bmap::of(&sparse()).unwrap();
        let changed = sparse();
        changed.write_all_at(b"x", 3 * BLOCK).unwrap();
        assert!(
            map.check(&changed)
                .unwrap_err()
                .to_string()
                .ends_with("byte 8192 and on")
        );
        changed.set_len(1).unwrap();
        assert!(
            map.check(&changed)
                .unwrap_err()
                .to_string()
                .starts_with("the image has 1 bytes")
        );

        let text = map.render();
        for (from, to, expected) in [
            ("> 2-3 <", "> 2-4 <", "the block map is damaged"),
            ("sha256 <", "md5 <", "a block map of another kind"),
            ("ImageSize", "Size", "it is no block map"),
            ("</BlockMap>", "", "it is no block map"),
        ] {
            let error = format!("{:#}", Bmap::parse(&text.replace(from, to)).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
