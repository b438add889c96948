//! Attention by plans against the f64 oracle, which is told the plan's mask.

mod attention_case;
mod on_device;

use attention::plan::{HeadPlan, Plan};
use attention::shape::HeadShape;
use attention_case::{Case, random_plan};
use cuda::attend::Attend;
use cuda::attend_sm80::AttendSm80;
use cuda::device::Device;
use cuda::precision::Precision;
use cuda::search::DeviceSearch;
use on_device::Numbers;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Every kernel that the device has for these heads, and what brings plans to it.
fn kernels(device: &Device, heads: HeadShape) -> Vec<(Attend, DeviceSearch)> {
    let best = Attend::new(device, heads).unwrap();
    let other = match best {
        Attend::Sm90(_) => Some(Attend::Sm80(AttendSm80::new(device, heads, Precision::Bf16).unwrap())),
        Attend::Sm80(_) => None,
    };
    let with_search = |attend: Attend| {
        let search = DeviceSearch::new(device, heads, attend.plan_block_m()).unwrap();
        assert_eq!(search.block_m(), attend.plan_block_m(), "what the search plans, {} executes", attend.name());
        (attend, search)
    };
    std::iter::once(best).chain(other).map(with_search).collect()
}

struct Kind {
    density: f32,
    columns: usize,
    centres: bool,
}

fn check(device: &Device, numbers: &mut Numbers, heads: (usize, usize, usize), lens: &[(usize, usize)], kind: Kind) {
    let heads = HeadShape::new(heads.0, heads.1, heads.2).unwrap();
    check_with(device, &kernels(device, heads), numbers, heads, lens, kind, 24);
}

/// A random plan for every sequence, blocks that nobody lists poisoned; about `rows` rows of each head are compared.
fn check_with(
    device: &Device,
    kernels: &[(Attend, DeviceSearch)],
    numbers: &mut Numbers,
    heads: HeadShape,
    lens: &[(usize, usize)],
    kind: Kind,
    rows: usize,
) {
    let Kind { density, columns, centres } = kind;
    for (attend, search) in kernels {
        let block_m = attend.plan_block_m();
        let page_size = numbers.one_of(&[64, 128, 256]);
        let mut case = Case::new(numbers, heads, page_size, lens);
        let plans: Vec<Plan> = (case.ranges.clone().into_iter())
            .map(|range| random_plan(numbers, heads, range.tiles(block_m).unwrap(), density, columns, centres))
            .collect();
        if !centres {
            poison(&mut case, &plans);
        }
        let mut operands = case.upload(device, attend.block_m());
        let plan_refs: Vec<&Plan> = plans.iter().collect();
        let plan = search.upload(&plan_refs, &mut operands.kv, &operands.batch).unwrap();
        attend
            .launch_plan(&operands.q, &operands.kv, &operands.batch, &plan, &mut operands.o, Some(&mut operands.lse))
            .unwrap();
        case.check_plans(numbers, &operands, &plans, Some(rows));
        let first = (operands.o.read().unwrap(), operands.lse.read().unwrap());
        attend
            .launch_plan(&operands.q, &operands.kv, &operands.batch, &plan, &mut operands.o, Some(&mut operands.lse))
            .unwrap();
        assert!(first == (operands.o.read().unwrap(), operands.lse.read().unwrap()), "{}", case.name());
    }
}

fn poison(case: &mut Case, plans: &[Plan]) {
    let heads = case.heads;
    for (sequence, plan) in plans.iter().enumerate() {
        for kv_head in 0..heads.num_kv_heads() {
            let group = kv_head * heads.group_size()..(kv_head + 1) * heads.group_size();
            for block in 0..case.ranges[sequence].num_blocks() {
                let used = plan.heads[group.clone()].iter().any(|head| match head {
                    HeadPlan::Sparse(plan) => {
                        let listed = (0..plan.num_tiles()).any(|tile| plan.blocks(tile).contains(&(block as u32)));
                        listed || plan.columns().iter().any(|column| *column as usize / 64 == block)
                    }
                    _ => true,
                });
                if !used {
                    case.poison(sequence, kv_head, block);
                }
            }
        }
    }
}

/// Those of both kernels, then others of the sm_80 one.
const HEAD_DIMS: [usize; 7] = [128, 64, 32, 80, 96, 192, 256];

#[test]
fn sizes_and_prefixes_of_any_kind() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let sizes = [
        [(1, 1), (1, 64), (1, 65), (64, 64), (65, 65), (127, 127), (128, 128), (129, 129), (255, 256)],
        [(100, 1000), (128, 4096), (63, 64), (500, 700), (1, 4096), (384, 511), (1000, 1000), (640, 641), (777, 1777)],
    ];
    for head_dim in HEAD_DIMS {
        for &lens in sizes.as_flattened() {
            let kind = Kind {
                density: numbers.one_of(&[0.0, 0.1, 0.5, 1.0]),
                columns: numbers.one_of(&[0, 1, 63, 200]),
                centres: numbers.below(2) == 0,
            };
            check(&device, &mut numbers, (4, 2, head_dim), &[lens], kind);
        }
    }
}

