//! Tests on seeds.

use std::cell::OnceCell;

use bramble_kernel::{Seed, Verdict, Wanted};
use bramble_world::{Level, UNFILLED};

use super::parse::{Compare, State};

/// Locations, or entries of a pool.
pub(super) type Set = bramble_world::Set<4>;

/// What an expression comes to.
#[derive(Clone, Debug)]
pub(super) enum Node {
    State(State),
    Spheres(Compare, u32),
    Placed(Compare, u32),
    /// One of the items lies at one of the locations.
    ItemIn {
        items: Set,
        locations: Set,
    },
    LocationSphere {
        location: usize,
        compare: Compare,
        number: u32,
    },
    ItemSphere {
        items: Set,
        compare: Compare,
        number: u32,
    },
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
}

impl Node {
    pub(super) fn holds(&self, seed: &Seed<'_>) -> bool {
        self.eval(seed, &OnceCell::new())
    }

    /// When each location is collected is worked out only when the answer depends on it, and then once.
    fn eval(&self, seed: &Seed<'_>, sphere_of: &OnceCell<[u8; 256]>) -> bool {
        let sphere = |location: usize| {
            let spheres = sphere_of.get_or_init(|| seed.sphere_of());
            // What is never collected is later than everything.
            match spheres.get(location) {
                None | Some(0) => u32::MAX,
                Some(&sphere) => u32::from(sphere),
            }
        };
        let holding = |items: Set| {
            let placed = seed.items.iter().enumerate();
            placed
                .filter(move |(_, item)| **item != UNFILLED && items.contains(usize::from(**item)))
        };
        match self {
            Node::State(state) => is_in(seed.verdict, *state),
            Node::Spheres(compare, number) => compare.holds(seed.spheres.into(), *number),
            Node::Placed(compare, number) => {
                let placed = seed.items.iter().filter(|&&item| item != UNFILLED);
                compare.holds(placed.count() as u32, *number)
            }
            Node::ItemIn { items, locations } => {
                holding(*items).any(|(location, _)| locations.contains(location))
            }
            Node::LocationSphere {
                location,
                compare,
                number,
            } => compare.holds(sphere(*location), *number),
            Node::ItemSphere {
                items,
                compare,
                number,
            } => {
                let first = holding(*items).map(|(location, _)| sphere(location)).min();
                compare.holds(first.unwrap_or(u32::MAX), *number)
            }
            Node::Not(inner) => !inner.eval(seed, sphere_of),
            Node::All(parts) => parts.iter().all(|part| part.eval(seed, sphere_of)),
            Node::Any(parts) => parts.iter().any(|part| part.eval(seed, sphere_of)),
        }
    }

    /// Says what must lie where if this is to hold.
    pub(super) fn demand(&self, level: &Level, wanted: &mut Wanted) {
        let everywhere = || 0..level.requires.len();
        let mut forbid = |items: Set, locations: &mut dyn Iterator<Item = usize>| {
            for location in locations {
                wanted.allow_only(location, items.words().map(|word| !word));
            }
        };
        match self {
            Node::All(parts) => parts.iter().for_each(|part| part.demand(level, wanted)),
            // A location holds one item.
            Node::ItemIn { items, locations } if locations.len() == 1 => {
                for location in locations.iter() {
                    wanted.allow_only(location, items.words());
                }
            }
            // An item that there is one of lies at one location.
            Node::ItemIn { items, locations } if items.len() == 1 => forbid(
                *items,
                &mut everywhere().filter(|&location| !locations.contains(location)),
            ),
            Node::Not(inner) => {
                if let Node::ItemIn { items, locations } = &**inner {
                    forbid(*items, &mut locations.iter());
                }
            }
            // The first sphere is what is open from the start.
            Node::ItemSphere {
                items,
                compare,
                number,
            } if items.len() == 1
                && (2..=u32::from(u8::MAX)).all(|later| !compare.holds(later, *number))
                && !compare.holds(u32::MAX, *number) =>
            {
                let is_open = |location: &usize| {
                    let rules = level.requires.get(*location);
                    rules.is_some_and(|alternatives| alternatives.contains(&0))
                };
                forbid(
                    *items,
                    &mut everywhere().filter(|location| !is_open(location)),
                );
            }
            _ => {}
        }
    }
}

fn is_in(verdict: Verdict, state: State) -> bool {
    match state {
        State::Completable => verdict == Verdict::Completable,
        State::Dead => verdict != Verdict::Completable,
        State::Stuck => verdict == Verdict::Stuck,
        State::Unreachable => verdict == Verdict::Unreachable,
    }
}

impl Compare {
    fn holds(self, a: u32, b: u32) -> bool {
        match self {
            Compare::Equal => a == b,
            Compare::NotEqual => a != b,
            Compare::Less => a < b,
            Compare::AtMost => a <= b,
            Compare::Greater => a > b,
            Compare::AtLeast => a >= b,
        }
    }
}
