//! Which locations are open under which powers.
//!
//! The powers a player can hold are unions of what items grant, and these are far fewer than all subsets: 53,760 of
//! 2^20 for the Axiom Verge model, which open only 2,649 different sets of locations. So the answer is looked up in a table
//! of two stages, as Unicode tables are made: the high bits choose a page, the low bits an entry of it, and pages that no
//! reachable state falls into share one. A world too large for that is evaluated directly.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use crate::{Level, Set};

/// Bits of a power set that choose the entry within a page.
const PAGE_BITS: u32 = 6;
const PAGE: usize = 1 << PAGE_BITS;
/// With more powers than this the first stage alone would spoil the cache.
const MAX_TABLE_BITS: u32 = 24;

#[derive(Clone, Debug)]
pub(crate) enum Reach<const W: usize> {
    Table(Pages<W>),
    Direct(Vec<(u64, Set<W>)>),
}

#[derive(Clone, Debug)]
pub(crate) struct Pages<const W: usize> {
    /// Power set's high bits to page.
    directory: Box<[u16]>,
    /// Power set's low bits to a position in `sets`.
    pages: Vec<[u16; PAGE]>,
    /// The different sets of open locations.
    sets: Vec<Set<W>>,
}

impl<const W: usize> Reach<W> {
    pub(crate) fn new(level: &Level, grants: &[u64]) -> Self {
        let rules = rules(level);
        match reachable(grants).and_then(|states| Pages::new(&states, &rules)) {
            Some(pages) => Reach::Table(pages),
            None => Reach::Direct(rules),
        }
    }

    /// The locations open under `powers`, a union of what some items of the level grant.
    #[inline(always)]
    pub(crate) fn open(&self, powers: u64) -> Set<W> {
        match self {
            Reach::Table(pages) => pages.open(powers),
            Reach::Direct(rules) => evaluate(rules, powers),
        }
    }
}

impl<const W: usize> Pages<W> {
    /// `None` if there are more pages or sets than fit.
    fn new(states: &[u64], rules: &[(u64, Set<W>)]) -> Option<Self> {
        let highest = states.iter().copied().max().unwrap_or(0);
        let mut directory = vec![0u16; (highest >> PAGE_BITS) as usize + 1].into_boxed_slice();
        // Page 0 belongs to the empty state's neighbourhood and stands in for what is never reached.
        let mut pages = vec![[0u16; PAGE]];
        let mut page_of = BTreeMap::from([(0u64, 0u16)]);
        let mut sets = Vec::new();
        let mut number_of = BTreeMap::new();
        for &powers in states {
            let open = evaluate(rules, powers);
            let number = match number_of.get(&open) {
                Some(&number) => number,
                None => {
                    let number = u16::try_from(sets.len()).ok()?;
                    sets.push(open);
                    number_of.insert(open, number);
                    number
                }
            };
            let high = powers >> PAGE_BITS;
            let page = match page_of.get(&high) {
                Some(&page) => page,
                None => {
                    let page = u16::try_from(pages.len()).ok()?;
                    pages.push([0; PAGE]);
                    page_of.insert(high, page);
                    page
                }
            };
            *directory.get_mut(high as usize)? = page;
            *pages
                .get_mut(page as usize)?
                .get_mut(powers as usize % PAGE)? = number;
        }
        Some(Pages {
            directory,
            pages,
            sets,
        })
    }

    #[inline(always)]
    fn open(&self, powers: u64) -> Set<W> {
        let page = self
            .directory
            .get((powers >> PAGE_BITS) as usize)
            .copied()
            .unwrap_or(0);
        let set = self
            .pages
            .get(page as usize)
            .map_or(0, |page| page[powers as usize % PAGE]);
        self.sets.get(set as usize).copied().unwrap_or(Set::EMPTY)
    }
}

/// The level's requirements by alternative instead of by location: many locations share one.
fn rules<const W: usize>(level: &Level) -> Vec<(u64, Set<W>)> {
    let mut opens: BTreeMap<u64, Set<W>> = BTreeMap::new();
    for (location, alternatives) in level.requires.iter().enumerate() {
        for &alternative in alternatives {
            opens
                .entry(alternative)
                .or_insert(Set::EMPTY)
                .insert(location);
        }
    }
    opens.into_iter().collect()
}

#[inline]
fn evaluate<const W: usize>(rules: &[(u64, Set<W>)], powers: u64) -> Set<W> {
    rules
        .iter()
        .filter(|(needed, _)| needed & powers == *needed)
        .fold(Set::EMPTY, |open, (_, locations)| open.or(*locations))
}

/// Every union of grants, the empty one first. `None` if their bits are too many for a table.
fn reachable(grants: &[u64]) -> Option<Vec<u64>> {
    let all = grants.iter().fold(0, |all, grant| all | grant);
    if all >> MAX_TABLE_BITS != 0 {
        return None;
    }
    let mut seen = vec![0u64; (all as usize >> 6) + 1];
    seen[0] = 1;
    let mut states = vec![0];
    // Adding one kind of item at a time to all that was reached without it visits each union.
    for &grant in grants {
        for index in 0..states.len() {
            let state = states[index] | grant;
            let word = seen.get_mut(state as usize >> 6)?;
            if *word >> (state & 63) & 1 == 0 {
                *word |= 1 << (state & 63);
                states.push(state);
            }
        }
    }
    Some(states)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PoolEntry;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::string::String;

    fn level(requires: Vec<Vec<u64>>, grants: &[u64]) -> Level {
        let entry = |&grants: &u64| PoolEntry {
            item: String::from("item"),
            grants,
        };
        Level {
            name: String::from("only"),
            requires,
            pool: grants.iter().map(entry).collect(),
        }
    }

    proptest! {
        #[test]
        fn the_table_says_what_the_rules_say(
            requires in prop::collection::vec(prop::collection::vec(0u64..1 << 10, 1..4), 1..40),
            grants in prop::collection::vec(0u64..1 << 10, 1..8),
        ) {
            let level = level(requires, &grants);
            let reach = Reach::<1>::new(&level, &grants);
            prop_assert!(matches!(reach, Reach::Table(_)));
            for subset in 0..1u32 << grants.len() {
                let powers = (0..grants.len()).filter(|i| subset >> i & 1 == 1).fold(0, |all, i| all | grants[i]);
                let open = |alternatives: &Vec<u64>| alternatives.iter().any(|need| need & !powers == 0);
                let expected: Set<1> = (0..level.requires.len()).filter(|&at| open(&level.requires[at])).collect();
                prop_assert_eq!(reach.open(powers), expected);
            }
        }

        #[test]
        fn reachable_states_are_all_unions(grants in prop::collection::vec(0u64..256, 0..8)) {
            let union = |subset: u32| (0..grants.len()).filter(|i| subset >> i & 1 == 1).fold(0, |all, i| all | grants[i]);
            let expected: BTreeSet<u64> = (0..1u32 << grants.len()).map(union).collect();
            let states = reachable(&grants).unwrap();
            prop_assert_eq!(states.len(), expected.len());
            prop_assert_eq!(states.into_iter().collect::<BTreeSet<_>>(), expected);
        }
    }

    #[test]
    fn a_world_of_many_powers_is_evaluated_directly() {
        let level = level(vec![vec![0], vec![1 << 63]], &[1 << 63, 0]);
        let reach = Reach::<1>::new(&level, &[1 << 63, 0]);
        assert!(matches!(reach, Reach::Direct(_)));
        assert_eq!(reach.open(0), Set::below(1));
        assert_eq!(reach.open(1 << 63), Set::below(2));
    }
}
