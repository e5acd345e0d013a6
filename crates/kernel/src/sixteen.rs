//! Sixteen bytes in a register.
//!
//! For what a compiler does not find by itself. Comparisons give a mask: all ones in a byte where they hold, else zeros.

pub(crate) use kind::Sixteen;

#[cfg(target_arch = "aarch64")]
mod kind {
    use core::arch::aarch64::*;

    use crate::lanes::SIXTEEN;

    #[derive(Clone, Copy)]
    pub(crate) struct Sixteen(uint8x16_t);

    // SAFETY, for all of these: NEON belongs to the target.
    impl Sixteen {
        #[inline(always)]
        pub(crate) fn splat(byte: u8) -> Self {
            // SAFETY: see above.
            Sixteen(unsafe { vdupq_n_u8(byte) })
        }

        #[inline(always)]
        pub(crate) fn load(bytes: &[u8; SIXTEEN]) -> Self {
            // SAFETY: see above, and there are sixteen bytes to load.
            Sixteen(unsafe { vld1q_u8(bytes.as_ptr()) })
        }

        #[inline(always)]
        pub(crate) fn store(self) -> [u8; SIXTEEN] {
            let mut bytes = [0; SIXTEEN];
            // SAFETY: see above, and there is room for sixteen bytes.
            unsafe { vst1q_u8(bytes.as_mut_ptr(), self.0) }
            bytes
        }

        #[inline(always)]
        pub(crate) fn plus(self, other: Self) -> Self {
            // SAFETY: see above.
            Sixteen(unsafe { vaddq_u8(self.0, other.0) })
        }

        #[inline(always)]
        pub(crate) fn minus(self, other: Self) -> Self {
            // SAFETY: see above.
            Sixteen(unsafe { vsubq_u8(self.0, other.0) })
        }

        #[inline(always)]
        pub(crate) fn and(self, other: Self) -> Self {
            // SAFETY: see above.
            Sixteen(unsafe { vandq_u8(self.0, other.0) })
        }

        #[inline(always)]
        pub(crate) fn without(self, other: Self) -> Self {
            // SAFETY: see above.
            Sixteen(unsafe { vbicq_u8(self.0, other.0) })
        }

        #[inline(always)]
        pub(crate) fn above(self, other: Self) -> Self {
            // SAFETY: see above.
            Sixteen(unsafe { vcgtq_u8(self.0, other.0) })
        }

        #[inline(always)]
        pub(crate) fn max(self, other: Self) -> Self {
            // SAFETY: see above.
            Sixteen(unsafe { vmaxq_u8(self.0, other.0) })
        }

        /// The one where this mask is set, the other elsewhere.
        #[inline(always)]
        pub(crate) fn choose(self, set: Self, clear: Self) -> Self {
            // SAFETY: see above.
            Sixteen(unsafe { vbslq_u8(self.0, set.0, clear.0) })
        }

        #[inline(always)]
        pub(crate) fn count_ones(self) -> Self {
            // SAFETY: see above.
            Sixteen(unsafe { vcntq_u8(self.0) })
        }

        /// Each by as many bits as the other says, which is 7 at most.
        #[inline(always)]
        pub(crate) fn shl_by(self, bits: Self) -> Self {
            // SAFETY: see above.
            Sixteen(unsafe { vshlq_u8(self.0, vreinterpretq_s8_u8(bits.0)) })
        }

        #[inline(always)]
        pub(crate) fn shl<const BITS: i32>(self) -> Self {
            // SAFETY: see above.
            Sixteen(unsafe { vshlq_n_u8::<BITS>(self.0) })
        }

        #[inline(always)]
        pub(crate) fn shr<const BITS: i32>(self) -> Self {
            // SAFETY: see above.
            Sixteen(unsafe { vshrq_n_u8::<BITS>(self.0) })
        }
    }
}

/// As it would be without registers, which is also what the tests on other machines see.
#[cfg(not(target_arch = "aarch64"))]
mod kind {
    use crate::lanes::SIXTEEN;

    #[derive(Clone, Copy)]
    pub(crate) struct Sixteen([u8; SIXTEEN]);

    impl Sixteen {
        #[inline(always)]
        pub(crate) fn splat(byte: u8) -> Self {
            Sixteen([byte; SIXTEEN])
        }

        #[inline(always)]
        pub(crate) fn load(bytes: &[u8; SIXTEEN]) -> Self {
            Sixteen(*bytes)
        }

        #[inline(always)]
        pub(crate) fn store(self) -> [u8; SIXTEEN] {
            self.0
        }

        #[inline(always)]
        pub(crate) fn plus(self, other: Self) -> Self {
            self.zip(other, u8::wrapping_add)
        }

        #[inline(always)]
        pub(crate) fn minus(self, other: Self) -> Self {
            self.zip(other, u8::wrapping_sub)
        }

        #[inline(always)]
        pub(crate) fn and(self, other: Self) -> Self {
            self.zip(other, |a, b| a & b)
        }

        #[inline(always)]
        pub(crate) fn without(self, other: Self) -> Self {
            self.zip(other, |a, b| a & !b)
        }

        #[inline(always)]
        pub(crate) fn above(self, other: Self) -> Self {
            self.zip(other, |a, b| if a > b { 0xFF } else { 0 })
        }

        #[inline(always)]
        pub(crate) fn max(self, other: Self) -> Self {
            self.zip(other, u8::max)
        }

        /// The one where this mask is set, the other elsewhere.
        #[inline(always)]
        pub(crate) fn choose(self, set: Self, clear: Self) -> Self {
            set.and(self).plus(clear.without(self))
        }

        #[inline(always)]
        pub(crate) fn count_ones(self) -> Self {
            Sixteen(self.0.map(|byte| byte.count_ones() as u8))
        }

        /// Each by as many bits as the other says, which is 7 at most.
        #[inline(always)]
        pub(crate) fn shl_by(self, bits: Self) -> Self {
            self.zip(bits, |a, b| a << (b & 7))
        }

        #[inline(always)]
        pub(crate) fn shl<const BITS: i32>(self) -> Self {
            Sixteen(self.0.map(|byte| byte << BITS))
        }

        #[inline(always)]
        pub(crate) fn shr<const BITS: i32>(self) -> Self {
            Sixteen(self.0.map(|byte| byte >> BITS))
        }

        #[inline(always)]
        fn zip(self, other: Self, op: impl Fn(u8, u8) -> u8) -> Self {
            Sixteen(core::array::from_fn(|at| op(self.0[at], other.0[at])))
        }
    }
}
