//! What is known of the nodes, and how much each is lent.

use crate::service::snapshot::Health;

/// Who computes, in all jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// From outside: what it says counts only if one of ours says the same.
    pub(crate) outside: bool,
    /// Somebody has asked under this name, from outside with the token that is valid now; or may have, before this process began.
    pub(crate) shown: bool,
    /// A majority found that it computed wrongly.
    pub(crate) faulty: bool,
    /// Others differ from it, and it is not settled who is right.
    pub(crate) suspect: bool,
    /// Ranges on loan.
    pub(crate) lent: usize,
    /// Results that were taken.
    pub(crate) results: u64,
    /// Results that were refused.
    pub(crate) rejected: u64,
    /// Seeds per second.
    pub(crate) rate: Option<f64>,
    /// When it was last heard of.
    pub(crate) heard: Option<f64>,
    /// It did not do so many seeds in the utmost time, and is not asked to check as many again.
    pub(crate) too_many: Option<u64>,
}

/// By which the service goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How long a loan lasts unless it is renewed, in seconds.
    pub(crate) lease: f64,
    /// How much work to lend at a time, in seconds of the node's.
    pub(crate) target: f64,
    /// The share of results that are computed again, from 0 to 1.
    pub(crate) share: f64,
    /// How many of a new node's results are computed again.
    pub(crate) first: u64,
    /// Makes the choice unknown to the nodes.
    pub(crate) salt: u64,
}

/// Those who are there, all together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crew {
    pub(crate) count: usize,
    /// Seeds per second. Who has not shown it yet is taken to be as fast as the others are.
    pub(crate) rate: f64,
    /// What the slowest of those does in a second who may have to compute again what others did.
    pub(crate) slowest: f64,
}

/// A loan cannot be renewed for longer than so many times its length.
const RENEWALS: f64 = 30.0;

/// Whatever is lent, the slowest can do it in this share of the time for which it can have it.
const CHECKABLE: f64 = 0.25;

/// A node without a loan that was not heard of for so many seconds is away.
const ABSENT: f64 = 30.0;

/// Lent to a node of which no speed is known, or whose results are all computed again: some seconds of the slowest
/// machine's work.
const FIRST_SEEDS: u64 = 1 << 14;
/// No machine takes longer for them, in seconds.
const FIRST_SECONDS: f64 = 15.0;
/// Less is not worth asking for.
const LEAST_SEEDS: u64 = 1 << 8;
/// The least work to lend at a time near the end, in seconds.
const LEAST_SECONDS: f64 = 1.0;
/// A node may be so many times as fast as what lies between loan and result shows.
const BENEFIT_OF_DOUBT: f64 = 4.0;

impl Rules {
    /// A loan ends after so many seconds, however often it is renewed.
    pub(crate) fn utmost(&self) -> f64 {
        RENEWALS * self.lease
    }
}

impl Crew {
    pub(crate) fn of<'a>(nodes: impl Iterator<Item = &'a Node>) -> Self {
        let (mut count, mut rates, mut slowest) = (0, Vec::new(), f64::INFINITY);
        for node in nodes {
            count += 1;
            rates.extend(node.rate);
            if !node.outside {
                let unknown = FIRST_SEEDS as f64 / FIRST_SECONDS;
                slowest = slowest.min(node.rate.unwrap_or(unknown));
            }
        }
        let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
        let rate = mean * count as f64;
        Crew {
            count,
            rate,
            slowest,
        }
    }
}

impl Node {
    pub(crate) fn is_live(&self, now: f64, rules: &Rules) -> bool {
        // Whoever waits for work asks again and again; whoever has some renews it now and then.
        let silence = if self.lent > 0 {
            2.0 * rules.lease
        } else {
            ABSENT
        };
        !self.faulty && self.heard.is_some_and(|heard| now - heard <= silence)
    }

    pub(crate) fn health(&self, now: f64, rules: &Rules) -> Health {
        match self {
            Node { faulty: true, .. } => Health::Faulty,
            Node { suspect: true, .. } => Health::Suspect,
            _ if !self.is_live(now, rules) => Health::Away,
            Node { results, .. } if *results < rules.first => Health::New,
            _ => Health::Good,
        }
    }

    /// Learns its speed from a result of `seeds` seeds, which it says took it `seconds`, and was back `elapsed` seconds after the loan.
    pub(crate) fn measure(&mut self, seeds: u64, seconds: f64, elapsed: f64) {
        let seeds = seeds as f64;
        let possible = BENEFIT_OF_DOUBT * seeds / elapsed.max(1e-3);
        let rate = (seeds / seconds.max(1e-6)).min(possible);
        self.rate = Some(self.rate.map_or(rate, |before| (before + rate) / 2.0));
    }

    /// A loan of `seeds` seeds ended after `elapsed` seconds without a result. If it could not have it for longer, and was there to
    /// the end, it is too slow for that.
    pub(crate) fn ran_out(&mut self, rules: &Rules, seeds: u64, elapsed: f64, now: f64) {
        let was_there = self.heard.is_some_and(|heard| now - heard <= rules.lease);
        if was_there && elapsed >= rules.utmost() {
            self.too_many = Some(self.too_many.map_or(seeds, |before| before.min(seeds)));
        }
    }

