//! What is left of a list from which one after another is taken.

use bramble_world::Set;

use crate::bag::Bag;
use crate::lanes::{Lanes, SIXTEEN};

/// `L` lists of the numbers below some `n`, each in ascending order.
pub(crate) trait Pool<const L: usize> {
    /// Lists from which nothing is taken yet. `n` is 255 at most.
    fn full(n: usize) -> Self;

    /// Takes out what is at these places, counted from 0. Where there are not so many left, the answer is any number.
    fn take(&mut self, places: &[u8; L]) -> [u8; L];

    /// At which places these numbers are, in some of the lists. For the others, and for what was taken out, the answer is any.
    fn places_of(&self, numbers: &[u8; L], lanes: Lanes) -> [u8; L];
}

/// The lists themselves are never made. A number is found by undoing what happened to its place: whoever was taken out before, at
/// that place or below, had it move down by one.
///
/// That takes two instructions for each earlier step, but these work on as many seeds as a register has bytes, know no
/// branches and look nothing up. With the steps of one seed behind each other they would wait for each other; with a
/// few registers of seeds they do not.
pub(crate) struct History<const W: usize, const L: usize> {
    places: [[[u8; L]; 64]; W],
    taken: usize,
}

impl<const W: usize, const L: usize> Pool<L> for History<W, L> {
    #[inline(always)]
    fn full(_: usize) -> Self {
        History {
            places: [[[0; L]; 64]; W],
            taken: 0,
        }
    }

    #[inline(always)]
    fn take(&mut self, places: &[u8; L]) -> [u8; L] {
        let history = self.places.as_flattened_mut();
        let (earlier, now) = history.split_at_mut(self.taken.min(64 * W - 1));
        let mut numbers = *places;
        // Four at a time, so that counting the steps does not cost as much as undoing them.
        let (first, fours) = earlier.as_rchunks::<4>();
        for [a, b, c, d] in fours.iter().rev() {
            undo(&mut numbers, d);
            undo(&mut numbers, c);
            undo(&mut numbers, b);
            undo(&mut numbers, a);
        }
        for one in first.iter().rev() {
            undo(&mut numbers, one);
        }
        if let Some(now) = now.first_mut() {
            *now = *places;
            self.taken += 1;
        }
        numbers
    }

    #[inline(always)]
    fn places_of(&self, numbers: &[u8; L], lanes: Lanes) -> [u8; L] {
        let mut places = *numbers;
        let taken = self.places.as_flattened();
        let taken = taken.get(..self.taken).unwrap_or(taken);
        // A register at a time, since most often only a few lists are asked for.
        let (sixteens, rest) = places.as_chunks_mut::<SIXTEEN>();
        for (at, sixteen) in sixteens.iter_mut().enumerate() {
            if lanes.reach_into(SIXTEEN * at, SIXTEEN) {
                for taken in taken {
                    let (sixteens, _) = taken.as_chunks::<SIXTEEN>();
                    sixteens
                        .get(at)
                        .into_iter()
                        .for_each(|taken| redo(sixteen, taken));
                }
            }
        }
        for taken in taken {
            redo(rest, taken.as_chunks::<SIXTEEN>().1);
        }
        places
    }
}

/// Turns places before something was taken out into places after.
#[inline(always)]
fn redo(numbers: &mut [u8], taken: &[u8]) {
    for (number, &taken) in numbers.iter_mut().zip(taken) {
        *number = number.wrapping_sub(u8::from(*number > taken));
    }
}

/// Turns places after something was taken out into places before.
#[inline(always)]
fn undo<const L: usize>(numbers: &mut [u8; L], taken: &[u8; L]) {
    for (number, &taken) in numbers.iter_mut().zip(taken) {
        *number = number.wrapping_add(u8::from(*number >= taken));
    }
}

/// A set for each list, where there is only one: a single seed has nobody to share the steps of a [`History`] with.
pub(crate) struct Bags<const W: usize, const L: usize, B>(pub(super) [B; L]);

impl<const W: usize, const L: usize, B: Bag<W>> Pool<L> for Bags<W, L, B> {
    #[inline(always)]
    fn full(n: usize) -> Self {
        Bags([B::new(Set::below(n)); L])
    }

    #[inline(always)]
    fn take(&mut self, places: &[u8; L]) -> [u8; L] {
        let mut numbers = [0; L];
        for (lane, number) in numbers.iter_mut().enumerate() {
            *number = self.0[lane].take(places[lane]) as u8;
        }
        numbers
    }

    #[inline(always)]
    fn places_of(&self, numbers: &[u8; L], _: Lanes) -> [u8; L] {
        let mut places = *numbers;
        for (bag, place) in self.0.iter().zip(&mut places) {
            *place = bag.members().and(Set::below((*place).into())).len() as u8;
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bag::Counted;
    use proptest::prelude::*;

    fn check<const L: usize, P: Pool<L>>(n: usize, choices: &[u8]) {
        let mut pool = P::full(n);
        let mut lists: [Vec<u8>; L] = core::array::from_fn(|_| (0..n as u8).collect());
        for step in 0..n {
            let places = core::array::from_fn(|lane| {
                choices[(step * L + lane) % choices.len()] % lists[lane].len() as u8
            });
            let expected = core::array::from_fn(|lane| lists[lane].remove(places[lane].into()));
            assert_eq!(pool.places_of(&expected, Lanes::all::<L>()), places);
            assert_eq!(pool.take(&places), expected);
        }
        // Nothing is left, and still there is an answer.
        pool.take(&[255; L]);
    }

    proptest! {
        #[test]
        fn takes_as_from_a_list(n in 1usize..256, choices in prop::collection::vec(any::<u8>(), 1..300)) {
            check::<3, History<4, 3>>(n, &choices);
            check::<35, History<4, 35>>(n, &choices);
            check::<3, Bags<4, 3, Counted<4>>>(n, &choices);
        }
    }
}
