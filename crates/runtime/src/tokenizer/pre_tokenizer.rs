//! How text is cut into words before BPE: each family of models was trained with its own rule, and ids differ when
//! another is used.

use tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

/// A family's rule. The names are those of `tokenizer.ggml.pre`.
#[derive(Clone, Copy)]
pub(super) struct PreTokenizer {
    names: &'static [&'static str],
    /// Each cuts the pieces the one before it left.
    patterns: &'static [&'static str],
    /// Whether a word that is a token is taken whole, whatever the merges say.
    pub(super) ignore_merges: bool,
    /// Whether text is brought to Unicode NFC first, as the model's authors did.
    pub(super) nfc: bool,
    /// Whether BOS stands in front of every text when the file does not say.
    pub(super) add_bos: bool,
}

/// Contractions, words and numbers with their leading space, punctuation; the last space before a word goes with it.
const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// As GPT-2; digits in groups of up to three, and a letter run may take one leading mark with it, not only a space.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Runs of Chinese, Japanese and Korean characters, as DeepSeek's first models have them.
const DEEPSEEK_CJK: &str = r"[\x{4e00}-\x{9fa5}\x{0800}-\x{4e00}\x{ac00}-\x{d7ff}]+";

/// What most rules do beside cutting: nothing.
const PLAIN: PreTokenizer =
    PreTokenizer { names: &[], patterns: &[], ignore_merges: false, nfc: false, add_bos: false };

const PRE_TOKENIZERS: [PreTokenizer; 9] = [
    PreTokenizer {
        names: &[
            "gpt-2",
            "phi-2",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "exaone4",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
        ],
        patterns: &[GPT_2],
        ..PLAIN
    },
    PreTokenizer {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        patterns: &[r"\p{N}", GPT_2],
        ..PLAIN
    },
    // As Llama 3, single digits.
    PreTokenizer {
        names: &["qwen2", "deepseek-r1-qwen", "kormo", "megrez"],
        patterns: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        nfc: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        patterns: &[LLAMA_3],
        ignore_merges: true,
        add_bos: true,
        ..PLAIN
    },
    PreTokenizer { names: &["smaug-bpe", "dbrx"], patterns: &[LLAMA_3], ..PLAIN },
    // Mistral since NeMo: words also end where lower case turns to upper.
    PreTokenizer {
        names: &["tekken"],
        patterns: &[
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        ignore_merges: true,
        add_bos: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-coder"],
        patterns: &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_CJK, r"\p{N}"],
        ..PLAIN
    },
    // Letters are those with upper and lower case, without Georgia's; punctuation is ASCII's, its full-width twins,
    // quotation marks, and CJK's first three.
    PreTokenizer {
        names: &["deepseek-llm"],
        patterns: &[
            r"[\r\n]",
            r"\s?[[\p{Lu}\p{Ll}\p{Lt}]&&[^\x{10d0}-\x{10ff}]]+",
            r"\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]+",
            r"\s+$",
            DEEPSEEK_CJK,
            r"\p{N}+",
        ],
        ..PLAIN
    },
    // What llama.cpp does for a model it has no name for.
    PreTokenizer {
        names: &["default"],
        patterns: &[r"[\p{P}$+<=>^~|]+", GPT_2, r"\p{N}+", r"[0-9][0-9][0-9]"],
        ..PLAIN
    },
];

impl PreTokenizer {
    /// The rule of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        PRE_TOKENIZERS.into_iter().find(|rule| rule.names.contains(&name))
    }

    /// Every name there is, for messages.
    pub(super) fn names() -> String {
        PRE_TOKENIZERS.iter().flat_map(|rule| rule.names).copied().collect::<Vec<_>>().join(", ")
    }

    /// The rule as the `tokenizers` crate applies it, bytes spelt as characters at the end.
    pub(super) fn build(&self) -> PreTokenizerWrapper {
        let split = |pattern: &&str| {
            let pattern = SplitPattern::Regex((*pattern).into());
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false).expect("a constant pattern").into()
        };
        let mut steps: Vec<PreTokenizerWrapper> = self.patterns.iter().map(split).collect();
        steps.push(ByteLevel::new(false, true, false).into());
        Sequence::new(steps).into()
    }
}
