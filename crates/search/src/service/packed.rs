//! A finding in few bytes: what the ledger keeps of each result, on disk and in memory.
//!
//! Numbers as LEB128: completable, stuck, unreachable; digest and audit in 8 bytes each, little endian; how many numbers of
//! spheres occur, then each with its count; then the dead seeds that are named, each less the one before. The number of seeds
//! is not there, since the range tells it. Typically 60 to 100 bytes.
//!
//! With a filter there follow the number of seeds looked at, how many seeds are listed, and each of them less the one before, with a
//! byte for its spheres and one that is 1 if it can be completed.

use bramble_kernel::{FIRST_DEAD, Summary};

use crate::finding::{Finding, Found, MOST_FOUND};

/// A packed finding. Two of the same range are equal iff the findings are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packed(Box<[u8]>);

impl Packed {
    pub(crate) fn new(finding: &Finding) -> Self {
        let summary = &finding.summary;
        let mut out = Vec::with_capacity(128);
        for count in [summary.completable, summary.stuck, summary.unreachable] {
            put(&mut out, count);
        }
        out.extend(summary.digest.to_le_bytes());
        out.extend(summary.audit.to_le_bytes());
        let occurring = || {
            (0u64..)
                .zip(summary.spheres)
                .filter(|(_, count)| *count > 0)
        };
        put(&mut out, occurring().count() as u64);
        for (number, count) in occurring() {
            put(&mut out, number);
            put(&mut out, count);
        }
        let dead = summary.first_dead.seeds();
        put(&mut out, dead.len() as u64);
        let mut before = 0;
        for &seed in dead {
            put(&mut out, u64::from(seed - before));
            before = seed;
        }
        if let Some(found) = &finding.found {
            put(&mut out, summary.scanned);
            put(&mut out, found.len() as u64);
            let mut before = 0;
            for found in found {
                put(&mut out, u64::from(found.seed - before));
                out.extend([found.spheres, found.completable.into()]);
                before = found.seed;
            }
        }
        Packed(out.into_boxed_slice())
    }

    /// What is in the ledger.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Packed(bytes.into_boxed_slice())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Unpacks it. `None` if the bytes are none of ours.
    pub(crate) fn finding(&self) -> Option<Finding> {
        let mut from = &*self.0;
        let mut summary = Summary::EMPTY;
        summary.completable = take(&mut from)?;
        summary.stuck = take(&mut from)?;
        summary.unreachable = take(&mut from)?;
        summary.scanned = [summary.stuck, summary.unreachable]
            .iter()
            .try_fold(summary.completable, |sum, &more| sum.checked_add(more))?;
        summary.digest = u64::from_le_bytes(*take_8(&mut from)?);
        summary.audit = u64::from_le_bytes(*take_8(&mut from)?);
        for _ in 0..take(&mut from)? {
            let number = usize::try_from(take(&mut from)?).ok()?;
            *summary.spheres.get_mut(number)? = take(&mut from)?;
        }
        let named = take(&mut from)?;
        let mut seed = 0u64;
        for _ in 0..named.min(FIRST_DEAD as u64) {
            seed = seed.checked_add(take(&mut from)?)?;
            summary.first_dead.insert(u32::try_from(seed).ok()?);
        }
        let mut found = None;
        if !from.is_empty() {
            summary.scanned = take(&mut from)?;
            found = Some(listed(&mut from)?);
        }
        from.is_empty().then_some(Finding { summary, found })
    }
}

fn listed(from: &mut &[u8]) -> Option<Vec<Found>> {
    let number = take(from)?;
    let mut seed = 0u64;
    let next = |_| {
        seed = seed.checked_add(take(from)?)?;
        let (&[spheres, completable], rest) = from.split_first_chunk()?;
        *from = rest;
        Some(Found {
            seed: u32::try_from(seed).ok()?,
            completable: completable != 0,
            spheres,
        })
    };
    (0..number.min(MOST_FOUND as u64)).map(next).collect()
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take_8<'a>(from: &mut &'a [u8]) -> Option<&'a [u8; 8]> {
    let (bytes, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_survives_both_ways(
            spheres in proptest::collection::btree_map(0usize..256, 1u64..1 << 40, 0..20),
            dead in proptest::collection::btree_set(any::<u32>(), 0..FIRST_DEAD),
            (completable, stuck, unreachable) in (0u64..1 << 33, 0u64..1 << 33, 0u64..1 << 33),
            (digest, audit) in any::<(u64, u64)>(),
            found in proptest::option::of(proptest::collection::btree_map(any::<u32>(), any::<(u8, bool)>(), 0..40)),
            more in 0u64..1 << 33,
        ) {
            let mut summary = Summary {
                scanned: completable + stuck + unreachable,
                completable,
                stuck,
                unreachable,
                digest,
                audit,
                first_dead: dead.into_iter().collect(),
                ..Summary::EMPTY
            };
            for (number, count) in spheres {
                summary.spheres[number] = count;
            }
            if found.is_some() {
                summary.scanned += more;
            }
            let found = found.map(|found| {
                let found = found.into_iter();
                found.map(|(seed, (spheres, completable))| Found { seed, completable, spheres }).collect()
            });
            let finding = Finding { summary, found };
            let packed = Packed::new(&finding);
            prop_assert_eq!(packed.finding(), Some(finding));
        }

        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Packed::from_bytes(bytes).finding();
        }
    }
}
