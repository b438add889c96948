//! What attention computes by policy, who hears of it, and what memory leaves of it; who hears on the GPU too, if there is one.

use attention::plan::HeadPlan;
use attention::search::{Search, Target};
use attention::shape::QueryRange;
use attention::simd::Simd;
use runtime::config::ModelConfig;
use runtime::cpu::Cpu;
use runtime::decoder::Decoder;
use runtime::engine::{Engine, EngineError, EngineOptions};
use runtime::gpu::{Gpu, GpuOptions};
use runtime::model::Model;
use runtime::policy::{AttentionPolicy, GivenPlans, LayerReport, Pause, PrefillAttention};
use runtime::precision::Products;
use runtime::prefill::prefill;
use runtime::request::{AttentionMode, Device, Request};
use runtime::weights::{ModelWeights, RandomWeights};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/tiny")).join(name)
}

fn decoder(name: &str) -> Decoder<Cpu> {
    let weights = ModelWeights::open_folder(&folder(name)).unwrap();
    Decoder::load(Cpu::new(Simd::detect()), weights, &mut |_| {}).unwrap()
}

const TOKENS: usize = 500;
const CHUNK: usize = 192;

/// Logits of the last token of each chunk.
fn logits(model: &dyn Model, attention: PrefillAttention) -> Vec<Vec<f32>> {
    logits_of(model, (TOKENS, CHUNK), attention)
}

