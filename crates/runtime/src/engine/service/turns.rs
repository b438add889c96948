//! When others have their turn while a chunk of a prompt goes through the layers.
//!
//! Answers: before the layers since the last turn take longer than two tokens of all answers do. So the chunk has two thirds of the time,
//! and tokens come no more than three times as far apart as without it, or a layer where that takes longer. A device that does what it is
//! asked at once pauses within layers, too: what is said of layers here is of stretches of them there.
//!
//! Short prompts: one of them between two layers, and the next once layers had as much time as that one. So whoever comes first is read
//! at once, and however many come, the chunk has as much of the time as they do, and goes on.

use std::time::Duration;

/// Tokens left to read of a prompt that is short, and of a chunk that is. As many rows are multiplied nearly as fast as more, so that
/// reading them apart costs little; and what they take, a sixteenth of a chunk on a CPU and less on a GPU, is little beside what they
/// would wait for. Layers of so short a chunk need no look at what they take.
pub(super) const SHORT: usize = 256;

/// Tokens of all answers that layers between two turns may take as long as.
const WAIT: u32 = 2;

/// The turns within one chunk.
pub(super) struct Turns {
    /// A token of all answers, as it was last seen with nothing else on the device.
    step: Duration,
    /// Whether the device does what it is asked at once: then the clock tells what layers took.
    at_once: bool,
    looked_at: bool,
    /// A layer of this chunk, once that is known.
    layer: Option<Duration>,
    /// Layers that were asked for since the last turn.
    layers: u32,
    /// How long ago the last turn ended when this one began.
    clock: Duration,
    /// Time that layers are to have, from the last turn on, before the next short prompt is read.
    owed: Duration,
}

impl Turns {
    /// Of a chunk of so many tokens, where a token of all answers takes `step`, on a device that does `at_once` what it is asked, or later.
    pub fn new(step: Duration, tokens: usize, at_once: bool) -> Self {
        let (clock, owed) = (Duration::ZERO, Duration::ZERO);
        Self { step, at_once, looked_at: tokens > SHORT && !at_once, layer: None, layers: 0, clock, owed }
    }

    /// One more layer was asked for, so long after the last turn. For how long it is now the turn of answers, if it is.
    pub fn layer(&mut self, clock: Duration) -> Option<Duration> {
        self.layers += 1;
        self.clock = clock;
        // A GPU has not done yet what it was asked for: there the clock says too little, and the first turn tells.
        let took = self.layer.map_or(clock, |layer| clock.max(layer * self.layers));
        // With one more as long as they were it would be too much.
        let is_turn = took + took / self.layers > self.step * WAIT || (self.looked_at && self.layer.is_none());
        is_turn.then_some(took / WAIT)
    }

    /// A turn ended, whose first token of all answers took so long, what was asked for before included.
    pub fn taken(&mut self, first: Duration) {
        let waited = first.saturating_sub(self.step);
        if !self.at_once {
            self.layer = Some((self.clock + waited) / self.layers.max(1));
        }
        self.layers = 0;
        self.owed = self.owed.saturating_sub(self.clock);
    }

    /// Whether a short prompt may be read behind the layer that was asked for last, and done.
    pub fn may_read(&self) -> bool {
        self.clock >= self.owed
    }

    /// One was read in a turn, and took so long; a token of all answers takes `step` from here on.
    pub fn read(&mut self, took: Duration, step: Duration) {
        (self.owed, self.step) = (took, step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A device, and what became of a chunk on it.
    struct Chunk {
        step: Duration,
        layer: Duration,
        /// Whether a layer is done when it was asked for, as on a CPU.
        at_once: bool,
        tokens: usize,
    }

    /// Time of answers, and the longest that they waited between two of their tokens.
    fn run(Chunk { step, layer, at_once, tokens }: Chunk, layers: u32) -> (Duration, Duration) {
        let mut turns = Turns::new(step, tokens, at_once);
        let (mut undone, mut clock) = (Duration::ZERO, Duration::ZERO);
        let (mut of_answers, mut waited, mut longest) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        for _ in 0..layers {
            let asked_for = if at_once { layer } else { layer / 100 };
            undone += layer - asked_for;
            (clock, waited) = (clock + asked_for, waited + asked_for);
            let Some(time) = turns.layer(clock) else { continue };
            // As the owner of an engine does: tokens until the time is over, one at least.
            let first = undone + step;
            longest = longest.max(waited + first);
            let mut taken = first;
            of_answers += step;
            while taken + step / 2 < time {
                (taken, of_answers) = (taken + step, of_answers + step);
            }
            turns.taken(first);
            (undone, clock, waited) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        }
        (of_answers, longest.max(waited + undone + step))
    }

    #[test]
    fn answers_have_a_third_of_the_time_and_do_not_wait_for_long() {
        for at_once in [true, false] {
            for layer in [MS / 10, MS, 2 * MS, 5 * MS, 40 * MS, 300 * MS] {
                for tokens in [300, 30_000] {
                    let (step, layers) = (4 * MS, 32);
                    let (of_answers, longest) = run(Chunk { step, layer, at_once, tokens }, layers);
                    let what = format!("layers of {layer:?}, at once: {at_once}: {of_answers:?}, {longest:?}");
                    // Steps are whole: one where layers took little more than one. The look costs another.
                    assert!(of_answers <= layer * layers + 2 * step, "{what}");
                    // But for a little, layers that are waited for are two steps or one layer.
                    assert!(longest <= (2 * step).max(layer).mul_f64(1.1) + step, "{what}");
                    if layer * layers > 2 * step {
                        assert!(of_answers * 3 >= layer * layers || !at_once, "{what}");
                        assert!(of_answers >= step, "{what}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_short_chunk_is_let_through() {
        assert_eq!(run(Chunk { step: 4 * MS, layer: MS / 10, at_once: false, tokens: 64 }, 30).0, Duration::ZERO);
        // Unless the clock says that it is long.
        assert!(run(Chunk { step: 4 * MS, layer: 5 * MS, at_once: true, tokens: 64 }, 30).0 > 30 * MS);
    }

    #[test]
    fn what_a_layer_takes_is_told_by_the_first_turn() {
        let mut turns = Turns::new(2 * MS, 1024, false);
        assert_eq!(turns.layer(MS / 10), Some(MS / 20));
        turns.taken(3 * MS);
        assert_eq!(turns.layer, Some(MS + MS / 10));
        assert_eq!(turns.layer(MS / 10), None);
        assert_eq!(turns.layer(MS / 5), None);
        // A fourth would make it more than two steps.
        assert_eq!(turns.layer(3 * MS / 10), Some(3 * (MS + MS / 10) / 2));
        // A step that was quicker than it is said to be: layers took what the clock says.
        turns.taken(MS);
        assert_eq!(turns.layer, Some(MS / 10));
    }
}
