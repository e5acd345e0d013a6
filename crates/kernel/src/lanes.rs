//! Bytes of several seeds side by side, and bits that name some of these seeds.

/// Most seeds that can advance together: a bit of a word for each.
pub(crate) const MAX_LANES: usize = 64;

/// Lanes that fit the shortest register there is.
pub(crate) const SIXTEEN: usize = 16;

/// Some of the lanes of a block, a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lanes(u64);

impl Lanes {
    /// None of them.
    pub(crate) const NONE: Lanes = Lanes(0);

    /// This one alone.
    #[inline(always)]
    pub(crate) fn one(lane: usize) -> Lanes {
        Lanes(1 << (lane % MAX_LANES))
    }

    /// The first `L`.
    pub(crate) const fn all<const L: usize>() -> Lanes {
        const { assert!(0 < L && L <= MAX_LANES) }
        Lanes(u64::MAX >> (MAX_LANES - L))
    }

    /// Those that hold `value`.
    #[inline(always)]
    pub(crate) fn with<const L: usize>(values: &[u8; L], value: u8) -> Lanes {
        marked(&values.map(|there| mark(there == value)))
    }

    /// Those that hold less than is in `others`.
    #[inline(always)]
    pub(crate) fn less<const L: usize>(values: &[u8; L], others: &[u8; L]) -> Lanes {
        marked::<L>(&core::array::from_fn(|lane| {
            mark(values[lane] < others[lane])
        }))
    }

    #[inline(always)]
    pub(crate) fn and(self, others: Lanes) -> Lanes {
        Lanes(self.0 & others.0)
    }

    #[inline(always)]
    pub(crate) fn or(self, others: Lanes) -> Lanes {
        Lanes(self.0 | others.0)
    }

    #[inline(always)]
    pub(crate) fn minus(self, others: Lanes) -> Lanes {
        Lanes(self.0 & !others.0)
    }

    /// Whether any of these lanes are among the `len` from `first` on.
    #[inline(always)]
    pub(crate) fn reach_into(self, first: usize, len: usize) -> bool {
        let lanes = u64::MAX >> ((MAX_LANES - len) % MAX_LANES) << (first % MAX_LANES);
        self.0 & lanes != 0
    }

    #[inline(always)]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    pub(crate) fn len(self) -> u32 {
        self.0.count_ones()
    }
}

impl Iterator for Lanes {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let lane = (self.0 != 0).then(|| self.0.trailing_zeros() as usize)?;
        self.0 &= self.0 - 1;
        Some(lane)
    }
}

#[inline(always)]
fn mark(is_marked: bool) -> u8 {
    if is_marked { 0xFF } else { 0 }
}

/// The lanes whose byte is all ones; the others are all zeros.
#[inline(always)]
fn marked<const L: usize>(marks: &[u8; L]) -> Lanes {
    #[cfg(target_arch = "aarch64")]
    if let Some(marks) = marks.first_chunk() {
        return Lanes(marked_all(marks));
    }
    let mut word = 0;
    let (sixteens, rest) = marks.as_chunks::<SIXTEEN>();
    for (at, sixteen) in sixteens.iter().enumerate() {
        word |= u64::from(marked_sixteen(sixteen)) << (SIXTEEN * at);
    }
    for (at, &mark) in rest.iter().enumerate() {
        word |= u64::from(mark & 1) << (SIXTEEN * sixteens.len() + at);
    }
    Lanes(word)
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn marked_sixteen(marks: &[u8; 16]) -> u16 {
    use core::arch::x86_64::{_mm_loadu_si128, _mm_movemask_epi8};
    // SAFETY: SSE2 belongs to the target, and there are sixteen bytes to load.
    unsafe { _mm_movemask_epi8(_mm_loadu_si128(marks.as_ptr().cast())) as u16 }
}

/// Each byte keeps the bit that stands for it among eight, and neighbours add up until a byte has all eight.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn marked_all(marks: &[u8; MAX_LANES]) -> u64 {
    use core::arch::aarch64::{
        vandq_u8, vget_lane_u64, vget_low_u8, vld1q_u8, vpaddq_u8, vreinterpret_u64_u8,
    };
    let (sixteens, _) = marks.as_chunks::<SIXTEEN>();
    let &[a, b, c, d] = sixteens else { return 0 };
    // SAFETY: NEON belongs to the target, and there are sixteen bytes to load from each.
    unsafe {
        let bits =
            |marks: [u8; SIXTEEN]| vandq_u8(vld1q_u8(marks.as_ptr()), vld1q_u8(BITS.as_ptr()));
        let (low, high) = (vpaddq_u8(bits(a), bits(b)), vpaddq_u8(bits(c), bits(d)));
        let fours = vpaddq_u8(low, high);
        vget_lane_u64::<0>(vreinterpret_u64_u8(vget_low_u8(vpaddq_u8(fours, fours))))
    }
}

#[cfg(target_arch = "aarch64")]
static BITS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];

/// Each byte keeps the bit that stands for it, and bytes of the same half add up.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn marked_sixteen(marks: &[u8; 16]) -> u16 {
    use core::arch::aarch64::{vaddv_u8, vandq_u8, vget_high_u8, vget_low_u8, vld1q_u8};
    // SAFETY: NEON belongs to the target, and there are sixteen bytes to load from either.
    unsafe {
        let bits = vandq_u8(vld1q_u8(marks.as_ptr()), vld1q_u8(BITS.as_ptr()));
        let (low, high) = (vaddv_u8(vget_low_u8(bits)), vaddv_u8(vget_high_u8(bits)));
        u16::from(low) | u16::from(high) << 8
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
fn marked_sixteen(marks: &[u8; 16]) -> u16 {
    let bits = marks.iter().enumerate();
    bits.fold(0, |word, (at, &mark)| word | u16::from(mark & 1) << at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check<const L: usize>(values: &[u8; L], value: u8, turn: u8) {
        let lanes = |holds: &dyn Fn(u8) -> bool| -> Vec<usize> {
            (0..L).filter(|&lane| holds(values[lane])).collect()
        };
        let expected = lanes(&|there| there == value);
        let found = Lanes::with(values, value);
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert_eq!(found.len() as usize, expected.len());
        assert_eq!(found.is_empty(), expected.is_empty());
        assert!((0..L).all(|lane| found.reach_into(lane, 1) == expected.contains(&lane)));
        let others = values.map(|value| value.rotate_left(turn.into()));
        let less = Lanes::less(values, &others);
        let is_less = |lane: &usize| values[*lane] < others[*lane];
        assert_eq!(
            less.collect::<Vec<_>>(),
            (0..L).filter(is_less).collect::<Vec<_>>()
        );
        let rest = Lanes::all::<L>().minus(less);
        assert_eq!(rest.len() + less.len(), L as u32);
        assert!(rest.and(less).is_empty());
    }

    proptest! {
        #[test]
        fn lanes_are_those_that_hold_it(
            values in prop::collection::vec(prop_oneof![0u8..4, any::<u8>(), Just(255)], 64),
            value in prop_oneof![0u8..4, any::<u8>()],
            turn in 0u8..8,
        ) {
            check::<64>(values.first_chunk().unwrap(), value, turn);
            check::<37>(values.first_chunk().unwrap(), value, turn);
            check::<1>(values.first_chunk().unwrap(), value, turn);
        }
    }
}
