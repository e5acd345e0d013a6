//! What is kept of a range of seeds.

use crate::Verdict;

/// How many dead seeds a summary names.
pub const FIRST_DEAD: usize = 10;

/// Counts and fingerprints of a set of seeds at one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Seeds looked at.
    pub scanned: u64,
    /// Seeds that reach the goal.
    pub completable: u64,
    /// Dead seeds whose engine got stuck.
    pub stuck: u64,
    /// Dead seeds with everything placed.
    pub unreachable: u64,
    /// How many seeds have so many spheres, dead ones too.
    pub spheres: [u64; 256],
    /// Sum of what verdict and spheres of each seed hash to.
    pub digest: u64,
    /// Sum of what the placement of each 65,536th seed hashes to.
    pub audit: u64,
    /// The lowest dead seeds.
    pub first_dead: FirstDead,
}

impl Summary {
    /// The summary of no seeds.
    pub const EMPTY: Summary = Summary {
        scanned: 0,
        completable: 0,
        stuck: 0,
        unreachable: 0,
        spheres: [0; 256],
        digest: 0,
        audit: 0,
        first_dead: FirstDead {
            seeds: [0; FIRST_DEAD],
            len: 0,
        },
    };

    /// Seeds that do not reach the goal.
    pub fn dead(&self) -> u64 {
        self.stuck + self.unreachable
    }

    #[inline(always)]
    pub(crate) fn count(&mut self, seed: u32, verdict: Verdict, spheres: u8) {
        self.scanned += 1;
        self.spheres[usize::from(spheres)] += 1;
        match verdict {
            Verdict::Completable => self.completable += 1,
            Verdict::Stuck => self.stuck += 1,
            Verdict::Unreachable => self.unreachable += 1,
        }
        if verdict != Verdict::Completable {
            self.first_dead.insert(seed);
        }
    }

    /// Adds the summary of other seeds. The order does not matter.
    pub fn merge(&mut self, other: &Summary) {
        self.scanned += other.scanned;
        self.completable += other.completable;
        self.stuck += other.stuck;
        self.unreachable += other.unreachable;
        for (count, more) in self.spheres.iter_mut().zip(&other.spheres) {
            *count += more;
        }
        self.digest = self.digest.wrapping_add(other.digest);
        self.audit = self.audit.wrapping_add(other.audit);
        other
            .first_dead
            .seeds()
            .iter()
            .for_each(|&seed| self.first_dead.insert(seed));
    }
}

/// The lowest few of some seeds, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstDead {
    seeds: [u32; FIRST_DEAD],
    len: usize,
}

impl FirstDead {
    /// The seeds, lowest first; [`FIRST_DEAD`] at most.
    pub fn seeds(&self) -> &[u32] {
        self.seeds.get(..self.len).unwrap_or(&self.seeds)
    }

    /// Adds a seed, and forgets the highest if there are too many.
    #[inline]
    pub fn insert(&mut self, seed: u32) {
        let at = self.seeds().partition_point(|&lower| lower < seed);
        let Some(tail) = self.seeds.get_mut(at..) else {
            return;
        };
        if let Some(first) = tail.first_mut() {
            let displaced = core::mem::replace(first, seed);
            // Shift the rest up by one; the highest falls off the end.
            let mut carried = displaced;
            tail.iter_mut()
                .skip(1)
                .for_each(|slot| core::mem::swap(slot, &mut carried));
            self.len = (self.len + 1).min(FIRST_DEAD);
        }
    }
}

impl FromIterator<u32> for FirstDead {
    fn from_iter<I: IntoIterator<Item = u32>>(seeds: I) -> Self {
        let mut lowest = FirstDead {
            seeds: [0; FIRST_DEAD],
            len: 0,
        };
        seeds.into_iter().for_each(|seed| lowest.insert(seed));
        lowest
    }
}
