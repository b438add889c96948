//! Random plans.

use attention::Error;
use attention::plan::{HeadPlan, Plan, SparsePlan};
use attention::shape::Tiles;

/// Every block that a tile sees whole is listed with the same probability, by each head for itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern {
    /// Queries and keys.
    pub len: usize,
    /// Share of blocks.
    pub density: f64,
    /// Columns of each head, anywhere.
    pub columns: usize,
    pub centres: bool,
}

impl Pattern {
    pub(crate) fn plan(&self, tiles: Tiles, heads: usize) -> Result<Plan, Error> {
        let mut random = Random::new(self.density.to_bits() ^ self.columns as u64);
        let kv_len = tiles.range().kv_len();
        let head = |_| {
            // One in each stratum of the keys: as many as asked for, none twice.
            let count = self.columns.min(kv_len);
            let column = |n: usize| {
                let (from, to) = (n * kv_len / count, (n + 1) * kv_len / count);
                (from + (random.next() * (to - from) as f64) as usize) as u32
            };
            let columns = (0..count).map(column).collect();
            let plan = SparsePlan::from_rule(tiles, 0, columns, self.centres, |_, keep| {
                keep.iter_mut().for_each(|keep| *keep = random.next() < self.density);
            });
            plan.map(HeadPlan::Sparse)
        };
        Ok(Plan { heads: (0..heads).map(head).collect::<Result<_, _>>()? })
    }
}

/// In words.
impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} tokens, {:.0}% of blocks", self.len, 100.0 * self.density)?;
        if self.columns > 0 {
            write!(f, ", {} columns", self.columns)?;
        }
        if self.centres { f.write_str(", centres") } else { Ok(()) }
    }
}

/// Uniform in [0, 1), the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f64 / (1u64 << 24) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attention::shape::QueryRange;

    #[test]
    fn plans_are_as_dense_as_they_say() {
        let tiles = QueryRange::new(8192, 8192).unwrap().tiles(128).unwrap();
        let pattern = Pattern { len: 8192, density: 0.3, columns: 100, centres: true };
        let plan = pattern.plan(tiles, 2).unwrap();
        let [HeadPlan::Sparse(first), HeadPlan::Sparse(second)] = &plan.heads[..] else { panic!("{plan:?}") };
        assert!(first.columns().len() == 100 && first.centres() && first != second);
        let density = plan.density(tiles.range());
        assert!((0.28..0.36).contains(&density), "{density}");
        assert_eq!(pattern.to_string(), "8192 tokens, 30% of blocks, 100 columns, centres");
    }
}
