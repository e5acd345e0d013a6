//! Lists of which only a part matters.

use bramble_world::Set;

use super::pool::{Pool, Span, Taken};
use crate::bag::Bag;
use crate::lanes::Lanes;

/// What is left of the span, as a set for each list; of the other numbers only how many come before.
///
/// Most places are outside the span, and then all lists are done with in a few instructions.
pub(crate) struct Shelf<const W: usize, const L: usize, B> {
    first: u8,
    /// How many numbers below the span are left.
    before: [u8; L],
    /// How many numbers of the span are left.
    within: [u8; L],
    /// These, less the first of the span.
    sets: [B; L],
}

impl<const W: usize, const L: usize, B: Bag<W>> Pool<L> for Shelf<W, L, B> {
    const KNOWS_ALL: bool = false;

    #[inline(always)]
    fn full(_: usize, span: Span) -> Self {
        Shelf {
            first: span.first,
            before: [span.first; L],
            within: [span.len; L],
            sets: [B::new(Set::below(span.len.into())); L],
        }
    }

    #[inline(always)]
    fn take(&mut self, places: &[u8; L]) -> Taken<L> {
        let mut ranks = *places;
        for (rank, before) in ranks.iter_mut().zip(self.before) {
            *rank = rank.wrapping_sub(before);
        }
        let of_span = Lanes::less(&ranks, &self.within);
        for lane in 0..L {
            self.within[lane] -= u8::from(ranks[lane] < self.within[lane]);
            self.before[lane] -= u8::from(places[lane] < self.before[lane]);
        }
        let mut numbers = [0; L];
        for lane in of_span {
            let number = self.sets[lane].take(ranks[lane]);
            numbers[lane] = self.first.wrapping_add(number as u8);
        }
        Taken { numbers, of_span }
    }

    /// For numbers of the span only.
    #[inline(always)]
    fn places_of(&self, numbers: &[u8; L], lanes: Lanes) -> [u8; L] {
        let mut places = *numbers;
        for lane in lanes {
            let number = numbers[lane].wrapping_sub(self.first);
            let rank = self.sets[lane].rank(number.into());
            places[lane] = self.before[lane].wrapping_add(rank);
        }
        places
    }
}
