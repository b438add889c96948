use super::*;
use proptest::prelude::*;

fn plans() -> impl Strategy<Value = SavedPlan> {
    let block_m = prop::sample::select(vec![64usize, 128, 192]);
    let head = prop::option::of((any::<u64>(), any::<bool>(), 0usize..100, block_m));
    (1usize..400, 0usize..400, prop::collection::vec(head, 0..4)).prop_map(|(q_len, cached, heads)| {
        let range = QueryRange::new(q_len, q_len + cached).unwrap();
        let head = |head| match head {
            None => HeadPlan::Dense,
            Some((seed, _, n, _)) if seed % 5 == 0 => HeadPlan::Window(1 + n),
            Some((seed, centres, last_rows, block_m)) => {
                let mut state: u64 = seed;
                let mut coin = move || {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    state >> 62 == 0
                };
                let columns = (0..range.kv_len() as u32).filter(|_| coin()).collect();
                let rule = |_: usize, keep: &mut [bool]| keep.iter_mut().for_each(|keep| *keep = coin());
                HeadPlan::Sparse(
                    SparsePlan::from_rule(range.tiles(block_m).unwrap(), last_rows, columns, centres, rule).unwrap(),
                )
            }
        };
        SavedPlan::new(range, Plan { heads: heads.into_iter().map(head).collect() }).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_saved_is_what_is_read(saved in plans()) {
        prop_assert_eq!(&SavedPlan::from_json(&saved.to_json()).unwrap(), &saved);
        prop_assert!(saved.into_plan_of(99, QueryRange::new(1, 1).unwrap()).is_err());
    }

    /// Digits change places, so most of the files stay JSON and are wrong in what they say.
    #[test]
    fn changed_files_are_errors_or_plans_that_can_be_counted(
        saved in plans(), changes in prop::collection::vec((any::<prop::sample::Index>(), 0usize..17), 1..4),
    ) {
        let mut text = saved.to_json().into_bytes();
        for (at, with) in changes {
            let at = at.index(text.len());
            match b"0123456789-,:[]{}".get(with) {
                Some(byte) if text[at].is_ascii_digit() || with % 2 == 0 => text[at] = *byte,
                _ => drop(text.remove(at)),
            }
        }
        if let Ok(read) = SavedPlan::from_json(&String::from_utf8(text).unwrap()) && read.range().kv_len() < 1 << 20 {
            prop_assert!(read.plan().density(read.range()) <= 1.0);
        }
    }
}

/// A good plan of one tile and two blocks.
const GOOD: &str = r#"{"format":"sparse-accelerate plan","version":2,"q_len":60,"kv_len":128,"heads":["dense",
    {"sparse":{"block_m":64,"indptr":[0,1],"indices":[1],"columns":[7,30],"centres":true}}]}"#;

/// What is said of the good plan with a change.
fn spoil(from: &str, to: &str) -> String {
    let good = GOOD;
    SavedPlan::from_json(good).unwrap();
    assert!(good.contains(from), "{from}");
    SavedPlan::from_json(&good.replace(from, to)).unwrap_err().to_string()
}

#[test]
fn errors_say_what_is_wrong() {
    for (from, to, says) in [
        ("\"dense\"", "{\"window\":0}", "not even its own"),
        ("\"version\":2", "\"version\":3", "this program reads versions 1 to 2"),
        ("\"version\":2", "\"version\":1", "head 1: unknown field `block_m` in version 1"),
        ("\"block_m\":64,", "", "head 1: missing field `block_m` in version 2"),
        ("\"block_m\":64", "\"block_m\":96", "head 1: block_m is 96: expected a multiple of 64"),
        ("\"block_m\":64", "\"block_m\":0", "head 1: block_m is 0"),
        ("\"block_m\":64", "\"block_m\":-64", "expected usize"),
        ("accelerate plan", "accelerate patterns", "another kind of file"),
        ("\"q_len\":60", "\"q_len\":129", "129 queries end a sequence of 128 keys"),
        ("\"q_len\":60", "\"q_len\":-1", "expected usize"),
        ("\"q_len\":60", "\"q_len\":128", "head 1: 2 tiles need 3 offsets"),
        ("\"kv_len\":128", "\"kv_len\":99999999999999999999", "expected usize"),
        ("[0,1]", "[0,4294967295]", "head 1: offsets end at"),
        ("[1]", "[0]", "cut by the diagonal"),
        ("[1]", "[1.5]", "expected u32"),
        ("[7,30]", "[30,7]", "columns must ascend"),
        ("[7,30]", "[7,128]", "columns must ascend strictly below 128"),
        ("\"centres\":true", "\"centres\":true,\"more\":1", "unknown field `more`"),
        ("\"dense\"", "\"none\"", "unknown variant `none`"),
    ] {
        let message = spoil(from, to);
        assert!(message.contains(says), "{to}: {message}");
        assert!(message.starts_with("plan file: "), "{message}");
    }
    assert!(SavedPlan::from_json("").unwrap_err().to_string().contains("EOF"));
}

#[test]
fn a_file_without_heights_has_tiles_of_64_rows() {
    let old = GOOD.replace("\"version\":2", "\"version\":1").replace("\"block_m\":64,", "");
    assert_eq!(SavedPlan::from_json(&old).unwrap(), SavedPlan::from_json(GOOD).unwrap());
    let taller = SavedPlan::from_json(&GOOD.replace("\"block_m\":64", "\"block_m\":128")).unwrap();
    assert_ne!(taller, SavedPlan::from_json(GOOD).unwrap());
}

/// Lengths that a real file could not back with data: refused by counting, before anything is allocated for them.
#[test]
fn a_small_file_of_a_huge_range_costs_nothing() {
    let message = spoil("\"q_len\":60,\"kv_len\":128", "\"q_len\":2147483647,\"kv_len\":2147483647");
    assert!(message.contains("33554432 tiles need"), "{message}");
    let deep = "[".repeat(100_000);
    assert!(SavedPlan::from_json(&deep).is_err());
}

#[test]
fn a_plan_runs_only_where_it_was_made_for() {
    let range = QueryRange::new(70, 130).unwrap();
    let keep_none = |_: usize, _: &mut [bool]| {};
    let sparse =
        HeadPlan::Sparse(SparsePlan::from_rule(range.tiles(128).unwrap(), 0, vec![129], false, keep_none).unwrap());
    let saved = SavedPlan::new(range, Plan { heads: vec![sparse.clone()] }).unwrap();
    assert!(saved.clone().into_plan_of(1, range).is_ok());
    assert!(matches!(saved.clone().into_plan_of(2, range), Err(Error::Plan(_))));
    // As many tiles and blocks, but column 129 would lie past the end.
    let other = QueryRange::new(69, 129).unwrap();
    assert!(matches!(saved.into_plan_of(1, other), Err(Error::Plan(_))));
    assert!(matches!(SavedPlan::new(other, Plan { heads: vec![sparse] }), Err(Error::Plan(_))));
}
