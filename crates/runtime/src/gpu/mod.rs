//! An NVIDIA GPU as a device: bf16 activations around an f32 residual stream.

mod attention;
mod costs;
mod experts;
mod footprint;
mod gated_rows;
mod memory;
mod mlp;
mod products;
mod sizes;

use crate::config::{Activation, Experts as ExpertsConfig, ModelConfig, RopePairing};
use crate::footprint::Footprint;
use crate::formats::Tensor;
use crate::layer_pages::LayerPages;
use crate::ops::{
    AttentionReport, AttentionSpec, DeviceTimes, GatedMlp, HeadParameters, Ops, OpsError, Stacking, Together,
};
use crate::policy::{AttentionPolicy, PrefillAttention};
use crate::precision::{AttentionPrecision, Quantization};
use crate::sequence::Sequence;
use ::attention::BLOCK_N;
use ::attention::calibration::GpuKernel;
use ::attention::search::{CostModel, StageTimes};
use ::attention::shape::{HeadShape, QueryRange};
use cuda::Error;
use cuda::attend::Attend;
use cuda::batch::{Batch, SequencePages};
use cuda::decode_attention::DecodeAttention;
use cuda::device::{Buffer, Clock, Device, HostRoom, Recording, ViewMut};
use cuda::gate::{Activation as DeviceActivation, Gate};
use cuda::gated_gemm_sm90::GatedGemmSm90;
use cuda::kv::KvPages;
use cuda::likeliest::Likeliest;
use cuda::qkv_rope_store::{HeadParameters as DeviceHeadParameters, Pairing, QkvRopeStore, Turning};
use cuda::rms_norm::RmsNorm;
use cuda::rotations::Rotations;
use cuda::route::Router;
use cuda::search::{self, DeviceSearch, Kept, SearchRoom, Stage};
use experts::ExpertKernels;
use footprint::has_scaled_embedding;
use half::bf16;
use products::{OperandValues, Products};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use experts::Experts;
pub use footprint::GpuFootprint;
pub use mlp::MlpRoom;
pub use products::Matrix;

/// One GPU, for models of one shape of heads.
pub struct Gpu {
    device: Device,
    heads: HeadShape,
    clock: Mutex<Clock<Work>>,
    /// Whether products are timed, and not attention alone.
    profile: bool,
    products: Products,
    footprint: GpuFootprint,
    attend: Attend,
    search: Mutex<DeviceSearch>,
    decode_attention: Mutex<DecodeAttention>,
    rms_norm: RmsNorm,
    qkv_rope_store: QkvRopeStore,
    rotations: Rotations,
    gate: Gate,
    /// Of devices that have it, where weights are not rounded.
    gated_gemm: Option<GatedGemmSm90>,
    experts: ExpertKernels,
    likeliest: Likeliest,
    /// Rows from which on layers of the model wait for the device in between: then nothing is recorded.
    waits_from: AtomicUsize,
    /// Whether what is asked for may be recorded: then it is not timed.
    recording: AtomicBool,
}

/// As many as take the kernels of products that longer prompts take, and a few milliseconds.
const WARM_UP_TOKENS: usize = 512;

/// What a GPU's time goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Attention,
    /// Which stage of it is known where products are timed as well.
    Search(Option<Stage>),
    Products,
    Rest,
}

/// How to open a GPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct GpuOptions {
    /// Take the time of products as well as that of attention, which costs short prompts a few percent.
    pub profile: bool,
    /// Round the weights of layers, and what they are multiplied with.
    pub quantization: Option<Quantization>,
    /// In what attention multiplies.
    pub attention_precision: AttentionPrecision,
}

/// Activations `[token][features]` that products read.
pub struct Operand {
    values: OperandValues,
    features: usize,
}

/// A chunk of tokens and what its attention layers share.
pub struct Chunk {
    ids: Buffer<u32>,
    batch: Batch,
    /// Each of the model's ways to rotate.
    turns: Vec<Turns>,
    /// Rotated queries, from layer to layer.
    q: Buffer<bf16>,
    /// Where attention writes when the products behind it read 8-bit floats.
    attended: Option<Buffer<bf16>>,
    /// Made by the first layer that searches.
    search: Option<SearchRoom>,
    /// Of steps, with room for as many sequences.
    decode_attention: Option<DecodeAttention>,
}