#[test]
fn blocks_alone() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    for head_dim in HEAD_DIMS {
        for density in [0.0, 0.05, 0.3, 0.9] {
            let kind = Kind { density, columns: 0, centres: false };
            check(&device, &mut numbers, (3, 1, head_dim), &[(1500, 2100)], kind);
        }
    }
}

#[test]
fn columns_outside_listed_blocks() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    for head_dim in HEAD_DIMS {
        for columns in [1, 128, 129, 1000, 3000] {
            let kind = Kind { density: 0.2, columns, centres: false };
            check(&device, &mut numbers, (2, 2, head_dim), &[(900, 5000)], kind);
        }
    }
}

#[test]
fn centres_of_what_is_left_out() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    for head_dim in HEAD_DIMS {
        for columns in [0, 100, 1000] {
            let kind = Kind { density: 0.1, columns, centres: true };
            check(&device, &mut numbers, (6, 2, head_dim), &[(700, 12_345)], kind);
        }
    }
}

#[test]
fn several_sequences_at_once() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    for head_dim in HEAD_DIMS {
        for _ in 0..12 {
            let lens: Vec<_> = (0..2 + numbers.below(4))
                .map(|_| {
                    let q_len = 1 + numbers.below(700);
                    (q_len, q_len + numbers.one_of(&[0, 1, 63, 64, 500, 3000]))
                })
                .collect();
            let kind = Kind {
                density: numbers.one_of(&[0.05, 0.3]),
                columns: numbers.one_of(&[0, 70, 500]),
                centres: numbers.below(2) == 0,
            };
            let group = numbers.one_of(&[1, 2, 3, 7, 8]);
            check(&device, &mut numbers, (2 * group, 2, head_dim), &lens, kind);
        }
    }
}

#[test]
fn long_sequences() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    for (heads, lens) in [((8, 2, 128), (4000, 4000)), ((14, 2, 64), (2000, 20_000)), ((2, 1, 128), (700, 131_072))] {
        for centres in [false, true] {
            check(&device, &mut numbers, heads, &[lens], Kind { density: 0.1, columns: 300, centres });
        }
    }
}

#[test]
fn plans_for_others_are_refused() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let heads = HeadShape::new(2, 1, 64).unwrap();
    for (attend, search) in kernels(&device, heads) {
        let case = Case::new(&mut numbers, heads, 64, &[(300, 300)]);
        let mut operands = case.upload(&device, attend.block_m());
        for (block_m, len) in [(64, 300), (attend.plan_block_m(), 301)] {
            let tiles = attention::shape::QueryRange::new(len, len).unwrap().tiles(block_m).unwrap();
            let sparse = loop {
                let plan = random_plan(&mut numbers, heads, tiles, 0.1, 0, false);
                if plan.heads.iter().any(|head| *head != HeadPlan::Dense) {
                    break plan;
                }
            };
            let error = search.upload(&[&sparse], &mut operands.kv, &operands.batch).err().unwrap();
            assert!(error.to_string().contains("plan again"), "{error}");
        }
    }
}

/// Small ones, many at a time: `PLANS=1000000` checks so many plans of a head of a sequence, by as many threads as the machine has.
#[test]
fn random_plans_of_random_batches() {
    if on_device::device().is_none() {
        return;
    }
    let wanted: usize = std::env::var("PLANS").map_or(2000, |plans| plans.parse().expect("PLANS is a number"));
    let checked = AtomicUsize::new(0);
    let worker = |seed: u64| {
        let mut numbers = Numbers::seeded(seed);
        let device = Device::open(0).unwrap();
        for head_dim in HEAD_DIMS.into_iter().cycle() {
            let group = 1 + numbers.below(8);
            let heads = HeadShape::new(2 * group, 2, head_dim).unwrap();
            let kernels = kernels(&device, heads);
            for _ in 0..20 {
                let lens: Vec<_> = (0..1 + numbers.below(8))
                    .map(|_| {
                        let most = numbers.one_of(&[2, 70, 200, 400]);
                        let q_len = 1 + numbers.below(most);
                        (q_len, q_len + numbers.one_of(&[0, 1, 63, 64]) + numbers.below(400) * numbers.below(2))
                    })
                    .collect();
                let kind = Kind {
                    density: numbers.one_of(&[0.0, 0.05, 0.2, 0.5, 1.0]),
                    columns: numbers.one_of(&[0, 0, 1, 64, 150, 300]),
                    centres: numbers.below(2) == 0,
                };
                check_with(&device, &kernels, &mut numbers, heads, &lens, kind, 1);
                let plans = lens.len() * heads.num_q_heads() * kernels.len();
                if checked.fetch_add(plans, Ordering::Relaxed) + plans >= wanted {
                    return;
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get()) as u64;
    let mut numbers = Numbers::fresh();
    let seeds: Vec<u64> = (0..threads).map(|_| numbers.below(usize::MAX) as u64).collect();
    std::thread::scope(|scope| {
        for seed in seeds {
            let worker = &worker;
            scope.spawn(move || worker(seed));
        }
    });
    println!("{} plans", checked.load(Ordering::Relaxed));
}
