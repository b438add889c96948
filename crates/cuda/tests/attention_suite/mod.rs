//! What every dense attention kernel must pass.

#![allow(dead_code)] // each test file uses a part

use crate::attention_case::{Case, Operands};
use crate::on_device::Numbers;
use attention::shape::HeadShape;
use cuda::attend::Attend;
use cuda::device::Device;

/// A kernel under test.
pub struct Suite {
    pub device: Device,
    pub kernel: fn(&Device, HeadShape) -> Attend,
    /// Sizes of heads it takes.
    pub head_dims: &'static [usize],
}

/// Sequences of one batch, (q_len, kv_len) each.
type Lens<'a> = &'a [(usize, usize)];

fn launch(attend: &Attend, operands: &mut Operands, window: Option<usize>) {
    let Operands { q, kv, batch, o, lse } = operands;
    attend.launch(q, kv, batch, o, Some(lse), window).unwrap();
}

impl Suite {
    fn check(&self, numbers: &mut Numbers, heads: (usize, usize, usize), page_size: usize, lens: Lens) {
        self.check_window(numbers, heads, page_size, lens, None);
    }

    fn check_window(
        &self,
        numbers: &mut Numbers,
        heads: (usize, usize, usize),
        page_size: usize,
        lens: Lens,
        window: Option<usize>,
    ) {
        let heads = HeadShape::new(heads.0, heads.1, heads.2).unwrap();
        let case = Case::new(numbers, heads, page_size, lens).with_window(window);
        let attend = (self.kernel)(&self.device, heads);
        let mut operands = case.upload(&self.device, attend.block_m());
        launch(&attend, &mut operands, window);
        case.check(numbers, &operands, Some(24));
    }

    pub fn one_sequence_of_any_size(&self) {
        let mut numbers = Numbers::fresh();
        for &head_dim in self.head_dims {
            for len in [1, 2, 63, 64, 65, 127, 128, 129, 191, 192, 193, 255, 256, 257, 383, 385, 512, 1000] {
                self.check(&mut numbers, (2, 1, head_dim), 64, &[(len, len)]);
            }
        }
    }

    pub fn queries_behind_a_prefix(&self) {
        let mut numbers = Numbers::fresh();
        let lens = [
            [(1, 2), (1, 64), (1, 65), (1, 4096), (63, 64)],
            [(64, 65), (128, 129), (100, 1000), (129, 1152), (384, 500)],
        ];
        for &head_dim in self.head_dims {
            for &lens in lens.as_flattened() {
                self.check(&mut numbers, (4, 2, head_dim), 64, &[lens]);
            }
        }
    }

    pub fn batches_of_sequences_over_pages_of_any_size(&self) {
        let mut numbers = Numbers::fresh();
        for &head_dim in self.head_dims {
            for page_size in [64, 128, 512] {
                let lens = [(5, 5), (300, 700), (1, 129), (128, 2048), (77, 77), (1, 1)];
                self.check(&mut numbers, (6, 2, head_dim), page_size, &lens);
            }
        }
    }

    pub fn random_batches(&self) {
        let mut numbers = Numbers::fresh();
        for _ in 0..40 {
            let kv_heads = 1 + numbers.below(4);
            let heads = (kv_heads * numbers.one_of(&[1, 2, 3, 4, 7]), kv_heads, numbers.one_of(self.head_dims));
            let lens: Vec<_> = (0..1 + numbers.below(5))
                .map(|_| {
                    let q_len = 1 + numbers.below(600);
                    (q_len, q_len + numbers.one_of(&[0, 1, 63, 64, 500]) + numbers.below(3))
                })
                .collect();
            let page_size = numbers.one_of(&[64, 128, 256]);
            self.check(&mut numbers, heads, page_size, &lens);
        }
    }

    pub fn windows(&self) {
        let mut numbers = Numbers::fresh();
        for &head_dim in self.head_dims {
            for window in [1, 2, 63, 64, 65, 100, 1000, 1 + numbers.below(700)] {
                for lens in [
                    &[(1000, 1000)][..],
                    &[(5, 5), (300, 700), (1, 129), (128, 2048), (77, 77), (1, 1)],
                    &[(100, 1000), (384, 500), (129, 1152), (63, 64), (64, 2500)],
                ] {
                    let page_size = numbers.one_of(&[64, 128, 512]);
                    self.check_window(&mut numbers, (4, 2, head_dim), page_size, lens, Some(window));
                }
            }
        }
    }

    pub fn a_window_that_hides_nothing_changes_nothing(&self) {
        let mut numbers = Numbers::fresh();
        for &head_dim in self.head_dims {
            let heads = HeadShape::new(2, 1, head_dim).unwrap();
            let case = Case::new(&mut numbers, heads, 64, &[(500, 700), (333, 333)]);
            let attend = (self.kernel)(&self.device, heads);
            let mut operands = case.upload(&self.device, attend.block_m());
            launch(&attend, &mut operands, None);
            let whole = (operands.o.read().unwrap(), operands.lse.read().unwrap());
            for window in [700, 701, 1 << 20, i32::MAX as usize, usize::MAX] {
                let mut operands = case.upload(&self.device, attend.block_m());
                launch(&attend, &mut operands, Some(window));
                assert!(whole == (operands.o.read().unwrap(), operands.lse.read().unwrap()), "window {window}");
            }
            let Operands { q, kv, batch, o, .. } = &mut operands;
            let error = attend.launch(q, kv, batch, o, None, Some(0)).unwrap_err();
            assert!(error.to_string().contains("sliding window"), "{error}");
        }
    }

    /// Many more items than multiprocessors, and so many keys that heads run in sections; twice, since a launch must
    /// leave everything as it was.
    pub fn long_sequences_and_launches_that_follow_each_other(&self) {
        let mut numbers = Numbers::fresh();
        for (heads, lens) in [
            ((32, 8, 128), &[(3000, 3000)][..]),
            ((14, 2, 64), &[(2000, 9000), (4097, 4097)]),
            ((2, 2, 128), &[(1500, 131_072)]),
            ((4, 2, 64), &[(1000, 131_072)]),
        ] {
            let heads = HeadShape::new(heads.0, heads.1, heads.2).unwrap();
            let case = Case::new(&mut numbers, heads, 64, lens);
            let attend = (self.kernel)(&self.device, heads);
            let mut operands = case.upload(&self.device, attend.block_m());
            launch(&attend, &mut operands, None);
            case.check(&mut numbers, &operands, Some(4));
            let first = (operands.o.read().unwrap(), operands.lse.read().unwrap());
            launch(&attend, &mut operands, None);
            assert!(first == (operands.o.read().unwrap(), operands.lse.read().unwrap()), "{}", case.name());
        }
    }
}