/// One way to rotate the tokens of a chunk.
struct Turns {
    frequencies: Buffer<f64>,
    /// Of cos and sin.
    factor: f64,
    rotations: Buffer<[f32; 2]>,
}

/// A few tokens on their way to logits.
pub struct LogitsRoom {
    rows: usize,
    x: Buffer<f32>,
    normed: Buffer<bf16>,
    logits: Buffer<f32>,
    best: Buffer<u64>,
}

impl Operand {
    /// Tokens.
    fn len(&self) -> usize {
        self.values.all().len() / self.features
    }
}

impl Gpu {
    /// Opens device `ordinal` for a model.
    ///
    /// # Errors
    /// When there is no such device, it has no kernel for these heads and sizes or products for this quantisation, or the driver
    /// or cuBLASLt is missing.
    pub fn open(ordinal: usize, config: &ModelConfig, options: GpuOptions) -> Result<Self, OpsError> {
        sizes::check(config)?;
        let device = Device::open(ordinal)?;
        let heads = config.heads();
        let attend = Attend::with_precision(&device, heads, options.attention_precision)?;
        let fuses_gate = GatedGemmSm90::fits(&device) && options.quantization.is_none();
        Ok(Self {
            clock: Mutex::new(Clock::new(&device)),
            heads,
            profile: options.profile,
            footprint: GpuFootprint {
                memory_bytes: device.properties().memory_bytes,
                plan_block_m: attend.plan_block_m(),
                quantization: options.quantization,
                attention_precision: options.attention_precision,
                fuses_gate,
            },
            products: Products::new(&device, options.quantization)?,
            search: Mutex::new(DeviceSearch::new(&device, heads, attend.plan_block_m())?),
            attend,
            decode_attention: Mutex::new(DecodeAttention::new(&device, heads, 1)?),
            rms_norm: RmsNorm::new(&device)?,
            qkv_rope_store: QkvRopeStore::new(&device)?,
            rotations: Rotations::new(&device)?,
            gate: Gate::new(&device)?,
            gated_gemm: fuses_gate.then(|| GatedGemmSm90::new(&device)).transpose()?,
            experts: ExpertKernels::new(&device)?,
            likeliest: Likeliest::new(&device)?,
            waits_from: AtomicUsize::new(usize::MAX),
            recording: AtomicBool::new(false),
            device,
        })
    }

    /// What attention layers share for the rows of a batch, of prompts that rotate as one of this length.
    fn chunk_of(
        &self,
        config: &ModelConfig,
        batch: Batch,
        prompt_len: usize,
        decode_attention: Option<DecodeAttention>,
    ) -> Result<Chunk, OpsError> {
        let rows = batch.num_rows();
        let turns = config.rotations(prompt_len).map(|(frequencies, factor)| {
            Ok(Turns {
                rotations: self.device.room(rows * frequencies.len())?,
                frequencies: self.device.upload(&frequencies)?,
                factor,
            })
        });
        Ok(Chunk {
            ids: self.device.room(rows)?,
            batch,
            turns: turns.collect::<Result<_, Error>>()?,
            q: self.device.room(rows * config.num_q_heads * config.head_dim)?,
            attended: match self.products.quantization() {
                Some(Quantization::Fp8) => Some(self.device.room(rows * config.num_q_heads * config.head_dim)?),
                None => None,
            },
            search: None,
            decode_attention,
        })
    }

    /// What is asked for from here on is `work`, for a chunk of `len` tokens: what is replayed is not timed, nor are single tokens.
    fn mark(&self, work: Work, len: usize) -> Result<(), Error> {
        let work = if work == Work::Products && !self.profile { Work::Rest } else { work };
        match len {
            1 => Ok(()),
            _ if self.recording.load(Ordering::Relaxed) => Ok(()),
            _ => self.clock.lock().unwrap_or_else(PoisonError::into_inner).mark(work),
        }
    }
}

