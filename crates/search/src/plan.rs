//! How a range of seeds is cut: into stretches whose twins lie in the range as well, and others.
//!
//! Under `dotnet` the seeds `u` and `2^32 - u` have the same draws, so of two such seeds one is computed and both are counted.

use std::ops::Range;

use bramble_kernel::Random;

/// The middle of the seed space, where twins meet: it is its own twin.
const MIDDLE: u64 = 1 << 31;

/// Seeds to a step, between two of which a search can be interrupted.
pub(crate) const STEP: u64 = 1 << 14;

/// One step: a few consecutive seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) start: u32,
    pub(crate) len: u64,
    /// Whether to count their twins, too.
    pub(crate) twins: bool,
}

impl Step {
    /// How many seeds that counts.
    pub(crate) fn seeds(self) -> u64 {
        self.len << u32::from(self.twins)
    }
}

/// All steps of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    stretches: Vec<(Range<u64>, bool)>,
    step: u64,
}

impl Plan {
    /// Covers `len` seeds from `start` on, `step` at a time.
    pub(crate) fn new(random: Random, start: u32, len: u64, step: u64) -> Self {
        let (start, end) = (u64::from(start), u64::from(start) + len);
        // Seeds of the range below the middle whose twins are in the range.
        let twins = match random {
            Random::Dotnet => start.max((1 << 32) + 1 - end.max(1)).max(1)..end.min(MIDDLE),
            Random::Pcg32 => 0..0,
        };
        let stretches = if twins.is_empty() {
            vec![(start..end, false)]
        } else {
            let mirrored = (1 << 32) - twins.end + 1..(1 << 32) - twins.start + 1;
            vec![
                (start..twins.start, false),
                (twins.clone(), true),
                (twins.end..mirrored.start, false),
                (mirrored.end..end, false),
            ]
        };
        let stretches = stretches.into_iter();
        Plan {
            stretches: stretches.filter(|(range, _)| !range.is_empty()).collect(),
            step,
        }
    }

    /// Covers one stretch, `step` at a time.
    pub(crate) fn of(stretch: Step, step: u64) -> Self {
        let start = u64::from(stretch.start);
        Plan {
            stretches: vec![(start..start + stretch.len, stretch.twins)],
            step,
        }
    }

    /// The stretches, with whether their twins are counted, too.
    pub(crate) fn stretches(&self) -> &[(Range<u64>, bool)] {
        &self.stretches
    }

    /// How many steps there are.
    pub(crate) fn steps(&self) -> u64 {
        let steps = |(range, _): &(Range<u64>, bool)| (range.end - range.start).div_ceil(self.step);
        self.stretches.iter().map(steps).sum()
    }

    /// A step by its number. `None` after the last.
    pub(crate) fn step(&self, mut number: u64) -> Option<Step> {
        for (range, twins) in &self.stretches {
            let steps = (range.end - range.start).div_ceil(self.step);
            if number < steps {
                let start = range.start + number * self.step;
                return Some(Step {
                    // Ranges lie within the seed space.
                    start: start as u32,
                    len: self.step.min(range.end - start),
                    twins: *twins,
                });
            }
            number -= steps;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The seeds that a plan counts; each must come up once.
    fn covered(random: Random, start: u32, len: u64, step: u64) -> BTreeSet<u32> {
        let plan = Plan::new(random, start, len, step);
        let mut seen = BTreeSet::new();
        let mut add = |seed: u32| assert!(seen.insert(seed), "{seed} comes up twice");
        for step in (0..plan.steps()).map(|number| plan.step(number).unwrap()) {
            for seed in u64::from(step.start)..u64::from(step.start) + step.len {
                add(seed as u32);
                if step.twins {
                    add((seed as u32).wrapping_neg());
                }
            }
        }
        assert_eq!(plan.step(plan.steps()), None);
        seen
    }

    proptest! {
        #[test]
        fn every_seed_is_counted_once(
            offset in -600i64..600,
            len in 0u64..1500,
            step in 1u64..200,
            at_the_end: bool,
            random in prop_oneof![Just(Random::Dotnet), Just(Random::Pcg32)],
        ) {
            let anchor = if at_the_end { (1 << 32) - 600 } else { 1i64 << 31 };
            let start = (anchor + offset).clamp(0, u32::MAX.into()) as u64;
            let len = len.min((1 << 32) - start);
            let expected: BTreeSet<u32> = (start..start + len).map(|seed| seed as u32).collect();
            prop_assert_eq!(covered(random, start as u32, len, step), expected);
        }
    }

    #[test]
    fn half_of_the_seed_space_is_computed() {
        let plan = Plan::new(Random::Dotnet, 0, 1 << 32, 1 << 31);
        let steps: Vec<(u32, u64, bool)> = (0..plan.steps())
            .map(|number| plan.step(number).unwrap())
            .map(|step| (step.start, step.len, step.twins))
            .collect();
        assert_eq!(
            steps,
            [(0, 1, false), (1, (1 << 31) - 1, true), (1 << 31, 1, false)]
        );
    }
}
