//! The search on the device against the CPU's: the same heads, the same goals, tiles of the same height.

mod attention_case;
mod on_device;

use attention::kv::KvPages as CpuPages;
use attention::pattern::HeadPattern;
use attention::plan::{HeadPlan, Plan};
use attention::planner::{Planned, Planner, Scene};
use attention::queries::Queries;
use attention::search::{PatternFamily, Search, Target};
use attention::shape::{HeadShape, Tiles};
use attention::simd::Simd;
use attention_case::{Case, Operand, Operands};
use cuda::attend::Attend;
use cuda::device::Device;
use cuda::search::DeviceSearch;
use on_device::Numbers;

/// Queries and keys such as models have: a sink, things that many queries look for, and a liking for what is near.
fn lifelike(numbers: &mut Numbers, heads: HeadShape, lens: (usize, usize)) -> Case {
    let mut case = Case::new(numbers, heads, 64, &[lens]);
    let salt = numbers.below(1 << 20);
    let hash = move |n: usize| (n + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    // Direction of a topic.
    let topic = move |n: usize, i: usize| if hash(n * 1009 + i).is_multiple_of(2) { 1.0 } else { -1.0f32 };
    case.shape(|operand, noise, head, position, i| {
        let head = if operand == Operand::Query { head / heads.group_size() } else { head };
        let of_stretch = topic(head * 64 + position / 200 % 9, i);
        let common = topic(head * 64 + 40, i);
        match operand {
            Operand::Query => 0.4 * noise + 0.5 * of_stretch + 0.5 * common,
            Operand::Key => {
                let sought = position < 4 || hash(position + head).is_multiple_of(97);
                let special = if sought { 0.9 * common } else { 0.0 };
                0.35 * noise + 0.35 * of_stretch + special
            }
        }
    });
    case
}

/// What the CPU's search finds for tiles of the device's height.
fn on_cpu(case: &Case, tiles: Tiles, search: &Search, last_rows: usize) -> Planned {
    let simd = Simd::detect();
    let heads = case.heads;
    let table: Vec<u32> = (0..tiles.num_blocks() as u32).collect();
    let mut pages = CpuPages::new(heads, table.len());
    let (k, v) = case.keys_and_values(0);
    pages.append_rows(&table, 0, &k, &v).unwrap();
    let kv = pages.view(&table, tiles.range().kv_len()).unwrap();
    let queries = Queries::from_rows(simd, heads, &case.queries()).unwrap();
    search.plan(&Scene { simd, layer: 0, queries: &queries, kv: &kv, tiles, last_rows }).unwrap()
}

fn blocks(plan: &HeadPlan, tiles: Tiles, tile: usize) -> Vec<u32> {
    match plan {
        HeadPlan::Sparse(plan) => plan.blocks(tile).to_vec(),
        _ => (0..tiles.causal_blocks(tile) as u32).collect(),
    }
}

/// Blocks in one list and not in the other, of all in either.
fn difference(a: &Plan, b: &Plan, tiles: Tiles) -> (usize, usize) {
    let (mut differ, mut all) = (0, 0);
    for (a, b) in a.heads.iter().zip(&b.heads) {
        for tile in 0..tiles.num_tiles() {
            let (a, b) = (blocks(a, tiles, tile), blocks(b, tiles, tile));
            let common = a.iter().filter(|block| b.contains(block)).count();
            differ += a.len() + b.len() - 2 * common;
            all += a.len() + b.len() - common;
        }
    }
    (differ, all)
}

fn check(device: &Device, numbers: &mut Numbers, heads: (usize, usize, usize), lens: (usize, usize), search: &Search) {
    let heads = HeadShape::new(heads.0, heads.1, heads.2).unwrap();
    let attend = Attend::new(device, heads).unwrap();
    let mut on_device = DeviceSearch::new(device, heads, attend.plan_block_m()).unwrap();
    let case = lifelike(numbers, heads, lens);
    let tiles = case.ranges[0].tiles(on_device.block_m()).unwrap();
    let last_rows = numbers.one_of(&[0, 1, 64]);
    let mut operands = case.upload(device, attend.block_m());
    let mut room = on_device.room(device, tiles).unwrap();
    let mut run = |on_device: &DeviceSearch, room: &mut _| {
        on_device.run(search, last_rows, &operands.q, &mut operands.kv, &operands.batch, room, None).unwrap();
    };
    run(&on_device, &mut room);
    let found = room.planned(search).unwrap();
    let kept = on_device.kept().unwrap();
    // Found again, it is the same: nothing depends on the order of threads.
    run(&on_device, &mut room);
    let again = room.planned(search).unwrap();
    assert!(found.plan == again.plan, "{}: another plan the second time", case.name());

    let counted: u64 = found.plan.heads.iter().map(|head| head.pairs(tiles.range())).sum();
    assert_eq!(kept.computed_pairs, counted, "{}", case.name());
    let all_pairs = (tiles.range().causal_pairs() * heads.num_q_heads() as u64) as f64;
    assert!((kept.recalled_pairs as f64 / all_pairs - found.recall()).abs() < 1e-6);

    let expected = on_cpu(&case, tiles, search, last_rows);
    let (mut same, mut candidates, mut apart, mut largest) = (0, 0, 0, 0f64);
    for (found, expected) in found.choices.iter().zip(&expected.choices) {
        let kind = |pattern: &HeadPattern| (pattern.name(), pattern.to_string());
        same += (kind(&found.pattern) == kind(&expected.pattern)) as usize;
        for (found, expected) in found.considered.iter().zip(&expected.considered) {
            candidates += 1;
            largest = largest.max((found.recall - expected.recall).abs());
            if found.pattern.to_string() == expected.pattern.to_string() {
                let (recall, cost) = ((found.recall - expected.recall).abs(), (found.cost / expected.cost - 1.0).abs());
                // Where a sum lies at an edge, a part of the chunk has another level.
                apart += (recall > 0.01 || cost > 0.03) as usize;
                assert!(recall < 0.05 && cost < 0.3, "{}: {found:?}, on the CPU {expected:?}", case.name());
            }
        }
    }
    let (differ, all) = difference(&found.plan, &expected.plan, tiles);
    println!(
        "{}, {:?}: density {:.3} (CPU {:.3}), {same} of {} heads alike, {differ} of {all} blocks differ, {candidates} candidates up to {largest:.4} apart",
        case.name(),
        search.target(),
        found.plan.density(tiles.range()),
        expected.plan.density(tiles.range()),
        found.choices.len(),
    );
    assert!(apart <= 1 + candidates / 20, "{}: {apart} of {candidates} candidates", case.name());
    assert!(
        (found.recall() - expected.recall()).abs() < 0.02,
        "{}: {} {}",
        case.name(),
        found.recall(),
        expected.recall()
    );
    let (a, b) = (found.plan.density(tiles.range()), expected.plan.density(tiles.range()));
    assert!((a - b).abs() < 0.03 + 0.1 * b, "{}: density {a}, on the CPU {b}", case.name());

    let Operands { q, kv, batch, o, lse } = &mut operands;
    attend.launch_plan(q, kv, batch, room.plan(), o, Some(lse)).unwrap();
    case.check_plans(numbers, &operands, &[found.plan], Some(16));
}

#[test]
fn plans_are_those_of_the_cpu() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    for target in [Target::Recall(0.95), Target::Recall(0.8), Target::Density(0.2), Target::Cost(0.4)] {
        let mut search = Search::new(target).unwrap();
        search.whole_levels = true;
        search.cost.margin = 1.0;
        for (heads, lens) in [((4, 2, 64), (2048, 2048)), ((6, 2, 128), (3000, 5001)), ((2, 2, 64), (4500, 4500))] {
            check(&device, &mut numbers, heads, lens, &search);
        }
    }
}

