//! What is left of a list from which one after another is taken.

use bramble_world::Set;

use crate::bag::Bag;
use crate::lanes::Lanes;

/// `L` lists of the numbers below some `n`, each in ascending order.
pub(crate) trait Pool<const L: usize> {
    /// Whether it knows of each number, or only of those in its span.
    const KNOWS_ALL: bool;

    /// Lists from which nothing is taken yet. `n` is 255 at most.
    fn full(n: usize, span: Span) -> Self;

    /// Takes out what is at these places, counted from 0. Where there are not so many left, the answer is any number.
    fn take(&mut self, places: &[u8; L]) -> Taken<L>;

    /// At which places these numbers are, in some of the lists. For the others, and for what was taken out, the answer is any.
    fn places_of(&self, numbers: &[u8; L], lanes: Lanes) -> [u8; L];

    /// Takes these numbers out of some of the lists; out of the others any.
    #[inline(always)]
    fn remove(&mut self, numbers: &[u8; L], lanes: Lanes) {
        self.take(&self.places_of(numbers, lanes));
    }
}

/// Numbers that matter more than others: from `first` on, `len` of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) first: u8,
    pub(crate) len: u8,
}

impl Span {
    /// From the least to the greatest member of a set.
    pub(crate) fn around<const W: usize>(members: Set<W>) -> Span {
        let first = members.iter().next().unwrap_or(0);
        let last = members.iter().last();
        Span {
            first: first as u8,
            len: last.map_or(0, |last| last + 1 - first) as u8,
        }
    }

    #[cfg(test)]
    fn contains(self, number: u8) -> bool {
        number.wrapping_sub(self.first) < self.len
    }
}

/// What was taken out of each list.
pub(crate) struct Taken<const L: usize> {
    /// Which number, where the pool knows of it.
    pub(crate) numbers: [u8; L],
    /// Where it is one of the span.
    pub(crate) of_span: Lanes,
}

impl<const L: usize> Taken<L> {
    #[inline(always)]
    pub(super) fn new(numbers: [u8; L], span: Span) -> Self {
        let mut ranks = numbers;
        for rank in &mut ranks {
            *rank = rank.wrapping_sub(span.first);
        }
        Taken {
            of_span: Lanes::less(&ranks, &[span.len; L]),
            numbers,
        }
    }
}

/// A set for each list, where there is only one: a single seed has nobody to share the steps of a [`History`](super::history::History) with.
pub(crate) struct Sets<const W: usize, const L: usize, B> {
    sets: [B; L],
    span: Span,
}

impl<const W: usize, const L: usize, B: Bag<W>> Pool<L> for Sets<W, L, B> {
    const KNOWS_ALL: bool = true;

    #[inline(always)]
    fn full(n: usize, span: Span) -> Self {
        Sets {
            sets: [B::new(Set::below(n)); L],
            span,
        }
    }

    #[inline(always)]
    fn take(&mut self, places: &[u8; L]) -> Taken<L> {
        let mut numbers = [0; L];
        for (lane, number) in numbers.iter_mut().enumerate() {
            *number = self.sets[lane].take(places[lane]) as u8;
        }
        Taken::new(numbers, self.span)
    }

    #[inline(always)]
    fn places_of(&self, numbers: &[u8; L], _: Lanes) -> [u8; L] {
        let mut places = *numbers;
        for (set, place) in self.sets.iter().zip(&mut places) {
            *place = set.rank((*place).into());
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bag::{Counted, Listed};
    use crate::fill::{History, Shelf};
    use proptest::prelude::*;

    fn check<const L: usize, P: Pool<L>>(n: usize, span: Span, choices: &[u8]) {
        let mut pool = P::full(n, span);
        let mut lists: [Vec<u8>; L] = core::array::from_fn(|_| (0..n as u8).collect());
        for step in 0..n {
            let places = core::array::from_fn(|lane| {
                choices[(step * L + lane) % choices.len()] % lists[lane].len() as u8
            });
            let expected: [u8; L] =
                core::array::from_fn(|lane| lists[lane].remove(places[lane].into()));
            let is_known = |lane: &usize| P::KNOWS_ALL || span.contains(expected[*lane]);
            let known = (0..L).filter(is_known).map(Lanes::one);
            let known = known.fold(Lanes::NONE, Lanes::or);
            let places_of = pool.places_of(&expected, known);
            known.for_each(|lane| assert_eq!(places_of[lane], places[lane]));
            let taken = pool.take(&places);
            known.for_each(|lane| assert_eq!(taken.numbers[lane], expected[lane]));
            let of_span = (0..L).filter(|&lane| span.contains(expected[lane]));
            assert!(taken.of_span.eq(of_span));
        }
        // Nothing is left, and still there is an answer.
        pool.take(&[255; L]);
    }

    proptest! {
        #[test]
        fn takes_as_from_a_list(
            n in 1u8..=255,
            ends: (u8, u8),
            choices in prop::collection::vec(any::<u8>(), 1..300),
        ) {
            let (first, end) = (ends.0 % n, ends.1 % n);
            let span = Span { first: first.min(end), len: first.abs_diff(end) };
            let n = usize::from(n);
            check::<3, History<4, 3>>(n, span, &choices);
            check::<35, History<4, 35>>(n, span, &choices);
            check::<3, Sets<4, 3, Counted<4>>>(n, span, &choices);
            check::<3, Shelf<4, 3, Counted<4>>>(n, span, &choices);
            check::<35, Shelf<4, 35, Listed<4>>>(n, span, &choices);
        }
    }
}
