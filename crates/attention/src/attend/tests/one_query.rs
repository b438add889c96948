//! One query of each head: parts of its keys and windows over them.

use super::*;
use crate::threads;

/// A query behind so many keys that several parts share them.
fn long(shape: (usize, usize, usize), cached: usize, plan: HeadPlan) -> Case {
    let mut case = Case::new(cached as u64, shape, 1, cached);
    case.plan.heads.fill(plan);
    case
}

#[test]
fn parts_of_keys_and_windows_equal_the_oracle() {
    for shape in [(1, 2, 64), (3, 1, 64), (7, 1, 12), (4, 2, 128)] {
        for cached in [0, 1023, 1024, 2500] {
            for plan in [HeadPlan::Dense, HeadPlan::Window(1), HeadPlan::Window(1100), HeadPlan::Window(1 << 20)] {
                let mut case = long(shape, cached, plan);
                for simd in Simd::available() {
                    let output = case.run(simd);
                    case.check(&output, simd).unwrap_or_else(|error| panic!("{shape:?} {cached}: {error}"));
                }
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let run = |threads: usize| {
        let mut case = long((3, 3, 64), 5000, HeadPlan::Dense);
        let output = threads::pool(threads).unwrap().install(|| case.run(Simd::detect()));
        (0..9).flat_map(|head| output.row(head, 0)).map(f32::to_bits).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(3));
}
