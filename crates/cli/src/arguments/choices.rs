//! Flags with a fixed set of values: for each what is typed, a word about it, and what it is.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use cuda::bench::{Kernel, What};
use eval::inspect::Pool;
use eval::tasks::Match;
use eval::tasks::{everyday, ruler};
use runtime::precision::{AttentionPrecision, Products, Quantization};
use runtime::request::{AttentionMode, Device};
use runtime::weights::RandomWeights;

type Choice<T> = (&'static str, &'static str, T);

const MODES: [Choice<AttentionMode>; 3] = [
    (AttentionMode::Auto.name(), "sparse where it pays and memory suffices", AttentionMode::Auto),
    (AttentionMode::Dense.name(), "every pair of tokens", AttentionMode::Dense),
    (AttentionMode::Sparse.name(), "the cheapest pattern of each head that meets the goal", AttentionMode::Sparse),
];

/// The last stands for many.
const DEVICES: [Choice<Option<Device>>; 4] = [
    ("auto", "the first GPU that runs the model, else the CPU", Some(Device::Auto)),
    ("cpu", "the CPU", Some(Device::Cpu)),
    ("cuda", "the first NVIDIA GPU", Some(Device::Cuda(0))),
    ("cuda:N", "the NVIDIA GPU of this index, from 0", None),
];

const QUANTIZATIONS: [Choice<Quantization>; 1] = [("fp8", "8-bit floats (NVIDIA Hopper or newer)", Quantization::Fp8)];

const PRECISIONS: [Choice<AttentionPrecision>; 3] = [
    ("bf16", "16-bit floats", AttentionPrecision::Bf16),
    ("int8", "scores in 8-bit integers, for cards before Hopper", AttentionPrecision::Int8),
    ("fp8", "8-bit floats (Hopper)", AttentionPrecision::Fp8),
];

const PRODUCTS: [Choice<Products>; 4] = [
    ("auto", "the faster of bf16 and int16, as measured", Products::Auto),
    ("bf16", "16-bit floats", Products::Bf16),
    ("int16", "weights as stored, tokens in 15-bit integers; as exact", Products::Int16),
    ("int8", "weights as stored, tokens in 8-bit integers", Products::Int8),
];

const RANDOM_WEIGHTS: [Choice<RandomWeights>; 2] =
    [("bf16", "16-bit floats", RandomWeights::Bf16), ("q4_0", "four bits, as GGUF's Q4_0", RandomWeights::Q4_0)];

const MATCHES: [Choice<Match>; 2] =
    [("contains", "a right answer stands in it", Match::Contains), ("exact", "it is a right answer", Match::Exact)];

/// How lines of a log are written.
#[derive(Clone, Copy)]
pub enum LogFormat {
    Text,
    Json,
}

const LOG_FORMATS: [Choice<LogFormat>; 2] =
    [("text", "to read", LogFormat::Text), ("json", "an object a line", LogFormat::Json)];

const POOLS: [Choice<Pool>; 2] =
    [("max", "the largest: single keys stay visible", Pool::Max), ("mean", "the mean", Pool::Mean)];

const KERNELS: [Choice<Kernel>; 5] = [
    ("best", "the one that the engine takes", Kernel::Best),
    ("sm80", "for compute capability 8.0 and above", Kernel::Sm80),
    ("sm90", "for Hopper", Kernel::Sm90),
    ("fp8", "for Hopper, in 8-bit floats", Kernel::Fp8),
    ("int8", "as sm80, scores in 8-bit integers", Kernel::Int8),
];

const WHATS: [Choice<What>; 4] = [
    ("dense", "every causal pair", What::Dense),
    ("sparse", "random plans", What::Sparse),
    ("search", "the search, its stages, and the plan it finds", What::Search),
    ("decode", "one query a sequence", What::Decode),
];

const RULER_TASKS: [Choice<ruler::Task>; 13] = [
    ruler_named(ruler::Task::Single1, "one number in noise"),
    ruler_named(ruler::Task::Single2, "one number in essays"),
    ruler_named(ruler::Task::Single3, "one UUID in essays"),
    ruler_named(ruler::Task::MultiKey1, "four numbers in essays, one asked for"),
    ruler_named(ruler::Task::MultiKey2, "one number among nothing but numbers of other keys"),
    ruler_named(ruler::Task::MultiKey3, "one UUID among nothing but UUIDs of other UUIDs"),
    ruler_named(ruler::Task::MultiValue, "four numbers of one key in essays"),
    ruler_named(ruler::Task::MultiQuery, "four numbers in essays, all asked for"),
    ruler_named(ruler::Task::Variables, "variables with the value of the first, over four hops"),
    ruler_named(ruler::Task::CommonWords, "the ten words of a list that appear most often"),
    ruler_named(ruler::Task::FrequentWords, "the three coded words that appear most often"),
    ruler_named(ruler::Task::Squad, "questions about one document (SQuAD)"),
    ruler_named(ruler::Task::HotpotQa, "questions about two documents (HotpotQA)"),
];

