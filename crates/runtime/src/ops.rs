//! The operations a decoder is made of. The model is written once over them; a device implements them once.

use crate::config::{Activation, Experts, ModelConfig, RopePairing};
use crate::footprint::Footprint;
use crate::formats::Tensor;
use crate::layer_pages::LayerPages;
use crate::policy::{AttentionPolicy, PrefillAttention};
use crate::precision::{AttentionPrecision, Products, Quantization};
use crate::receipt::LayerDraws;
use crate::sequence::{CacheFull, Sequence};
use attention::calibration::GpuKernel;
use attention::planner::{HeadChoice, Planned};
use attention::search::{CostModel, Search, StageTimes};
use attention::shape::{HeadShape, Tiles};

/// How the weights of two matrices lie in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stacking {
    /// All rows of the first, then all rows of the next.
    Rows,
    /// A gate and an up projection, as [`Ops::mlp`] wants them.
    GateUp,
}

/// What a device could not do.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    /// Shapes or plans that do not belong together.
    #[error(transparent)]
    Attention(#[from] attention::Error),
    /// The GPU.
    #[error(transparent)]
    Cuda(#[from] cuda::Error),
    /// The cache of keys and values.
    #[error(transparent)]
    CacheFull(#[from] CacheFull),
    /// A rounding of weights that only other devices have.
    #[error(
        "weights are quantised to {quantization:?} on GPUs only: run on one (`Device::Cuda`), or without `EngineOptions::quantization`"
    )]
    Quantization {
        /// What was asked for.
        quantization: Quantization,
    },
    /// Products of attention that only other devices have.
    #[error(
        "attention multiplies in {precision:?} on GPUs only: run on one (`Device::Cuda`), or without `EngineOptions::attention_precision`"
    )]
    AttentionPrecision {
        /// What was asked for.
        precision: AttentionPrecision,
    },
    /// Products that only CPUs have.
    #[error("products are in {products:?} on CPUs only: run on the CPU, or without `EngineOptions::products`")]
    Products {
        /// What was asked for.
        products: Products,
    },
}

/// Rows that go through the layers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// So many tokens of one sequence, one behind the other.
    Chunk(usize),
    /// The next token of each of so many sequences.
    Step(usize),
}

impl Together {
    /// How many there are.
    pub fn rows(self) -> usize {
        match self {
            Together::Chunk(rows) | Together::Step(rows) => rows,
        }
    }
}

/// An MLP: `down * (activation(gate * x) . (up * x))`.
pub struct GatedMlp<M> {
    /// Stacked as [`Stacking::GateUp`].
    pub gate_up: M,
    /// Back to the width of the residual stream.
    pub down: M,
}

/// What happens to the heads of Q, K and V before they are rotated.
pub struct HeadParameters<V> {
    /// Added to all query heads, all key heads, all value heads.
    pub bias: Option<V>,
    /// Weights `[head_dim]` of the RMS norms of each query head and of each key head.
    pub norms: Option<(V, V)>,
    /// Epsilon of the norms.
    pub eps: f32,
}

/// What one attention layer needs to know beside its operands.
#[derive(Clone, Copy)]
pub struct AttentionSpec<'a> {
    /// Heads.
    pub heads: HeadShape,
    /// Elements that rotate together.
    pub rope_pairing: RopePairing,
    /// Which of the model's rotations the layer has; see [`ModelConfig::ropes`].
    pub rope: usize,
    /// Index of the layer.
    pub layer: usize,
    /// How many positions back a query sees, its own included. A layer whose window is shorter than the keys computes all
    /// pairs inside it, whatever the policy says.
    pub window: Option<usize>,
    /// What is computed.
    pub prefill: PrefillAttention<'a>,
    /// Final query rows that must see every key.
    pub last_rows: usize,
}

/// What one attention layer did.
#[derive(Clone, Debug, Default)]
pub struct AttentionReport {
    /// (query, key) pairs computed, over all heads.
    pub computed_pairs: u64,
    /// Causal pairs inside the window, over all heads.
    pub causal_pairs: u64,
    /// Attention mass kept, estimated, times `causal_pairs`.
    pub recalled_pairs: f64,
    /// Predicted by the cost model; nothing where no search was run on the host.
    pub predicted_cost: Option<PredictedCost>,
    /// Upper bound of the attention mass dropped, times `causal_pairs`; nothing where none was asked for.
    pub dropped_pairs_at_most: Option<f64>,
    /// Rows that say what was kept; none unless they were asked for.
    pub draws: LayerDraws,
    /// Time to find the plan.
    pub search_time: std::time::Duration,
    /// What the stages of an online search took, summed over threads; nothing where there was none.
    pub search_stages: Option<StageTimes>,
    /// Time to execute it.
    pub attend_time: std::time::Duration,
}

