//! Sets of several seeds, cut into bytes.

use bramble_world::Set;

use super::open::Open;
use crate::lanes::SIXTEEN;
use crate::sixteen::Sixteen;

/// Cut into bytes, with the same byte of all sets side by side: what is done to a set is done to as many as a register has bytes.
///
/// Nothing is looked up and no branch is taken, so it does not matter that each seed has its member elsewhere.
pub(crate) struct Sliced<const W: usize, const L: usize> {
    bytes: [[[u8; L]; 8]; W],
    /// How many members the words before each have.
    before: [[u8; L]; W],
}

impl<const W: usize, const L: usize> Open<W, L> for Sliced<W, L> {
    #[inline(always)]
    fn new(members: Set<W>) -> Self {
        let mut sliced = Sliced {
            bytes: [[[0; L]; 8]; W],
            before: [[0; L]; W],
        };
        let mut before = 0;
        for (word, member_bits) in members.words().into_iter().enumerate() {
            sliced.before[word] = [before; L];
            before = before.wrapping_add(member_bits.count_ones() as u8);
            sliced.bytes[word] = member_bits.to_le_bytes().map(|byte| [byte; L]);
        }
        sliced
    }

    #[inline(always)]
    fn members(&self, lane: usize) -> Set<W> {
        let mut words = [0; W];
        for (word, bytes) in words.iter_mut().zip(&self.bytes) {
            *word = u64::from_le_bytes(core::array::from_fn(|at| bytes[at][lane]));
        }
        Set::from_words(words)
    }

    #[inline(always)]
    fn add(&mut self, lane: usize, members: Set<W>) {
        let mut before = 0;
        for (word, member_bits) in members.words().into_iter().enumerate() {
            self.before[word][lane] = self.before[word][lane].wrapping_add(before);
            before = before.wrapping_add(member_bits.count_ones() as u8);
            for (bytes, more) in self.bytes[word].iter_mut().zip(member_bits.to_le_bytes()) {
                bytes[lane] |= more;
            }
        }
    }

    #[inline(always)]
    fn take(&mut self, places: &[u8; L]) -> [u8; L] {
        const { assert!(L.is_multiple_of(SIXTEEN)) }
        let mut numbers = [0; L];
        for first in (0..L).step_by(SIXTEEN) {
            let taken = self.take_sixteen(first, Sixteen::load(places, first));
            taken.store(&mut numbers, first);
        }
        numbers
    }
}

impl<const W: usize, const L: usize> Sliced<W, L> {
    /// First the word, then the byte, then the bit: always the last before which there are no more than `place` members.
    #[inline(always)]
    fn take_sixteen(&mut self, first: usize, place: Sixteen) -> Sixteen {
        let zero = Sixteen::splat(0);
        // Words that are too far on, and where the one is that is not.
        let mut beyond = [zero; W];
        let (mut before_word, mut base) = (zero, zero);
        for (word, before) in self.before.iter_mut().enumerate().skip(1) {
            let members = Sixteen::load(before, first);
            beyond[word] = members.above(place);
            members.plus(beyond[word]).store(before, first);
            before_word = beyond[word].choose(before_word, members);
            base = beyond[word].choose(base, Sixteen::splat(64 * word as u8));
        }
        let place = place.minus(before_word);

        let (mut byte, mut before_byte, mut sum) = (zero, zero, zero);
        let mut at_byte = Sixteen::splat(7);
        for at in 0..8 {
            let mut here = Sixteen::load(&self.bytes[0][at], first);
            for (beyond, bytes) in beyond.iter().zip(&self.bytes).skip(1) {
                here = beyond.choose(here, Sixteen::load(&bytes[at], first));
            }
            let beyond = sum.above(place);
            byte = beyond.choose(byte, here);
            before_byte = beyond.choose(before_byte, sum);
            at_byte = at_byte.plus(beyond);
            sum = sum.plus(here.count_ones());
        }

        let (position, bit) = select(byte, place.minus(before_byte));
        for word in 0..W {
            let mut bit = bit.without(beyond[word]);
            if let Some(&beyond_next) = beyond.get(word + 1) {
                bit = bit.and(beyond_next);
            }
            for (at, bytes) in self.bytes[word].iter_mut().enumerate() {
                let taken = bit.and(at_byte.equal(Sixteen::splat(at as u8)));
                Sixteen::load(bytes, first)
                    .without(taken)
                    .store(bytes, first);
            }
        }
        base.plus(at_byte.shl::<3>()).plus(position)
    }
}

/// Where the `rank`-th one of a byte is, as a number and as a bit, found by halving.
#[inline(always)]
fn select(byte: Sixteen, rank: Sixteen) -> (Sixteen, Sixteen) {
    let one = Sixteen::splat(1);
    let low = byte.and(Sixteen::splat(0xF));
    let ones = low.count_ones();
    let lower_4 = ones.above(rank);
    let rank = lower_4.choose(rank, rank.minus(ones));
    let four = lower_4.choose(low, byte.shr::<4>());

    let low = four.and(Sixteen::splat(3));
    let ones = low.count_ones();
    let lower_2 = ones.above(rank);
    let rank = lower_2.choose(rank, rank.minus(ones));
    let two = lower_2.choose(low, four.shr::<2>());

    let lower_1 = two.and(one).above(rank);
    let bit = lower_4.choose(one, Sixteen::splat(0x10));
    let bit = lower_2.choose(bit, bit.shl::<2>());
    let bit = lower_1.choose(bit, bit.shl::<1>());
    let position = Sixteen::splat(4).without(lower_4);
    let position = position.plus(Sixteen::splat(2).without(lower_2));
    (position.plus(one.without(lower_1)), bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bit_is_found_in_any_byte() {
        for byte in 1..=255u8 {
            let ones = (0..8).filter(|bit| byte >> bit & 1 == 1);
            for (rank, bit) in ones.enumerate() {
                let (found, as_bit) = select(Sixteen::splat(byte), Sixteen::splat(rank as u8));
                let lanes = |sixteen: Sixteen| {
                    let mut lanes = [0; SIXTEEN];
                    sixteen.store(&mut lanes, 0);
                    lanes
                };
                assert_eq!(lanes(found), [bit; SIXTEEN], "{byte:#b} {rank}");
                assert_eq!(lanes(as_bit), [1 << bit; SIXTEEN], "{byte:#b} {rank}");
            }
        }
    }
}
