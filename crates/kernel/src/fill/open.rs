//! Which locations are open and hold nothing, for several seeds.

use bramble_world::Set;

use crate::bag::Bag;

/// `L` sets of numbers below `64 * W`.
pub(crate) trait Open<const W: usize, const L: usize> {
    /// The same set for all.
    fn new(members: Set<W>) -> Self;

    /// The set of one seed.
    fn members(&self, lane: usize) -> Set<W>;

    /// Puts members that are not in it into the set of one seed, and counts them.
    fn add(&mut self, lane: usize, members: Set<W>) -> u8;

    /// Takes the `k`-th member out of each set, counted from 0. If there are not so many, the answer is any number below
    /// `64 * W`, and the set is spoilt.
    fn take(&mut self, places: &[u8; L]) -> [u8; L];
}

/// Set by set.
pub(crate) struct Bags<const L: usize, B>([B; L]);

impl<const W: usize, const L: usize, B: Bag<W>> Open<W, L> for Bags<L, B> {
    #[inline(always)]
    fn new(members: Set<W>) -> Self {
        Bags([B::new(members); L])
    }

    #[inline(always)]
    fn members(&self, lane: usize) -> Set<W> {
        self.0[lane].members()
    }

    #[inline(always)]
    fn add(&mut self, lane: usize, members: Set<W>) -> u8 {
        self.0[lane] = B::new(self.0[lane].members().or(members));
        members.len() as u8
    }

    #[inline(always)]
    fn take(&mut self, places: &[u8; L]) -> [u8; L] {
        let mut numbers = [0; L];
        for (lane, number) in numbers.iter_mut().enumerate() {
            *number = self.0[lane].take(places[lane]) as u8;
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bag::Counted;
    use crate::fill::Sliced;
    use crate::lanes::MAX_LANES;
    use proptest::prelude::*;

    const LANES: usize = MAX_LANES;

    /// Takes members out and puts others in, as `choices` decide.
    fn check<const W: usize, O: Open<W, LANES>>(start: &[usize], choices: &[u8]) {
        let mut open = O::new(start.iter().copied().collect());
        let mut lists = [const { Vec::new() }; LANES].map(|_: Vec<usize>| start.to_vec());
        for choices in choices.chunks_exact(2 * LANES) {
            for (lane, list) in lists.iter_mut().enumerate() {
                let member = usize::from(choices[LANES + lane]) % (64 * W).min(255);
                if !list.contains(&member) && member.is_multiple_of(3) {
                    open.add(lane, [member].into_iter().collect());
                    list.push(member);
                    list.sort_unstable();
                }
                assert_eq!(open.members(lane), list.iter().copied().collect());
            }
            if lists.iter().any(Vec::is_empty) {
                break;
            }
            let places = core::array::from_fn(|lane| choices[lane] % lists[lane].len() as u8);
            let expected = core::array::from_fn(|lane| lists[lane].remove(places[lane].into()));
            assert_eq!(open.take(&places).map(usize::from), expected);
        }
        // There are not so many, and still there is an answer.
        assert!(
            open.take(&[255; LANES])
                .iter()
                .all(|&number| usize::from(number) < 64 * W)
        );
    }

    proptest! {
        #[test]
        fn takes_as_from_lists(
            start in prop::collection::btree_set(0usize..255, 0..255),
            choices in prop::collection::vec(any::<u8>(), 2 * LANES..400 * LANES),
        ) {
            let start: Vec<usize> = start.into_iter().collect();
            check::<4, Sliced<4>>(&start, &choices);
            check::<4, Bags<LANES, Counted<4>>>(&start, &choices);
            let start: Vec<usize> = start.into_iter().filter(|&member| member < 128).collect();
            check::<2, Sliced<2>>(&start, &choices);
        }
    }
}
