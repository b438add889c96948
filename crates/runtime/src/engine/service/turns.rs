//! When answers have their turn while a chunk of a prompt goes through the layers: once the layers since the last turn took as long as a
//! token of all answers does. So neither has more than about half of the time, and answers wait for two of their own steps at most, or for
//! a layer where that takes longer.

use std::time::{Duration, Instant};

/// What a token of all answers and a layer of a prompt take, as they were last seen.
#[derive(Default)]
pub(super) struct Pace {
    step: Duration,
    /// A layer, for each token of its chunk.
    layer_of_token: Duration,
}

/// The turns within one chunk.
pub(super) struct Turns {
    step: Duration,
    layer: Duration,
    /// Layers that were asked for since the last turn.
    layers: u32,
    /// When the last turn ended.
    since: Instant,
    /// Tokens of all answers in all turns.
    steps: u32,
}

impl Pace {
    /// A token of all answers took so long, with nothing else on the device.
    pub fn stepped(&mut self, time: Duration) {
        self.step = time;
    }

    /// Turns for a chunk of so many tokens.
    pub fn turns(&self, tokens: usize) -> Turns {
        Turns {
            step: self.step,
            layer: self.layer_of_token * tokens as u32,
            layers: 0,
            since: Instant::now(),
            steps: 0,
        }
    }

    /// A chunk of `tokens` tokens went through so many layers in `time`, turns included.
    pub fn read(&mut self, turns: &Turns, tokens: usize, layers: usize, time: Duration) {
        let of_layers = time.saturating_sub(turns.step * turns.steps);
        self.layer_of_token = of_layers.div_f64((tokens * layers).max(1) as f64);
    }
}

impl Turns {
    /// One more layer was asked for. For how long it is now the turn of answers, if it is.
    pub fn layer(&mut self) -> Option<Duration> {
        self.layers += 1;
        // A GPU has not done yet what it was asked for: there the clock says too little.
        let took = self.since.elapsed().max(self.layer * self.layers);
        (took >= self.step).then_some(took)
    }

    /// A turn of so many tokens of all answers ended.
    pub fn taken(&mut self, steps: u32) {
        (self.layers, self.since) = (0, Instant::now());
        self.steps += steps;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Layers of a chunk behind which it is the turn of answers, on a device that does later what it is asked for.
    fn turns(pace: &Pace, tokens: usize, layers: usize) -> Vec<usize> {
        let mut turns = pace.turns(tokens);
        let is_turn = |_: &usize| {
            let is_turn = turns.layer().is_some();
            if is_turn {
                turns.taken(1);
            }
            is_turn
        };
        (1..=layers).filter(is_turn).collect()
    }

    #[test]
    fn answers_have_as_much_of_the_time_as_layers() {
        let mut pace = Pace::default();
        pace.stepped(200 * MS);
        // A layer takes 100 ms of 1,000 tokens, 400 of 4,000.
        let first = pace.turns(1000);
        pace.read(&first, 1000, 10, 1000 * MS);
        assert_eq!(turns(&pace, 1000, 7), [2, 4, 6]);
        assert_eq!(turns(&pace, 500, 9), [4, 8]);
        assert_eq!(turns(&pace, 4000, 3), [1, 2, 3]);
        assert_eq!(pace.turns(4000).layer(), Some(400 * MS));
    }

    #[test]
    fn turns_are_no_time_of_layers() {
        let mut pace = Pace::default();
        pace.stepped(50 * MS);
        let mut three = pace.turns(100);
        three.taken(1);
        three.taken(2);
        pace.read(&three, 100, 10, 1150 * MS);
        assert_eq!(pace.layer_of_token, MS);
        // Less than the turns are said to have taken: they were shorter than that.
        pace.read(&three, 100, 10, 100 * MS);
        assert_eq!(pace.layer_of_token, Duration::ZERO);
    }

    /// As before anything is known of the device: then its first layers are those of a chunk.
    #[test]
    fn a_clock_that_says_more_is_believed() {
        let mut pace = Pace::default();
        pace.stepped(2 * MS);
        let mut turns = pace.turns(100);
        assert_eq!(turns.layer(), None);
        std::thread::sleep(3 * MS);
        assert!(turns.layer().is_some_and(|took| took >= 3 * MS));
    }
}
