//! The generator of the public GameRandomizer library.

use super::Rng;

const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
const INCREMENT: u64 = 721_347_520_444_481_703 << 1 | 1;

/// PCG-XSH-RR 64/32, as the public GameRandomizer library seeds and draws from it.
#[derive(Clone, Debug)]
pub struct Pcg32<const L: usize> {
    state: [u64; L],
    start: [u64; L],
}

impl<const L: usize> Rng<L> for Pcg32<L> {
    #[inline(always)]
    fn seeded(seeds: &[u32; L]) -> Self {
        let mut state = [0; L];
        for (state, &seed) in state.iter_mut().zip(seeds) {
            *state = step(step(0).wrapping_add(i64::from(seed as i32) as u64));
        }
        Pcg32 {
            state,
            start: state,
        }
    }

    /// 32 bits each.
    #[inline(always)]
    fn numbers(&mut self) -> [u32; L] {
        let mut bits = [0; L];
        for (bits, state) in bits.iter_mut().zip(&mut self.state) {
            *bits = output(*state);
            *state = step(*state);
        }
        bits
    }

    #[inline(always)]
    fn reduce(numbers: &[u32; L], below: &[u8; L]) -> [u8; L] {
        let mut reduced = [0; L];
        for lane in 0..L {
            reduced[lane] = remainder(numbers[lane], below[lane].into()) as u8;
        }
        reduced
    }

    #[inline(always)]
    fn reduce_all(numbers: &[u32; L], below: u8) -> [u8; L] {
        let reciprocal = RECIPROCALS[usize::from(below)];
        numbers.map(|bits| remainder_by(bits, below.into(), reciprocal) as u8)
    }

    /// What may have to be drawn again is below n, which is below 256.
    #[inline(always)]
    fn are_plain(numbers: &[u32; L]) -> bool {
        numbers.iter().fold(true, |all, &bits| all & (bits >= 256))
    }

    #[inline(always)]
    fn draw(&mut self, below: &[u8; L]) -> [u8; L] {
        Self::reduce(&self.accepted(|lane| below[lane].into()), below)
    }

    #[inline(always)]
    fn draw_all(&mut self, below: u8) -> [u8; L] {
        Self::reduce_all(&self.accepted(|_| below.into()), below)
    }

    #[inline(always)]
    fn restart(&mut self) {
        self.state = self.start;
    }
}

impl<const L: usize> Pcg32<L> {
    /// The next numbers that are not to be drawn again.
    #[inline(always)]
    fn accepted(&mut self, below: impl Fn(usize) -> u32) -> [u32; L] {
        let mut bits = self.numbers();
        if !Self::are_plain(&bits) {
            for (lane, bits) in bits.iter_mut().enumerate() {
                *bits = redraw(*bits, &mut self.state[lane], below(lane));
            }
        }
        bits
    }
}

#[inline(always)]
fn step(state: u64) -> u64 {
    state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT)
}

#[inline(always)]
fn output(state: u64) -> u32 {
    (((state >> 18 ^ state) >> 27) as u32).rotate_right((state >> 59) as u32)
}

/// Bits below `2^32 mod n` are drawn again, so that all results are equally likely.
#[cold]
#[inline(never)]
fn redraw(mut bits: u32, state: &mut u64, n: u32) -> u32 {
    let reject_below = n.wrapping_neg() % n.max(1);
    while bits < reject_below {
        bits = output(*state);
        *state = step(*state);
    }
    bits
}

/// `bits mod n`, for `n` below 256; any number if `n` is 0.
///
/// The rounded-down reciprocal gives the quotient or one less, so that one correction is enough.
#[inline(always)]
fn remainder(bits: u32, n: u32) -> u32 {
    remainder_by(bits, n, RECIPROCALS[n as usize & 255])
}

#[inline(always)]
fn remainder_by(bits: u32, n: u32, reciprocal: u32) -> u32 {
    let quotient = ((u64::from(bits) * u64::from(reciprocal)) >> 32) as u32;
    let rest = bits.wrapping_sub(quotient.wrapping_mul(n));
    rest.min(rest.wrapping_sub(n))
}

/// `2^32 / n`, rounded down. That of 1 does not fit, but the largest number there is will do.
static RECIPROCALS: [u32; 256] = {
    let mut reciprocals = [u32::MAX; 256];
    let mut n = 2;
    while n < 256 {
        reciprocals[n] = ((1u64 << 32) / n as u64) as u32;
        n += 1;
    }
    reciprocals
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn remainders_need_no_division(bits: u32, near in 0u32..600) {
            for n in 1..256 {
                let multiple = bits / n * n;
                for bits in [bits, multiple, multiple.wrapping_sub(1), near, u32::MAX - near] {
                    prop_assert_eq!(remainder(bits, n), bits % n, "{} mod {}", bits, n);
                }
            }
        }
    }
}