fn on_device(activation: Activation) -> DeviceActivation {
    match activation {
        Activation::Silu => DeviceActivation::Silu,
        Activation::GeluTanh => DeviceActivation::GeluTanh,
    }
}

impl Ops for Gpu {
    type Matrix = Matrix;
    type Vector = Buffer<f32>;
    type Embedding = Matrix;
    type Tokens = Buffer<f32>;
    type Operand = Operand;
    type Heads = Buffer<bf16>;
    type Experts = Experts;
    type MlpRoom = MlpRoom;
    type Chunk = Chunk;
    type Recording = Recording;
    type LogitsRoom = LogitsRoom;
    type KvPages = KvPages;
    type PageOnHost = HostRoom;

    fn name(&self) -> String {
        self.device.properties().to_string()
    }

    fn footprint(&self) -> &dyn Footprint {
        &self.footprint
    }

    fn available_bytes(&self) -> Option<u64> {
        self.device.memory().ok().map(|(free, _)| free as u64)
    }

    fn peak_bytes(&self) -> Option<u64> {
        // A device without a pool counts nothing.
        self.device.peak_memory().ok().filter(|bytes| *bytes > 0).map(|bytes| bytes as u64)
    }

    fn forget_peak(&self) -> bool {
        self.device.forget_peak_memory().is_ok()
    }

    fn warm_up_tokens(&self) -> usize {
        WARM_UP_TOKENS
    }

    fn plan_block_m(&self) -> usize {
        self.attend.plan_block_m()
    }

    fn check_policy(&self, policy: AttentionPolicy) -> Result<(), OpsError> {
        match policy {
            AttentionPolicy::Search(search) => search::check(search)?,
            _ => search::check_guarantee(policy.planner().and_then(|planner| planner.guarantee()))?,
        }
        Ok(())
    }

    fn costs(&self) -> CostModel {
        costs::of(self.attend.name(), self.heads)
    }

    fn gpu_kernel(&self) -> Option<GpuKernel> {
        Some(self.attend.identity(&self.device, self.heads))
    }

    fn parallel_steps(&self) -> usize {
        1
    }

    fn matrix(&self, parts: &[Tensor], _: Stacking) -> Result<Matrix, OpsError> {
        self.products.upload_layer(parts)
    }

    fn output_head(&self, table: &Tensor) -> Result<Matrix, OpsError> {
        self.products.upload(std::slice::from_ref(table))
    }

    fn vector(&self, values: Vec<f32>) -> Result<Buffer<f32>, OpsError> {
        self.device.upload(&values).map_err(OpsError::from)
    }

    fn embedding(&self, config: &ModelConfig, table: Tensor) -> Result<Matrix, OpsError> {
        Ok(match has_scaled_embedding(config) {
            true => self.products.upload_scaled(&table, config.scales.embedding)?,
            false => self.products.upload(&[table])?,
        })
    }

    fn tied_embedding(&self, config: &ModelConfig, table: Tensor, output_head: &Matrix) -> Result<Matrix, OpsError> {
        match has_scaled_embedding(config) {
            true => self.embedding(config, table),
            false => Ok(output_head.clone()),
        }
    }

    fn kv_pages(&self, heads: HeadShape, num_pages: usize) -> Result<KvPages, OpsError> {
        Ok(KvPages::new(&self.device, heads, BLOCK_N, num_pages)?)
    }

    fn page_on_host(&self, heads: HeadShape, num_layers: usize) -> Result<HostRoom, OpsError> {
        Ok(self.device.host_room(num_layers * KvPages::page_bytes(heads, BLOCK_N) as usize)?)
    }

    fn copy_to_host(&self, pages: &KvPages, page: u32, to: &mut HostRoom, layer: usize) -> Result<(), OpsError> {
        Ok(pages.copy_page_to(page, to, layer * KvPages::page_bytes(pages.heads(), BLOCK_N) as usize)?)
    }

