//! Numbers that look random and are the same on every machine: SplitMix64 (Steele, Lea and Flood 2014).

use std::collections::HashMap;

/// A stream of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream of a seed and of what it is for.
    pub(crate) fn of(seed: u64, purpose: &[u64]) -> Self {
        purpose.iter().fold(Self(seed), |random, word| Self(random.0 ^ word).fork())
    }

    /// A stream of its own, so that what is drawn here moves nothing there.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, without a visible bias for small `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((self.next() as u128 * n as u128) >> 64) as usize
    }

    /// One of them.
    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// `count` different numbers below `n`, or all of them where there are no more, in random order. A longer sample begins
    /// with the shorter one of the same stream.
    pub(crate) fn sample(&mut self, n: usize, count: usize) -> Vec<usize> {
        // Fisher and Yates, of whose table only what was moved is written down.
        let mut moved = HashMap::new();
        (0..count.min(n))
            .map(|place| {
                let from = place + self.below(n - place);
                let here = moved.get(&place).copied().unwrap_or(place);
                moved.insert(from, here).unwrap_or(from)
            })
            .collect()
    }

    /// In random order.
    pub(crate) fn shuffle<T>(&mut self, all: &mut [T]) {
        for place in (1..all.len()).rev() {
            all.swap(place, self.below(place + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn samples_are_of_different_numbers_and_begin_alike() {
        for n in [1, 2, 7, 40, 1000] {
            let of = |count| Random::of(3, &[n as u64]).sample(n, count);
            let all = of(2 * n);
            assert_eq!(all.iter().copied().collect::<BTreeSet<_>>(), (0..n).collect());
            assert_eq!(all.len(), n);
            assert_eq!(of(n / 2), all[..n / 2]);
        }
    }

    #[test]
    fn every_order_is_as_likely() {
        let mut random = Random::new(1);
        let (mut sampled, mut shuffled) = (HashMap::new(), HashMap::new());
        for _ in 0..6000 {
            *sampled.entry(random.sample(3, 3)).or_insert(0) += 1;
            let mut order = vec![0, 1, 2];
            random.shuffle(&mut order);
            *shuffled.entry(order).or_insert(0) += 1;
        }
        // A thousand each; the standard deviation is 29.
        for counts in [sampled, shuffled] {
            assert_eq!(counts.len(), 6);
            assert!(counts.values().all(|count: &i32| (850..1150).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn streams_of_different_purposes_differ() {
        let firsts: BTreeSet<u64> = (0..4).flat_map(|a| (0..4).map(move |b| Random::of(0, &[a, b]).next())).collect();
        assert_eq!(firsts.len(), 16);
    }
}
