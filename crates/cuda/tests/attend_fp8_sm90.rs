//! Attention with products of 8-bit floats: its rounding against rounding on the host, its output against the f64 oracle on what was
//! rounded, and how far both are from exact attention.

mod attention_case;
mod on_device;

use attention::plan::{HeadPlan, Plan};
use attention::shape::HeadShape;
use attention_case::rounded::{Rounded, fp8_value, round_to_fp8};
use attention_case::{Case, random_plan};
use cuda::Error;
use cuda::attend::{Attend, Precision};
use cuda::attend_sm90::AttendSm90;
use cuda::device::Device;
use cuda::search::DeviceSearch;
use on_device::Numbers;

fn device() -> Option<Device> {
    let device = on_device::device()?;
    if !AttendSm90::fits(&device, 128) {
        on_device::skipped(&format!("needs compute capability 9.0, this is {}", device.properties()));
        return None;
    }
    Some(device)
}

fn kernel(device: &Device, heads: HeadShape) -> AttendSm90 {
    AttendSm90::new(device, heads, Precision::Fp8).unwrap()
}

/// Dense, then by a random plan, over the same operands.
fn check(
    device: &Device,
    numbers: &mut Numbers,
    heads: (usize, usize, usize),
    page_size: usize,
    lens: &[(usize, usize)],
) {
    let heads = HeadShape::new(heads.0, heads.1, heads.2).unwrap();
    let attend = kernel(device, heads);
    let case = Case::new(numbers, heads, page_size, lens).with_common_key(numbers);
    let mut operands = case.upload(device, attend.block_m());
    attend.launch(&operands.q, &operands.kv, &operands.batch, &mut operands.o, None, None).unwrap();
    let rounded = Rounded::of(&case, attend.rounded().unwrap().read().unwrap());
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
    let search = DeviceSearch::new(device, heads, block_m).unwrap();
    let plan = search.upload(&plans.iter().collect::<Vec<_>>(), &mut operands.kv, &operands.batch).unwrap();
    attend.launch_plan(&operands.q, &operands.kv, &operands.batch, &plan, &mut operands.o, None).unwrap();
    rounded.check_output(&case, numbers, &operands, Some(&plans), 24);
}

#[test]
fn dense_and_by_plans_of_any_size() {
    let Some(device) = device() else { return };
    let mut numbers = Numbers::fresh();
    for head_dim in [128, 64] {
        for len in [1, 2, 63, 64, 65, 127, 128, 129, 191, 193, 257, 1000] {
            check(&device, &mut numbers, (2, 1, head_dim), 64, &[(len, len)]);
        }
        for lens in [(1, 2), (1, 4096), (63, 64), (100, 1000), (384, 500), (700, 5000)] {
            check(&device, &mut numbers, (4, 2, head_dim), 64, &[lens]);
        }
    }
}

#[test]
fn batches_over_pages_of_any_size() {
    let Some(device) = device() else { return };
    let mut numbers = Numbers::fresh();
    for _ in 0..24 {
        let kv_heads = 1 + numbers.below(3);
        let heads = (kv_heads * numbers.one_of(&[1, 2, 3, 7]), kv_heads, numbers.one_of(&[64, 128]));
        let lens: Vec<_> = (0..1 + numbers.below(5))
            .map(|_| {
                let q_len = 1 + numbers.below(600);
                (q_len, q_len + numbers.one_of(&[0, 1, 63, 64, 500]) + numbers.below(3))
            })
            .collect();
        let page_size = numbers.one_of(&[64, 128, 512]);
        check(&device, &mut numbers, heads, page_size, &lens);
    }
}

#[test]
fn long_sequences() {
    let Some(device) = device() else { return };
    let mut numbers = Numbers::fresh();
    for (heads, lens) in [((8, 2, 128), (3000, 9000)), ((14, 2, 64), (2000, 9000)), ((1, 1, 128), (150, 65_536))] {
        check(&device, &mut numbers, heads, 64, &[lens]);
    }
}

