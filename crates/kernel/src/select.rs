//! Finding the k-th member of a set without walking it, in what way the machine does best.

use bramble_world::Set;

/// Operations on a word.
pub(crate) trait Bits {
    /// How many ones there are.
    fn ones(word: u64) -> u32;

    /// The position of the `k`-th one, counted from 0. Any position if there are not so many.
    fn select(word: u64, k: u32) -> usize;
}

/// The `k`-th member, counted from 0. Any number if there are not so many.
///
/// Which word it is in is a coin's toss, so that is worked out without a branch.
#[inline(always)]
pub(crate) fn select<B: Bits, const W: usize>(set: Set<W>, mut k: u32) -> usize {
    let words = set.words();
    let mut at = 0;
    for (index, &word) in words.iter().enumerate().take(W - 1) {
        let ones = B::ones(word);
        let beyond = u32::from(at == index) & u32::from(k >= ones);
        k -= ones & beyond.wrapping_neg();
        at += beyond as usize;
    }
    at * 64 + B::select(words[at.min(W - 1)], k & 63)
}

/// With nothing but shifts, sums and one small table.
pub(crate) struct Portable;

impl Bits for Portable {
    #[inline(always)]
    fn ones(word: u64) -> u32 {
        (sums(word) >> 56) as u32
    }

    /// The sums tell the byte, the table the place in it.
    #[inline(always)]
    fn select(word: u64, k: u32) -> usize {
        let (k, sums) = (u64::from(k), sums(word));
        // The high bit of each byte is set where its sum does not exceed k: bytes before the one looked for.
        let before = ((k.wrapping_mul(BYTES) | HIGHS).wrapping_sub(sums) & HIGHS) >> 7;
        let shift = ((before.wrapping_mul(BYTES) >> 56) << 3).min(56);
        let byte = (word >> shift) & 0xFF;
        let rank = k.wrapping_sub((sums << 8) >> shift) & 7;
        shift as usize + usize::from(IN_BYTE[(byte << 3 | rank) as usize & 2047])
    }
}

const BYTES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

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

/// With the instructions for just this, which x86-64 has had since 2013.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Bmi2;

#[cfg(target_arch = "x86_64")]
impl Bmi2 {
    /// Whether this machine has them.
    pub(crate) fn is_there() -> bool {
        use core::arch::x86_64::{__cpuid, __cpuid_count};
        const POPCNT: u32 = 1 << 23;
        const BMI1: u32 = 1 << 3;
        const BMI2: u32 = 1 << 8;
        let highest = __cpuid(0).eax;
        let (popcnt, bmi) = (
            __cpuid(1).ecx & POPCNT,
            __cpuid_count(7, 0).ebx & (BMI1 | BMI2),
        );
        highest >= 7 && popcnt == POPCNT && bmi == BMI1 | BMI2
    }
}

#[cfg(target_arch = "x86_64")]
impl Bits for Bmi2 {
    #[inline(always)]
    fn ones(word: u64) -> u32 {
        word.count_ones()
    }

    #[inline(always)]
    fn select(word: u64, k: u32) -> usize {
        // SAFETY: this type is used only where `Bmi2::is_there` has said so.
        let bit = unsafe { core::arch::x86_64::_pdep_u64(1 << (k & 63), word) };
        bit.trailing_zeros() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check<B: Bits>(set: Set<4>) {
        for (k, member) in set.iter().enumerate() {
            assert_eq!(select::<B, 4>(set, k as u32), member);
        }
        // Too large a rank is answered, with whatever.
        select::<B, 4>(set, 255);
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
        fn selects_as_walking_does(words in prop::array::uniform4(words())) {
            let is_in = |member: &usize| words[member / 64] >> (member % 64) & 1 == 1;
            let set = (0..256usize).filter(is_in).collect();
            check::<Portable>(set);
            #[cfg(target_arch = "x86_64")]
            if Bmi2::is_there() {
                check::<Bmi2>(set);
            }
        }
    }
}