    fn copy_from_host(&self, from: &HostRoom, layer: usize, pages: &mut KvPages, page: u32) -> Result<(), OpsError> {
        let at = layer * KvPages::page_bytes(pages.heads(), BLOCK_N) as usize;
        Ok(pages.copy_page_from(page, from, at)?)
    }

    fn tokens(&self, features: usize, len: usize) -> Result<Buffer<f32>, OpsError> {
        Ok(self.device.zeros(features * len)?)
    }

    fn operand(&self, features: usize, together: Together) -> Result<Operand, OpsError> {
        Ok(Operand { values: self.products.operand(together.rows(), features)?, features })
    }

    fn heads(&self, heads: HeadShape, len: usize) -> Result<Buffer<bf16>, OpsError> {
        Ok(self.device.room((heads.num_q_heads() + 2 * heads.num_kv_heads()) * heads.head_dim() * len)?)
    }

    fn mlp_room(&self, config: &ModelConfig, together: Together) -> Result<MlpRoom, OpsError> {
        let rows = together.rows();
        MlpRoom::new(&self.device, &self.products, &self.footprint.activations(config), rows)
    }

    fn chunk(&self, config: &ModelConfig, sequence: &Sequence, len: usize) -> Result<Chunk, OpsError> {
        let range = QueryRange::new(len, sequence.len() + len)?;
        let sequences = [SequencePages { range, pages: sequence.table() }];
        let batch = Batch::new(&self.device, &sequences, self.attend.block_m(), BLOCK_N)?;
        self.chunk_of(config, batch, sequence.prompt_len(), None)
    }

    fn step_chunk(&self, config: &ModelConfig, rows: usize, pages: &KvPages) -> Result<Chunk, OpsError> {
        let pages_each = config.max_context.div_ceil(BLOCK_N).min(pages.num_pages());
        let (block_m, num_pages) = (self.attend.block_m(), pages.num_pages());
        let batch = Batch::of_single_queries(&self.device, rows, block_m, BLOCK_N, pages_each, num_pages)?;
        let decode_attention = DecodeAttention::new(&self.device, self.heads, rows)?;
        self.chunk_of(config, batch, 0, Some(decode_attention))
    }

    fn advance_step(
        &self,
        config: &ModelConfig,
        sequences: &[&Sequence],
        ids: &[u32],
        chunk: &mut Chunk,
    ) -> Result<(), OpsError> {
        chunk.ids.write(ids)?;
        // The factor of a model's rotations is the same for all prompts.
        let rotations = config.rotations(sequences[0].prompt_len());
        for (turns, (frequencies, _)) in chunk.turns.iter_mut().zip(rotations) {
            turns.frequencies.write(&frequencies)?;
        }
        let next = sequences.iter().map(|sequence| {
            Ok(SequencePages { range: QueryRange::new(1, sequence.len() + 1)?, pages: sequence.table() })
        });
        let next: Vec<SequencePages> = next.collect::<Result<_, OpsError>>()?;
        Ok(chunk.batch.replace(&next)?)
    }

    fn advance(&self, _: &ModelConfig, sequence: &Sequence, ids: &[u32], chunk: &mut Chunk) -> Result<(), OpsError> {
        chunk.ids.write(ids)?;
        let range = QueryRange::new(ids.len(), sequence.len() + ids.len())?;
        Ok(chunk.batch.advance(range, sequence.table())?)
    }

    fn replay(
        &self,
        recording: &mut Recording,
        rows: usize,
        work: &mut dyn FnMut() -> Result<(), OpsError>,
    ) -> Result<(), OpsError> {
        if rows >= self.waits_from.load(Ordering::Relaxed) {
            return work();
        }
        self.recording.store(true, Ordering::Relaxed);
        // SAFETY: the trait asks for the same operations on the same buffers, and the recording goes before they do.
        #[allow(unsafe_code)]
        let replayed = unsafe { self.device.replay(recording, work) };
        self.recording.store(false, Ordering::Relaxed);
        replayed
    }

