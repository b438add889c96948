//! Pages of an answer, which it may have to give up between two steps: then it reads again what was in them.

use super::Answer;
use crate::engine::EngineError;
use crate::model::Run;
use attention::BLOCK_N;

impl<'a> Answer<'a> {
    /// Tokens that it may have in all.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether there is a page for the next token.
    pub fn has_room(&self) -> bool {
        let sequence = self.run.as_ref().map(|run| run.sequence());
        sequence.is_some_and(|sequence| sequence.len() < sequence.table().len() * BLOCK_N)
    }

    /// Takes pages for so many tokens more. Only between a token that was chosen and its way through the model.
    ///
    /// # Errors
    /// When there are not as many free, and what the device says.
    pub fn reserve(&mut self, tokens: usize) -> Result<(), EngineError> {
        let run = self.run.as_mut().expect("there is no step behind an error");
        let left = self.capacity.saturating_sub(run.tokens_done());
        Ok(run.reserve(tokens.min(left))?)
    }

    /// Gives its pages up. It goes on where it stood once it [has a run again](Self::resume), behind reading what the pages held: of the
    /// prompt as it was read, of the answer densely, as its tokens went through, but side by side, so that sums may be made in another
    /// order than one by one.
    pub fn suspend(&mut self) {
        self.to_read = self.prompt.len() + self.tokens.len();
        (self.run, self.outlook) = (None, None);
        self.stats.preemptions += 1;
    }

    /// Goes on by a run that holds the first of its tokens, or none.
    pub fn resume(&mut self, run: Box<dyn Run + 'a>) {
        self.run = Some(run);
    }
}
