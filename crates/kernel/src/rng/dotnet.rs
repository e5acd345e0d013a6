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
    /// Whether all numbers are from 0 to M - 1, as they nearly always are.
    regular: bool,
}

impl<const L: usize> Rng<L> for Dotnet<L> {
    #[inline(always)]
    fn seeded(seeds: &[u32; L]) -> Self {
        let (state, regular) = seeded(seeds);
        let mut rng = Dotnet {
            state,
            next: 0,
            seeds: *seeds,
            first: true,
            regular,
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
    fn reduce(numbers: &[u32; L], below: &[u8; L]) -> [u8; L] {
        scale_each(numbers, below)
    }

    #[inline(always)]
    fn reduce_all(numbers: &[u32; L], below: u8) -> [u8; L] {
        scale_all(numbers, below)
    }

    #[inline(always)]
    fn are_plain(_: &[u32; L]) -> bool {
        true
    }

    #[inline(always)]
    fn draw(&mut self, below: &[u8; L]) -> [u8; L] {
        Self::reduce(&self.numbers(), below)
    }

    #[inline(always)]
    fn draw_all(&mut self, below: u8) -> [u8; L] {
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
        match self.regular {
            true => self.advance_by(difference),
            false => self.advance_by(odd_difference),
        }
    }

    #[inline(always)]
    fn advance_by(&mut self, difference: impl Fn(u32, u32) -> u32) {
        pass::<L, 21>(&mut self.state, difference);
    }
}

/// One of the numbers that are drawn. From two numbers below `M` it is another: of what is negative, `M` more is less as a `u32`.
#[inline(always)]
fn difference(a: u32, b: u32) -> u32 {
    let number = a.wrapping_sub(b);
    number.min(number.wrapping_add(M))
}

/// The same where one of the two may be `M`, or -1 in 32 bits: the original takes one off the largest number before it looks at
/// the sign. What wraps to -1 stays as it is.
#[inline(always)]
fn odd_difference(a: u32, b: u32) -> u32 {
    let number = odd_seeding(a, b);
    number.wrapping_sub(u32::from(number == M))
}

/// Adds `M` to a number that is negative as an `i32`: adding 2^31 clears the sign, and then 1 is too much. Shift and addition
/// are one instruction of NEON.
#[inline(always)]
fn positive(number: u32) -> u32 {
    (number & M).wrapping_add(((number as i32) >> 31) as u32)
}

/// The numbers before the first that is drawn, and whether all of them are below `M`.
///
/// The one that may be negative is the last, until the first pass gets there. It enters two subtractions: its own, and that of
/// number 23. These alone can wrap, and so yield `M` or -1; what numbers below `M` yield is below `M` again.
#[inline(always)]
fn seeded<const L: usize>(seeds: &[u32; L]) -> ([[u32; L]; SIZE], bool) {
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
    pass::<L, 31>(&mut state, odd_seeding);
    let may_be_odd = state[23].iter().chain(&state[SIZE - 1]);
    let regular = may_be_odd.fold(true, |all, &number| all & (number < M));
    for _ in 0..3 {
        match regular {
            true => pass::<L, 31>(&mut state, difference),
            false => pass::<L, 31>(&mut state, odd_seeding),
        }
    }
    (state, regular)
}

/// As [`difference`], of any numbers.
#[inline(always)]
fn odd_seeding(a: u32, b: u32) -> u32 {
    positive(a.wrapping_sub(b))
}

/// Replaces each number by the difference to the one `LAG` places on, around the ring.
#[inline(always)]
fn pass<const L: usize, const LAG: usize>(
    state: &mut [[u32; L]; SIZE],
    difference: impl Fn(u32, u32) -> u32,
) {
    for i in 0..SIZE - LAG {
        subtract(state, [i, i + LAG], &difference);
    }
    for i in SIZE - LAG..SIZE {
        subtract(state, [i, i + LAG - SIZE], &difference);
    }
}

#[inline(always)]
fn subtract<const L: usize>(
    state: &mut [[u32; L]; SIZE],
    pair: [usize; 2],
    difference: &impl Fn(u32, u32) -> u32,
) {
    let Ok([numbers, others]) = state.get_disjoint_mut(pair) else {
        return;
    };
    // By value and a few at a time, which tells the compiler that they are different numbers.
    let (chunks, rest) = numbers.as_chunks_mut::<32>();
    let (other_chunks, others) = others.as_chunks::<32>();
    for (chunk, other) in chunks.iter_mut().zip(other_chunks) {
        let (mut numbers, other) = (*chunk, *other);
        for (number, other) in numbers.iter_mut().zip(other) {
            *number = difference(*number, other);
        }
        *chunk = numbers;
    }
    for (number, other) in rest.iter_mut().zip(others) {
        *number = difference(*number, *other);
    }
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
fn scale(number: u32, n: u8) -> u8 {
    let n = u32::from(n);
    let low = (number & 0xFFFF).wrapping_mul(n).wrapping_add(1);
    let high = (number >> 16).wrapping_mul(n).wrapping_add(low >> 16);
    let low = (low & 0xFFFF).wrapping_add(high >> 15);
    (high.wrapping_add(low >> 16) >> 15) as u8
}

#[inline(always)]
fn scale_each<const L: usize>(numbers: &[u32; L], below: &[u8; L]) -> [u8; L] {
    let mut scaled = [0; L];
    #[cfg(target_arch = "aarch64")]
    if let (numbers, []) = numbers.as_chunks::<16>() {
        let (sixteens, _) = scaled.as_chunks_mut::<16>();
        for ((scaled, numbers), n) in sixteens.iter_mut().zip(numbers).zip(below.as_chunks().0) {
            *scaled = neon::scale(numbers, n);
        }
        return scaled;
    }
    for lane in 0..L {
        scaled[lane] = scale(numbers[lane], below[lane]);
    }
    scaled
}

#[inline(always)]
fn scale_all<const L: usize>(numbers: &[u32; L], below: u8) -> [u8; L] {
    #[cfg(target_arch = "aarch64")]
    if let (numbers, []) = numbers.as_chunks::<16>() {
        let mut scaled = [0; L];
        let (sixteens, _) = scaled.as_chunks_mut::<16>();
        for (scaled, numbers) in sixteens.iter_mut().zip(numbers) {
            *scaled = neon::scale_by(numbers, below);
        }
        return scaled;
    }
    scale_each(numbers, &[below; L])
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use core::arch::aarch64::*;

    use super::M;

    /// As the other `scale`.
    #[inline(always)]
    pub(super) fn scale(numbers: &[u32; 16], n: &[u8; 16]) -> [u8; 16] {
        // SAFETY: NEON belongs to the target, and there are sixteen bytes to load.
        let n = unsafe {
            let n = vld1q_u8(n.as_ptr());
            let (low, high) = (vmovl_u8(vget_low_u8(n)), vmovl_high_u8(n));
            [
                vmovl_u16(vget_low_u16(low)),
                vmovl_high_u16(low),
                vmovl_u16(vget_low_u16(high)),
                vmovl_high_u16(high),
            ]
        };
        scale_fours(numbers, n)
    }

    /// By the same for all.
    #[inline(always)]
    pub(super) fn scale_by(numbers: &[u32; 16], n: u8) -> [u8; 16] {
        // SAFETY: NEON belongs to the target.
        let n = unsafe { vdupq_n_u32(n.into()) };
        scale_fours(numbers, [n; 4])
    }

    #[inline(always)]
    fn scale_fours(numbers: &[u32; 16], n: [uint32x4_t; 4]) -> [u8; 16] {
        let (numbers, _) = numbers.as_chunks::<4>();
        let mut scaled = [0; 16];
        let &[a, b, c, d] = numbers else {
            return scaled;
        };
        let (a, b) = (scale_four(&a, n[0]), scale_four(&b, n[1]));
        let (c, d) = (scale_four(&c, n[2]), scale_four(&d, n[3]));
        // SAFETY: NEON belongs to the target, and there is room for sixteen bytes.
        unsafe {
            let (ab, cd) = (vuzp1q_u16(a, b), vuzp1q_u16(c, d));
            let bytes = vuzp1q_u8(vreinterpretq_u8_u16(ab), vreinterpretq_u8_u16(cd));
            vst1q_u8(scaled.as_mut_ptr(), bytes);
        }
        scaled
    }

    /// One instruction gives the upper bits of a product of 31 bits each, one the lower.
    ///
    /// With `p = q * 2^31 + rest` the floor of `p / M` is `q`, or one more if `rest + q` is not below `M`.
    #[inline(always)]
    fn scale_four(numbers: &[u32; 4], n: uint32x4_t) -> uint16x8_t {
        // SAFETY: NEON belongs to the target, and there are four words to load.
        unsafe {
            let numbers = vreinterpretq_s32_u32(vld1q_u32(numbers.as_ptr()));
            let n = vreinterpretq_s32_u32(n);
            let q = vqdmulhq_s32(numbers, n);
            let product = vmulq_s32(numbers, n);
            let short_of_m = vbicq_s32(vdupq_n_s32(M as i32), product);
            // All ones, which is -1, where there is one more.
            let more = vreinterpretq_s32_u32(vcgeq_s32(q, short_of_m));
            vreinterpretq_u16_s32(vsubq_s32(q, more))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_is_what_doubles_give_at_every_step() {
        for n in 1..=255u8 {
            for step in 0..=u64::from(n) {
                // Both are monotone in the number, so it is enough to look where the floor steps up.
                let edge = (step * u64::from(M)).div_ceil(u64::from(n));
                for number in edge.saturating_sub(2)..(edge + 3).min(u64::from(M)) {
                    let double = (number as f64 * (1.0 / f64::from(M))) * f64::from(n);
                    let numbers = [number as u32; 16];
                    assert_eq!(
                        scale_each(&numbers, &[n; 16]),
                        [double as u8; 16],
                        "{number} {n}"
                    );
                    assert_eq!(scale_all(&numbers, n), [double as u8; 16], "{number} {n}");
                    assert_eq!(scale(number as u32, n), double as u8, "{number} {n}");
                }
            }
        }
    }
}
