//! Which locations are open under which powers, and which items would open more.
//!
//! The powers a player can hold are unions of what items grant, and these are far fewer than all subsets: 53,760 of
//! 2^20 for the Axiom Verge model, which open only 2,649 different sets of locations. So the answers are looked up in
//! tables. A world too large for that is evaluated directly.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use crate::lookup::Lookup;
use crate::{Level, Set};

/// With more powers than this a table alone would spoil the cache.
const MAX_TABLE_BITS: u32 = 24;
/// With more states than this, it would take longer to fill than it saves.
const MAX_STATES: usize = 1 << 17;

/// Pool entries that grant the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Class<const W: usize> {
    /// What each of them grants; never nothing.
    pub(crate) grants: u64,
    /// The pool entries.
    pub(crate) items: Set<W>,
}

#[derive(Clone, Debug)]
pub(crate) enum Reach<const W: usize> {
    Table { open: Lookup<W>, openers: Lookup<W> },
    Direct(Rules<W>),
}

/// The level's requirements by alternative instead of by location, since many locations share one.
#[derive(Clone, Debug)]
pub(crate) struct Rules<const W: usize> {
    /// Powers and what they open, whatever else is held.
    opens: Vec<(u64, Set<W>)>,
    classes: Vec<Class<W>>,
}

impl<const W: usize> Reach<W> {
    pub(crate) fn new(level: &Level, classes: Vec<Class<W>>) -> Self {
        let rules = Rules::new(level, classes);
        rules.tables().unwrap_or(Reach::Direct(rules))
    }

    /// The locations open under `powers`, a union of what some items of the level grant.
    #[inline(always)]
    pub(crate) fn open(&self, powers: u64) -> Set<W> {
        match self {
            Reach::Table { open, .. } => open.get(powers),
            Reach::Direct(rules) => rules.open(powers),
        }
    }

    /// The pool entries that, gained on top of `powers`, open a location that is not open already.
    #[inline(always)]
    pub(crate) fn openers(&self, powers: u64) -> Set<W> {
        match self {
            Reach::Table { openers, .. } => openers.get(powers),
            Reach::Direct(rules) => rules.openers(powers, |powers| rules.open(powers)),
        }
    }
}

impl<const W: usize> Rules<W> {
    fn new(level: &Level, classes: Vec<Class<W>>) -> Self {
        let mut opens: BTreeMap<u64, Set<W>> = BTreeMap::new();
        for (location, alternatives) in level.requires.iter().enumerate() {
            for &alternative in alternatives {
                opens
                    .entry(alternative)
                    .or_insert(Set::EMPTY)
                    .insert(location);
            }
        }
        Rules {
            opens: opens.into_iter().collect(),
            classes,
        }
    }

    /// `None` if they would be too large.
    fn tables(&self) -> Option<Reach<W>> {
        let states = reachable(self.classes.iter().map(|class| class.grants))?;
        let open = Lookup::new(states.iter().map(|&powers| (powers, self.open(powers))))?;
        let openers = |&powers: &u64| (powers, self.openers(powers, |powers| open.get(powers)));
        let openers = Lookup::new(states.iter().map(openers))?;
        Some(Reach::Table { open, openers })
    }

    fn open(&self, powers: u64) -> Set<W> {
        let met = self
            .opens
            .iter()
            .filter(|(needed, _)| needed & !powers == 0);
        met.fold(Set::EMPTY, |open, (_, locations)| open.or(*locations))
    }

    fn openers(&self, powers: u64, open: impl Fn(u64) -> Set<W>) -> Set<W> {
        let before = open(powers);
        let opening = self
            .classes
            .iter()
            .filter(|class| !open(powers | class.grants).minus(before).is_empty());
        opening.fold(Set::EMPTY, |items, class| items.or(class.items))
    }
}

/// Every union of grants, the empty one first. `None` if they are too many for a table.
fn reachable(grants: impl Iterator<Item = u64> + Clone) -> Option<Vec<u64>> {
    let all = grants.clone().fold(0, |all, grant| all | grant);
    if all >> MAX_TABLE_BITS != 0 {
        return None;
    }
    let mut seen = vec![0u64; (all as usize >> 6) + 1];
    seen[0] = 1;
    let mut states = vec![0];
    // Adding one kind of item at a time to all that was reached without it visits each union.
    for grant in grants {
        for index in 0..states.len() {
            let state = states[index] | grant;
            let word = seen.get_mut(state as usize >> 6)?;
            if *word >> (state & 63) & 1 == 0 {
                *word |= 1 << (state & 63);
                states.push(state);
            }
        }
        if states.len() > MAX_STATES {
            return None;
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

    /// Each item is a kind of its own, and the number of locations that of requirements.
    fn reach(requires: &[Vec<u64>], grants: &[u64]) -> Reach<1> {
        let entry = |&grants: &u64| PoolEntry {
            item: String::from("item"),
            grants,
        };
        let level = Level {
            name: String::from("only"),
            requires: requires.to_vec(),
            pool: grants.iter().map(entry).collect(),
        };
        let class = |(item, &grants): (usize, &u64)| Class {
            grants,
            items: [item].into_iter().collect(),
        };
        Reach::new(&level, grants.iter().enumerate().map(class).collect())
    }

    fn union(grants: &[u64], subset: u32) -> u64 {
        (0..grants.len())
            .filter(|item| subset >> item & 1 == 1)
            .fold(0, |all, item| all | grants[item])
    }

    /// Compares with the plain meaning, under every set of items.
    fn check(requires: &[Vec<u64>], grants: &[u64]) {
        let reach = reach(requires, grants);
        let is_open = |location: usize, powers: u64| {
            requires[location]
                .iter()
                .any(|needed| needed & !powers == 0)
        };
        for subset in 0..1 << grants.len() {
            let powers = union(grants, subset);
            let open: Set<1> = (0..requires.len())
                .filter(|&at| is_open(at, powers))
                .collect();
            assert_eq!(reach.open(powers), open);
            let opens_more = |item: &usize| {
                (0..requires.len())
                    .any(|at| !is_open(at, powers) && is_open(at, powers | grants[*item]))
            };
            assert_eq!(
                reach.openers(powers),
                (0..grants.len()).filter(opens_more).collect()
            );
        }
    }

    fn problems(powers: u32) -> impl Strategy<Value = (Vec<Vec<u64>>, Vec<u64>)> {
        let mask = move || prop_oneof![0..1u64 << powers, (0..powers).prop_map(|bit| 1 << bit)];
        (
            prop::collection::vec(prop::collection::vec(mask(), 1..4), 1..40),
            prop::collection::vec(mask(), 1..8),
        )
    }

    proptest! {
        #[test]
        fn tables_say_what_the_rules_say((requires, grants) in problems(10)) {
            assert!(matches!(reach(&requires, &grants), Reach::Table { .. }));
            check(&requires, &grants);
        }

        #[test]
        fn so_does_direct_evaluation((requires, mut grants) in problems(10)) {
            grants.push(1 << 63);
            assert!(matches!(reach(&requires, &grants), Reach::Direct(_)));
            check(&requires, &grants);
        }

        #[test]
        fn reachable_states_are_all_unions(grants in prop::collection::vec(0u64..256, 0..8)) {
            let expected: BTreeSet<u64> = (0..1 << grants.len()).map(|subset| union(&grants, subset)).collect();
            let states = reachable(grants.into_iter()).unwrap();
            prop_assert_eq!(states.len(), expected.len());
            prop_assert_eq!(states.into_iter().collect::<BTreeSet<_>>(), expected);
        }
    }
}
