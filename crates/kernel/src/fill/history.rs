//! Lists known by what was done to them.

use super::pool::{Pool, Span, Taken};
use crate::lanes::{Lanes, SIXTEEN};

/// Lists that are never made. A number is found by undoing what happened to its place: whoever was taken out before, at
/// that place or below, had it move down by one.
///
/// That takes two instructions for each earlier step, but these work on as many seeds as a register has bytes, know no
/// branches and look nothing up. With the steps of one seed behind each other they would wait for each other; with a
/// few registers of seeds they do not.
pub(crate) struct History<const W: usize, const L: usize> {
    places: [[[u8; L]; 64]; W],
    taken: usize,
    span: Span,
}

impl<const W: usize, const L: usize> History<W, L> {
    /// How often something was taken.
    #[inline(always)]
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Takes out what is at these places without asking what it is.
    #[inline(always)]
    pub(super) fn note(&mut self, places: &[u8; L]) {
        if let Some(now) = self.places.as_flattened_mut().get_mut(self.taken) {
            *now = *places;
            self.taken += 1;
        }
    }

    /// What was taken out of each list in a step of its own; any number where there was no such step.
    #[inline(always)]
    pub(super) fn numbers_of(&self, steps: &[u8; L]) -> [u8; L] {
        let taken = self.taken as u8;
        let first = steps.iter().fold(taken, |first, &step| first.min(step));
        let last = |last: u8, &step: &u8| last.max(if step < taken { step } else { 0 });
        let last = steps.iter().fold(0, last);
        let mut numbers = [0u8; L];
        let history = self.places.as_flattened();
        let history = history.get(..=last.into()).unwrap_or(history);
        let (all, some) = history.split_at(history.len().min(first.into()));
        let mut step = last.wrapping_add(1);
        for places in some.iter().rev() {
            step = step.wrapping_sub(1);
            for lane in 0..L {
                let (number, place) = (numbers[lane], places[lane]);
                let earlier = number.wrapping_add(u8::from(number >= place));
                numbers[lane] = if steps[lane] == step { place } else { earlier };
            }
        }
        undo_all(&mut numbers, all);
        numbers
    }
}

impl<const W: usize, const L: usize> Pool<L> for History<W, L> {
    const KNOWS_ALL: bool = true;

    #[inline(always)]
    fn full(_: usize, span: Span) -> Self {
        History {
            places: [[[0; L]; 64]; W],
            taken: 0,
            span,
        }
    }

    #[inline(always)]
    fn take(&mut self, places: &[u8; L]) -> Taken<L> {
        let mut numbers = *places;
        let history = self.places.as_flattened();
        undo_all(&mut numbers, history.get(..self.taken).unwrap_or(history));
        self.note(places);
        Taken::new(numbers, self.span)
    }

    #[inline(always)]
    fn remove(&mut self, numbers: &[u8; L], lanes: Lanes) {
        self.note(&self.places_of(numbers, lanes));
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

/// Turns places after all these were taken out into places before.
#[inline(always)]
fn undo_all<const L: usize>(numbers: &mut [u8; L], taken: &[[u8; L]]) {
    // Four at a time, so that counting the steps does not cost as much as undoing them.
    let (first, fours) = taken.as_rchunks::<4>();
    for [a, b, c, d] in fours.iter().rev() {
        undo(numbers, d);
        undo(numbers, c);
        undo(numbers, b);
        undo(numbers, a);
    }
    for one in first.iter().rev() {
        undo(numbers, one);
    }
}

/// Turns places after something was taken out into places before.
#[inline(always)]
fn undo<const L: usize>(numbers: &mut [u8; L], taken: &[u8; L]) {
    for (number, &taken) in numbers.iter_mut().zip(taken) {
        *number = number.wrapping_add(u8::from(*number >= taken));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LANES: usize = 35;

    proptest! {
        #[test]
        fn what_was_taken_can_be_asked_for_later(
            n in 1u8..=255,
            choices in prop::collection::vec(any::<u8>(), 1..300),
        ) {
            let choose = |step: u8, lane: usize| choices[(usize::from(step) * 7 + lane) % choices.len()];
            let span = Span { first: 0, len: n };
            let mut history = History::<4, LANES>::full(n.into(), span);
            let taken: Vec<_> = (0..n)
                .map(|step| history.take(&core::array::from_fn(|lane| choose(step, lane) % (n - step))))
                .collect();
            for first in 0..n {
                // In some lists one of the steps, in others none.
                let steps = core::array::from_fn(|lane| choose(first, lane).max(first));
                let numbers = history.numbers_of(&steps);
                for (lane, &step) in steps.iter().enumerate().filter(|(_, step)| **step < n) {
                    prop_assert_eq!(numbers[lane], taken[usize::from(step)].numbers[lane]);
                }
            }
        }
    }
}
