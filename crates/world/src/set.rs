//! Small fixed-size bit sets.

/// A set of numbers below `64 * W`: locations of a world, or entries of an item pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Set<const W: usize>([u64; W]);

impl<const W: usize> Set<W> {
    /// The set without members.
    pub const EMPTY: Self = Set([0; W]);

    /// All numbers below `n`. Numbers that do not fit are left out.
    #[inline(always)]
    pub fn below(n: usize) -> Self {
        let mut words = [u64::MAX; W];
        for (index, word) in words.iter_mut().enumerate() {
            let members = n.saturating_sub(64 * index);
            if members < 64 {
                *word = (1 << members) - 1;
            }
        }
        Set(words)
    }

    /// The set with these words, lowest numbers first.
    #[inline(always)]
    pub fn from_words(words: [u64; W]) -> Self {
        Set(words)
    }

    /// The set as words, lowest numbers first.
    #[inline(always)]
    pub fn words(self) -> [u64; W] {
        self.0
    }

    /// Adds a member. A number that does not fit is ignored.
    #[inline(always)]
    pub fn insert(&mut self, member: usize) {
        if let Some(word) = self.0.get_mut(member / 64) {
            *word |= 1 << (member % 64);
        }
    }

    /// Takes a member out, if it is one.
    #[inline(always)]
    pub fn remove(&mut self, member: usize) {
        if let Some(word) = self.0.get_mut(member / 64) {
            *word &= !(1 << (member % 64));
        }
    }

    /// Whether `member` is one.
    #[inline(always)]
    pub fn contains(self, member: usize) -> bool {
        self.0
            .get(member / 64)
            .is_some_and(|word| word >> (member % 64) & 1 == 1)
    }

    /// Whether there are no members.
    #[inline(always)]
    pub fn is_empty(self) -> bool {
        self.0.iter().fold(0, |all, word| all | word) == 0
    }

    /// How many members there are.
    #[inline(always)]
    pub fn len(self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Members of both.
    #[inline(always)]
    pub fn and(self, other: Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    /// Members of either.
    #[inline(always)]
    pub fn or(self, other: Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    /// Members of this one alone.
    #[inline(always)]
    pub fn minus(self, other: Self) -> Self {
        self.zip(other, |a, b| a & !b)
    }

    /// The members, lowest first.
    #[inline(always)]
    pub fn iter(self) -> impl Iterator<Item = usize> {
        self.0
            .into_iter()
            .enumerate()
            .flat_map(|(index, word)| Ones(word).map(move |bit| index * 64 + bit))
    }

    #[inline(always)]
    fn zip(mut self, other: Self, op: impl Fn(u64, u64) -> u64) -> Self {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word = op(*word, other);
        }
        self
    }
}

impl<const W: usize> FromIterator<usize> for Set<W> {
    fn from_iter<I: IntoIterator<Item = usize>>(members: I) -> Self {
        let mut set = Self::EMPTY;
        members.into_iter().for_each(|member| set.insert(member));
        set
    }
}

/// The positions of the one bits of a word, lowest first.
struct Ones(u64);

impl Iterator for Ones {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn agrees_with_the_standard_set(
            a in prop::collection::btree_set(0usize..128, 0..60),
            b in prop::collection::btree_set(0usize..128, 0..60),
        ) {
            let set = |members: &BTreeSet<usize>| members.iter().copied().collect::<Set<2>>();
            let (x, y) = (set(&a), set(&b));
            prop_assert_eq!(x.iter().collect::<BTreeSet<_>>(), a.clone());
            prop_assert_eq!(x.len() as usize, a.len());
            prop_assert_eq!(x.is_empty(), a.is_empty());
            prop_assert_eq!(x.and(y), set(&(&a & &b)));
            prop_assert_eq!(x.or(y), set(&(&a | &b)));
            prop_assert_eq!(x.minus(y), set(&(&a - &b)));
            for member in 0..130 {
                prop_assert_eq!(x.contains(member), a.contains(&member));
            }
            let mut fewer = x;
            y.iter().for_each(|member| fewer.remove(member));
            prop_assert_eq!(fewer, x.minus(y));
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        assert_eq!(Set::<1>::below(70).len(), 64);
        for n in 0..=256 {
            assert_eq!(Set::<4>::below(n), (0..n).collect());
        }
    }
}
