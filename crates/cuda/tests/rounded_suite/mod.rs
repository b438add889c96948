//! What kernels that round their operands are held to: their rounding against rounding on the host, and their output against the f64
//! oracle on what was rounded.

use crate::attention_case::rounded::Rounded;
use crate::attention_case::{Case, random_plan};
use crate::on_device::Numbers;
use attention::plan::{HeadPlan, Plan};
use attention::shape::HeadShape;
use cuda::Error;
use cuda::attend::Attend;
use cuda::device::Device;
use cuda::quantise_kv::RoundedOnHost;
use cuda::search::DeviceSearch;

/// One kernel on one device.
pub struct RoundedSuite {
    pub device: Device,
    pub kernel: fn(&Device, HeadShape) -> Attend,
    pub rounded: fn(&Case, RoundedOnHost) -> Rounded,
    pub head_dims: &'static [usize],
}

impl RoundedSuite {
    fn attend(&self, heads: HeadShape) -> Attend {
        (self.kernel)(&self.device, heads)
    }

    /// What the last launch rounded.
    fn rounded(&self, attend: &Attend, case: &Case) -> Rounded {
        (self.rounded)(case, attend.rounded().unwrap().read().unwrap())
    }

    /// Dense, then by a random plan, over the same operands.
    fn check(
        &self,
        numbers: &mut Numbers,
        (q_heads, kv_heads, head_dim): (usize, usize, usize),
        page_size: usize,
        lens: &[(usize, usize)],
    ) {
        let heads = HeadShape::new(q_heads, kv_heads, head_dim).unwrap();
        let attend = self.attend(heads);
        let case = Case::new(numbers, heads, page_size, lens).with_common_key(numbers);
        let mut operands = case.upload(&self.device, attend.block_m());
        attend.launch(&operands.q, &operands.kv, &operands.batch, &mut operands.o, None, None).unwrap();
        let rounded = self.rounded(&attend, &case);
        rounded.check_rounding(&case);
        rounded.check_output(&case, numbers, &operands, None, 24);
        let again = operands.o.read().unwrap();
        attend.launch(&operands.q, &operands.kv, &operands.batch, &mut operands.o, None, None).unwrap();
        assert!(again == operands.o.read().unwrap(), "{}", case.name());

        let block_m = attend.plan_block_m();
        let (density, columns) = (numbers.one_of(&[0.0, 0.1, 0.5]), numbers.one_of(&[0, 1, 130, 700]));
        let centres = numbers.below(2) == 0;
        let plans: Vec<Plan> = (case.ranges.iter())
            .map(|range| random_plan(numbers, heads, range.tiles(block_m).unwrap(), density, columns, centres))
            .collect();
        let search = DeviceSearch::new(&self.device, heads, block_m).unwrap();
        let plan = search.upload(&plans.iter().collect::<Vec<_>>(), &mut operands.kv, &operands.batch).unwrap();
        attend.launch_plan(&operands.q, &operands.kv, &operands.batch, &plan, &mut operands.o, None).unwrap();
        rounded.check_output(&case, numbers, &operands, Some(&plans), 24);
    }

    pub fn dense_and_by_plans_of_any_size(&self) {
        let mut numbers = Numbers::fresh();
        for &head_dim in self.head_dims {
            for len in [1, 2, 63, 64, 65, 127, 128, 129, 191, 193, 257, 1000] {
                self.check(&mut numbers, (2, 1, head_dim), 64, &[(len, len)]);
            }
            for lens in [(1, 2), (1, 4096), (63, 64), (100, 1000), (384, 500), (700, 5000)] {
                self.check(&mut numbers, (4, 2, head_dim), 64, &[lens]);
            }
        }
    }

    pub fn batches_over_pages_of_any_size(&self) {
        let mut numbers = Numbers::fresh();
        for _ in 0..24 {
            let kv_heads = 1 + numbers.below(3);
            let heads = (kv_heads * numbers.one_of(&[1, 2, 3, 7]), kv_heads, numbers.one_of(self.head_dims));
            let lens: Vec<_> = (0..1 + numbers.below(5))
                .map(|_| {
                    let q_len = 1 + numbers.below(600);
                    (q_len, q_len + numbers.one_of(&[0, 1, 63, 64, 500]) + numbers.below(3))
                })
                .collect();
            let page_size = numbers.one_of(&[64, 128, 512]);
            self.check(&mut numbers, heads, page_size, &lens);
        }
    }

