//! What of a level nobody has.

use std::collections::BTreeMap;

use crate::plan::Plan;

/// Consecutive seeds, with or without their mirror images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stretch {
    pub(crate) start: u32,
    /// Mirror images not counted. At least 1.
    pub(crate) len: u64,
    pub(crate) twins: bool,
}

impl Stretch {
    /// How many seeds it is worth.
    pub(crate) fn seeds(self) -> u64 {
        self.len << u32::from(self.twins)
    }
}

/// Disjoint stretches that wait to be lent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Space {
    open: BTreeMap<u32, Stretch>,
    seeds: u64,
}

impl Space {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut space = Space::default();
        for (range, twins) in plan.stretches() {
            space.give(Stretch {
                // Ranges lie within the seed space.
                start: range.start as u32,
                len: range.end - range.start,
                twins: *twins,
            });
        }
        space
    }

    /// How many seeds wait.
    pub(crate) fn seeds(&self) -> u64 {
        self.seeds
    }

    pub(crate) fn stretches(&self) -> impl Iterator<Item = Stretch> {
        self.open.values().copied()
    }

    /// The first stretch, of `seeds` seeds at most (at least one draw). It is not taken yet.
    pub(crate) fn first(&self, seeds: u64) -> Option<Stretch> {
        let (_, first) = self.open.first_key_value()?;
        let most = (seeds >> u32::from(first.twins)).max(1);
        Some(Stretch {
            len: first.len.min(most),
            ..*first
        })
    }

    /// Takes a stretch out. False if not all of it was there.
    pub(crate) fn take(&mut self, wanted: Stretch) -> bool {
        let Some(&found) = self
            .open
            .range(..=wanted.start)
            .next_back()
            .map(|(_, it)| it)
        else {
            return false;
        };
        let before = u64::from(wanted.start - found.start);
        if found.twins != wanted.twins || before + wanted.len > found.len {
            return false;
        }
        self.open.remove(&found.start);
        self.seeds -= found.seeds();
        self.give(Stretch {
            len: before,
            ..found
        });
        let after = found.len - before - wanted.len;
        if after > 0 {
            self.give(Stretch {
                start: (u64::from(wanted.start) + wanted.len) as u32,
                len: after,
                ..found
            });
        }
        true
    }

    /// Puts a stretch back, of which nothing is there.
    pub(crate) fn give(&mut self, stretch: Stretch) {
        if stretch.len > 0 {
            self.seeds += stretch.seeds();
            self.open.insert(stretch.start, stretch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bramble_kernel::Random;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is taken and put back, every seed is either here or with somebody, and never twice.
        #[test]
        fn nothing_is_lost_and_nothing_doubled(
            len in 1u64..1 << 32,
            steps in proptest::collection::vec((any::<bool>(), 1u64..1 << 30, any::<prop::sample::Index>()), 1..60),
        ) {
            let mut space = Space::new(&Plan::new(Random::Dotnet, 0, len, 1));
            let mut lent: Vec<Stretch> = Vec::new();
            for (take, seeds, which) in steps {
                if take {
                    if let Some(stretch) = space.first(seeds) {
                        prop_assert!(stretch.seeds() <= seeds.max(2));
                        prop_assert!(space.take(stretch));
                        lent.push(stretch);
                    }
                } else if !lent.is_empty() {
                    space.give(lent.swap_remove(which.index(lent.len())));
                }
                let mut all: Vec<Stretch> = space.stretches().chain(lent.iter().copied()).collect();
                all.sort_unstable();
                let apart = all.windows(2).all(|pair| u64::from(pair[0].start) + pair[0].len <= u64::from(pair[1].start));
                prop_assert!(apart, "{all:?}");
                prop_assert_eq!(all.iter().map(|stretch| stretch.seeds()).sum::<u64>(), len);
                prop_assert_eq!(space.stretches().map(Stretch::seeds).sum::<u64>(), space.seeds());
            }
        }
    }

    #[test]
    fn what_is_not_there_cannot_be_taken() {
        let mut space = Space::new(&Plan::new(Random::Pcg32, 100, 50, 1));
        let stretch = |start, len, twins| Stretch { start, len, twins };
        for missing in [
            stretch(99, 1, false),
            stretch(149, 2, false),
            stretch(100, 1, true),
        ] {
            assert!(!space.take(missing), "{missing:?}");
        }
        assert!(space.take(stretch(110, 10, false)));
        assert!(!space.take(stretch(115, 1, false)));
        let left: Vec<_> = space.stretches().collect();
        assert_eq!(left, [stretch(100, 10, false), stretch(120, 30, false)]);
    }
}