const EVERYDAY_TASKS: [Choice<everyday::Task>; 7] = [
    everyday_named(everyday::Task::ToolCall, "a tool called by its schema, in the middle of others"),
    everyday_named(everyday::Task::QuotePassage, "a paragraph of --texts, word for word, by its beginning"),
    everyday_named(everyday::Task::QuoteFunction, "a Python function of --texts, word for word, by its name"),
    everyday_named(everyday::Task::Middle, "a fact in the middle of notes"),
    everyday_named(everyday::Task::Update, "a fact that notes state, and change later"),
    everyday_named(everyday::Task::Table, "a table of 20 rows in the middle of notes, copied"),
    everyday_named(everyday::Task::List, "20 items from the middle of a numbered list, written out"),
];

const fn everyday_named(task: everyday::Task, word: &'static str) -> Choice<everyday::Task> {
    (task.name(), word, task)
}

const fn ruler_named(task: ruler::Task, word: &'static str) -> Choice<ruler::Task> {
    (task.name(), word, task)
}

pub fn mode() -> impl TypedValueParser<Value = AttentionMode> {
    parser(&MODES)
}

pub fn device() -> impl TypedValueParser<Value = Device> {
    OneDevice
}

pub fn quantization() -> impl TypedValueParser<Value = Quantization> {
    parser(&QUANTIZATIONS)
}

pub fn precision() -> impl TypedValueParser<Value = AttentionPrecision> {
    parser(&PRECISIONS)
}

pub fn products() -> impl TypedValueParser<Value = Products> {
    parser(&PRODUCTS)
}

pub fn random_weights() -> impl TypedValueParser<Value = RandomWeights> {
    parser(&RANDOM_WEIGHTS)
}

pub fn matching() -> impl TypedValueParser<Value = Match> {
    parser(&MATCHES)
}

pub fn log_format() -> impl TypedValueParser<Value = LogFormat> {
    parser(&LOG_FORMATS)
}

pub fn pool() -> impl TypedValueParser<Value = Pool> {
    parser(&POOLS)
}

pub fn kernel() -> impl TypedValueParser<Value = Kernel> {
    parser(&KERNELS)
}

pub fn what() -> impl TypedValueParser<Value = What> {
    parser(&WHATS)
}

pub fn ruler_task() -> impl TypedValueParser<Value = ruler::Task> {
    parser(&RULER_TASKS)
}

pub fn everyday_task() -> impl TypedValueParser<Value = everyday::Task> {
    parser(&EVERYDAY_TASKS)
}

/// A mode that is no flag's value.
///
/// # Errors
/// When there is none of this name: the names.
pub fn mode_named(name: &str) -> Result<AttentionMode, String> {
    let found = MODES.iter().find(|choice| choice.0 == name).map(|choice| choice.2);
    found.ok_or_else(|| format!("expected {}, found `{name}`", MODES.map(|choice| choice.0).join(", ")))
}

fn possible_value<T>(&(name, word, _): &Choice<T>) -> PossibleValue {
    PossibleValue::new(name).help(word)
}

fn parser<T: Copy + Send + Sync + 'static>(choices: &'static [Choice<T>]) -> impl TypedValueParser<Value = T> {
    let of_name = |name: String| choices.iter().find(|choice| choice.0 == name).expect("a possible value").2;
    PossibleValuesParser::new(choices.iter().map(possible_value)).map(of_name)
}

#[derive(Clone)]
struct OneDevice;

impl TypedValueParser for OneDevice {
    type Value = Device;

    fn parse_ref(
        &self,
        command: &clap::Command,
        flag: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Device, clap::Error> {
        let index = value.to_str().and_then(|text| text.strip_prefix("cuda:")?.parse().ok());
        let by_name =
            parser(&DEVICES).try_map(|device| device.ok_or("N stands for the index of a GPU, from 0, as in cuda:1"));
        index.map(Device::Cuda).map_or_else(|| by_name.parse_ref(command, flag, value), Ok)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(DEVICES.iter().map(possible_value)))
    }
}
