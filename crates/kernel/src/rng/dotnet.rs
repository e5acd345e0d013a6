//! The generator of .NET Framework.

use super::Rng;

/// The modulus, which is also the largest seed.
const M: u32 = i32::MAX as u32;
const SIZE: usize = 55;

/// `System.Random` of .NET Framework with given seeds.
///
/// A subtractive lagged Fibonacci generator after Knuth, with the slips of the original kept: the lag is 21 where Knuth
/// has 31, and subtractions wrap at 32 bits. `u` and `2^32 - u` give the same stream.
#[derive(Clone, Debug)]
pub struct Dotnet<const L: usize> {
    /// The last 55 numbers of each stream, and thereby the next 55 draws from `next` on.
    state: [[u32; L]; SIZE],
    next: usize,
    seeds: [u32; L],
    /// Whether `state` still holds the first 55 numbers of the streams.
    first: bool,
}

impl<const L: usize> Rng<L> for Dotnet<L> {
    #[inline(always)]
    fn seeded(seeds: &[u32; L]) -> Self {
        let mut rng = Dotnet {
            state: seeded(seeds),
            next: 0,
            seeds: *seeds,
            first: true,
        };
        rng.advance();
        rng
    }

    /// From 0 to 2^31 - 2: `Next()`.
    #[inline(always)]
    fn numbers(&mut self) -> [u32; L] {
        if self.next >= SIZE {
            self.advance();
            self.next = 0;
            self.first = false;
        }
        let numbers = self.state[self.next];
        self.next += 1;
        numbers
    }

    #[inline(always)]
    fn reduce(numbers: &[u32; L], below: &[u32; L]) -> [u32; L] {
        let mut reduced = [0; L];
        for lane in 0..L {
            reduced[lane] = scale(numbers[lane], below[lane]);
        }
        reduced
    }

    #[inline(always)]
    fn reduce_all(numbers: &[u32; L], below: u32) -> [u32; L] {
        numbers.map(|number| scale(number, below))
    }

    #[inline(always)]
    fn are_plain(_: &[u32; L]) -> bool {
        true
    }

    #[inline(always)]
    fn draw(&mut self, below: &[u32; L]) -> [u32; L] {
        Self::reduce(&self.numbers(), below)
    }

    #[inline(always)]
    fn draw_all(&mut self, below: u32) -> [u32; L] {
        Self::reduce_all(&self.numbers(), below)
    }

    #[inline(always)]
    fn restart(&mut self) {
        if self.first {
            self.next = 0;
        } else {
            *self = Dotnet::seeded(&self.seeds);
        }
    }
}

impl<const L: usize> Dotnet<L> {
    /// Works out the next 55 numbers.
    #[inline(always)]
    fn advance(&mut self) {
        for i in 0..SIZE {
            // 21 places on, around the ring.
            let other = self.state[if i < 34 { i + 21 } else { i - 34 }];
            for (number, other) in self.state[i].iter_mut().zip(other) {
                *number = difference(*number, other);
            }
        }
    }
}

/// One of the numbers that are drawn.
#[inline(always)]
fn difference(a: u32, b: u32) -> u32 {
    let number = positive(a.wrapping_sub(b));
    // The original takes one off the largest number before it looks at the sign. What wraps to -1 stays as it is.
    number.wrapping_sub(u32::from(number == M))
}

/// Adds `M` to a number that is negative as an `i32`: adding 2^31 clears the sign, and then 1 is too much. Shift and addition
/// are one instruction of NEON.
#[inline(always)]
fn positive(number: u32) -> u32 {
    (number & M).wrapping_add(((number as i32) >> 31) as u32)
}

#[inline(always)]
fn seeded<const L: usize>(seeds: &[u32; L]) -> [[u32; L]; SIZE] {
    let mut state = [[0; L]; SIZE];
    // The magnitude of -2^31 does not fit; the original takes the largest number for it.
    let mut before = [0; L];
    for (before, &seed) in before.iter_mut().zip(seeds) {
        *before = 161_803_398u32.wrapping_sub((seed as i32).unsigned_abs().min(M));
    }
    let mut numbers = [1; L];
    state[SIZE - 1] = before;
    for at in ORDER {
        state[at] = numbers;
        for (number, before) in numbers.iter_mut().zip(&mut before) {
            let following = positive(before.wrapping_sub(*number));
            (*before, *number) = (*number, following);
        }
    }
    for _ in 0..4 {
        for i in 0..SIZE {
            let other = state[if i < 24 { i + 31 } else { i - 24 }];
            for (number, other) in state[i].iter_mut().zip(other) {
                *number = positive(number.wrapping_sub(other));
            }
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

/// `(int)(number * (1.0 / M) * n)`, which for `n` below 256 is the floor of `number * n / M`.
///
/// For a Mersenne number `M = 2^31 - 1` that needs no division. With `p + 1 = q * M + r` and `0 < r <= M`, which leaves `q` the floor of
/// `p / M`, the number `p + 1` is `q * 2^31 + (r - q)`; adding its own upper bits makes up for the `q`. The 39 bits of `p` are held as
/// `high * 2^16 + low`, since lanes of 64 bits are half as many.
#[inline(always)]
fn scale(number: u32, n: u32) -> u32 {
    let low = (number & 0xFFFF).wrapping_mul(n).wrapping_add(1);
    let high = (number >> 16).wrapping_mul(n).wrapping_add(low >> 16);
    let low = (low & 0xFFFF).wrapping_add(high >> 15);
    high.wrapping_add(low >> 16) >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_is_what_doubles_give_at_every_step() {
        for n in 1..256u32 {
            for step in 0..=u64::from(n) {
                // Both are monotone in the number, so it is enough to look where the floor steps up.
                let edge = (step * u64::from(M)).div_ceil(u64::from(n));
                for number in edge.saturating_sub(2)..(edge + 3).min(u64::from(M)) {
                    let double = (number as f64 * (1.0 / f64::from(M))) * f64::from(n);
                    assert_eq!(scale(number as u32, n), double as u32, "{number} {n}");
                }
            }
        }
    }
}
