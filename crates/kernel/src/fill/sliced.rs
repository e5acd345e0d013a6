//! Sets of several seeds, cut into bytes.

use bramble_world::Set;

use super::open::Open;
use crate::lanes::{MAX_LANES, SIXTEEN};
use crate::sixteen::Sixteen;

/// The same byte of sixteen sets.
type Bytes = [u8; SIXTEEN];

/// Cut into bytes, with the same byte of sixteen sets side by side: what is done to a set is done to as many as a register has
/// bytes, and sixteen sets of two words are half the registers that NEON has, so that they are loaded once for a step.
///
/// Nothing is looked up and no branch is taken, so it does not matter that each seed has its member elsewhere.
pub(crate) struct Sliced<const W: usize>([Slices<W>; MAX_LANES / SIXTEEN]);

/// Sixteen sets.
#[derive(Clone, Copy)]
struct Slices<const W: usize> {
    /// Four bytes for each half of a word.
    halves: [[[Bytes; 4]; 2]; W],
    /// How many members the halves before each have.
    before: [[Bytes; 2]; W],
}

impl<const W: usize> Open<W, MAX_LANES> for Sliced<W> {
    #[inline(always)]
    fn new(members: Set<W>) -> Self {
        let mut slices = Slices {
            halves: [[[[0; SIXTEEN]; 4]; 2]; W],
            before: [[[0; SIXTEEN]; 2]; W],
        };
        for lane in 0..SIXTEEN {
            slices.add(lane, members);
        }
        Sliced([slices; MAX_LANES / SIXTEEN])
    }

    #[inline(always)]
    fn members(&self, lane: usize) -> Set<W> {
        let (slices, lane) = (&self.0[lane / SIXTEEN], lane % SIXTEEN);
        let mut words = [0; W];
        for (word, halves) in words.iter_mut().zip(&slices.halves) {
            let bytes = halves.as_flattened().iter().rev();
            *word = bytes.fold(0, |word, bytes| word << 8 | u64::from(bytes[lane]));
        }
        Set::from_words(words)
    }

    #[inline(always)]
    fn add(&mut self, lane: usize, members: Set<W>) -> u8 {
        match members.is_empty() {
            true => 0,
            false => self.0[lane / SIXTEEN].add(lane % SIXTEEN, members),
        }
    }

    #[inline(always)]
    fn take(&mut self, places: &[u8; MAX_LANES]) -> [u8; MAX_LANES] {
        let mut numbers = [0; MAX_LANES];
        let (places, _) = places.as_chunks();
        let (taken, _) = numbers.as_chunks_mut();
        for ((slices, places), taken) in self.0.iter_mut().zip(places).zip(taken) {
            *taken = slices.take(Sixteen::load(places)).store();
        }
        numbers
    }
}

impl<const W: usize> Slices<W> {
    #[inline(always)]
    fn add(&mut self, lane: usize, members: Set<W>) -> u8 {
        let mut count = 0;
        for (word, members) in members.words().into_iter().enumerate() {
            for half in 0..2 {
                let members = (members >> (32 * half)) as u32;
                self.before[word][half][lane] += count;
                if members != 0 {
                    count += members.count_ones() as u8;
                    let bytes = self.halves[word][half].iter_mut();
                    for (bytes, more) in bytes.zip(members.to_le_bytes()) {
                        bytes[lane] |= more;
                    }
                }
            }
        }
        count
    }

    /// First the half of a word, then the byte, then the bit: always the last before which there are no more than `place` members.
    ///
    /// With plain loops over few numbers, so that the compiler unrolls them and keeps what they go over in registers.
    #[inline(always)]
    fn take(&mut self, place: Sixteen) -> Sixteen {
        let zero = Sixteen::splat(0);
        let mut all = [[[zero; 4]; 2]; W];
        let bytes = self.halves.as_flattened().as_flattened();
        for (loaded, bytes) in all
            .as_flattened_mut()
            .as_flattened_mut()
            .iter_mut()
            .zip(bytes)
        {
            *loaded = Sixteen::load(bytes);
        }
        // Halves that are too far on, and how many members are before the one that is not.
        let mut beyond = [[zero; 2]; W];
        let (mut half, mut before_half, mut halves_beyond) = (all[0][0], zero, zero);
        for at in 1..2 * W {
            let before = &mut self.before[at / 2][at % 2];
            let members = Sixteen::load(before);
            let is_beyond = members.above(place);
            *before = members.plus(is_beyond).store();
            before_half = before_half.max(members.without(is_beyond));
            for byte in 0..4 {
                half[byte] = is_beyond.choose(half[byte], all[at / 2][at % 2][byte]);
            }
            halves_beyond = halves_beyond.plus(is_beyond);
            beyond[at / 2][at % 2] = is_beyond;
        }
        let place = place.minus(before_half);

        let (mut byte, mut before_byte, mut bytes_beyond) = (half[0], zero, zero);
        let (mut sum, mut beyond_byte) = (zero, [zero; 4]);
        for at in 1..4 {
            sum = sum.plus(half[at - 1].count_ones());
            let is_beyond = sum.above(place);
            byte = is_beyond.choose(byte, half[at]);
            before_byte = before_byte.max(sum.without(is_beyond));
            bytes_beyond = bytes_beyond.plus(is_beyond);
            beyond_byte[at] = is_beyond;
        }

        let position = select(byte, place.minus(before_byte));
        let bit = Sixteen::splat(1).shl_by(position);
        for at in 0..4 {
            let mut bit = bit.without(beyond_byte[at]);
            if at < 3 {
                bit = bit.and(beyond_byte[at + 1]);
            }
            half[at] = half[at].without(bit);
        }
        for at in 0..2 * W {
            let (mut is_here, next) = (Sixteen::splat(0xFF), at + 1);
            if next < 2 * W {
                is_here = beyond[next / 2][next % 2];
            }
            is_here = is_here.without(beyond[at / 2][at % 2]);
            for byte in 0..4 {
                let bits = is_here.choose(half[byte], all[at / 2][at % 2][byte]);
                self.halves[at / 2][at % 2][byte] = bits.store();
            }
        }
        let last_byte = Sixteen::splat(8 * (8 * W as u8 - 1));
        let byte = halves_beyond.shl::<5>().plus(bytes_beyond.shl::<3>());
        last_byte.plus(byte).plus(position)
    }
}

/// Where the `rank`-th one of a byte is, found by halving.
#[inline(always)]
fn select(byte: Sixteen, rank: Sixteen) -> Sixteen {
    let low = byte.and(Sixteen::splat(0xF));
    let ones = low.count_ones();
    let lower_4 = ones.above(rank);
    let rank = rank.minus(ones.without(lower_4));
    let four = lower_4.choose(low, byte.shr::<4>());

    let low = four.and(Sixteen::splat(3));
    let ones = low.count_ones();
    let lower_2 = ones.above(rank);
    let rank = rank.minus(ones.without(lower_2));
    let two = lower_2.choose(low, four.shr::<2>());

    let one = Sixteen::splat(1);
    let lower_1 = two.and(one).above(rank);
    let position = Sixteen::splat(7).plus(lower_4.shl::<2>());
    position.plus(lower_2.shl::<1>()).plus(lower_1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bit_is_found_in_any_byte() {
        for byte in 1..=255u8 {
            let ones = (0..8).filter(|bit| byte >> bit & 1 == 1);
            for (rank, bit) in ones.enumerate() {
                let found = select(Sixteen::splat(byte), Sixteen::splat(rank as u8));
                assert_eq!(found.store(), [bit; SIXTEEN], "{byte:#b} {rank}");
            }
        }
    }
}
