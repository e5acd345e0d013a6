//! What was found in a range of seeds: sums that do not care how the range was cut, and, where a filter says which seeds are
//! wanted, the lowest of those.

use bramble_kernel::{FIRST_DEAD, Summary};
use serde::{Deserialize, Serialize};

/// How many seeds that are as a filter says are listed at a level. All are counted.
pub(crate) const MOST_FOUND: usize = 1000;

/// A seed that is as a filter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Found {
    pub(crate) seed: u32,
    pub(crate) completable: bool,
    pub(crate) spheres: u8,
}

/// The sums of a range, and with a filter the lowest seeds that are as it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// With a filter, of the seeds that are as it says; `scanned` is of all, and `audit` is 0.
    pub(crate) summary: Summary,
    /// Ascending, [`MOST_FOUND`] at most. `None` without a filter.
    pub(crate) found: Option<Vec<Found>>,
}

impl From<Summary> for Finding {
    fn from(summary: Summary) -> Self {
        Finding {
            summary,
            found: None,
        }
    }
}

impl Finding {
    /// What is found in no seeds.
    pub(crate) fn nothing(filtered: bool) -> Self {
        Finding {
            summary: Summary::EMPTY,
            found: filtered.then(Vec::new),
        }
    }

    /// Seeds that are as the filter says; none without one.
    pub(crate) fn count(&self) -> u64 {
        match self.found {
            Some(_) => self.summary.completable + self.summary.dead(),
            None => 0,
        }
    }

    /// Adds what was found in other seeds. The order does not matter.
    pub(crate) fn merge(&mut self, other: &Finding) {
        self.summary.merge(&other.summary);
        if let (Some(found), Some(more)) = (&mut self.found, &other.found) {
            found.extend(more);
            keep_lowest(found);
        }
    }

    /// Whether the list can be that of these sums.
    ///
    /// # Errors
    /// What does not add up.
    pub(crate) fn check_list(&self) -> Result<(), String> {
        let Some(found) = &self.found else {
            return Ok(());
        };
        let (summary, listed) = (&self.summary, found.len() as u64);
        let dead = found.iter().filter(|found| !found.completable);
        let mut spheres = [0u64; 256];
        for found in found {
            spheres[usize::from(found.spheres)] += 1;
        }
        let all = listed == self.count();
        let fits = |part: u64, whole: u64| part == whole || part < whole && !all;
        let lowest = dead.clone().map(|found| found.seed).take(FIRST_DEAD);
        let checks = [
            (
                found.is_sorted_by(|a, b| a.seed < b.seed),
                "found is not in ascending order",
            ),
            (
                listed == self.count().min(MOST_FOUND as u64),
                "found has not as many seeds as it should",
            ),
            (
                fits(dead.clone().count() as u64, summary.dead())
                    && spheres
                        .iter()
                        .zip(&summary.spheres)
                        .all(|(&part, &whole)| fits(part, whole)),
                "found does not agree with the sums",
            ),
            (
                lowest.eq(summary
                    .first_dead
                    .seeds()
                    .iter()
                    .copied()
                    .take(dead.count())),
                "found does not agree with first_dead",
            ),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            Some((_, problem)) => Err((*problem).to_owned()),
            None => Ok(()),
        }
    }
}

/// Of seeds in any order, the lowest that are listed.
pub(crate) fn keep_lowest(found: &mut Vec<Found>) {
    found.sort_unstable();
    found.truncate(MOST_FOUND);
}