    pub fn long_sequences(&self) {
        let mut numbers = Numbers::fresh();
        for (heads, lens) in [((8, 2, 128), (3000, 9000)), ((14, 2, 64), (2000, 9000)), ((1, 1, 128), (150, 65_536))] {
            self.check(&mut numbers, heads, 64, &[lens]);
        }
    }

    /// And no `lse`, which would be that of keys less their mean.
    pub fn windows_and_what_it_cannot_do(&self) {
        let mut numbers = Numbers::fresh();
        let heads = HeadShape::new(4, 2, 128).unwrap();
        let attend = self.attend(heads);
        for window in [1, 64, 100, 1000] {
            let case = Case::new(&mut numbers, heads, 64, &[(700, 900), (5, 5)]).with_window(Some(window));
            let mut operands = case.upload(&self.device, attend.block_m());
            attend.launch(&operands.q, &operands.kv, &operands.batch, &mut operands.o, None, Some(window)).unwrap();
            self.rounded(&attend, &case).check_output(&case, &mut numbers, &operands, None, 24);
        }
        let mut operands = Case::new(&mut numbers, heads, 64, &[(5, 5)]).upload(&self.device, attend.block_m());
        let lse = Some(&mut operands.lse);
        let error = attend.launch(&operands.q, &operands.kv, &operands.batch, &mut operands.o, lse, None).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }) && error.to_string().contains("lse"), "{error}");
    }

    /// Blocks that nobody lists may hold anything.
    pub fn what_is_no_number_stays_where_it_is(&self) {
        let mut numbers = Numbers::fresh();
        for &head_dim in self.head_dims {
            let heads = HeadShape::new(2, 1, head_dim).unwrap();
            let attend = self.attend(heads);
            let mut case = Case::new(&mut numbers, heads, 64, &[(300, 3000)]);
            let tiles = case.ranges[0].tiles(attend.plan_block_m()).unwrap();
            let plan = loop {
                let plan = random_plan(&mut numbers, heads, tiles, 0.1, 0, false);
                if plan.heads.iter().all(|head| matches!(head, HeadPlan::Sparse(_))) {
                    break plan;
                }
            };
            let listed = |block: u32| {
                plan.heads.iter().any(|head| match head {
                    HeadPlan::Sparse(plan) => (0..plan.num_tiles()).any(|tile| plan.blocks(tile).contains(&block)),
                    _ => true,
                })
            };
            (0..tiles.num_blocks()).filter(|block| !listed(*block as u32)).for_each(|block| case.poison(0, 0, block));
            let mut operands = case.upload(&self.device, attend.block_m());
            let search = DeviceSearch::new(&self.device, heads, attend.plan_block_m()).unwrap();
            let uploaded = search.upload(&[&plan], &mut operands.kv, &operands.batch).unwrap();
            attend.launch_plan(&operands.q, &operands.kv, &operands.batch, &uploaded, &mut operands.o, None).unwrap();
            let rounded = self.rounded(&attend, &case);
            rounded.check_rounding(&case);
            rounded.check_output(&case, &mut numbers, &operands, Some(&[plan]), 24);
        }
    }

    /// What bf16 is compared with in `docs/kernels.md`: root mean square errors of the output over that of the output, exact attention
    /// the reference; of this kernel and of the one in bf16. `most` is loose: it is to notice a mistake, not to state a quality.
    pub fn errors_beside_those_of_bf16(&self, most: f64) {
        let mut numbers = Numbers::fresh();
        for head_dim in [128, 64] {
            let heads = HeadShape::new(8, 2, head_dim).unwrap();
            let case = Case::new(&mut numbers, heads, 64, &[(512, 8192)]).with_common_key(&mut numbers);
            let error = |attend: Attend| {
                let mut operands = case.upload(&self.device, attend.block_m());
                attend.launch(&operands.q, &operands.kv, &operands.batch, &mut operands.o, None, None).unwrap();
                case.relative_error(&operands, 16)
            };
            let bf16 = error(Attend::new(&self.device, heads).unwrap());
            let rounded = self.attend(heads);
            let name = rounded.name();
            let rounded = error(rounded);
            println!("head_dim {head_dim}: relative error {bf16:.5} in bf16, {rounded:.5} of {name}");
            assert!(bf16 < 0.01 && rounded < most, "{bf16}, {rounded}");
        }
    }
}