    fn embed(&self, table: &Matrix, chunk: &mut Chunk, out: &mut Buffer<f32>) -> Result<(), OpsError> {
        self.mark(Work::Rest, chunk.batch.num_rows())?;
        for Turns { frequencies, factor, rotations } in &mut chunk.turns {
            self.rotations.launch(frequencies, *factor, &chunk.batch, rotations)?;
        }
        Ok(self.products.embed(table, &chunk.ids, out)?)
    }

    fn rms_norm(&self, x: &Buffer<f32>, weight: &Buffer<f32>, eps: f32, out: &mut Operand) -> Result<(), OpsError> {
        self.mark(Work::Rest, out.len())?;
        Ok(self.rms_norm.launch(x, weight, eps, out.values.all_mut())?)
    }

    fn project_heads(&self, matrix: &Matrix, x: &Operand, out: &mut Buffer<bf16>) -> Result<(), OpsError> {
        self.mark(Work::Products, x.len())?;
        Ok(self.products.multiply(matrix, x.values.all(), out.into())?)
    }

    fn attention(
        &self,
        spec: AttentionSpec,
        parameters: &HeadParameters<Buffer<f32>>,
        qkv: &mut Buffer<bf16>,
        chunk: &mut Chunk,
        pages: &LayerPages<KvPages>,
        sequences: &[&Sequence],
        out: &mut Operand,
    ) -> Result<AttentionReport, OpsError> {
        let pages = &mut *pages.lock();
        let Chunk { batch, turns, q, .. } = &mut *chunk;
        let len = batch.num_rows();
        let of_heads = DeviceHeadParameters {
            bias: parameters.bias.as_ref(),
            norms: parameters.norms.as_ref().map(|(q, k)| (q, k)),
            eps: parameters.eps,
        };
        let pairing = match spec.rope_pairing {
            RopePairing::Halves => Pairing::Halves,
            RopePairing::Adjacent => Pairing::Adjacent,
        };
        self.mark(Work::Rest, len)?;
        let Turns { frequencies, rotations, .. } = &turns[spec.rope];
        let turning = Turning { rotations, rotary_dim: 2 * frequencies.len(), pairing };
        self.qkv_rope_store.launch(qkv, of_heads, turning, batch, q, pages)?;
        let mut room = chunk.attended.take();
        let attended = match (&mut out.values, &mut room) {
            (OperandValues::Bf16(values), _) | (OperandValues::Fp8(_), Some(values)) => values,
            (OperandValues::Fp8(_), None) => unreachable!("made with every chunk of a GPU that quantises"),
        };
        let report = match sequences {
            [sequence] => {
                let range = QueryRange::new(len, sequence.len() + len)?;
                self.attend(spec, range, chunk, pages, sequence, attended)
            }
            _ => self.attend_step(spec, chunk, pages, attended),
        };
        let quantised = match (&mut out.values, &room) {
            (OperandValues::Fp8(to), Some(from)) => self.products.quantise(from, to),
            _ => Ok(()),
        };
        chunk.attended = room;
        quantised?;
        report
    }

    fn linear_add(&self, matrix: &Matrix, x: &Operand, out: &mut Buffer<f32>) -> Result<(), OpsError> {
        self.mark(Work::Products, x.len())?;
        Ok(self.products.multiply_add(matrix, x.values.all(), out.into())?)
    }

    fn add_normed(
        &self,
        branch: &mut Buffer<f32>,
        weight: &Buffer<f32>,
        eps: f32,
        out: &mut Buffer<f32>,
    ) -> Result<(), OpsError> {
        self.mark(Work::Rest, out.len() / weight.len())?;
        Ok(self.rms_norm.launch_add(branch, weight, eps, out)?)
    }

    fn mlp(
        &self,
        activation: Activation,
        mlp: &GatedMlp<Matrix>,
        x: &Operand,
        room: &mut MlpRoom,
        out: &mut Buffer<f32>,
        _: PrefillAttention,
    ) -> Result<(), OpsError> {
        self.dense_mlp(on_device(activation), mlp, x, room, out)
    }