/// The same of so many tokens, in chunks of so many.
fn logits_of(model: &dyn Model, (tokens, chunk): (usize, usize), attention: PrefillAttention) -> Vec<Vec<f32>> {
    let vocab = model.config().vocab_size;
    let ids: Vec<u32> = (0..tokens).map(|n| (n * n * 7 + n) as u32 % vocab as u32).collect();
    let mut run = model.start(tokens, tokens).unwrap();
    let mut logits = Vec::new();
    let (_, flow) = prefill(&mut *run, &ids, chunk, attention, &mut |run| {
        logits.push(run.logits(run.chunk_len() - 1)?);
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert!(flow.is_continue());
    logits
}

/// One that searches prompts of any length and takes what it finds.
fn search() -> Search {
    let mut search = Search::new(Target::Recall(0.5)).unwrap();
    search.cost.margin = f64::INFINITY;
    search
}

#[test]
fn a_search_is_the_same_as_a_policy_and_as_a_planner() {
    let (model, search) = (decoder("llama"), search());
    let by = |policy: AttentionPolicy| logits(&model, policy.into());
    let found = by(AttentionPolicy::Search(&search));
    assert_eq!(found.len(), TOKENS.div_ceil(CHUNK));
    assert_eq!(found, by(AttentionPolicy::Planner(&search)));
    assert_ne!(found, by(AttentionPolicy::Dense));
}

#[test]
fn work_that_is_cut_for_others_gives_the_same_and_is_cut_for_them_only() {
    let search = search();
    for products in [Products::Bf16, Products::Int16] {
        // Blocks of 32 weights in every row.
        let config = ModelConfig { intermediate_size: 128, ..ModelConfig::from_folder(&folder("llama")).unwrap() };
        let weights = ModelWeights::random(config, RandomWeights::Q4_0);
        let model = Decoder::load(Cpu::with_products(Simd::detect(), products, 2), weights, &mut |_| {}).unwrap();
        for policy in [AttentionPolicy::Dense, AttentionPolicy::Search(&search)] {
            let with =
                |pause: Option<Pause>| logits_of(&model, (1300, 1216), PrefillAttention { pause, ..policy.into() });
            let pauses = [false, true].map(|others_wait| {
                let count = AtomicUsize::new(0);
                let got = with(Some(&|| {
                    count.fetch_add(1, Ordering::Relaxed);
                    others_wait
                }));
                assert_eq!(got, with(None), "in {products:?}");
                count.into_inner()
            });
            assert!(pauses[1] > pauses[0], "{pauses:?}");
        }
    }
}

#[test]
fn plans_that_were_heard_give_the_same_when_they_are_given() {
    let (model, search) = (decoder("llama"), search());
    let plans = Mutex::new(GivenPlans::default());
    let hear = |report: LayerReport| {
        plans.lock().unwrap().insert(report.layer, report.tiles.range(), report.planned.plan);
    };
    let policy = AttentionPolicy::Search(&search);
    let found = logits(&model, PrefillAttention { observer: Some(&hear), ..policy.into() });
    let plans = plans.into_inner().unwrap();
    assert_eq!(found, logits(&model, AttentionPolicy::Given(&plans).into()));

    // Of another length there are none.
    let range = QueryRange::new(TOKENS, TOKENS).unwrap();
    let error = plans.planned(0, range).unwrap_err().to_string();
    assert!(error.contains("layer 0 and the last 500 of 500 positions"), "{error}");
}

/// What an observer hears of a prefill: every layer of every chunk once, windows where the model has them.
fn heard(model: &dyn Model, policy: AttentionPolicy, windows: &[Option<usize>], what: &str) -> Vec<LayerReport> {
    let reports = Mutex::new(Vec::new());
    let hear = |report: LayerReport| reports.lock().unwrap().push(report);
    let observed = logits(model, PrefillAttention { observer: Some(&hear), ..policy.into() });
    assert_eq!(observed, logits(model, policy.into()), "{what}: who listens changes nothing");

    let reports = reports.into_inner().unwrap();
    let places: Vec<_> = reports.iter().map(|report| (report.tiles.range().kv_len(), report.layer)).collect();
    let expected: Vec<_> = (0..TOKENS.div_ceil(CHUNK))
        .flat_map(|chunk| (0..windows.len()).map(move |layer| (((chunk + 1) * CHUNK).min(TOKENS), layer)))
        .collect();
    assert_eq!(places, expected, "{what}");
    let num_heads = model.config().num_q_heads;
    for report in &reports {
        let heads = &report.planned.plan.heads;
        assert_eq!((heads.len(), report.planned.choices.len()), (num_heads, num_heads), "{what}");
        for head in heads {
            let window = if let HeadPlan::Window(window) = head { Some(*window) } else { None };
            assert_eq!(window, windows[report.layer], "{what}, layer {}", report.layer);
        }
    }
    reports
}

#[test]
fn the_observer_hears_every_layer_of_every_chunk_once_under_any_policy() {
    let search = search();
    let policies = [
        ("search", AttentionPolicy::Search(&search)),
        ("planner", AttentionPolicy::Planner(&search)),
        ("dense", AttentionPolicy::Dense),
    ];
    for (name, windows) in [("llama", vec![None; 2]), ("qwen2-windowed", vec![None, Some(33), Some(33)])] {
        let weights = || ModelWeights::open_folder(&folder(name)).unwrap();
        let gpu = Gpu::open(0, weights().config(), GpuOptions::default())
            .inspect_err(|error| eprintln!("SKIPPED on the GPU: {error}"))
            .ok()
            .map(|gpu| Decoder::load(gpu, weights(), &mut |_| {}).unwrap());
        let cpu = decoder(name);
        for (policy_name, policy) in policies {
            let reports = heard(&cpu, policy, &windows, &format!("{name}, {policy_name}"));
            let sparse = reports.iter().any(|report| {
                windows[report.layer].is_none() && report.planned.plan.density(report.tiles.range()) < 1.0
            });
            assert_eq!(sparse, policy_name != "dense", "{name}");
            if let Some(gpu) = &gpu {
                heard(gpu, policy, &windows, &format!("{name}, {policy_name}, GPU"));
            }
        }
        if let Some(gpu) = &gpu {
            let mut proven = search.clone();
            proven.guarantee = Some(0.1);
            for policy in [AttentionPolicy::Search(&proven), AttentionPolicy::Planner(&proven)] {
                assert!(gpu.check_policy(policy).unwrap_err().to_string().contains("on the CPU"));
            }
        }
    }
}

fn engine(max_memory_bytes: Option<u64>) -> Engine {
    let options = EngineOptions {
        device: Device::Cpu,
        threads: 1,
        random_weights: Some(RandomWeights::Bf16),
        max_memory_bytes,
        ..EngineOptions::default()
    };
    Engine::load(folder("llama").to_str().expect("UTF-8"), &options, &mut |_| {}).unwrap()
}

#[test]
fn where_only_dense_attention_has_room_auto_takes_it_and_sparse_says_what_it_needs() {
    let ids: Vec<u32> = (0..TOKENS as u32).map(|n| n % 100).collect();
    // The limit is of all that is held: weights and run.
    let held = |sparse| engine(None).predicted_memory(TOKENS, sparse).total_bytes();
    let (dense, sparse) = (held(false), held(true));
    assert!(dense < sparse);

    let request = |attention| Request { attention, max_tokens: 1, ..Request::default() };
    // Searches for nothing may pay at this length, so that only the counted memory tells the modes apart.
    let peak = |limit, attention| {
        let generation = engine(Some(limit)).generate(&ids, &request(attention), &mut |_| ControlFlow::Continue(()));
        generation.map(|generation| generation.stats.predicted_memory_bytes)
    };
    let (auto, by_force) = (AttentionMode::Auto, AttentionMode::Sparse);
    let all_dense = peak(sparse, AttentionMode::Dense).unwrap();
    assert_eq!(peak(sparse, auto).unwrap(), peak(sparse, by_force).unwrap());
    assert_eq!(peak(sparse, auto).unwrap() - all_dense, sparse - dense);
    assert_eq!(peak(sparse - 1, auto).unwrap(), all_dense);
    let refused = peak(sparse - 1, by_force).unwrap_err();
    assert!(matches!(refused, EngineError::Memory { available, .. } if available == sparse - 1));
    let message = refused.to_string();
    assert!(message.contains("500 tokens with sparse attention needs") && message.contains("KiB"), "{message}");
    let message = peak(dense - 1, auto).unwrap_err().to_string();
    assert!(message.contains("a run of 500 tokens needs"), "{message}");

    let (nll, stats) = engine(Some(sparse - 1)).tail_nll(&ids, 5, &request(auto)).unwrap();
    assert!(nll.len() == 5 && stats.density == 1.0 && stats.search_stages.is_none());
}

#[test]
fn a_receipt_is_there_where_it_is_asked_for_and_a_seed_repeats_it() {
    let ids: Vec<u32> = (0..TOKENS as u32).map(|n| n % 100).collect();
    let (mut engine, search) = (engine(None), search());
    let mut receipt = |policy, receipt| {
        let request = Request { receipt, max_tokens: 1, ..Request::default() };
        let generation = engine.generate_with(&ids, &request, policy, &mut |_| ControlFlow::Continue(()));
        generation.unwrap().stats.receipt
    };
    let sparse = AttentionPolicy::Search(&search);
    assert_eq!(receipt(sparse, None), None);
    let (first, again) = (receipt(sparse, Some(7)).unwrap(), receipt(sparse, Some(7)).unwrap());
    assert_eq!((first.all, &first.layers), (again.all, &again.layers));
    assert!(receipt(sparse, Some(8)).unwrap().all != first.all);
    assert_eq!((first.layers.len(), first.layers.iter().map(|layer| layer.rows).sum()), (2, first.all.rows));
    let [low, high] = first.all.ci95;
    assert!(first.all.rows > 0 && 0.0 <= low && low < first.all.kept && first.all.kept < high && high <= 1.0);

    let dense = receipt(AttentionPolicy::Dense, Some(7)).unwrap();
    assert!(dense.layers.iter().chain([&dense.all]).all(|kept| (kept.kept, kept.rows) == (1.0, 0)), "{dense:?}");
}
