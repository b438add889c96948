use super::*;
use crate::attend::{Output, attend};
use crate::pattern::synthetic::Synthetic;
use crate::simd::Simd;
use proptest::prelude::*;

fn pattern() -> impl Strategy<Value = StaticPattern> {
    let size = || prop_oneof![0usize..400, Just(usize::MAX)];
    prop_oneof![
        Just(StaticPattern::Dense),
        (size(), size()).prop_map(|(sink, window)| StaticPattern::Triangular { sink, window }),
        (size(), size()).prop_map(|(columns, slashes)| StaticPattern::IntervalSlash { columns, slashes }),
        (any::<u8>(), size()).prop_map(|(level, columns)| StaticPattern::BlockCluster { level, columns }),
        size().prop_map(|blocks| StaticPattern::TopBlocks { blocks }),
    ]
}

fn patterns() -> impl Strategy<Value = StaticPatterns> {
    let layers =
        (1usize..4).prop_flat_map(|heads| prop::collection::vec(prop::collection::vec(pattern(), heads), 1..4));
    (layers, any::<bool>())
        .prop_map(|(layers, centres)| StaticPatterns { centres, ..StaticPatterns::new(layers).unwrap() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_saved_is_what_is_read(patterns in patterns()) {
        prop_assert_eq!(StaticPatterns::from_json(&patterns.to_json()).unwrap(), patterns);
    }

    #[test]
    fn changed_files_are_errors_or_patterns(
        patterns in patterns(), foreign: bool, changes in prop::collection::vec((any::<prop::sample::Index>(), 32u8..127), 1..4),
    ) {
        let mut text = if foreign { MINFERENCE.to_owned() } else { patterns.to_json() }.into_bytes();
        for (at, byte) in changes {
            let at = at.index(text.len());
            text[at] = byte;
        }
        if let Ok(read) = StaticPatterns::from_json(&String::from_utf8(text).unwrap()) {
            prop_assert!(read.check_model(read.layers().len(), read.layers()[0].len()).is_ok());
        }
    }

    #[test]
    fn the_kernel_accepts_every_plan_and_the_last_rows_see_all(
        seed: u64, q_len in 1usize..300, cached in 0usize..500, last_rows in 0usize..100,
        heads in prop::collection::vec(pattern(), 4), centres: bool,
        block_m in prop::sample::select(vec![64usize, 64, 128, 256]),
    ) {
        let case = Synthetic::new(seed, q_len, cached);
        let (simd, range, kv) = (Simd::detect(), case.range, case.kv());
        let queries = case.queries(simd);
        let patterns = StaticPatterns { centres, ..StaticPatterns::new(vec![heads]).unwrap() };
        let scene = Scene { simd, layer: 0, queries: &queries, kv: &kv, tiles: case.tiles(block_m), last_rows };
        let planned = patterns.plan(&scene).unwrap();
        prop_assert_eq!(planned.choices.len(), 4);

        let run = |plan: &Plan| {
            let mut output = Output::new(case.heads, q_len);
            attend(simd, &queries, &kv, range, plan, &mut output).unwrap();
            output
        };
        let (sparse, dense) = (run(&planned.plan), run(&Plan::dense(4)));
        for head in 0..4 {
            for row in q_len.saturating_sub(last_rows)..q_len {
                prop_assert!((sparse.lse(head, row) - dense.lse(head, row)).abs() < 1e-3);
            }
        }
    }
}

#[test]
fn triangular_needs_only_the_shape() {
    let case = Synthetic::new(1, 200, 300);
    let patterns = StaticPatterns::new(vec![vec![StaticPattern::Triangular { sink: 100, window: 130 }; 4]]).unwrap();
    let queries = case.queries(Simd::detect());
    let scene = Scene {
        simd: Simd::detect(),
        layer: 0,
        queries: &queries,
        kv: &case.kv(),
        tiles: case.tiles(64),
        last_rows: 1,
    };
    let planned = patterns.plan(&scene).unwrap();
    let expected = Triangular { sink: 100, window: 130 }.plan(case.tiles(64), 1, Vec::new(), false).unwrap();
    assert!(planned.plan.heads.iter().all(|plan| *plan == HeadPlan::Sparse(expected.clone())));
    assert!(planned.recall().is_nan(), "nothing was estimated");

    let says = |scene: Scene| patterns.plan(&scene).unwrap_err().to_string();
    assert!(says(Scene { layer: 1, ..scene }).contains("made for 1 layers of 4 query heads; the model has 2"));
    let short = crate::shape::QueryRange::new(199, 500).unwrap().tiles(64).unwrap();
    assert!(says(Scene { tiles: short, ..scene }).contains("expected 199"));
}

const MINFERENCE: &str = r#"[{"0": ["stream_llm", 100, 800, 0.9], "2": ["block_sparse", 1000, 8, 1], "1":
    ["vertical_and_slash", 1000, 6096, null]}]"#;

