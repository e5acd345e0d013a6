//! What the processor can do, found out when the program runs.
//!
//! The kernel is written once, over arrays of lanes, and compiled for each of these. What differs is how wide a register the
//! compiler may use, and whether there are instructions that select within a word.

/// A set of instructions that the kernel is compiled for. All give the same results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// One seed at a time, as a plain program would: what the others are measured against.
    Scalar,
    /// What every processor of this architecture has: NEON on aarch64, SSE2 on x86-64.
    Baseline,
    /// AVX2 and the bit manipulation of x86-64-v3.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 as in x86-64-v4.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Machine {
    /// All that this processor can run, the fastest last.
    pub fn available() -> impl Iterator<Item = Machine> {
        Self::ALL
            .iter()
            .copied()
            .filter(|machine| machine.is_there())
    }

    /// The fastest that this processor can run.
    pub fn best() -> Machine {
        Self::available().last().unwrap_or(Machine::Baseline)
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Machine::Scalar => "scalar",
            Machine::Baseline if cfg!(target_arch = "aarch64") => "neon",
            Machine::Baseline if cfg!(target_arch = "x86_64") => "sse2",
            Machine::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Machine::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Machine::Avx512 => "avx512",
        }
    }

    /// From the slowest to the fastest, as measured: what the wider registers of AVX-512 save is less than they cost.
    const ALL: &[Machine] = &[
        Machine::Scalar,
        Machine::Baseline,
        #[cfg(target_arch = "x86_64")]
        Machine::Avx512,
        #[cfg(target_arch = "x86_64")]
        Machine::Avx2,
    ];

    fn is_there(self) -> bool {
        match self {
            Machine::Scalar | Machine::Baseline => true,
            #[cfg(target_arch = "x86_64")]
            Machine::Avx2 => x86::has(&x86::AVX2),
            #[cfg(target_arch = "x86_64")]
            Machine::Avx512 => x86::has(&x86::AVX2) && x86::has(&x86::AVX512),
        }
    }
}

/// `std` would tell, but the kernel does without.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

    /// Bits that must be set: in `ecx` of leaf 1, `ebx` of leaf 7, `ecx` of leaf 0x8000_0001, and `XCR0`.
    pub(super) struct Features {
        leaf_1: u32,
        leaf_7: u32,
        extended: u32,
        /// Registers that the operating system saves when it switches threads.
        saved: u64,
    }

    const POPCNT: u32 = 1 << 23;
    const OSXSAVE: u32 = 1 << 27;
    const AVX: u32 = 1 << 28;
    const BMI1: u32 = 1 << 3;
    const BMI2: u32 = 1 << 8;
    const LZCNT: u32 = 1 << 5;

    pub(super) const AVX2: Features = Features {
        leaf_1: POPCNT | OSXSAVE | AVX,
        leaf_7: BMI1 | BMI2 | 1 << 5,
        extended: LZCNT,
        saved: 0b110,
    };

    /// The subsets F, DQ, CD, BW and VL, in this order.
    pub(super) const AVX512: Features = Features {
        leaf_1: OSXSAVE,
        leaf_7: 1 << 16 | 1 << 17 | 1 << 28 | 1 << 30 | 1 << 31,
        extended: 0,
        saved: 0b1110_0110,
    };

    pub(super) fn has(features: &Features) -> bool {
        let missing = |wanted: u32, there: u32| wanted & !there != 0;
        if __cpuid(0).eax < 7 || __cpuid(0x8000_0000).eax < 0x8000_0001 {
            return false;
        }
        if missing(features.leaf_1 | OSXSAVE, __cpuid(1).ecx)
            || missing(features.leaf_7, __cpuid_count(7, 0).ebx)
            || missing(features.extended, __cpuid(0x8000_0001).ecx)
        {
            return false;
        }
        #[target_feature(enable = "xsave")]
        fn saved() -> u64 {
            // SAFETY: register 0 is there wherever the instruction is.
            unsafe { _xgetbv(0) }
        }
        // SAFETY: OSXSAVE says that the operating system has enabled this instruction.
        features.saved & !unsafe { saved() } == 0
    }
}
