//! A summary as it is written: in results of miners, in the ledger, in reports.

use std::collections::BTreeMap;

use bramble_kernel::{FIRST_DEAD, Summary};
use serde::{Deserialize, Serialize};

use crate::finding::{Finding, Found};

/// A [`Finding`] in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) scanned: u64,
    pub(crate) completable: u64,
    pub(crate) dead: u64,
    pub(crate) stuck: u64,
    pub(crate) unreachable: u64,
    /// Number of spheres to number of seeds; those that do not occur are left out.
    #[serde(with = "histogram")]
    pub(crate) spheres: BTreeMap<u8, u64>,
    #[serde(with = "hex")]
    pub(crate) digest: u64,
    #[serde(with = "hex")]
    pub(crate) audit: u64,
    pub(crate) first_dead: Vec<u32>,
    /// With a filter, the lowest seeds that are as it says; all counts but `scanned` are of such seeds then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) found: Option<Vec<Found>>,
}

impl From<&Summary> for Tally {
    fn from(summary: &Summary) -> Self {
        let counted = (0..=255)
            .zip(summary.spheres)
            .filter(|(_, count)| *count > 0);
        Tally {
            scanned: summary.scanned,
            completable: summary.completable,
            dead: summary.dead(),
            stuck: summary.stuck,
            unreachable: summary.unreachable,
            spheres: counted.collect(),
            digest: summary.digest,
            audit: summary.audit,
            first_dead: summary.first_dead.seeds().to_vec(),
            found: None,
        }
    }
}

impl From<&Finding> for Tally {
    fn from(finding: &Finding) -> Self {
        Tally {
            found: finding.found.clone(),
            ..Tally::from(&finding.summary)
        }
    }
}

impl Tally {
    /// What was found in `len` seeds from `start` on, with `twins` of as many more (`2^32` less each), if that is what this can
    /// be: with a filter, if `filtered`, and else without.
    ///
    /// # Errors
    /// What does not add up.
    pub(crate) fn finding_of(
        &self,
        start: u32,
        len: u64,
        twins: bool,
        filtered: bool,
    ) -> Result<Finding, String> {
        let within = |seed: u32| {
            seed.checked_sub(start)
                .is_some_and(|at| u64::from(at) < len)
        };
        let inside = |seed: u32| within(seed) || twins && within(seed.wrapping_neg());
        if !self.first_dead.iter().all(|&seed| inside(seed)) {
            return Err("first_dead names a seed outside the range".to_owned());
        }
        let len = len.saturating_mul(1 + u64::from(twins));
        let found = match (filtered, &self.found) {
            (true, Some(found)) => found,
            (true, None) => return Err("found is missing: the search has a filter".to_owned()),
            (false, Some(_)) => return Err("found: the search has no filter".to_owned()),
            (false, None) => return self.summary_of_any(len).map(Finding::from),
        };
        if !found.iter().all(|found| inside(found.seed)) {
            return Err("found names a seed outside the range".to_owned());
        }
        let wanted = self.completable.saturating_add(self.dead);
        if self.scanned != len || wanted > len || self.audit != 0 {
            return Err("this cannot be what a filter finds in the range".to_owned());
        }
        let summary = self.summary_where(wanted, len)?;
        let finding = Finding {
            summary,
            found: Some(found.clone()),
        };
        finding.check_list().map(|()| finding)
    }

    /// The summary of `len` seeds from `start` on without a filter, if that is what this can be.
    ///
    /// # Errors
    /// What does not add up.
    pub(crate) fn summary_of(&self, start: u32, len: u64) -> Result<Summary, String> {
        self.finding_of(start, len, false, false)
            .map(|finding| finding.summary)
    }

    /// The summary of `len` seeds, whichever they are, if that is what this can be.
    ///
    /// # Errors
    /// What does not add up.
    pub(crate) fn summary_of_any(&self, len: u64) -> Result<Summary, String> {
        self.summary_where(len, len)
    }

