//! The streams of both generators, number by number.

use bramble_kernel::{Dotnet, Pcg32, Rng, mix};

#[test]
fn dotnet_is_system_random() {
    let cases: [(u32, &[u32]); 8] = [
        (
            0,
            &[
                1559595546, 1755192844, 1649316166, 1198642031, 442452829, 1200195957,
            ],
        ),
        (
            1,
            &[
                534011718, 237820880, 1002897798, 1657007234, 1412011072, 929393559,
            ],
        ),
        (
            u32::MAX,
            &[
                534011718, 237820880, 1002897798, 1657007234, 1412011072, 929393559,
            ],
        ),
        (
            42,
            &[
                1434747710, 302596119, 269548474, 1122627734, 361709742, 563913476,
            ],
        ),
        (
            0x7FFF_FFFF,
            &[
                1559595546, 1755192844, 1649316172, 1198642031, 442452829, 1200195955,
            ],
        ),
        (
            0x8000_0000,
            &[
                1559595546, 1755192844, 1649316172, 1198642031, 442452829, 1200195955,
            ],
        ),
        (161803398, &[1639093931, 386245568, 1693263304, 12808401]),
        (161803399, &[613510103, 1016357251, 1046844936, 471173604]),
    ];
    for (seed, expected) in cases {
        let mut rng = Dotnet::<1>::seeded(&[seed]);
        let numbers: Vec<u32> = expected.iter().map(|_| rng.numbers()[0]).collect();
        assert_eq!(numbers, expected, "seed {seed}");
    }
    let draws = |seed, n| {
        let mut rng = Dotnet::<1>::seeded(&[seed]);
        (0..8).map(|_| rng.draw(&[n])[0]).collect::<Vec<_>>()
    };
    assert_eq!(draws(42, 100), [66, 14, 12, 52, 16, 26, 72, 51]);
    assert_eq!(draws(0, 125), [90, 102, 96, 69, 25, 69, 113, 55]);
}

/// Worked out again with integers that do not wrap.
#[test]
fn pcg32_is_pcg_xsh_rr() {
    for seed in [0u32, 1, 42, 0x7FFF_FFFF, 0x8000_0000, u32::MAX] {
        let mut rng = Pcg32::<1>::seeded(&[seed]);
        let modulus = 1u128 << 64;
        let step = |state: u128| {
            (state * 6364136223846793005 + (721347520444481703u128 * 2 + 1)) % modulus
        };
        let widened = (modulus as i128 + i128::from(seed as i32)) as u128 % modulus;
        let mut state = step((step(0) + widened) % modulus);
        for _ in 0..100 {
            let folded = (((state >> 18) ^ state) >> 27) as u32;
            assert_eq!(rng.numbers()[0], folded.rotate_right((state >> 59) as u32));
            state = step(state);
        }
    }
}

fn restarts<R: Rng<1>>() {
    for before in [0, 1, 54, 55, 56, 200] {
        let mut rng = R::seeded(&[7]);
        let first: Vec<u8> = (0..3).map(|_| rng.draw(&[100])[0]).collect();
        for _ in 0..before {
            rng.draw(&[100]);
        }
        rng.restart();
        assert_eq!(
            (0..3).map(|_| rng.draw(&[100])[0]).collect::<Vec<_>>(),
            first
        );
    }
}

#[test]
fn a_restarted_stream_begins_anew() {
    restarts::<Dotnet<1>>();
    restarts::<Pcg32<1>>();
}

#[test]
fn mixing_matches_its_vector() {
    assert_eq!(mix(0), 0xe220a8397b1dcdaf);
}
