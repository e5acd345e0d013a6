//! Sets from which the k-th member is taken, which is what engines do all day.

use bramble_world::Set;

/// A set of numbers below `64 * W`.
pub(crate) trait Bag<const W: usize>: Copy {
    fn new(members: Set<W>) -> Self;

    fn members(&self) -> Set<W>;

    /// Takes out the `k`-th member, counted from 0. If there are not so many, the answer is any number below `64 * W`
    /// and the bag is spoilt.
    fn take(&mut self, k: u8) -> usize;

    /// How many members are below one of them.
    fn rank(&self, member: usize) -> u8;
}

/// With the instructions for just this, which x86-64 has had since 2013.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Deposited<const W: usize>([u64; W]);

#[cfg(target_arch = "x86_64")]
impl<const W: usize> Bag<W> for Deposited<W> {
    #[inline(always)]
    fn new(members: Set<W>) -> Self {
        Deposited(members.words())
    }

    #[inline(always)]
    fn members(&self) -> Set<W> {
        Set::from_words(self.0)
    }

    /// Which word it is in is a coin's toss, so that is worked out without a branch.
    #[inline(always)]
    fn take(&mut self, k: u8) -> usize {
        let mut k = u32::from(k);
        let mut at = 0;
        for index in 0..W - 1 {
            let ones = self.0[index].count_ones();
            let beyond = u32::from(at == index) & u32::from(k >= ones);
            k -= ones & beyond.wrapping_neg();
            at += beyond as usize;
        }
        let chosen = self.0[at % W];
        // SAFETY: this type is used only in code that is compiled for, and run on, machines with BMI2.
        let bit = unsafe { core::arch::x86_64::_pdep_u64(1 << (k & 63), chosen) };
        self.0[at % W] = chosen ^ bit;
        at % W * 64 + (bit.trailing_zeros() & 63) as usize
    }

    #[inline(always)]
    fn rank(&self, member: usize) -> u8 {
        let mut lower = 0;
        for index in 0..W {
            // All of a word if there are more than it has.
            let bits = member.saturating_sub(64 * index).min(64) as u32;
            // SAFETY: as above.
            let below = unsafe { core::arch::x86_64::_bzhi_u64(self.0[index], bits) };
            lower += below.count_ones();
        }
        lower as u8
    }
}

/// One after the other, with as much room behind them. Taking one out is moving the rest by a byte, some registers at a time.
#[cfg(any(test, target_arch = "aarch64"))]
#[derive(Clone, Copy)]
pub(crate) struct Listed<const W: usize> {
    list: [[u8; 128]; W],
    /// How many times 64 of these are moved.
    words: usize,
}

#[cfg(any(test, target_arch = "aarch64"))]
impl<const W: usize> Listed<W> {
    /// What is not in the list is above all that may be.
    const END: u8 = u8::MAX;
}

#[cfg(any(test, target_arch = "aarch64"))]
impl<const W: usize> Bag<W> for Listed<W> {
    #[inline(always)]
    fn new(members: Set<W>) -> Self {
        let mut list = [[Self::END; 128]; W];
        for (slot, member) in list.as_flattened_mut().iter_mut().zip(members.iter()) {
            *slot = member as u8;
        }
        let words = members.len().div_ceil(64) as usize;
        Listed { list, words }
    }

    #[inline(always)]
    fn members(&self) -> Set<W> {
        let members = self.list.as_flattened().iter().map(|&member| member.into());
        members
            .take_while(|&member| member != usize::from(Self::END))
            .collect()
    }

    #[inline(always)]
    fn take(&mut self, k: u8) -> usize {
        let k = usize::from(k) & (64 * W - 1);
        let list = self.list.as_flattened_mut();
        let member = list[k];
        for first in (k..).step_by(64).take(self.words.min(W)) {
            list.copy_within(first + 1..first + 65, first);
        }
        usize::from(member) & (64 * W - 1)
    }

    #[inline(always)]
    fn rank(&self, member: usize) -> u8 {
        let (words, _) = self.list.as_flattened().as_chunks::<64>();
        let lower = words.iter().take(self.words).map(|word| {
            let lower = word
                .iter()
                .map(|&other| u8::from(usize::from(other) < member));
            lower.fold(0, u8::wrapping_add)
        });
        lower.fold(0, u8::wrapping_add)
    }
}

/// With byte counts that are kept up to date, sixteen at a time in a vector register.
#[derive(Clone, Copy)]
pub(crate) struct Counted<const W: usize> {
    /// The members, eight to a byte.
    bits: [[u8; 8]; W],
    /// For each of these bytes, how many members are in the bytes before it.
    before: [[u8; 8]; W],
}

impl<const W: usize> Bag<W> for Counted<W> {
    #[inline(always)]
    fn new(members: Set<W>) -> Self {
        let words = members.words();
        let mut before = [[0; 8]; W];
        let mut sum = 0u64;
        for (before, word) in before.iter_mut().zip(words) {
            let sums = sums(word);
            *before = (sums << 8).wrapping_add(sum * BYTES).to_le_bytes();
            sum += sums >> 56;
        }
        Counted {
            bits: words.map(u64::to_le_bytes),
            before,
        }
    }

