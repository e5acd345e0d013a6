//! The engines: how a randomizer turns draws into a placement.
//!
//! Each is a function from a level and a stream of draws to a placement. One that gets stuck leaves the rest unfilled and
//! says so. "Open" and "remaining" are in the order of locations and pool throughout, which is the order of bits in a set.

use bramble_world::{Set, Table};

use crate::placement::Placement;
use crate::rng::Rng;
#[cfg(target_arch = "x86_64")]
use crate::select::Bmi2;
use crate::select::{Bits, Portable, select};

/// Which engine to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Fisher-Yates over the whole pool, without regard to logic.
    Shuffle,
    /// Any remaining item into any open location.
    Forward,
    /// As `Forward`, but into the last open location goes an item that opens another.
    Guarded,
    /// Items that grant something first, each where it can be reached with all the others.
    Assumed,
    /// The lowest power not held next, with the generator seeded anew before every placement.
    Ladder,
}

impl Fill {
    /// All of them.
    pub const ALL: [Fill; 5] = [
        Fill::Shuffle,
        Fill::Forward,
        Fill::Guarded,
        Fill::Assumed,
        Fill::Ladder,
    ];

    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Fill::Shuffle => "shuffle",
            Fill::Forward => "forward",
            Fill::Guarded => "guarded",
            Fill::Assumed => "assumed",
            Fill::Ladder => "ladder",
        }
    }

    /// The engine of that name.
    pub fn from_name(name: &str) -> Option<Fill> {
        Fill::ALL.into_iter().find(|fill| fill.name() == name)
    }
}

/// Fills a placement from a seed. False if the engine got stuck.
pub(crate) type Engine<const W: usize> = fn(Fill, &Table<W>, u32, &mut Placement<W>) -> bool;

/// The engines compiled for a generator, a width of sets, and this machine.
pub(crate) fn engine<const W: usize, R: Rng>() -> Engine<W> {
    #[cfg(target_arch = "x86_64")]
    if Bmi2::is_there() {
        return with_bmi2::<W, R>;
    }
    place::<W, R, Portable>
}

#[cfg(target_arch = "x86_64")]
fn with_bmi2<const W: usize, R: Rng>(
    fill: Fill,
    table: &Table<W>,
    seed: u32,
    placement: &mut Placement<W>,
) -> bool {
    #[target_feature(enable = "bmi1,bmi2,popcnt")]
    fn inner<const W: usize, R: Rng>(
        fill: Fill,
        table: &Table<W>,
        seed: u32,
        placement: &mut Placement<W>,
    ) -> bool {
        place::<W, R, Bmi2>(fill, table, seed, placement)
    }
    // SAFETY: `engine` gives this out only where the machine has these.
    unsafe { inner::<W, R>(fill, table, seed, placement) }
}

/// All is inlined into this one, so that it can be compiled for different machines.
#[inline(always)]
fn place<const W: usize, R: Rng, B: Bits>(
    fill: Fill,
    table: &Table<W>,
    seed: u32,
    placement: &mut Placement<W>,
) -> bool {
    match fill {
        Fill::Shuffle => shuffle::<W, R>(table, seed, placement),
        Fill::Forward => forward::<W, R, B, false>(table, seed, placement),
        Fill::Guarded => forward::<W, R, B, true>(table, seed, placement),
        Fill::Assumed => assumed::<W, R, B>(table, seed, placement),
        Fill::Ladder => ladder::<W, R, B>(table, seed, placement),
    }
}

#[inline(always)]
fn shuffle<const W: usize, R: Rng>(
    table: &Table<W>,
    seed: u32,
    placement: &mut Placement<W>,
) -> bool {
    let mut order = Order::new(Set::<W>::below(table.len));
    order.shuffle(&mut R::seeded(seed));
    for (location, &item) in order.items().iter().enumerate() {
        placement.put(table, location, item.into());
    }
    true
}

#[inline(always)]
fn forward<const W: usize, R: Rng, B: Bits, const GUARDED: bool>(
    table: &Table<W>,
    seed: u32,
    placement: &mut Placement<W>,
) -> bool {
    let mut rng = R::seeded(seed);
    let mut remaining = Set::below(table.len);
    let mut frontier = Frontier::new(table);
    for left in (1..=table.len as u32).rev() {
        let Some(location) = frontier.take::<B>(&mut rng) else {
            return false;
        };
        // Whatever is filled was open when it was, and stays open: so an item that opens anything opens something unfilled.
        let (items, count) = if GUARDED && frontier.choices == 0 && left > 1 {
            let items = remaining.and(table.openers(frontier.powers));
            (items, items.len())
        } else {
            (remaining, left)
        };
        if count == 0 {
            return false;
        }
        let item = select::<B, W>(items, rng.draw(count));
        remaining.remove(item);
        placement.put(table, location, item);
        frontier.gain(table, placement.filled, item);
    }
    true
}

/// What an engine that fills forward can reach: open locations without an item.
struct Frontier<const W: usize> {
    powers: u64,
    open: Set<W>,
    /// How many are open.
    choices: u32,
}

