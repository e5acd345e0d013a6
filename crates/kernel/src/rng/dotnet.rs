//! The generator of .NET Framework.

use super::Rng;

/// The modulus, which is also the largest seed.
const M: i32 = i32::MAX;
const SIZE: usize = 55;

/// `System.Random` of .NET Framework with a given seed.
///
/// A subtractive lagged Fibonacci generator after Knuth, with the slips of the original kept: the lag is 21 where Knuth
/// has 31, and subtractions wrap at 32 bits. `u` and `2^32 - u` give the same stream.
#[derive(Clone, Debug)]
pub struct Dotnet {
    /// The last 55 numbers, and thereby the next 55 draws from `next` on.
    state: [i32; SIZE],
    next: usize,
    seed: u32,
    /// Whether `state` still holds the first 55 numbers of the stream.
    first: bool,
}

impl Rng for Dotnet {
    #[inline(always)]
    fn seeded(seed: u32) -> Self {
        let mut rng = Dotnet {
            state: seeded(seed),
            next: 0,
            seed,
            first: true,
        };
        rng.advance();
        rng
    }

    #[inline(always)]
    fn draw(&mut self, n: u32) -> u32 {
        scale(self.number(), n)
    }

    #[inline(always)]
    fn restart(&mut self) {
        if self.first {
            self.next = 0;
        } else {
            *self = Dotnet::seeded(self.seed);
        }
    }
}

impl Dotnet {
    /// The next number from 0 to 2^31 - 2: `Next()`.
    #[inline(always)]
    pub fn number(&mut self) -> u32 {
        if self.next == SIZE {
            self.advance();
            self.next = 0;
            self.first = false;
        }
        let number = self.state[self.next];
        self.next += 1;
        number as u32
    }

    /// Works out the next 55 numbers at once. Both loops are without dependencies closer than 21 steps, so that a compiler
    /// can do several at a time.
    #[inline(always)]
    fn advance(&mut self) {
        for i in 0..34 {
            self.state[i] = difference(self.state[i], self.state[i + 21]);
        }
        for i in 34..SIZE {
            self.state[i] = difference(self.state[i], self.state[i - 34]);
        }
    }
}

#[inline(always)]
fn difference(a: i32, b: i32) -> i32 {
    let number = a.wrapping_sub(b);
    let number = if number == M { M - 1 } else { number };
    positive(number)
}

#[inline(always)]
fn positive(number: i32) -> i32 {
    number.wrapping_add(number >> 31 & M)
}

#[inline(always)]
fn seeded(seed: u32) -> [i32; SIZE] {
    let magnitude = (seed as i32).checked_abs().unwrap_or(M);
    let mut state = [0; SIZE];
    let mut before = 161_803_398 - magnitude;
    let mut number = 1;
    state[SIZE - 1] = before;
    for at in ORDER {
        state[at] = number;
        let following = positive(before.wrapping_sub(number));
        before = number;
        number = following;
    }
    for _ in 0..4 {
        for i in 0..24 {
            state[i] = positive(state[i].wrapping_sub(state[i + 31]));
        }
        for i in 24..SIZE {
            state[i] = positive(state[i].wrapping_sub(state[i - 24]));
        }
    }
    state
}

/// Where the numbers of the seeding sequence go: every 21st place, around and around.
const ORDER: [usize; SIZE - 1] = {
    let mut order = [0; SIZE - 1];
    let mut i = 0;
    while i < order.len() {
        order[i] = 21 * (i + 1) % SIZE - 1;
        i += 1;
    }
    order
};

/// `(int)(number * (1.0 / M) * n)`, which for `n` below 256 is the floor of `number * n / M`: a division by a Mersenne number,
/// done with shifts.
#[inline(always)]
fn scale(number: u32, n: u32) -> u32 {
    let product = u64::from(number) * u64::from(n);
    let quotient = product >> 31;
    let rest = (product & M as u64) + quotient;
    quotient as u32 + u32::from(rest >= M as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_is_what_doubles_give_at_every_step() {
        for n in 1..256u32 {
            for step in 0..=u64::from(n) {
                // Both are monotone in the number, so it is enough to look where the floor steps up.
                let edge = (step * M as u64).div_ceil(u64::from(n));
                for number in edge.saturating_sub(2)..(edge + 3).min(M as u64) {
                    let double = (number as f64 * (1.0 / f64::from(M))) * f64::from(n);
                    assert_eq!(scale(number as u32, n), double as u32, "{number} {n}");
                }
            }
        }
    }
}