    /// Whether it may check so many seeds.
    pub(crate) fn can_check(&self, seeds: u64) -> bool {
        !self.outside && self.too_many.is_none_or(|too_many| seeds < too_many)
    }

    /// How many seeds to lend it, when `open` are left for `crew`.
    pub(crate) fn portion(&self, rules: &Rules, open: u64, crew: &Crew) -> u64 {
        // What comes from outside is computed again whole, so that an answer that costs nothing must not cost others much.
        let known = |_: &f64| !self.outside && self.results >= rules.first;
        let Some(rate) = self.rate.filter(known) else {
            return FIRST_SEEDS
                .min(open / (2 * crew.count.max(1) as u64))
                .max(LEAST_SEEDS);
        };
        // Half of what is left, so that all end at about the same time.
        let left = open as f64 / crew.rate.max(rate) / 2.0;
        let seconds = left.clamp(LEAST_SECONDS.min(rules.target), rules.target);
        let checkable = (crew.slowest * rules.utmost() * CHECKABLE) as u64;
        ((rate * seconds) as u64)
            .min(checkable.max(FIRST_SEEDS))
            .max(LEAST_SEEDS)
    }

    /// Whether the result with this number is to be computed again.
    pub(crate) fn is_chosen(&self, rules: &Rules, epoch: u64) -> bool {
        let drawn = bramble_kernel::mix(rules.salt ^ epoch) as f64 / u64::MAX as f64;
        self.outside || self.results < rules.first || drawn < rules.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        lease: 120.0,
        target: 60.0,
        share: 0.02,
        first: 2,
        salt: 1,
    };

    #[test]
    fn portions_are_about_a_minute_and_smaller_for_the_new_and_near_the_end() {
        // The node's rate and results, seeds that are open, the rate of all, how many nodes, the slowest one's rate; what it gets.
        let cases = [
            (None, 0, 1 << 32, 0.0, 1, 1e3, 1 << 14),
            (None, 0, 1 << 14, 0.0, 4, 1e3, 1 << 11),
            (None, 0, 10, 0.0, 4, 1e3, 256),
            (Some(1e6), 1, 1 << 32, 8e6, 8, 1e6, 1 << 14),
            (Some(1e6), 2, 1 << 32, 8e6, 8, 1e6, 60_000_000),
            (Some(1e6), 2, 160_000_000, 8e6, 8, 1e6, 10_000_000),
            (Some(1e6), 2, 1_000_000, 8e6, 8, 1e6, 1_000_000),
            (Some(1e5), 2, 160_000_000, 8e6, 8, 1e5, 1_000_000),
            (Some(1.0), 2, 160_000_000, 8e6, 8, 1.0, 256),
            // A quarter of an hour's work of the slowest, but what is lent to anybody all the same.
            (Some(1e6), 2, 1 << 32, 8e6, 8, 1e4, 9_000_000),
            (Some(1e6), 2, 1 << 32, 8e6, 8, 1.0, 1 << 14),
            (Some(1e6), 2, 1 << 32, 8e6, 8, f64::INFINITY, 60_000_000),
        ];
        for (rate, results, open, total, count, slowest, expected) in cases {
            let node = Node {
                rate,
                results,
                ..Node::default()
            };
            let crew = Crew {
                count,
                rate: total,
                slowest,
            };
            assert_eq!(
                node.portion(&RULES, open, &crew),
                expected,
                "{rate:?} of {open}, slowest {slowest}"
            );
            let outside = Node {
                outside: true,
                ..node
            };
            assert!(outside.portion(&RULES, open, &crew) <= FIRST_SEEDS);
        }
    }

    #[test]
    fn the_slowest_of_the_crew_is_known() {
        let node = |rate, outside| Node {
            rate,
            outside,
            ..Node::default()
        };
        let unknown = FIRST_SEEDS as f64 / FIRST_SECONDS;
        let cases = [
            (vec![], f64::INFINITY),
            (vec![node(None, false)], unknown),
            (vec![node(Some(1e6), false), node(Some(1e4), false)], 1e4),
            (vec![node(Some(1e6), false), node(None, false)], unknown),
            (vec![node(Some(1e6), false), node(Some(1.0), true)], 1e6),
        ];
        for (nodes, slowest) in cases {
            assert_eq!(Crew::of(nodes.iter()).slowest, slowest, "{nodes:?}");
        }
    }

    #[test]
    fn a_boast_is_not_believed() {
        let mut node = Node::default();
        node.measure(1000, 1e-9, 1.0);
        assert_eq!(node.rate, Some(4000.0));
        node.measure(1000, 0.5, 1.0);
        assert_eq!(node.rate, Some(3000.0));
    }

    #[test]
    fn the_share_is_kept() {
        let node = Node {
            results: 2,
            ..Node::default()
        };
        let chosen = (0..100_000)
            .filter(|&epoch| node.is_chosen(&RULES, epoch))
            .count();
        assert!((1_800..2_200).contains(&chosen), "{chosen}");
        for node in [
            Node {
                results: 1,
                ..node.clone()
            },
            Node {
                outside: true,
                ..node
            },
        ] {
            assert!((0..1000).all(|epoch| node.is_chosen(&RULES, epoch)));
        }
    }
}
