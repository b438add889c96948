//! What a model would take of a device, by the arithmetic that the engine goes by, without loading it and without the device.

mod way;

use crate::config::ModelConfig;
use crate::cpu::CpuFootprint;
use crate::engine::{EngineError, EngineOptions, Opened, Room, cpu_has, gpu_has};
use crate::footprint::{Footprint, MemoryNeed, WeightsNeed};
use crate::gpu::GpuFootprint;
use crate::memory::available_bytes;
use crate::model_files::HubProgress;
use crate::ops::OpsError;
use crate::request::AttentionMode;
use crate::weights::ModelWeights;
use attention::threads;
pub use way::{Way, WayOut};

/// Where the model is supposed to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this machine's CPU, with what it has free.
    Cpu,
    /// On a GPU that has so much memory, all of it free.
    Gpu {
        /// Of the GPU.
        memory_bytes: u64,
    },
}

/// A model of which only the heads of its files were read, and a place for it.
pub struct DryRun {
    weights: ModelWeights,
    name: String,
    own_context: usize,
    options: EngineOptions,
    place: Place,
    sizes: Sizes,
}

/// A run, as far as it takes memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// Of the run.
    pub memory: MemoryNeed,
    /// Whether the search is counted.
    pub sparse: bool,
    /// Whether there is room for it.
    pub fits: bool,
}

/// The sizes that a run of any length follows from.
struct Sizes {
    config: ModelConfig,
    footprint: Box<dyn Footprint>,
    weights: WeightsNeed,
    /// Held at the most while weights are loaded; nothing where that is not on the device.
    loading_bytes: Option<u64>,
    chunk_tokens: usize,
}

impl Sizes {
    fn of(weights: &ModelWeights, options: &EngineOptions, place: Place) -> Result<Self, EngineError> {
        let config = weights.config().clone();
        let footprint: Box<dyn Footprint> = match place {
            Place::Cpu => {
                cpu_has(options)?;
                Box::new(CpuFootprint { threads: threads::count(options.threads) })
            }
            Place::Gpu { memory_bytes } => {
                gpu_has(options)?;
                let bytes = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
                let &EngineOptions { quantization, attention_precision, .. } = options;
                let gpu = GpuFootprint::without_device(bytes, &config, quantization, attention_precision);
                Box::new(gpu.map_err(OpsError::from)?)
            }
        };
        let need = WeightsNeed::of(&*footprint, weights)?;
        let loading_bytes = match place {
            Place::Cpu => Some(need.total_bytes() + MemoryNeed::of_loading(weights)?),
            Place::Gpu { .. } => None,
        };
        let chunk_tokens = options.chunk_tokens.unwrap_or_else(|| footprint.chunk_tokens(&config));
        Ok(Self { config, footprint, weights: need, loading_bytes, chunk_tokens })
    }

    fn memory(&self, tokens: usize, sparse: bool) -> MemoryNeed {
        self.footprint.memory_need(&self.config, self.weights, tokens, self.chunk_tokens, sparse)
    }

    fn predict(&self, tokens: usize, mode: AttentionMode, room: &Room) -> Prediction {
        let with = |sparse| {
            let memory = self.memory(tokens, sparse);
            let loads = self.loading_bytes.zip(room.left).is_none_or(|(bytes, left)| bytes <= left);
            let fits = loads && room.available().is_none_or(|available| memory.total_bytes() <= available);
            Prediction { memory, sparse, fits }
        };
        match mode {
            AttentionMode::Dense => with(false),
            AttentionMode::Sparse => with(true),
            // As the engine decides it.
            AttentionMode::Auto => {
                Some(with(false)).filter(|dense| dense.fits && !with(true).fits).unwrap_or_else(|| with(true))
            }
        }
    }

    /// The most tokens up to `most` that fit; nothing where not even one does.
    fn longest(&self, most: usize, mode: AttentionMode, room: &Room) -> Option<usize> {
        let fits = |tokens: usize| self.predict(tokens, mode, room).fits;
        let (mut fit, mut over) = (0, most + 1);
        while over - fit > 1 {
            let middle = fit + (over - fit) / 2;
            if fits(middle) { fit = middle } else { over = middle }
        }
        (fit > 0).then_some(fit)
    }
}

impl DryRun {
    /// Reads what the engine reads before it loads: the heads of the model's files. An id of a hub is fetched first, whole.
    ///
    /// # Errors
    /// When the files do not hold, or no such device has what the options ask for.
    pub fn open(
        model: &str,
        options: &EngineOptions,
        place: Place,
        report: &mut dyn FnMut(HubProgress),
    ) -> Result<Self, EngineError> {
        let Opened { weights, name, own_context, .. } = Opened::open(model, options, report)?;
        let sizes = Sizes::of(&weights, options, place)?;
        Ok(Self { weights, name, own_context, options: options.clone(), place, sizes })
    }

    /// Name of the model, for people.
    pub fn model_name(&self) -> &str {
        &self.name
    }

    /// Tokens of the context by the model's files and its stretching.
    pub fn own_context(&self) -> usize {
        self.own_context
    }

    /// Tokens of the context that was asked for, or else the model's own.
    pub fn context(&self) -> usize {
        self.sizes.config.max_context
    }

    /// Tokens of a chunk of the prompt.
    pub fn chunk_tokens(&self) -> usize {
        self.sizes.chunk_tokens
    }

    /// Bytes that a run may hold: what the place has, or the limit of the options if that is less. Nothing where nobody says.
    pub fn available_bytes(&self) -> Option<u64> {
        self.room().available()
    }

    /// What a run of so many tokens, prompt and answer together, would take. [`AttentionMode::Auto`] leaves the search away where
    /// only dense attention fits.
    pub fn predict(&self, tokens: usize, mode: AttentionMode) -> Prediction {
        self.sizes.predict(tokens, mode, &self.room())
    }

    /// The most tokens, up to `most`, that fit; nothing where the weights alone do not.
    pub fn longest(&self, most: usize, mode: AttentionMode) -> Option<usize> {
        self.sizes.longest(most, mode, &self.room())
    }

    fn room(&self) -> Room {
        let left = match self.place {
            Place::Cpu => available_bytes(),
            Place::Gpu { memory_bytes } => Some(memory_bytes),
        };
        Room { limit: self.options.max_memory_bytes, left, held: 0 }
    }
}