/// Block steps of all heads ([`CostModel`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PredictedCost {
    /// Of the plans.
    pub steps: f64,
    /// Of every causal pair.
    pub dense_steps: f64,
}

impl PredictedCost {
    /// Of one layer's plan by a search. Heads that it did not price are dense.
    pub fn of(search: &Search, planned: &Planned, tiles: Tiles) -> Self {
        let dense = search.cost.dense(tiles);
        let of_head = |choice: &HeadChoice| if choice.cost.is_finite() { choice.cost } else { dense };
        let steps = planned.choices.iter().map(of_head).sum();
        Self { steps, dense_steps: dense * planned.choices.len() as f64 }
    }
}

impl std::ops::AddAssign for AttentionReport {
    fn add_assign(&mut self, other: Self) {
        self.computed_pairs += other.computed_pairs;
        self.causal_pairs += other.causal_pairs;
        self.recalled_pairs += other.recalled_pairs;
        self.dropped_pairs_at_most = match (self.dropped_pairs_at_most, other.dropped_pairs_at_most) {
            (Some(own), Some(other)) => Some(own + other),
            (own, other) => own.or(other),
        };
        self.predicted_cost = match (self.predicted_cost, other.predicted_cost) {
            (Some(own), Some(other)) => {
                let (steps, dense_steps) = (own.steps + other.steps, own.dense_steps + other.dense_steps);
                Some(PredictedCost { steps, dense_steps })
            }
            (own, other) => own.or(other),
        };
        self.search_stages = sum_of_stages(self.search_stages, other.search_stages);
        self.draws += other.draws;
        self.search_time += other.search_time;
        self.attend_time += other.attend_time;
    }
}

/// Both together; one where there is but one.
pub(crate) fn sum_of_stages(own: Option<StageTimes>, other: Option<StageTimes>) -> Option<StageTimes> {
    own.into_iter().chain(other).reduce(|mut sum, times| {
        sum += times;
        sum
    })
}

/// Where the time of a device went that does what it is asked later.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeviceTimes {
    /// Attention.
    pub attention: std::time::Duration,
    /// Finding plans.
    pub search: std::time::Duration,
    /// The same by stage, where stages are timed.
    pub search_stages: Option<StageTimes>,
    /// (query, key) pairs that plans found on the device compute, over all heads; [`AttentionReport`] leaves them out.
    pub computed_pairs: u64,
    /// Attention mass that those plans keep, estimated, times causal pairs; likewise.
    pub recalled_pairs: u64,
    /// Matrix products; zero unless they are timed.
    pub products: std::time::Duration,
    /// Everything else.
    pub rest: std::time::Duration,
}

impl std::ops::AddAssign for DeviceTimes {
    fn add_assign(&mut self, other: Self) {
        self.attention += other.attention;
        self.search += other.search;
        self.search_stages = sum_of_stages(self.search_stages, other.search_stages);
        self.computed_pairs += other.computed_pairs;
        self.recalled_pairs += other.recalled_pairs;
        self.products += other.products;
        self.rest += other.rest;
    }
}

