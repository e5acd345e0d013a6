//! What a search is after, as far as it can be seen while items are placed.

use alloc::boxed::Box;
use alloc::vec;

use bramble_world::Set;

use crate::fill::{Block, End};
use crate::lanes::Lanes;

/// For each location the items that may lie there: a seed that puts another item there is not wanted, whatever comes after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// By location, then 64 pool entries to a word.
    allowed: Box<[[u64; 4]]>,
}

impl Default for Wanted {
    /// Anything may lie anywhere.
    fn default() -> Self {
        Wanted {
            allowed: vec![[u64::MAX; 4]; 256].into(),
        }
    }
}

impl Wanted {
    /// Whether anything is ruled out at all.
    pub fn is_anything(&self) -> bool {
        self.allowed.iter().all(|row| *row == [u64::MAX; 4])
    }

    /// Only these items may lie at this location, of those that still might.
    pub fn allow_only(&mut self, location: usize, items: [u64; 4]) {
        if let Some(allowed) = self.allowed.get_mut(location) {
            for (allowed, items) in allowed.iter_mut().zip(items) {
                *allowed &= items;
            }
        }
    }
}

/// [`Wanted`] for a width of sets.
#[derive(Clone, Debug)]
pub(crate) struct Demand<const W: usize> {
    allowed: [[Set<W>; 64]; W],
    /// Leave a block as soon as most of its seeds are ruled out; the others can be looked at again in better company.
    hasty: bool,
}

impl<const W: usize> Demand<W> {
    pub(crate) fn new(wanted: &Wanted, hasty: bool) -> Self {
        let mut allowed = [[Set::EMPTY; 64]; W];
        for (set, row) in allowed.as_flattened_mut().iter_mut().zip(&wanted.allowed) {
            let mut words = [0; W];
            words
                .iter_mut()
                .zip(row)
                .for_each(|(word, &row)| *word = row);
            *set = Set::from_words(words);
        }
        Demand { allowed, hasty }
    }

    /// Rules out the lanes in which the wrong thing was placed. True if the rest of the block is not worth doing.
    #[inline(always)]
    pub(crate) fn rules_out<const L: usize>(
        &self,
        locations: &[u8; L],
        items: &[u8; L],
        block: &mut Block<W, L>,
    ) -> bool {
        let mut unwanted = Lanes::NONE;
        for lane in block.going {
            let (location, item) = (usize::from(locations[lane]), usize::from(items[lane]));
            let allowed = self.allowed.as_flattened().get(location);
            if !allowed.is_some_and(|allowed| allowed.contains(item)) {
                unwanted = unwanted.or(Lanes::one(lane));
            }
        }
        block.end(unwanted, End::RuledOut, |_| Set::EMPTY);
        if self.hasty && block.going.len() as usize <= L / 4 {
            block.end(block.going, End::LeftOff, |_| Set::EMPTY);
        }
        block.going.is_empty()
    }
}
