//! Where a running sequence stands.

use attention::BLOCK_N;

/// A sequence's place in the cache.
#[derive(Debug, Default)]
pub struct Sequence {
    table: Vec<u32>,
    len: usize,
    prompt_len: usize,
}

/// The cache has no room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kv cache has {free} free pages of {BLOCK_N} tokens, {needed} more are needed")]
pub struct CacheFull {
    /// Pages free.
    pub free: usize,
    /// Pages needed.
    pub needed: usize,
}

impl Sequence {
    /// A sequence that starts with a prompt of `prompt_len` tokens. One RoPE scaling, dynamic NTK, needs to know.
    pub fn of_prompt(prompt_len: usize) -> Self {
        Self { prompt_len, ..Self::default() }
    }

    /// A sequence that starts with a prompt of `prompt_len` tokens, of which full pages are there: they are shared, and not written.
    pub fn behind(prompt_len: usize, pages: Vec<u32>) -> Self {
        Self { len: pages.len() * BLOCK_N, table: pages, prompt_len }
    }

    /// Tokens of the prompt.
    pub fn prompt_len(&self) -> usize {
        self.prompt_len
    }

    /// Tokens whose keys and values are stored in every layer.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Pages, in order of position.
    pub fn table(&self) -> &[u32] {
        &self.table
    }

    /// Takes more pages, behind those it has.
    pub(crate) fn own(&mut self, pages: impl IntoIterator<Item = u32>) {
        self.table.extend(pages);
    }

    /// Forgets all but the first `len` tokens, for a prompt of `prompt_len` that begins with them. Its pages stay its own.
    pub fn rewind(&mut self, len: usize, prompt_len: usize) {
        assert!(len <= self.len, "what is not there cannot be kept");
        (self.len, self.prompt_len) = (len, prompt_len);
    }

    /// Counts `tokens` more as stored, once every layer has them.
    pub fn advance(&mut self, tokens: usize) {
        self.len += tokens;
        debug_assert!(self.len <= self.table.len() * BLOCK_N);
    }
}