/// A device: where tensors live and what can be done with them.
///
/// *Tokens* are the residual stream, one f32 vector a token; an *operand* is activations in the form the device
/// multiplies. Outputs are written into buffers the caller owns and reuses from layer to layer. A device may do what it is
/// asked later, in order; then its errors come with the next operation that waits, at the latest with
/// [`logits`](Self::logits) or [`likeliest`](Self::likeliest).
pub trait Ops: Send + Sync + 'static {
    /// A weight matrix, ready to multiply.
    type Matrix: Send + Sync;
    /// A norm weight or a bias.
    type Vector: Send + Sync;
    /// The token embedding.
    type Embedding: Send + Sync;
    /// The residual stream of a chunk of tokens.
    type Tokens: Send;
    /// The right operand of a product.
    type Operand: Send;
    /// Q, K and V of a chunk of tokens.
    type Heads: Send;
    /// The experts of a layer.
    type Experts: Send + Sync;
    /// Room for what is between the products of an MLP.
    type MlpRoom: Send;
    /// Tokens of a chunk and where they stand in their sequence: ids, rotations, places in the cache.
    type Chunk: Send;
    /// Operations that are asked for again and again.
    type Recording: Send + Default;
    /// Room for the last norm and the logits of a few tokens.
    type LogitsRoom: Send;
    /// Keys and values of one layer.
    type KvPages: Send;
    /// Those of one page in all layers, in memory of the host.
    type PageOnHost: Send + 'static;

    /// Name and properties, for people.
    fn name(&self) -> String;

    /// What models take of the device.
    fn footprint(&self) -> &dyn Footprint;

    /// Memory of the device that is free; `None` where nobody says.
    fn available_bytes(&self) -> Option<u64>;

    /// Most memory that was held on the device, ever or since it was [forgotten](Self::forget_peak); `None` where nobody says.
    fn peak_bytes(&self) -> Option<u64> {
        None
    }

    /// Counts [`peak_bytes`](Self::peak_bytes) anew from what is held now. Whether that can be.
    fn forget_peak(&self) -> bool {
        false
    }

    /// Rows of the tiles that the device executes plans in.
    fn plan_block_m(&self) -> usize;

    /// Whether the device can compute by `policy`, before any work starts.
    ///
    /// # Errors
    /// What it lacks.
    fn check_policy(&self, policy: AttentionPolicy) -> Result<(), OpsError> {
        let _ = policy;
        Ok(())
    }

    /// What attention and search cost on devices of this kind, unless measured.
    fn costs(&self) -> CostModel;

    /// What calibration files call the kernel whose costs these are; `None` on a CPU.
    fn gpu_kernel(&self) -> Option<GpuKernel> {
        None
    }

    /// How many block steps the device takes at a time, for times of [`costs`](Self::costs).
    fn parallel_steps(&self) -> usize;

    /// Tokens of a prompt that make a device ready on which the first of anything takes longer: code is loaded, plans are
    /// made. Zero where nothing is to be gained.
    fn warm_up_tokens(&self) -> usize {
        0
    }

    /// Stacks matrices of equal width into one.
    ///
    /// # Errors
    /// When the device has no room.
    fn matrix(&self, parts: &[Tensor], stacking: Stacking) -> Result<Self::Matrix, OpsError>;

    /// The matrix that makes logits, of which devices that round weights keep more.
    ///
    /// # Errors
    /// When the device has no room.
    fn output_head(&self, table: &Tensor) -> Result<Self::Matrix, OpsError> {
        self.matrix(std::slice::from_ref(table), Stacking::Rows)
    }

    /// The experts of a layer, in their order; at least one.
    ///
    /// # Errors
    /// When the device has no room.
    fn experts(&self, experts: Vec<GatedMlp<Self::Matrix>>) -> Result<Self::Experts, OpsError>;

    /// Puts a vector on the device.
    ///
    /// # Errors
    /// When the device has no room.
    fn vector(&self, values: Vec<f32>) -> Result<Self::Vector, OpsError>;

    /// The token embedding of a table of its own, times its factor.
    ///
    /// # Errors
    /// When the device has no room.
    fn embedding(&self, config: &ModelConfig, table: Tensor) -> Result<Self::Embedding, OpsError>;

    /// The token embedding, times its factor, of the table that `output_head` was made of.
    ///
    /// # Errors
    /// When the device has no room.
    fn tied_embedding(
        &self,
        config: &ModelConfig,
        table: Tensor,
        output_head: &Self::Matrix,
    ) -> Result<Self::Embedding, OpsError>;

    /// Pages of zeros for the keys and values of one layer, each of [`attention::BLOCK_N`] tokens.
    ///
    /// # Errors
    /// When the device has no room.
    fn kv_pages(&self, heads: HeadShape, num_pages: usize) -> Result<Self::KvPages, OpsError>;

    /// Room on the host for a page of so many layers.
    ///
    /// # Errors
    /// When the host has none.
    fn page_on_host(&self, heads: HeadShape, num_layers: usize) -> Result<Self::PageOnHost, OpsError>;

    /// Copies a page of a layer to the host. What is asked for later may write to the page.
    ///
    /// # Errors
    /// When there is no such page, and what the device says.
    fn copy_to_host(
        &self,
        pages: &Self::KvPages,
        page: u32,
        to: &mut Self::PageOnHost,
        layer: usize,
    ) -> Result<(), OpsError>;

    /// Copies a page of a layer back from the host, to this page or another.
    ///
    /// # Errors
    /// As [`copy_to_host`](Self::copy_to_host).
    fn copy_from_host(
        &self,
        from: &Self::PageOnHost,
        layer: usize,
        pages: &mut Self::KvPages,
        page: u32,
    ) -> Result<(), OpsError>;

    /// The residual stream of `len` tokens, zeros.
    ///
    /// # Errors
    /// When the device has none.
    fn tokens(&self, features: usize, len: usize) -> Result<Self::Tokens, OpsError>;

    /// Room for an operand.
    ///
    /// # Errors
    /// When the device has none.
    fn operand(&self, features: usize, together: Together) -> Result<Self::Operand, OpsError>;

    /// Room for Q, K and V of `len` tokens.
    ///
    /// # Errors
    /// When the device has none.
    fn heads(&self, heads: HeadShape, len: usize) -> Result<Self::Heads, OpsError>;

    /// Room for the MLPs, mixtures of experts included.
    ///
    /// # Errors
    /// When the device has none.
    fn mlp_room(&self, config: &ModelConfig, together: Together) -> Result<Self::MlpRoom, OpsError>;

    /// Room for chunks of `len` tokens of `sequence`.
    ///
    /// # Errors
    /// When the device has none.
    fn chunk(&self, config: &ModelConfig, sequence: &Sequence, len: usize) -> Result<Self::Chunk, OpsError>;

    /// Makes `chunk` stand for the next tokens of `sequence`, as many as it has room for.
    ///
    /// # Errors
    /// When the sequence has no pages reserved for them.
    fn advance(
        &self,
        config: &ModelConfig,
        sequence: &Sequence,
        ids: &[u32],
        chunk: &mut Self::Chunk,
    ) -> Result<(), OpsError>;

    /// Room for steps of `rows` sequences, at least one, whose pages are some of `pages`.
    ///
    /// # Errors
    /// When the device has none.
    fn step_chunk(&self, config: &ModelConfig, rows: usize, pages: &Self::KvPages) -> Result<Self::Chunk, OpsError>;

    /// Makes a chunk of [`step_chunk`](Self::step_chunk) stand for the next token of each of as many sequences, which all
    /// [rotate alike](ModelConfig::least_alike).
    ///
    /// # Errors
    /// When a sequence has no page reserved for it.
    fn advance_step(
        &self,
        config: &ModelConfig,
        sequences: &[&Sequence],
        ids: &[u32],
        chunk: &mut Self::Chunk,
    ) -> Result<(), OpsError>;

    /// Does `work` on so many rows, or what it did the last time with this recording: it must ask for the same operations on the same
    /// buffers each time, and make none.
    ///
    /// # Errors
    /// What the work says, or the device.
    fn replay(
        &self,
        recording: &mut Self::Recording,
        rows: usize,
        work: &mut dyn FnMut() -> Result<(), OpsError>,
    ) -> Result<(), OpsError>;

    /// Looks the tokens of a chunk up, and makes the rotations of their positions.
    ///
    /// # Errors
    /// What the device says.
    fn embed(&self, table: &Self::Embedding, chunk: &mut Self::Chunk, out: &mut Self::Tokens) -> Result<(), OpsError>;

    /// `out = x / rms(x) * weight`.
    ///
    /// # Errors
    /// What the device says.
    fn rms_norm(
        &self,
        x: &Self::Tokens,
        weight: &Self::Vector,
        eps: f32,
        out: &mut Self::Operand,
    ) -> Result<(), OpsError>;

    /// Q, K and V: `out = matrix * x`.
    ///
    /// # Errors
    /// What the device says.
    fn project_heads(&self, matrix: &Self::Matrix, x: &Self::Operand, out: &mut Self::Heads) -> Result<(), OpsError>;

    /// Adds biases to `qkv`, normalises and rotates Q and K, stores K and V of the chunk behind its sequence in the cache,
    /// plans and attends; of a step behind each sequence, and with all of its keys. Others may have the pages before the layer is done:
    /// a device that does at once what it is asked lets go of them where the chunk pauses.
    ///
    /// `qkv` holds `[q heads | k heads | v heads]` of the tokens of `chunk`; the caller advances the sequences when all
    /// layers are done.
    ///
    /// # Errors
    /// When the cache has no room reserved for the chunk, and what the device says.
    #[allow(clippy::too_many_arguments)] // operands, each of another kind
    fn attention(
        &self,
        spec: AttentionSpec,
        parameters: &HeadParameters<Self::Vector>,
        qkv: &mut Self::Heads,
        chunk: &mut Self::Chunk,
        pages: &LayerPages<Self::KvPages>,
        sequences: &[&Sequence],
        out: &mut Self::Operand,
    ) -> Result<AttentionReport, OpsError>;

    /// `out += matrix * x`: a projection back onto the residual stream.
    ///
    /// # Errors
    /// What the device says.
    fn linear_add(&self, matrix: &Self::Matrix, x: &Self::Operand, out: &mut Self::Tokens) -> Result<(), OpsError>;

    /// `out += branch / rms(branch) * weight`, and `branch` becomes zeros.
    ///
    /// # Errors
    /// What the device says.
    fn add_normed(
        &self,
        branch: &mut Self::Tokens,
        weight: &Self::Vector,
        eps: f32,
        out: &mut Self::Tokens,
    ) -> Result<(), OpsError>;

    /// `out += mlp(x)`. Others may have a step between stretches of rows, as `prefill` has it.
    ///
    /// # Errors
    /// What the device says.
    fn mlp(
        &self,
        activation: Activation,
        mlp: &GatedMlp<Self::Matrix>,
        x: &Self::Operand,
        room: &mut Self::MlpRoom,
        out: &mut Self::Tokens,
        prefill: PrefillAttention,
    ) -> Result<(), OpsError>;

    /// Chooses the experts of each token, for [`mix`](Self::mix): those with the largest share of a softmax over
    /// `router * x / rms(x)`, all in f32, the first ones of those with the same. `router` is `[experts][features]`, times the weight of
    /// the norm.
    ///
    /// # Errors
    /// What the device says.
    fn route(
        &self,
        experts: &Experts,
        router: &Self::Vector,
        x: &Self::Tokens,
        eps: f32,
        room: &mut Self::MlpRoom,
    ) -> Result<(), OpsError>;

    /// `out += sum of share * expert(x)` over the experts that were chosen for each token.
    ///
    /// # Errors
    /// What the device says.
    fn mix(
        &self,
        activation: Activation,
        experts: &Self::Experts,
        x: &Self::Operand,
        room: &mut Self::MlpRoom,
        out: &mut Self::Tokens,
    ) -> Result<(), OpsError>;

    /// The first token with a value that is no finite number, once the work asked for before is done. Slow where the device has
    /// memory of its own: for looking for what went wrong.
    ///
    /// # Errors
    /// Whatever went wrong.
    fn first_without_number(&self, x: &Self::Tokens, len: usize) -> Result<Option<usize>, OpsError>;

    /// Waits for the device, and says where its time went since the last call. Nothing on a device that does what it is
    /// asked at once: [`AttentionReport`] has those times.
    ///
    /// # Errors
    /// Whatever went wrong.
    fn times(&self) -> Result<DeviceTimes, OpsError> {
        Ok(DeviceTimes::default())
    }

    /// Room for logits of `rows` tokens.
    ///
    /// # Errors
    /// When the device has none.
    fn logits_room(&self, config: &ModelConfig, rows: usize) -> Result<Self::LogitsRoom, OpsError>;

    /// `matrix * norm(x[token])` of tokens from `first` on, as many as there is room for.
    ///
    /// # Errors
    /// What the device says.
    #[allow(clippy::too_many_arguments)] // operands, each of another kind
    fn output(
        &self,
        x: &Self::Tokens,
        first: usize,
        norm: &Self::Vector,
        eps: f32,
        matrix: &Self::Matrix,
        room: &mut Self::LogitsRoom,
    ) -> Result<(), OpsError>;

    /// A row of what [`output`](Self::output) made last, on the host.
    ///
    /// # Errors
    /// What the device says, of this and of everything asked for before.
    fn logits(&self, room: &Self::LogitsRoom, row: usize) -> Result<Vec<f32>, OpsError>;

    /// The id of the largest of each row of what [`output`](Self::output) made last, the lowest where several are equal; nothing where one
    /// of the row is no finite number.
    ///
    /// # Errors
    /// What the device says, of this and of everything asked for before.
    fn likeliest(&self, room: &mut Self::LogitsRoom) -> Result<Vec<Option<u32>>, OpsError>;
}
