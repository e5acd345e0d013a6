//! Finding the k-th member of a set without walking it.

use bramble_world::Set;

/// The `k`-th member, counted from 0. Any number if there are not so many.
#[inline(always)]
pub(crate) fn select<const W: usize>(set: Set<W>, mut k: u32) -> usize {
    let words = set.words();
    let mut index = 0;
    for (at, word) in words.into_iter().enumerate() {
        let ones = word.count_ones();
        if k < ones || at + 1 == W {
            index = at * 64 + select_in_word(word, k);
            break;
        }
        k -= ones;
    }
    index
}

const BYTES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Sums of ones up to each byte tell the byte; a small table tells the place in it.
#[inline(always)]
fn select_in_word(word: u64, k: u32) -> usize {
    let pairs = word - (word >> 1 & 0x5555_5555_5555_5555);
    let nibbles = (pairs & 0x3333_3333_3333_3333) + (pairs >> 2 & 0x3333_3333_3333_3333);
    let bytes = (nibbles + (nibbles >> 4)) & 0x0F0F_0F0F_0F0F_0F0F;
    // Byte i holds the ones in bytes 0 to i; none exceeds 64, so the high bits are free to compare with.
    let sums = bytes.wrapping_mul(BYTES);
    let k = u64::from(k & 63);
    let not_beyond = ((k * BYTES) | HIGHS).wrapping_sub(sums) & HIGHS;
    let shift = (not_beyond.count_ones() * 8).min(56);
    let before = (sums << 8) >> shift & 0xFF;
    let byte = word >> shift & 0xFF;
    let rank = k.wrapping_sub(before) & 7;
    shift as usize + IN_BYTE[(byte << 3 | rank) as usize] as usize
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
