//! SentencePiece BPE (Llama 2, Mistral) from the vocabulary a GGUF file carries.
//!
//! SentencePiece merges whichever two neighbours make the token of the highest score. The file has scores and no merges, so
//! every way to cut a token into two tokens becomes a merge, ranked by the score of the whole.

use super::TokenizerError;
use std::collections::HashMap;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::replace::Replace;
use tokenizers::normalizers::utils::Sequence as Normalizers;
use tokenizers::normalizers::{NormalizerWrapper, Prepend};
use tokenizers::tokenizer::Tokenizer as HuggingFace;
use tokenizers::{DecoderWrapper, Result};

const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
/// What stands for a space.
const SPACE: char = '▁';

/// The tokenizer without its added tokens. `add_space` puts a space in front of texts.
pub(super) fn build(
    tokens: &[String],
    types: &[i64],
    scores: &[f32],
    ids: Vocab,
    add_space: bool,
) -> std::result::Result<HuggingFace, TokenizerError> {
    for (what, len) in [("scores", scores.len()), ("token types", types.len())] {
        if len != tokens.len() {
            return Err(TokenizerError::Vocabulary(format!("{len} {what} for {} tokens", tokens.len())));
        }
    }
    let merges = merges(tokens, types, scores);
    let unknown = types.iter().position(|kind| *kind == UNKNOWN).map(|id| tokens[id].clone());
    let assemble = || -> Result<HuggingFace> {
        let mut bpe = BPE::builder().vocab_and_merges(ids, merges).byte_fallback(true).fuse_unk(true);
        if let Some(unknown) = unknown {
            bpe = bpe.unk_token(unknown);
        }
        let mut inner = HuggingFace::new(bpe.build()?);
        let mut steps: Vec<NormalizerWrapper> = Vec::new();
        if add_space {
            steps.push(Prepend::new(SPACE.into()).into());
        }
        steps.push(Replace::new(" ", SPACE.to_string())?.into());
        inner.with_normalizer(Some(Normalizers::new(steps)))?;
        let mut steps: Vec<DecoderWrapper> =
            vec![Replace::new(SPACE.to_string(), " ")?.into(), ByteFallback::new().into(), Fuse::new().into()];
        if add_space {
            steps.push(Strip::new(' ', 1, 0).into());
        }
        inner.with_decoder(Some(Decoders::new(steps)));
        Ok(inner)
    };
    assemble().map_err(|error| TokenizerError::Vocabulary(error.to_string()))
}

fn merges(tokens: &[String], types: &[i64], scores: &[f32]) -> Vec<(String, String)> {
    let pieces = || (0..tokens.len()).filter(|&id| types[id] == NORMAL);
    let id_of: HashMap<&str, usize> = pieces().map(|id| (tokens[id].as_str(), id)).collect();
    let mut ranked: Vec<(usize, usize, usize)> = Vec::new();
    for whole in pieces() {
        let text = &tokens[whole];
        for (cut, _) in text.char_indices().skip(1) {
            if let (Some(&left), Some(&right)) = (id_of.get(&text[..cut]), id_of.get(&text[cut..])) {
                ranked.push((whole, left, right));
            }
        }
    }
    ranked.sort_by(|a, b| scores[b.0].total_cmp(&scores[a.0]).then(a.cmp(b)));
    ranked.into_iter().map(|(_, left, right)| (tokens[left].clone(), tokens[right].clone())).collect()
}