    fn experts(&self, experts: Vec<GatedMlp<Matrix>>) -> Result<Experts, OpsError> {
        let experts = Experts::new(&self.device, experts)?;
        self.waits_from.fetch_min(experts.wait_from(), Ordering::Relaxed);
        Ok(experts)
    }

    fn route(
        &self,
        experts: &ExpertsConfig,
        router: &Buffer<f32>,
        x: &Buffer<f32>,
        eps: f32,
        room: &mut MlpRoom,
    ) -> Result<(), OpsError> {
        let router = Router { weights: router, count: experts.count, normalised: experts.normalised, eps };
        self.choose_experts(router, x, room.of_experts())
    }

    fn mix(
        &self,
        activation: Activation,
        experts: &Experts,
        x: &Operand,
        room: &mut MlpRoom,
        out: &mut Buffer<f32>,
    ) -> Result<(), OpsError> {
        self.mix_experts(on_device(activation), experts, x, room.of_experts(), out)
    }

    fn times(&self) -> Result<DeviceTimes, OpsError> {
        let mut times = DeviceTimes::default();
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        for (work, ms) in clock.read()? {
            if let Work::Search(Some(stage)) = work {
                *time_of(stage, times.search_stages.get_or_insert_default()) += Duration::from_secs_f64(ms / 1e3);
            }
            let of_work = match work {
                Work::Attention => &mut times.attention,
                Work::Search(_) => &mut times.search,
                Work::Products => &mut times.products,
                Work::Rest => &mut times.rest,
            };
            *of_work += Duration::from_secs_f64(ms / 1e3);
        }
        let Kept { computed_pairs, recalled_pairs } =
            self.search.lock().unwrap_or_else(PoisonError::into_inner).kept()?;
        let times = DeviceTimes { computed_pairs, recalled_pairs, ..times };
        Ok(times)
    }

    fn first_without_number(&self, x: &Buffer<f32>, len: usize) -> Result<Option<usize>, OpsError> {
        let values = x.read()?;
        Ok(values.chunks_exact(values.len() / len).position(|token| token.iter().any(|value| !value.is_finite())))
    }

    fn logits_room(&self, config: &ModelConfig, rows: usize) -> Result<LogitsRoom, OpsError> {
        Ok(LogitsRoom {
            rows,
            x: self.device.room(rows * config.hidden_size)?,
            normed: self.device.room(rows * config.hidden_size)?,
            logits: self.device.room(rows * config.vocab_size)?,
            best: Likeliest::room(&self.device, rows)?,
        })
    }

    fn output(
        &self,
        x: &Buffer<f32>,
        first: usize,
        norm: &Buffer<f32>,
        eps: f32,
        matrix: &Matrix,
        room: &mut LogitsRoom,
    ) -> Result<(), OpsError> {
        let LogitsRoom { rows, x: last, normed, logits, .. } = room;
        let features = last.len() / *rows;
        ViewMut::from(&mut *last).copy_from(x.view(first * features..(first + *rows) * features))?;
        self.rms_norm.launch(last, norm, eps, &mut *normed)?;
        Ok(self.products.multiply_wide(matrix, (&*normed).into(), (&mut *logits).into())?)
    }

    fn logits(&self, room: &LogitsRoom, row: usize) -> Result<Vec<f32>, OpsError> {
        let vocab_size = room.logits.len() / room.rows;
        Ok(room.logits.view(row * vocab_size..(row + 1) * vocab_size).read()?)
    }

    fn likeliest(&self, room: &mut LogitsRoom) -> Result<Vec<Option<u32>>, OpsError> {
        Ok(self.likeliest.find(&room.logits, &mut room.best)?)
    }
}

/// Where the time of a stage on the device is counted among those of the CPU's search.
fn time_of(stage: Stage, times: &mut StageTimes) -> &mut Duration {
    match stage {
        Stage::Summarise | Stage::Scores => &mut times.scores,
        Stage::Probes => &mut times.probes,
        Stage::Ranks | Stage::Judging => &mut times.candidates,
        Stage::Choice | Stage::Lowering => &mut times.lowering,
    }
}
