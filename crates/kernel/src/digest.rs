//! Fingerprints of results, which add up over ranges.

/// The finalizer of SplitMix64.
///
/// ```
/// assert_eq!(bramble_kernel::mix(0), 0xe220a8397b1dcdaf);
/// ```
#[inline(always)]
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}

/// What a seed adds to the digest of its range.
#[inline(always)]
pub(crate) fn of_verdict(seed: u32, level: u8, verdict: u8, spheres: u8) -> u64 {
    mix(u64::from(seed)
        | u64::from(level) << 32
        | u64::from(verdict) << 40
        | u64::from(spheres) << 48)
}

/// What a seed adds to the audit of its range: FNV-1a over its placement as well.
pub(crate) fn of_placement(seed: u32, level: u8, verdict: u8, spheres: u8, items: &[u8]) -> u64 {
    let header = seed
        .to_le_bytes()
        .into_iter()
        .chain([level, verdict, spheres]);
    header
        .chain(items.iter().copied())
        .fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        })
}
