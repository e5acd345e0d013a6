//! Whether an engine can get stuck at all, found without a single seed.
//!
//! The engines that fill forward do not look at *which* locations are filled or *which* items lie there, only at how many
//! locations are open, and at what is held and left. All of that follows from two things: the powers held, `P`, and the number
//! of items placed, `t`.
//! - Whatever is filled was open when it was, and stays open. So of the locations open under `P`, `t` are filled.
//! - Whatever is placed has been gained. So an item that grants something not in `P` is still there; and of the others, whose
//!   number follows from `P`, `t` are placed.
//!
//! So the pairs `(P, t)` are states in the full sense, an engine's rules turn each into others, and there are few enough to visit all.
//! With fair draws each has a probability, and so has getting stuck.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bramble_world::{Set, Table, World};

use crate::Fill;

/// More states than this with the same number of items placed are not explored.
const MAX_STATES: usize = 1 << 20;

/// What was found out about an engine at a level.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    /// States that can be reached: powers held and number of items placed.
    pub states: u64,
    /// How likely it is to get stuck if all draws are fair; exactly 0 if it cannot.
    pub stuck: f64,
    /// One way to get stuck, with as few placements as possible.
    pub dead_end: Option<DeadEnd>,
}

/// A way to get stuck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadEnd {
    /// Locations and pool indices in the order of placement.
    pub placed: Vec<(usize, usize)>,
    /// Powers held in the end.
    pub powers: u64,
    /// Open locations without an item, none of which any item may be placed in.
    pub open: u32,
}

/// Why nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unprovable {
    /// The world has no such level.
    NoSuchLevel,
    /// The engine does not fill forward.
    Engine,
    /// There are too many states.
    TooManyStates,
}

/// Visits all states of an engine.
///
/// # Errors
/// If it is not one of `forward`, `guarded` and `ladder`, or the world is too large.
pub fn prove(world: &World, level: usize, fill: Fill) -> Result<Proof, Unprovable> {
    if !matches!(fill, Fill::Forward | Fill::Guarded | Fill::Ladder) {
        return Err(Unprovable::Engine);
    }
    let level = world.levels.get(level).ok_or(Unprovable::NoSuchLevel)?;
    Explorer::new(Table::new(world, level), fill).explore()
}

/// Pool entries that grant the same.
struct Kind {
    grants: u64,
    count: u32,
    /// One of them.
    item: usize,
}

struct Explorer {
    table: Table<4>,
    fill: Fill,
    kinds: Vec<Kind>,
}

/// What may be placed next: kinds that grant something new, and how many that do not.
struct Next {
    kinds: Vec<usize>,
    others: u32,
}

impl Explorer {
    fn new(table: Table<4>, fill: Fill) -> Self {
        let mut kinds: BTreeMap<u64, Kind> = BTreeMap::new();
        for item in 0..table.len {
            let grants = table.grants[item & 255];
            let kind = kinds.entry(grants).or_insert(Kind {
                grants,
                count: 0,
                item,
            });
            kind.count += 1;
        }
        Explorer {
            table,
            fill,
            kinds: kinds.into_values().collect(),
        }
    }

    /// Layer by layer: all that can be held after 0, 1, 2, ... placements, and how likely it is.
    fn explore(&self) -> Result<Proof, Unprovable> {
        let mut proof = Proof {
            states: 0,
            stuck: 0.0,
            dead_end: None,
        };
        let mut layers: Vec<Vec<u64>> = Vec::new();
        let mut layer = BTreeMap::from([(0, 1.0)]);
        for placed in 0..self.table.len as u32 {
            proof.states += layer.len() as u64;
            layers.push(layer.keys().copied().collect());
            let mut following: BTreeMap<u64, f64> = BTreeMap::new();
            for (&powers, &probability) in &layer {
                let Some(next) = self.next(powers, placed) else {
                    proof.stuck += probability;
                    if proof.dead_end.is_none() {
                        proof.dead_end = Some(self.dead_end(&layers, powers));
                    }
                    continue;
                };
                let new = next.kinds.iter().filter_map(|&kind| self.kinds.get(kind));
                let total = new.clone().map(|kind| kind.count).sum::<u32>() + next.others;
                let mut reach = |powers: u64, count: u32| {
                    let share = probability * f64::from(count) / f64::from(total);
                    *following.entry(powers).or_insert(0.0) += share;
                };
                for kind in new {
                    reach(powers | kind.grants, kind.count);
                }
                if next.others > 0 {
                    reach(powers, next.others);
                }
            }
            if following.len() > MAX_STATES {
                return Err(Unprovable::TooManyStates);
            }
            layer = following;
        }
        proof.states += layer.len() as u64;
        Ok(proof)
    }

