//! From what sparse attention aims at to the search that a prompt gets.

use super::budget::{self, Fit};
use super::{Engine, EngineError};
use crate::policy::AttentionPolicy;
use crate::prefill::chunk_len;
use crate::request::{AttentionMode, Goal, Request};
use attention::search::{Search, Target};
use attention::shape::{QueryRange, Tiles};
use std::ops::Range;

impl Engine {
    /// The search that a request with a prompt of this length gets; nothing when it asks for dense attention.
    ///
    /// # Errors
    /// When its goal cannot be, or the device has no such search.
    pub fn search(&self, request: &Request, prompt_len: usize) -> Result<Option<Search>, EngineError> {
        self.search_behind(0, request, prompt_len)
    }

    /// As [`search`](Self::search), for the tokens of a prompt behind those that are `cached`.
    pub(super) fn search_behind(
        &self,
        cached: usize,
        request: &Request,
        prompt_len: usize,
    ) -> Result<Option<Search>, EngineError> {
        match request.attention {
            AttentionMode::Dense => Ok(None),
            AttentionMode::Auto | AttentionMode::Sparse => {
                let mut search = self.search_of_chunks(request.goal, cached..prompt_len)?;
                search.guarantee = request.guarantee;
                self.model.check_policy(AttentionPolicy::Search(&search))?;
                Ok(Some(search))
            }
        }
    }

    /// The search for a goal on a prompt of this length, at the costs of this device.
    ///
    /// # Errors
    /// When the goal cannot be.
    pub fn search_for(&self, goal: Goal, prompt_len: usize) -> Result<Search, EngineError> {
        self.search_of_chunks(goal, 0..prompt_len)
    }

    pub(super) fn search_of_chunks(&self, goal: Goal, positions: Range<usize>) -> Result<Search, EngineError> {
        let mut search = Search::new(self.target_of_chunks(goal, positions.clone())?)?;
        search.cost = self.costs.clone();
        let prompt_len = positions.end;
        let chunks = self.chunks(positions)?;
        match budget::fit(&search, &chunks)? {
            Fit::Fits(search) => Ok(search),
            Fit::Least(least) => {
                let asked = goal.to_string();
                let least = match goal {
                    // What is over the budget by this much may be over by as much of its time.
                    Goal::AttentionMs(ms) => format!("time={:.0}ms", (ms * least.over).ceil()),
                    Goal::Cost(_) => format!("cost={:.3}", least.share),
                    Goal::Density(_) | Goal::Recall(_) => format!("density={:.3}", least.share),
                };
                Err(EngineError::Budget { asked, least, prompt_tokens: prompt_len })
            }
        }
    }

    /// The chunks that these positions of a prompt are taken in, in tiles, and how many of its last rows are in each.
    pub(super) fn chunks(&self, positions: Range<usize>) -> Result<Vec<(Tiles, usize)>, EngineError> {
        let (mut start, mut chunks) = (positions.start, Vec::new());
        while start < positions.end {
            let (len, last_rows) = chunk_len(start, positions.end - start, self.chunk_tokens);
            start += len;
            chunks.push((QueryRange::new(len, start)?.tiles(self.model.plan_block_m())?, last_rows));
        }
        Ok(chunks)
    }

    /// As [`search`](Self::search), but nothing where the mode is left to us and only dense attention has room.
    pub(super) fn search_with_room(
        &self,
        request: &Request,
        prompt_len: usize,
        tokens: usize,
    ) -> Result<Option<Search>, EngineError> {
        let search = self.search(request, prompt_len)?;
        let optional = request.attention == AttentionMode::Auto;
        Ok(search.filter(|_| !optional || self.check_room(tokens, true).is_ok()))
    }

    /// What a goal is on a prompt of this length, as it stands: [`search_for`](Self::search_for) spreads it over the chunks.
    ///
    /// # Errors
    /// When a time is asked for and nobody knows what a step takes here, or it is too short for the search.
    pub fn target(&self, goal: Goal, prompt_len: usize) -> Result<Target, EngineError> {
        self.target_of_chunks(goal, 0..prompt_len)
    }

    pub(super) fn target_of_chunks(&self, goal: Goal, positions: Range<usize>) -> Result<Target, EngineError> {
        let budget_ms = match goal {
            Goal::Recall(share) => return Ok(Target::Recall(share)),
            Goal::Density(share) => return Ok(Target::Density(share)),
            Goal::Cost(share) => return Ok(Target::Cost(share)),
            Goal::AttentionMs(ms) => ms,
        };
        let (mut dense, mut search) = (0.0, 0.0);
        for (tiles, _) in self.chunks(positions)? {
            dense += self.costs.dense(tiles);
            search += self.costs.search(tiles);
        }
        let heads = (self.config().num_layers * self.config().num_q_heads) as f64;
        let parallel = self.pool.install(|| self.model.parallel_steps()) as f64;
        let ms_of = |steps: f64| {
            self.costs.us(heads * steps).map(|us| us / parallel / 1e3).ok_or_else(|| match self.on_gpu {
                true => EngineError::TimeBudgetUnknown { device: self.device_name.clone() },
                false => EngineError::TimeBudgetNeedsCalibration,
            })
        };
        let (dense_ms, search_ms) = (ms_of(dense)?, ms_of(search)?);
        if budget_ms >= dense_ms {
            return Ok(Target::Cost(1.0));
        }
        match (budget_ms - search_ms) / dense_ms {
            share if share > 0.0 => Ok(Target::Cost(share as f32)),
            _ => Err(EngineError::TimeBudget { budget_ms, search_ms, dense_ms }),
        }
    }
}