    #[inline(always)]
    fn members(&self) -> Set<W> {
        Set::from_words(self.bits.map(u64::from_le_bytes))
    }

    /// The byte is the last one with no more than `k` members before it; all after it will have one less.
    #[inline(always)]
    fn take(&mut self, k: u8) -> usize {
        let beyond = usize::from(count_down(self.before.as_flattened_mut(), k));
        let byte = (8 * W - 1).wrapping_sub(beyond) & (8 * W - 1);
        let before = self.before.as_flattened()[byte];
        let rank = usize::from(k.wrapping_sub(before) & 7);
        let bits = &mut self.bits.as_flattened_mut()[byte];
        let bit = IN_BYTE[usize::from(*bits) << 3 | rank];
        *bits &= !(1 << bit);
        byte * 8 + usize::from(bit)
    }

    #[inline(always)]
    fn rank(&self, member: usize) -> u8 {
        let byte = (member / 8) & (8 * W - 1);
        let lower = self.bits.as_flattened()[byte] & ((1 << (member % 8)) - 1);
        self.before.as_flattened()[byte].wrapping_add(lower.count_ones() as u8)
    }
}

/// Takes one off all counts above `k`, and tells how many these are.
#[cfg(not(target_arch = "aarch64"))]
#[inline(always)]
fn count_down(counts: &mut [u8], k: u8) -> u8 {
    let mut above = 0;
    for count in counts {
        let is_above = u8::from(*count > k);
        *count -= is_above;
        above += is_above;
    }
    above
}

/// The same in six instructions. Left to itself, the compiler finds far more to do, and so it does with `vaddvq_u8`.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn count_down(counts: &mut [u8], k: u8) -> u8 {
    use core::arch::aarch64::{vaddlvq_u8, vaddq_u8, vcgtq_u8, vdupq_n_u8, vld1q_u8, vst1q_u8};
    // SAFETY: NEON belongs to the target.
    let (k, mut above) = unsafe { (vdupq_n_u8(k), vdupq_n_u8(0)) };
    for sixteen in counts.chunks_exact_mut(16) {
        // SAFETY: as above, and there are sixteen bytes to load and store.
        unsafe {
            let count = vld1q_u8(sixteen.as_ptr());
            // All ones, which is -1, where it is above.
            let is_above = vcgtq_u8(count, k);
            vst1q_u8(sixteen.as_mut_ptr(), vaddq_u8(count, is_above));
            above = vaddq_u8(above, is_above);
        }
    }
    // SAFETY: as above.
    0u8.wrapping_sub(unsafe { vaddlvq_u8(above) } as u8)
}

const BYTES: u64 = 0x0101_0101_0101_0101;

/// Byte i of the result is the number of ones in bytes 0 to i, which is 64 at most.
#[inline(always)]
fn sums(word: u64) -> u64 {
    let pairs = word - ((word >> 1) & 0x5555_5555_5555_5555);
    let nibbles = (pairs & 0x3333_3333_3333_3333) + ((pairs >> 2) & 0x3333_3333_3333_3333);
    let bytes = (nibbles + (nibbles >> 4)) & 0x0F0F_0F0F_0F0F_0F0F;
    bytes.wrapping_mul(BYTES)
}

/// For each byte and rank, the position of that one bit.
static IN_BYTE: [u8; 2048] = {
    let mut table = [0; 2048];
    let mut byte = 0;
    while byte < 256 {
        let (mut rank, mut bit) = (0, 0);
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                table[byte << 3 | rank] = bit as u8;
                rank += 1;
            }
            bit += 1;
        }
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Takes all members out in an order that `choices` decide.
    fn check<B: Bag<4>>(members: &[usize], choices: &[u8]) {
        let mut bag = B::new(members.iter().copied().collect());
        let mut left = members.to_vec();
        for choice in choices.iter().cycle() {
            assert_eq!(bag.members(), left.iter().copied().collect());
            for (rank, &member) in left.iter().enumerate() {
                assert_eq!(usize::from(bag.rank(member)), rank);
            }
            if left.is_empty() {
                break;
            }
            let k = choice % left.len() as u8;
            assert_eq!(bag.take(k), left.remove(k.into()));
        }
        // Nothing is left, and still there is an answer.
        assert!(bag.take(0) < 256);
    }

    fn words() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            Just(0),
            Just(u64::MAX),
            (0u32..64).prop_map(|bit| 1 << bit)
        ]
    }

    proptest! {
        #[test]
        fn takes_as_a_list_does(words in prop::array::uniform4(words()), choices in prop::collection::vec(any::<u8>(), 1..50)) {
            let is_in = |member: &usize| words[member / 64] >> (member % 64) & 1 == 1;
            let members: Vec<usize> = (0..255usize).filter(is_in).collect();
            check::<Counted<4>>(&members, &choices);
            check::<Listed<4>>(&members, &choices);
            #[cfg(target_arch = "x86_64")]
            if std::is_x86_feature_detected!("bmi2") {
                check::<Deposited<4>>(&members, &choices);
            }
        }
    }
}