#[test]
fn reads_the_files_of_minference() {
    let read = StaticPatterns::from_json(MINFERENCE).unwrap();
    let expected = vec![vec![
        StaticPattern::Triangular { sink: 100, window: 800 },
        StaticPattern::IntervalSlash { columns: 1000, slashes: 6096 },
        StaticPattern::TopBlocks { blocks: 100 },
    ]];
    assert_eq!(read, StaticPatterns::new(expected).unwrap());
}

#[test]
fn errors_say_what_is_wrong() {
    let ours = |layers: &str| format!(r#"{{"format":"sparse-accelerate patterns","version":1,"layers":{layers}}}"#);
    let window = r#"{"pattern":"triangular","sink":1,"window":2}"#;
    assert!(StaticPatterns::from_json(&ours(&format!("[[{window}]]"))).is_ok());
    for (text, says) in [
        (String::new(), "EOF"),
        (ours("[]"), "at least one layer"),
        (ours("[[],[]]"), "at least one head"),
        (ours(&format!("[[{window}],[{window},{window}]]")), "layer 1 has 2 heads, layer 0 has 1"),
        (ours(r#"[[{"pattern":"spiral"}]]"#), "unknown variant `spiral`"),
        (ours(r#"[[{"pattern":"triangular","sink":1}]]"#), "missing field `window`"),
        (ours(r#"[[{"pattern":"top_blocks","blocks":-1}]]"#), "expected usize"),
        (ours(r#"[[{"pattern":"top_blocks","blocks":1,"more":1}]]"#), "unknown field `more`"),
        (ours("[]").replace("\"version\":1", "\"version\":7"), "reads version 1"),
        (ours("[]").replace("patterns", "plan"), "another kind of file"),
        ("[]".into(), "at least one layer"),
        ("[{}]".into(), "at least one head"),
        ("[3]".into(), "expected an object of heads"),
        (r#"[{"0": ["stream_llm", 1, 2]}]"#.into(), "tuple of size 4"),
        (r#"[{"0": ["stream_llm", 1, -2, 0]}]"#.into(), "expected usize"),
        (r#"[{"1": ["stream_llm", 1, 2, 0]}]"#.into(), "layer 0: head \"1\": 1 heads are listed"),
        (r#"[{"00": ["stream_llm", 1, 2, 0]}]"#.into(), "head \"00\""),
        (r#"[{"99999999999999999999": ["stream_llm", 1, 2, 0]}]"#.into(), "head \"9999"),
        (r#"[{"0": ["stream_llm", 1, 2, 0], "0": ["stream_llm", 1, 2, 0]}]"#.into(), "head 0 is listed twice"),
        (r#"[{"0": ["vertical", 1, 2, 0]}]"#.into(), "expected stream_llm, vertical_and_slash or block_sparse"),
        ("[".repeat(100_000), "expected an object of heads"),
    ] {
        let message = StaticPatterns::from_json(&text).unwrap_err().to_string();
        assert!(message.contains(says), "{text:.200}: {message}");
    }
}

#[test]
fn a_model_of_another_shape_is_refused() {
    let patterns = StaticPatterns::new(vec![vec![StaticPattern::Dense; 9]; 30]).unwrap();
    assert!(patterns.check_model(30, 9).is_ok());
    for (layers, heads) in [(29, 9), (31, 9), (30, 8)] {
        let message = patterns.check_model(layers, heads).unwrap_err().to_string();
        assert!(message.contains("made for 30 layers of 9 query heads"), "{message}");
    }
}
