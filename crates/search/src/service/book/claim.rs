//! Which result of a range counts, when several nodes may have computed it and some of them may be wrong.

use std::sync::Arc;

use super::space::Stretch;
use crate::service::packed::Packed;

/// A range with at least one result.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) stretch: Stretch,
    pub(crate) votes: Vec<Vote>,
    /// Another node is to compute it again.
    pub(crate) chosen: bool,
    /// Another node is computing it again.
    pub(crate) lent: bool,
    /// Which of the votes is in the sums.
    pub(crate) counted: Option<usize>,
}

/// What a node says of a range. A node has one vote.
#[derive(Clone, Debug)]
pub(crate) struct Vote {
    pub(crate) node: Arc<str>,
    pub(crate) packed: Packed,
    /// Dead seeds that it found, and with a filter seeds that are as it says.
    pub(crate) dead: u64,
    pub(crate) found: u64,
}

/// How far a node's word goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Its result counts by itself.
    Sole,
    /// It disagrees with somebody, and it is open who is right: what it alone says waits.
    Suspect,
    /// It was wrong before, or comes from outside: what it says counts if somebody else says the same.
    Confirmed,
}

/// What follows from the votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ruling {
    /// The vote that counts, with those that are equal to it.
    pub(crate) winner: Option<usize>,
    /// Another node should compute it.
    pub(crate) wants: bool,
    /// Votes differ.
    pub(crate) contested: bool,
    /// Two nodes at least say what counts.
    pub(crate) verified: bool,
}

impl Claim {
    pub(crate) fn vote_of(&self, node: &str) -> Option<&Vote> {
        self.votes.iter().find(|vote| &*vote.node == node)
    }

    /// Rules on the votes.
    ///
    /// Where all agree, one is enough if the node is trusted, else two of which at least one is neither convicted nor from outside. Where
    /// they differ, it takes more than half of all votes, and two at least: each that differs raises the number that is needed.
    pub(crate) fn ruling(&self, trust: impl Fn(&str) -> Trust) -> Ruling {
        let same = |index: usize| {
            let vote = &self.votes[index];
            self.votes
                .iter()
                .filter(move |other| other.packed == vote.packed)
        };
        let sizes = (0..self.votes.len()).map(|index| (same(index).count(), index));
        // The first of the largest group.
        let Some((size, leader)) =
            sizes.reduce(|best, next| if next.0 > best.0 { next } else { best })
        else {
            return Ruling {
                winner: None,
                wants: true,
                contested: false,
                verified: false,
            };
        };
        let contested = size < self.votes.len();
        let solid = same(leader).any(|vote| trust(&vote.node) != Trust::Confirmed);
        let verified = size >= 2 && 2 * size > self.votes.len() && solid;
        if contested || verified || size >= 2 {
            return Ruling {
                winner: verified.then_some(leader),
                wants: !verified,
                contested,
                verified,
            };
        }
        let (counts, wants) = match trust(&self.votes[leader].node) {
            Trust::Sole => (true, self.chosen),
            // One settled range will tell about all the others, so those are left alone.
            Trust::Suspect => (false, self.chosen),
            Trust::Confirmed => (false, true),
        };
        Ruling {
            winner: counts.then_some(leader),
            wants,
            contested,
            verified,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bramble_kernel::Summary;

    /// Votes as letters: who says it (upper case: trusted; lower case: only with confirmation; `?`: suspect), and what.
    fn ruling(votes: &str, chosen: bool) -> Ruling {
        let vote = |text: &str| {
            let (node, digest) = text.split_at(1);
            let digest = digest.parse().unwrap();
            Vote {
                node: node.into(),
                packed: Packed::new(
                    &Summary {
                        digest,
                        ..Summary::EMPTY
                    }
                    .into(),
                ),
                dead: 0,
                found: 0,
            }
        };
        let claim = Claim {
            stretch: Stretch {
                start: 0,
                len: 1,
                twins: false,
            },
            votes: votes.split_whitespace().map(vote).collect(),
            chosen,
            lent: false,
            counted: None,
        };
        claim.ruling(|node| match node.chars().next() {
            Some('A'..='Z') => Trust::Sole,
            Some('a'..='z') => Trust::Confirmed,
            _ => Trust::Suspect,
        })
    }

    #[test]
    fn votes_are_ruled_on() {
        // Votes; chosen to be computed again; the winner; whether another is wanted, they differ, and it is verified.
        let cases = [
            ("A1", false, Some(0), "---"),
            ("A1", true, Some(0), "w--"),
            ("A1 B1", true, Some(0), "--v"),
            ("A1 B2", true, None, "wd-"),
            ("A1 B2 C2", true, Some(1), "-dv"),
            ("A1 B2 C1", true, Some(0), "-dv"),
            ("A1 B2 C3", true, None, "wd-"),
            ("A1 B2 C3 D3", true, None, "wd-"),
            ("A1 B2 C3 D3 E3", true, Some(2), "-dv"),
            ("?1", false, None, "---"),
            ("?1 A1", false, Some(0), "--v"),
            ("a1", false, None, "w--"),
            ("a1 b1", false, None, "w--"),
            ("a1 b1 C1", false, Some(0), "--v"),
            ("a1 b1 C2", false, None, "wd-"),
            ("a1 b1 C2 D2", false, None, "wd-"),
            ("a1 b1 C2 D2 E2", false, Some(2), "-dv"),
            ("a1 B1", false, Some(0), "--v"),
        ];
        for (votes, chosen, winner, flags) in cases {
            let found = ruling(votes, chosen);
            let flag = |set, letter| if set { letter } else { '-' };
            let told: String = [
                flag(found.wants, 'w'),
                flag(found.contested, 'd'),
                flag(found.verified, 'v'),
            ]
            .iter()
            .collect();
            assert_eq!((found.winner, told.as_str()), (winner, flags), "{votes}");
        }
    }
}
