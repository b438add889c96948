//! One file a command.

pub mod bench_crossover;
pub mod bench_growth;
pub mod bench_kernel;
pub mod bench_memory;
pub mod bench_overhead;
pub mod bench_recall;
pub mod bench_selectors;
pub mod bench_ttft;
pub mod calibrate;
pub mod chat;
pub mod completions;
pub mod demo;
pub mod doctor;
pub mod eval_ablation;
pub mod eval_everyday;
pub mod eval_perplexity;
pub mod eval_prompts;
pub mod eval_retrieval;
pub mod eval_ruler;
pub mod explain;
pub mod fit;
pub mod generate;
pub mod inspect;
pub mod man;
pub mod reproduce;
pub mod search;
