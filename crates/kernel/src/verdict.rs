//! Whether a placement can be finished, judged as a player would find out.

use bramble_world::{Goal, Set, Table};

use crate::fill::{End, Gifts};

/// What is to be said of a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The goal is reached.
    Completable,
    /// The engine left locations unfilled, and the goal is not reached.
    Stuck,
    /// Everything was placed, and the goal is not reached.
    Unreachable,
}

impl Verdict {
    /// 1 if completable, 0 if dead: as it enters the digests.
    #[inline(always)]
    pub fn bit(self) -> u8 {
        u8::from(self == Verdict::Completable)
    }
}

/// A goal for a width of sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<const W: usize> {
    locations: Set<W>,
    powers: u64,
}

impl<const W: usize> Target<W> {
    /// The goal of the file, or if there is none, to collect all locations.
    pub(crate) fn new(table: &Table<W>, goal: Option<&Goal>) -> Self {
        match goal {
            Some(goal) => Target {
                locations: goal.locations.iter().copied().collect(),
                powers: goal.powers,
            },
            None => Target {
                locations: Set::below(table.len),
                powers: 0,
            },
        }
    }

    #[inline(always)]
    pub(crate) fn verdict(&self, walk: &Walk<W>, end: End) -> Verdict {
        let missed = self.locations.minus(walk.collected);
        if missed.is_empty() && self.powers & !walk.powers == 0 {
            Verdict::Completable
        } else if end == End::Finished {
            Verdict::Unreachable
        } else {
            Verdict::Stuck
        }
    }
}

/// How far a player gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<const W: usize> {
    pub(crate) collected: Set<W>,
    pub(crate) powers: u64,
    /// Rounds that collected something; as many as there are locations at most.
    pub(crate) spheres: u8,
}

impl<const W: usize> Walk<W> {
    /// Nothing collected yet.
    pub(crate) const START: Self = Walk {
        collected: Set::EMPTY,
        powers: 0,
        spheres: 0,
    };
}

/// Collects round by round what is open of the `filled` locations, and tells `visit` what each round found.
#[inline(always)]
pub(crate) fn walk<const W: usize>(
    table: &Table<W>,
    filled: Set<W>,
    gifts: &Gifts<W>,
    mut visit: impl FnMut(u8, Set<W>),
) -> Walk<W> {
    let mut walk = Walk::START;
    loop {
        let found = table.open(walk.powers).and(filled).minus(walk.collected);
        if found.is_empty() {
            return walk;
        }
        walk.spheres = walk.spheres.wrapping_add(1);
        walk.collected = walk.collected.or(found);
        visit(walk.spheres, found);
        let before = walk.powers;
        for location in found.and(gifts.locations).iter() {
            walk.powers |= gifts.grants(table, location);
        }
        if walk.powers == before {
            return walk;
        }
    }
}