    /// What the engine may place. `None` if it is stuck.
    fn next(&self, powers: u64, placed: u32) -> Option<Next> {
        let open = self.open(powers, placed);
        if open == 0 {
            return None;
        }
        let left = self.table.len as u32 - placed;
        let is_new = |kind: &Kind| kind.grants & !powers != 0;
        let missing = self.table.powers & !powers;
        let lowest_missing = missing & missing.wrapping_neg();
        let opener = (self.fill == Fill::Guarded && open == 1 && left > 1)
            .then(|| self.table.openers(powers));
        let may_be_placed = |kind: &Kind| match (self.fill, opener) {
            (Fill::Ladder, _) if lowest_missing != 0 => kind.grants & lowest_missing != 0,
            (_, Some(openers)) => openers.contains(kind.item),
            _ => true,
        };
        let chosen = |kind: &Kind| is_new(kind) && may_be_placed(kind);
        let kinds = (0..self.kinds.len())
            .filter(|&kind| self.kinds.get(kind).is_some_and(chosen))
            .collect::<Vec<_>>();
        // What grants nothing new opens nothing and is on no rung but the last.
        let restricted = opener.is_some() || self.fill == Fill::Ladder && lowest_missing != 0;
        let old = self.kinds.iter().filter(|kind| !is_new(kind));
        let others = match restricted {
            true => 0,
            false => old.map(|kind| kind.count).sum::<u32>() - placed,
        };
        (!kinds.is_empty() || others > 0).then_some(Next { kinds, others })
    }

    fn open(&self, powers: u64, placed: u32) -> u32 {
        self.table.open(powers).len() - placed
    }

    /// Finds a way back to the start, and goes it.
    fn dead_end(&self, layers: &[Vec<u64>], powers: u64) -> DeadEnd {
        let mut way = Vec::from([powers]);
        for (placed, layer) in layers.iter().enumerate().rev().skip(1) {
            let to = way.last().copied().unwrap_or(0);
            let leads_there = |&&from: &&u64| {
                self.next(from, placed as u32).is_some_and(|next| {
                    let kinds = next.kinds.iter().filter_map(|&kind| self.kinds.get(kind));
                    next.others > 0 && from == to
                        || kinds.into_iter().any(|kind| from | kind.grants == to)
                })
            };
            way.extend(layer.iter().find(leads_there));
        }
        way.reverse();
        let mut left = Set::<4>::below(self.table.len);
        let mut filled = Set::<4>::EMPTY;
        let mut placed = Vec::new();
        for step in way.windows(2) {
            let &[from, to] = step else { continue };
            let suits = |&item: &usize| {
                from | self.table.grants[item & 255] == to
                    && self.may_place(from, placed.len() as u32, item)
            };
            let item = left.iter().find(suits);
            let location = self.table.open(from).minus(filled).iter().next();
            let (Some(item), Some(location)) = (item, location) else {
                break;
            };
            left.remove(item);
            filled.insert(location);
            placed.push((location, item));
        }
        DeadEnd {
            open: self.open(powers, placed.len() as u32),
            placed,
            powers,
        }
    }

    fn may_place(&self, powers: u64, placed: u32, item: usize) -> bool {
        let grants = self.table.grants[item & 255];
        self.next(powers, placed).is_some_and(|next| {
            let mut kinds = next.kinds.iter().filter_map(|&kind| self.kinds.get(kind));
            match grants & !powers == 0 {
                true => next.others > 0,
                false => kinds.any(|kind| kind.grants == grants),
            }
        })
    }
}