impl<const W: usize> Frontier<W> {
    #[inline(always)]
    fn new(table: &Table<W>) -> Self {
        let open = table.open(0);
        Frontier {
            powers: 0,
            open,
            choices: open.len(),
        }
    }

    /// Draws one of the open locations, which is then no longer among them. `None` if there are none.
    #[inline(always)]
    fn take<B: Bits>(&mut self, rng: &mut impl Rng) -> Option<usize> {
        if self.choices == 0 {
            return None;
        }
        let location = select::<B, W>(self.open, rng.draw(self.choices));
        self.open.remove(location);
        self.choices -= 1;
        Some(location)
    }

    /// Gains what an item grants. True if that is anything new.
    #[inline(always)]
    fn gain(&mut self, table: &Table<W>, filled: Set<W>, item: usize) -> bool {
        let powers = self.powers | table.grants[item & 255];
        let grown = powers != self.powers;
        if grown {
            self.powers = powers;
            self.open = table.open(powers).minus(filled);
            self.choices = self.open.len();
        }
        grown
    }
}

#[inline(always)]
fn assumed<const W: usize, R: Rng, B: Bits>(
    table: &Table<W>,
    seed: u32,
    placement: &mut Placement<W>,
) -> bool {
    let mut rng = R::seeded(seed);
    let mut granting = Order::new(table.granting);
    granting.shuffle(&mut rng);
    let mut unfilled = Set::below(table.len);
    for taken in (0..granting.items().len()).rev() {
        let (unplaced, item) = (&granting.items()[..taken], granting.items()[taken].into());
        let held = unplaced
            .iter()
            .fold(0, |held, &item| held | table.grants[usize::from(item)]);
        let candidates = closure(table, placement, held).and(unfilled);
        let choices = candidates.len();
        if choices == 0 {
            return false;
        }
        let location = select::<B, W>(candidates, rng.draw(choices));
        unfilled.remove(location);
        placement.put(table, location, item);
    }
    let mut others = Order::new(Set::below(table.len).minus(table.granting));
    others.shuffle(&mut rng);
    for (location, &item) in unfilled.iter().zip(others.items()) {
        placement.put(table, location, item.into());
    }
    true
}

/// What is open to someone who holds `powers` and collects all that can be reached.
#[inline(always)]
fn closure<const W: usize>(table: &Table<W>, placement: &Placement<W>, mut powers: u64) -> Set<W> {
    let mut uncollected = placement.granting;
    loop {
        let open = table.open(powers);
        let found = open.and(uncollected);
        let gained = found.iter().fold(powers, |gained, location| {
            gained | placement.grants(table, location)
        });
        if gained == powers {
            return open;
        }
        powers = gained;
        uncollected = uncollected.minus(found);
    }
}

#[inline(always)]
fn ladder<const W: usize, R: Rng, B: Bits>(
    table: &Table<W>,
    seed: u32,
    placement: &mut Placement<W>,
) -> bool {
    let mut rng = R::seeded(seed);
    let mut remaining = Set::below(table.len);
    let mut frontier = Frontier::new(table);
    let mut items = rung(table, frontier.powers);
    let mut count = items.len();
    for _ in 0..table.len {
        rng.restart();
        let Some(location) = frontier.take::<B>(&mut rng) else {
            return false;
        };
        if count == 0 {
            return false;
        }
        let item = select::<B, W>(items, rng.draw(count));
        remaining.remove(item);
        items.remove(item);
        count -= 1;
        placement.put(table, location, item);
        if frontier.gain(table, placement.filled, item) {
            items = remaining.and(rung(table, frontier.powers));
            count = items.len();
        }
    }
    true
}

/// The pool entries that grant the lowest power not held; all of them when every power is.
#[inline(always)]
fn rung<const W: usize>(table: &Table<W>, powers: u64) -> Set<W> {
    let missing = table.powers & !powers;
    let granting = table.granting_power.get(missing.trailing_zeros() as usize);
    granting.copied().unwrap_or_else(|| Set::below(table.len))
}

/// Pool entries in an order to be shuffled.
struct Order {
    items: [u8; 256],
    len: usize,
}

impl Order {
    #[inline(always)]
    fn new<const W: usize>(items: Set<W>) -> Self {
        let mut order = Order {
            items: [0; 256],
            len: 0,
        };
        for (slot, item) in order.items.iter_mut().zip(items.iter()) {
            *slot = item as u8;
            order.len += 1;
        }
        order
    }

    /// Fisher and Yates, from the last place down.
    #[inline(always)]
    fn shuffle(&mut self, rng: &mut impl Rng) {
        for last in (1..self.len).rev() {
            let other = rng.draw(last as u32 + 1) as usize;
            self.items.swap(last & 255, other & 255);
        }
    }

    #[inline(always)]
    fn items(&self) -> &[u8] {
        self.items.get(..self.len).unwrap_or(&[])
    }
}