    /// The summary of `len` seeds out of `scanned`.
    fn summary_where(&self, len: u64, scanned: u64) -> Result<Summary, String> {
        let mut spheres = [0; 256];
        for (&number, &count) in &self.spheres {
            spheres[usize::from(number)] = count;
        }
        let add = |counts: &[u64]| {
            counts
                .iter()
                .try_fold(0u64, |sum, &count| sum.checked_add(count))
        };
        let checks = [
            (
                self.scanned == scanned,
                "scanned is not the length of the range",
            ),
            (
                add(&[self.stuck, self.unreachable]) == Some(self.dead),
                "stuck and unreachable do not add up to dead",
            ),
            (
                add(&[self.completable, self.dead]) == Some(len),
                "completable and dead do not add up to the length of the range",
            ),
            (
                add(&spheres) == Some(len),
                "spheres do not add up to the length of the range",
            ),
            (
                self.first_dead.len() as u64 == self.dead.min(FIRST_DEAD as u64),
                "first_dead has not as many seeds as it should",
            ),
            (
                self.first_dead.is_sorted_by(|a, b| a < b),
                "first_dead is not in ascending order",
            ),
        ];
        if let Some((_, problem)) = checks.iter().find(|(holds, _)| !holds) {
            return Err((*problem).to_owned());
        }
        Ok(Summary {
            scanned: self.scanned,
            completable: self.completable,
            stuck: self.stuck,
            unreachable: self.unreachable,
            spheres,
            digest: self.digest,
            audit: self.audit,
            first_dead: self.first_dead.iter().copied().collect(),
        })
    }
}

/// 64 bits as 16 hexadecimal digits.
mod hex {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{number:016x}"))
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<u64, D::Error> {
        let text = String::deserialize(from)?;
        let number = Some(&text)
            .filter(|text| text.len() == 16)
            .and_then(|text| u64::from_str_radix(text, 16).ok());
        number.ok_or_else(|| D::Error::custom(format!("{text:?} is not 16 hexadecimal digits")))
    }
}

/// An object whose keys are numbers, in their order. Written by hand because keys inside a flattened field arrive as text.
mod histogram {
    use std::collections::BTreeMap;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(
        counts: &BTreeMap<u8, u64>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(
            counts
                .iter()
                .map(|(number, count)| (number.to_string(), count)),
        )
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(
        from: D,
    ) -> Result<BTreeMap<u8, u64>, D::Error> {
        let counts = BTreeMap::<String, u64>::deserialize(from)?;
        let number = |text: &str| {
            text.parse()
                .map_err(|_| D::Error::custom(format!("{text:?} is not a number of spheres")))
        };
        counts
            .iter()
            .map(|(text, &count)| Ok((number(text)?, count)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        Tally {
            scanned: 100,
            completable: 98,
            dead: 2,
            stuck: 1,
            unreachable: 1,
            spheres: BTreeMap::from([(2, 60), (10, 40)]),
            digest: 0xabc,
            audit: u64::MAX,
            first_dead: vec![7, 99],
            found: None,
        }
    }

    #[test]
    fn it_is_written_as_agreed() {
        insta::assert_json_snapshot!(tally());
    }

    #[test]
    fn it_survives_both_ways() {
        let text = serde_json::to_string(&tally()).unwrap();
        assert_eq!(serde_json::from_str::<Tally>(&text).unwrap(), tally());
        assert_eq!(Tally::from(&tally().summary_of(0, 100).unwrap()), tally());
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let mut told = String::new();
        let mut check = |change: fn(&mut Tally)| {
            let mut wrong = tally();
            change(&mut wrong);
            told += &format!("{}\n", wrong.summary_of(0, 100).unwrap_err());
        };
        check(|tally| tally.scanned = 99);
        check(|tally| tally.stuck = 2);
        check(|tally| tally.stuck = u64::MAX);
        check(|tally| tally.completable = 97);
        check(|tally| tally.spheres.insert(3, 1).map_or((), drop));
        check(|tally| tally.first_dead.truncate(1));
        check(|tally| tally.first_dead = vec![99, 7]);
        check(|tally| tally.first_dead = vec![7, 100]);
        insta::assert_snapshot!(told);
    }
}
