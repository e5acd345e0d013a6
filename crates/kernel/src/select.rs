//! Finding the k-th member of a set without walking it.

use bramble_world::Set;

const BYTES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The `k`-th member, counted from 0. Any number if there are not so many.
#[inline(always)]
pub(crate) fn select<const W: usize>(set: Set<W>, k: u32) -> usize {
    let mut k = u64::from(k);
    let mut base = 0;
    let mut last = (0, 0);
    for word in set.words() {
        let sums = sums(word);
        let ones = sums >> 56;
        last = (word, sums);
        if k < ones {
            break;
        }
        // After the last word these are of no more use.
        k -= ones;
        base += 64;
    }
    (base & (64 * W - 1)) + select_in_word(last.0, last.1, k & 63)
}

/// Byte i of the result is the number of ones in bytes 0 to i, which is 64 at most.
#[inline(always)]
fn sums(word: u64) -> u64 {
    let pairs = word - (word >> 1 & 0x5555_5555_5555_5555);
    let nibbles = (pairs & 0x3333_3333_3333_3333) + (pairs >> 2 & 0x3333_3333_3333_3333);
    let bytes = (nibbles + (nibbles >> 4)) & 0x0F0F_0F0F_0F0F_0F0F;
    bytes.wrapping_mul(BYTES)
}

/// The sums tell the byte, a small table the place in it.
#[inline(always)]
fn select_in_word(word: u64, sums: u64, k: u64) -> usize {
    // The high bit of each byte is set where its sum does not exceed k: bytes before the one looked for.
    let before = ((k.wrapping_mul(BYTES) | HIGHS).wrapping_sub(sums) & HIGHS) >> 7;
    let shift = (before.wrapping_mul(BYTES) >> 56 << 3).min(56);
    let byte = word >> shift & 0xFF;
    let rank = k.wrapping_sub(sums << 8 >> shift) & 7;
    shift as usize + usize::from(IN_BYTE[(byte << 3 | rank) as usize & 2047])
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

    proptest! {
        #[test]
        fn selects_as_walking_does(words in prop::array::uniform4(prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), (0u32..64).prop_map(|bit| 1 << bit)])) {
            let members = (0..256usize).filter(|member| words[member / 64] >> (member % 64) & 1 == 1);
            let set: Set<4> = members.clone().collect();
            for (k, member) in members.enumerate() {
                prop_assert_eq!(select(set, k as u32), member);
            }
            // Too large a rank is answered, with whatever.
            select(set, 255);
        }
    }
}