#[test]
fn every_family_by_itself() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    for family in [PatternFamily::BlockCluster, PatternFamily::IntervalSlash, PatternFamily::Triangular] {
        for counts in [vec![0], vec![0, 64, 256, 1024]] {
            let mut search = Search::new(Target::Recall(0.9)).unwrap();
            search.families = vec![family];
            search.column_counts = counts;
            search.centres = numbers.below(2) == 0;
            check(&device, &mut numbers, (4, 2, 128), (2500, 4000), &search);
        }
    }
}

#[test]
fn other_sizes_of_heads() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let search = Search::new(Target::Recall(0.9)).unwrap();
    for head_dim in [32, 80, 96, 112, 192, 256] {
        check(&device, &mut numbers, (2, 1, head_dim), (2100, 3100), &search);
    }
}

/// Heads that share keys are searched together, as many as a block of threads has warps.
#[test]
fn groups_of_any_size() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let search = Search::new(Target::Recall(0.9)).unwrap();
    for heads in [(1, 1, 128), (5, 1, 128), (9, 1, 64), (16, 1, 128), (6, 2, 80)] {
        check(&device, &mut numbers, heads, (2100, 4200), &search);
    }
}

#[test]
fn long_sequences() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let search = Search::new(Target::Recall(0.95)).unwrap();
    check(&device, &mut numbers, (7, 1, 64), (8192, 32_768), &search);
    check(&device, &mut numbers, (2, 1, 128), (4096, 131_072), &search);
}

#[test]
fn what_only_the_cpu_has_is_refused() {
    let Some(device) = on_device::device() else { return };
    let mut numbers = Numbers::fresh();
    let heads = HeadShape::new(2, 1, 64).unwrap();
    let case = lifelike(&mut numbers, heads, (3000, 3000));
    let on_device = DeviceSearch::new(&device, heads, 128).unwrap();
    let tiles = case.ranges[0].tiles(on_device.block_m()).unwrap();
    let mut room = on_device.room(&device, tiles).unwrap();
    let mut operands = case.upload(&device, 128);
    let mut columns = Search::new(Target::Recall(0.9)).unwrap();
    columns.column_counts = vec![0, 100];
    let mut guarantee = Search::new(Target::Recall(0.9)).unwrap();
    guarantee.guarantee = Some(0.1);
    for search in [columns, guarantee] {
        let Operands { q, kv, batch, .. } = &mut operands;
        assert!(on_device.run(&search, 0, q, kv, batch, &mut room, None).is_err());
    }
}
