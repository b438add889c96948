//! How far a prompt is, and how long the rest takes.
//!
//! A token costs the same wherever it stands, but for attention, which compares it with all before it: the time of a chunk is
//! `a * tokens + b * pairs`. What was measured says `a` and `b`; before it can tell them apart, the shape of the model does.

/// How much the shape of the model weighs against what was measured: little, since sparse attention computes fewer pairs.
const WEIGHT_OF_SHAPE: f64 = 0.03;

/// Tokens and (query, key) pairs of a stretch of the prompt.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    tokens: f64,
    pairs: f64,
}

/// Seconds that a token takes, and a pair.
#[derive(Clone, Copy, Debug)]
struct Costs {
    token_s: f64,
    pair_s: f64,
}

/// What is known of a prompt that is being read. Times are seconds since that began.
#[derive(Clone, Debug)]
pub struct PrefillEstimate {
    /// Tokens that were read before.
    cached: f64,
    total: f64,
    /// Operations of a pair over those of a token.
    pair_over_token: f64,
    /// Whole chunks, and the seconds that they took.
    chunks: Vec<(Work, f64)>,
    chunk_began: f64,
    /// First token of the chunk under way, its tokens, the share of its layers that is done, and a layer's share.
    chunk_start: f64,
    chunk_tokens: f64,
    done_share: f64,
    layer_share: f64,
    heard_at: f64,
}

impl Work {
    fn of(start: f64, end: f64) -> Self {
        Self { tokens: end - start, pairs: (end * end - start * start) / 2.0 }
    }

    fn part(self, share: f64) -> Self {
        Self { tokens: self.tokens * share, pairs: self.pairs * share }
    }
}

impl Costs {
    fn seconds(self, work: Work) -> f64 {
        self.token_s * work.tokens + self.pair_s * work.pairs
    }
}

impl PrefillEstimate {
    /// Of a prompt of `total` tokens, for a model in which a pair takes `pair_over_token` of the operations of a token.
    pub fn new(pair_over_token: f64, total: usize) -> Self {
        Self {
            cached: 0.0,
            total: total as f64,
            pair_over_token,
            chunks: Vec::new(),
            chunk_began: 0.0,
            chunk_start: 0.0,
            chunk_tokens: 0.0,
            done_share: 0.0,
            layer_share: 0.0,
            heard_at: 0.0,
        }
    }

    /// Tokens of the prompt.
    pub fn total_tokens(&self) -> usize {
        self.total as usize
    }

    /// Hears that at this time so many layers are done with a chunk; 0 when it begins.
    pub fn layer(&mut self, (done_layers, layers): (usize, usize), done_tokens: usize, chunk_tokens: usize, now: f64) {
        if done_layers == 0 && self.chunks.is_empty() {
            self.cached = done_tokens as f64;
        }
        (self.chunk_start, self.chunk_tokens) = (done_tokens as f64, chunk_tokens as f64);
        self.layer_share = 1.0 / layers as f64;
        self.done_share = done_layers as f64 * self.layer_share;
        self.heard_at = now;
    }

    /// Hears that at this time the first `done_tokens` of the prompt are done.
    pub fn chunk(&mut self, done_tokens: usize, now: f64) {
        let end = done_tokens as f64;
        self.chunks.push((Work::of(self.chunk_start, end), now - self.chunk_began));
        (self.chunk_began, self.heard_at) = (now, now);
        (self.chunk_start, self.chunk_tokens, self.done_share) = (end, 0.0, 0.0);
    }

    /// Tokens done by now: what was heard of, and what of the layer under way should be by the time that the others took.
    pub fn tokens(&self, now: f64) -> f64 {
        let within = self.costs().map_or(0.0, |costs| {
            let layer_s = costs.seconds(self.chunk_work().part(self.layer_share));
            if layer_s > 0.0 { ((now - self.heard_at) / layer_s).clamp(0.0, 1.0) } else { 0.0 }
        });
        let share = (self.done_share + within * self.layer_share).min(1.0);
        (self.chunk_start + share * self.chunk_tokens).min(self.total)
    }

    /// Tokens a second, of those that were not cached; `None` before anything is known.
    pub fn tokens_per_s(&self, now: f64) -> Option<f64> {
        self.costs().map(|_| (self.tokens(now) - self.cached) / now).filter(|rate| rate.is_finite() && *rate > 0.0)
    }

    /// Seconds until the whole prompt is read; `None` before anything is known.
    pub fn seconds_left(&self, now: f64) -> Option<f64> {
        let costs = self.costs()?;
        let rest_of_chunk = costs.seconds(self.chunk_work().part(1.0 - self.done_share));
        let later = costs.seconds(Work::of((self.chunk_start + self.chunk_tokens).min(self.total), self.total));
        Some((rest_of_chunk + later - (now - self.heard_at)).max(0.0))
    }

    fn chunk_work(&self) -> Work {
        Work::of(self.chunk_start, self.chunk_start + self.chunk_tokens)
    }

    /// The costs whose squared errors are least: over the chunks, the one under way, and the wish that a pair costs over a
    /// token what the shape of the model says.
    fn costs(&self) -> Option<Costs> {
        let under_way = (self.chunk_work().part(self.done_share), self.heard_at - self.chunk_began);
        let measured: Vec<_> =
            self.chunks.iter().copied().chain([under_way]).filter(|(work, _)| work.tokens > 0.0).collect();
        let seconds: f64 = measured.iter().map(|(_, seconds)| seconds).sum();
        let all = measured.iter().fold(Work::default(), |sum, (work, _)| Work {
            tokens: sum.tokens + work.tokens,
            pairs: sum.pairs + work.pairs,
        });
        if seconds <= 0.0 || all.tokens <= 0.0 {
            return None;
        }
        // Unknown are the seconds of all tokens and of all pairs, so that both columns are of the size 1.
        let shape = {
            let pairs_over_tokens = self.pair_over_token * all.pairs / all.tokens;
            (-WEIGHT_OF_SHAPE * pairs_over_tokens, WEIGHT_OF_SHAPE, 0.0)
        };
        let rows =
            measured.iter().map(|(work, s)| (work.tokens / all.tokens, work.pairs / all.pairs, *s)).chain([shape]);
        let (mut xx, mut xy, mut yy, mut xt, mut yt) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (x, y, t) in rows {
            (xx, xy, yy, xt, yt) = (xx + x * x, xy + x * y, yy + y * y, xt + x * t, yt + y * t);
        }
        let determinant = xx * yy - xy * xy;
        let (tokens_s, pairs_s) = ((yy * xt - xy * yt) / determinant, (xx * yt - xy * xt) / determinant);
        if tokens_s >= 0.0 && pairs_s >= 0.0 && (tokens_s + pairs_s).is_finite() {
            return Some(Costs { token_s: tokens_s / all.tokens, pair_s: pairs_s / all.pairs });
        }
        // Noise: as the shape says.
        let token_s = seconds / (all.tokens + self.pair_over_token * all.pairs);
        Some(Costs { token_s, pair_s: token_s * self.pair_over_token })
    }
}

#[cfg(test)]
mod tests;
