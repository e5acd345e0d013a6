//! The generator of the public GameRandomizer library.

use super::Rng;

const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
const INCREMENT: u64 = 721_347_520_444_481_703 << 1 | 1;

/// PCG-XSH-RR 64/32, as the public GameRandomizer library seeds and draws from it.
#[derive(Clone, Debug)]
pub struct Pcg32 {
    state: u64,
    start: u64,
}

impl Rng for Pcg32 {
    #[inline(always)]
    fn seeded(seed: u32) -> Self {
        let widened = i64::from(seed as i32) as u64;
        let start = step(step(0).wrapping_add(widened));
        Pcg32 {
            state: start,
            start,
        }
    }

    /// Numbers below `2^32 mod n` are drawn again, so that all results are equally likely.
    #[inline(always)]
    fn draw(&mut self, n: u32) -> u32 {
        loop {
            let number = self.bits();
            // What is to be rejected is below n, so the exact bound is seldom needed.
            if number >= n || number >= n.wrapping_neg() % n.max(1) {
                return number % n.max(1);
            }
        }
    }

    #[inline(always)]
    fn restart(&mut self) {
        self.state = self.start;
    }
}

impl Pcg32 {
    /// The next 32 bits.
    #[inline(always)]
    pub fn bits(&mut self) -> u32 {
        let state = self.state;
        self.state = step(state);
        let folded = ((state >> 18 ^ state) >> 27) as u32;
        folded.rotate_right((state >> 59) as u32)
    }
}

#[inline(always)]
fn step(state: u64) -> u64 {
    state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT)
}