/// What bf16 is compared with in `docs/kernels.md`: root mean square errors of the output over that of the output, exact attention the
/// reference. The bound is loose: it is to notice a mistake, not to state a quality.
#[test]
fn errors_beside_those_of_bf16() {
    let Some(device) = device() else { return };
    let mut numbers = Numbers::fresh();
    for head_dim in [128, 64] {
        let heads = HeadShape::new(8, 2, head_dim).unwrap();
        let case = Case::new(&mut numbers, heads, 64, &[(512, 8192)]).with_common_key(&mut numbers);
        let error = |precision| {
            let attend = AttendSm90::new(&device, heads, precision).unwrap();
            let mut operands = case.upload(&device, attend.block_m());
            attend.launch(&operands.q, &operands.kv, &operands.batch, &mut operands.o, None, None).unwrap();
            case.relative_error(&operands, 16)
        };
        let [bf16, fp8] = [Precision::Bf16, Precision::Fp8].map(error);
        println!("head_dim {head_dim}: relative error {bf16:.5} in bf16, {fp8:.5} in 8-bit floats");
        assert!(bf16 < 0.01 && fp8 < 0.15, "{bf16}, {fp8}");
    }
}

#[test]
fn windows_and_what_it_cannot_do() {
    let Some(device) = device() else { return };
    let mut numbers = Numbers::fresh();
    let heads = HeadShape::new(4, 2, 128).unwrap();
    for window in [1, 64, 100, 1000] {
        let case = Case::new(&mut numbers, heads, 64, &[(700, 900), (5, 5)]).with_window(Some(window));
        let attend = kernel(&device, heads);
        let mut operands = case.upload(&device, attend.block_m());
        attend.launch(&operands.q, &operands.kv, &operands.batch, &mut operands.o, None, Some(window)).unwrap();
        let rounded = Rounded::of(&case, attend.rounded().unwrap().read().unwrap());
        rounded.check_output(&case, &mut numbers, &operands, None, 24);
    }
    let attend = Attend::with_precision(&device, heads, Precision::Fp8).unwrap();
    let mut operands = Case::new(&mut numbers, heads, 64, &[(5, 5)]).upload(&device, attend.block_m());
    let lse = Some(&mut operands.lse);
    let error = attend.launch(&operands.q, &operands.kv, &operands.batch, &mut operands.o, lse, None).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }) && error.to_string().contains("lse"), "{error}");
    let other = HeadShape::new(4, 2, 80).unwrap();
    assert!(Attend::with_precision(&device, other, Precision::Fp8).is_err());
}

/// Blocks that nobody lists may hold anything.
#[test]
fn what_is_no_number_stays_where_it_is() {
    let Some(device) = device() else { return };
    let mut numbers = Numbers::fresh();
    for head_dim in [128, 64] {
        let heads = HeadShape::new(2, 1, head_dim).unwrap();
        let attend = kernel(&device, heads);
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
        let mut operands = case.upload(&device, attend.block_m());
        let search = DeviceSearch::new(&device, heads, attend.plan_block_m()).unwrap();
        let uploaded = search.upload(&[&plan], &mut operands.kv, &operands.batch).unwrap();
        attend.launch_plan(&operands.q, &operands.kv, &operands.batch, &uploaded, &mut operands.o, None).unwrap();
        let rounded = Rounded::of(&case, attend.rounded().unwrap().read().unwrap());
        rounded.check_rounding(&case);
        rounded.check_output(&case, &mut numbers, &operands, Some(&[plan]), 24);
    }
}

/// Needs no device.
#[test]
fn the_host_rounds_as_the_format_says() {
    let values = (0u8..=255).map(fp8_value).filter(|x| x.is_finite()).collect::<Vec<f32>>();
    assert_eq!(values.iter().cloned().fold(0.0, f32::max), 448.0);
    assert_eq!(values.len(), 254);
    let mut numbers = Numbers::fresh();
    for _ in 0..100_000 {
        let x = numbers.next() * numbers.one_of(&[1e-3, 0.02, 1.0, 30.0, 500.0]);
        let rounded = round_to_fp8(x);
        let nearest = values.iter().map(|value| (value - x).abs()).fold(f32::INFINITY, f32::min);
        assert!((rounded - x).abs() <= nearest, "{x} to {rounded}");
    }
    assert_eq!([17.0, 19.0, 0.0].map(round_to_fp8), [16.0, 20.0, 0.0], "ties to even");
}
