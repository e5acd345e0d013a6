//! A table from power sets to sets of locations or items.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use crate::Set;

/// Bits of a power set that choose the entry within a page.
const PAGE_BITS: u32 = 6;
const PAGE: usize = 1 << PAGE_BITS;

/// Made as Unicode tables are: the high bits of the key choose a page, the low bits an entry of it, and pages without entries
/// share one. Entries are small numbers, since the same few sets come up again and again.
#[derive(Clone, Debug)]
pub(crate) struct Lookup<const W: usize> {
    /// High bits to page.
    directory: Box<[u16]>,
    /// Low bits to a position in `sets`.
    pages: Vec<[u16; PAGE]>,
    /// The different sets.
    sets: Vec<Set<W>>,
}

impl<const W: usize> Lookup<W> {
    /// `None` if there are more pages or sets than fit.
    pub(crate) fn new(entries: impl Iterator<Item = (u64, Set<W>)>) -> Option<Self> {
        let mut lookup = Lookup {
            directory: Box::new([]),
            pages: Vec::new(),
            sets: Vec::new(),
        };
        let mut pages = BTreeMap::new();
        let mut sets = BTreeMap::new();
        for (key, set) in entries {
            let page = number(&mut pages, key >> PAGE_BITS, || {
                lookup.pages.push([0; PAGE])
            })?;
            let number = number(&mut sets, set, || lookup.sets.push(set))?;
            let page = lookup.pages.get_mut(usize::from(page))?;
            page[key as usize % PAGE] = number;
        }
        let last = pages.keys().next_back().map_or(0, |last| *last as usize);
        lookup.directory = vec![0; last + 1].into_boxed_slice();
        for (high, page) in pages {
            *lookup.directory.get_mut(high as usize)? = page;
        }
        Some(lookup)
    }

    /// The set for a key that was among the entries; for others, any.
    #[inline(always)]
    pub(crate) fn get(&self, key: u64) -> Set<W> {
        let page = self
            .directory
            .get((key >> PAGE_BITS) as usize)
            .copied()
            .unwrap_or(0);
        let page = self.pages.get(usize::from(page));
        let set = page.map_or(0, |page| page[key as usize % PAGE]);
        self.sets
            .get(usize::from(set))
            .copied()
            .unwrap_or(Set::EMPTY)
    }
}

/// The number of a thing among those seen so far. `added` is called for a new one.
fn number<K: Ord>(seen: &mut BTreeMap<K, u16>, thing: K, added: impl FnOnce()) -> Option<u16> {
    let next = u16::try_from(seen.len());
    match seen.entry(thing) {
        alloc::collections::btree_map::Entry::Occupied(entry) => Some(*entry.get()),
        alloc::collections::btree_map::Entry::Vacant(entry) => {
            added();
            Some(*entry.insert(next.ok()?))
        }
    }
}
