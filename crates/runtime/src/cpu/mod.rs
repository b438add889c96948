//! The CPU as a device: weights in tiles of sixteen rows, as quantised as their file has them; activations in panels of sixteen tokens.

mod attention;
mod awake;
mod elementwise;
mod experts;
mod footprint;
mod linear;
mod products;
mod router;

use crate::config::{Activation, Experts, ModelConfig};
use crate::footprint::Footprint;
use crate::formats::Tensor;
use crate::layer_pages::LayerPages;
use crate::logits::{are_numbers, most_likely};
use crate::memory::{available_bytes, forget_peak_resident, peak_resident_bytes};
use crate::ops::{AttentionReport, AttentionSpec, GatedMlp, HeadParameters, Ops, OpsError, Stacking, Together};
use crate::policy::PrefillAttention;
use crate::precision::Products;
use crate::sequence::Sequence;
use ::attention::kv::KvPages;
use ::attention::search::CostModel;
use ::attention::shape::HeadShape;
use ::attention::simd::{LANES, Simd, packed_len};
use ::attention::threads;
use ::attention::{Aligned, BLOCK_M};
use awake::awake;
use experts::Mixture;
use half::bf16;
use linear::WideRows;
use products::Arithmetic;
use rayon::prelude::*;
use std::sync::Arc;

pub use attention::Rotations;
pub use footprint::CpuFootprint;
pub use linear::Matrix;

/// The CPU. Work runs on the rayon pool it is called in.
pub struct Cpu {
    simd: Simd,
    products: Arithmetic,
    footprint: CpuFootprint,
}

/// f32 activations `[panel][features, padded to 16][16]`, in room of their own or of others.
pub struct Tokens<P = Aligned<f32>> {
    features: usize,
    len: usize,
    panels: P,
}

/// bf16 activations in packed panels, features padded to 32 with zeros, in room of their own or of others.
pub struct Operand<P = Aligned<bf16>> {
    features: usize,
    len: usize,
    /// Whether every row is multiplied as it is alone: with weights that are not rounded, and read once for all of a few rows.
    by_row: bool,
    panels: P,
}

/// Room for what is between the products of MLPs.
pub struct MlpRoom {
    gated: Operand,
    mixture: Option<Mixture>,
}

/// The token embedding: rows are decoded when they are looked up. A tied one is the matrix of the output head.
pub struct Embedding {
    table: Arc<Matrix>,
    /// Of what is looked up.
    scale: f32,
}

/// Tokens and their rotations. Those of a step are at positions of their own.
pub struct Chunk {
    ids: Vec<u32>,
    /// Of each of the model's ways to rotate.
    rotations: Vec<Rotations>,
}

/// A few tokens on their way to logits.
pub struct LogitsRoom {
    x: Tokens,
    normed: Operand,
    logits: WideRows,
}

/// Rows of an MLP between which others may have a step: as many as read weights, and unpack codes, little more often than all at once,
/// and take no longer than a few tokens of an answer.
const STRETCH_ROWS: usize = 512;

const OF_EXPERTS: &str = "room that was made for a model with experts";

impl Tokens {
    fn new(features: usize, len: usize) -> Result<Self, OpsError> {
        let panels = Aligned::try_zeroed("activations", Self::stride_of(features) * len.div_ceil(LANES))?;
        Ok(Self { features, len, panels })
    }

    fn stride_of(features: usize) -> usize {
        features.next_multiple_of(LANES) * LANES
    }
}

impl<P> Tokens<P> {
    /// Elements from panel to panel.
    fn stride(&self) -> usize {
        Tokens::stride_of(self.features)
    }
}

impl Tokens {
    /// The features of a token.
    fn row(&self, token: usize) -> impl Iterator<Item = f32> {
        let panel = &self.panels[token / LANES * self.stride()..][..self.features * LANES];
        panel.iter().skip(token % LANES).step_by(LANES).copied()
    }

    /// Some of its tokens, from the first of a panel on.
    fn stretch_mut(&mut self, first: usize, len: usize) -> Tokens<&mut [f32]> {
        let (features, stride) = (self.features, self.stride());
        let panels = &mut self.panels[first / LANES * stride..][..len.div_ceil(LANES) * stride];
        Tokens { features, len, panels }
    }

    /// Makes one of its tokens one of the tokens of others.
    fn copy_row(&mut self, to: usize, others: &Tokens, from: usize) {
        let at = to / LANES * self.stride() + to % LANES;
        self.panels[at..].iter_mut().step_by(LANES).zip(others.row(from)).for_each(|(to, x)| *to = x);
    }
}

impl Operand {
    fn new(features: usize, together: Together) -> Result<Self, OpsError> {
        let len = together.rows();
        let panels = Aligned::try_zeroed("operands", packed_len(features) * len.div_ceil(LANES))?;
        Ok(Self { features, len, by_row: len == 1 || matches!(together, Together::Step(_)), panels })
    }
}

impl Operand {
    /// Some of its tokens, from the first of a panel on.
    fn stretch(&self, first: usize, len: usize) -> Operand<&[bf16]> {
        let &Self { features, by_row, .. } = self;
        let panels = &self.panels[first / LANES * self.stride()..][..len.div_ceil(LANES) * self.stride()];
        Operand { features, len, by_row, panels }
    }

    /// The same, to be written.
    fn stretch_mut(&mut self, first: usize, len: usize) -> Operand<&mut [bf16]> {
        let (features, by_row, stride) = (self.features, self.by_row, self.stride());
        let panels = &mut self.panels[first / LANES * stride..][..len.div_ceil(LANES) * stride];
        Operand { features, len, by_row, panels }
    }

    /// Makes a token the only one of another operand.
    fn copy_row(&mut self, to: usize, alone: &Operand) {
        // A pair of features is packed as one number.
        let at = to / LANES * (self.stride() / 2) + to % LANES;
        let (to_pairs, from): (&mut [u32], &[u32]) =
            (bytemuck::cast_slice_mut(&mut self.panels), bytemuck::cast_slice(&alone.panels));
        let pairs = to_pairs[at..].iter_mut().step_by(LANES).zip(from.iter().step_by(LANES));
        pairs.for_each(|(to, x)| *to = *x);
    }
}

impl<P> Operand<P> {
    fn stride(&self) -> usize {
        packed_len(self.features)
    }
}

impl Cpu {
    /// The CPU with the given instruction set; see [`Simd::detect`]. Products are the fastest that lose nothing.
    pub fn new(simd: Simd) -> Self {
        Self::with_products(simd, Products::Auto, threads::count(0))
    }

    /// The CPU with the given instruction set, which multiplies many tokens as `products` says, in pools of so many threads.
    pub fn with_products(simd: Simd, products: Products, threads: usize) -> Self {
        Self { simd, products: products.on(simd), footprint: CpuFootprint { threads } }
    }
}

impl Ops for Cpu {
    type Matrix = Arc<Matrix>;
    type Vector = Vec<f32>;
    type Embedding = Embedding;
    type Tokens = Tokens;
    type Operand = Operand;
    type Heads = Tokens;
    type Experts = Vec<GatedMlp<Arc<Matrix>>>;
    type MlpRoom = MlpRoom;
    type Chunk = Chunk;
    type Recording = ();
    type LogitsRoom = LogitsRoom;
    type KvPages = KvPages;
    type PageOnHost = Vec<KvPages>;

    fn name(&self) -> String {
        let Arithmetic { simd, integers } = self.products;
        let products = match integers {
            None => String::new(),
            Some(width) => format!(", products in int{}", 8 * width.bytes()),
        };
        format!("cpu ({}{products}, {} threads)", simd.name(), rayon::current_num_threads())
    }

    fn footprint(&self) -> &dyn Footprint {
        &self.footprint
    }

    fn available_bytes(&self) -> Option<u64> {
        available_bytes()
    }

    fn peak_bytes(&self) -> Option<u64> {
        peak_resident_bytes()
    }

    fn forget_peak(&self) -> bool {
        forget_peak_resident()
    }

    fn plan_block_m(&self) -> usize {
        BLOCK_M
    }

    fn costs(&self) -> CostModel {
        CostModel::default()
    }

    fn parallel_steps(&self) -> usize {
        rayon::current_num_threads()
    }

    fn matrix(&self, parts: &[Tensor], stacking: Stacking) -> Result<Arc<Matrix>, OpsError> {
        Ok(Arc::new(Matrix::pack(parts, stacking)?))
    }

    fn experts(&self, experts: Vec<GatedMlp<Arc<Matrix>>>) -> Result<Vec<GatedMlp<Arc<Matrix>>>, OpsError> {
        Ok(experts)
    }

    fn vector(&self, values: Vec<f32>) -> Result<Vec<f32>, OpsError> {
        Ok(values)
    }

    fn embedding(&self, config: &ModelConfig, table: Tensor) -> Result<Embedding, OpsError> {
        Ok(Embedding { table: self.matrix(&[table], Stacking::Rows)?, scale: config.scales.embedding })
    }

    fn tied_embedding(&self, config: &ModelConfig, _: Tensor, head: &Arc<Matrix>) -> Result<Embedding, OpsError> {
        Ok(Embedding { table: head.clone(), scale: config.scales.embedding })
    }

    fn kv_pages(&self, heads: HeadShape, num_pages: usize) -> Result<KvPages, OpsError> {
        Ok(KvPages::try_new(heads, num_pages)?)
    }

    fn page_on_host(&self, heads: HeadShape, num_layers: usize) -> Result<Vec<KvPages>, OpsError> {
        (0..num_layers).map(|_| self.kv_pages(heads, 1)).collect()
    }

    fn copy_to_host(&self, pages: &KvPages, page: u32, to: &mut Vec<KvPages>, layer: usize) -> Result<(), OpsError> {
        to[layer].copy_page(0, pages, page);
        Ok(())
    }

    fn copy_from_host(
        &self,
        from: &Vec<KvPages>,
        layer: usize,
        pages: &mut KvPages,
        page: u32,
    ) -> Result<(), OpsError> {
        pages.copy_page(page, &from[layer], 0);
        Ok(())
    }

    fn tokens(&self, features: usize, len: usize) -> Result<Tokens, OpsError> {
        Tokens::new(features, len)
    }

    fn operand(&self, features: usize, together: Together) -> Result<Operand, OpsError> {
        Operand::new(features, together)
    }

    fn heads(&self, heads: HeadShape, len: usize) -> Result<Tokens, OpsError> {
        Tokens::new((heads.num_q_heads() + 2 * heads.num_kv_heads()) * heads.head_dim(), len)
    }

    fn mlp_room(&self, config: &ModelConfig, together: Together) -> Result<MlpRoom, OpsError> {
        let mixture = config.experts.as_ref().map(|experts| Mixture::new(config, experts, together));
        Ok(MlpRoom { gated: Operand::new(config.dense_mlp_size(), together)?, mixture: mixture.transpose()? })
    }

    fn chunk(&self, _: &ModelConfig, _: &Sequence, len: usize) -> Result<Chunk, OpsError> {
        Ok(Chunk { ids: Vec::with_capacity(len), rotations: Vec::new() })
    }

    fn advance(
        &self,
        config: &ModelConfig,
        sequence: &Sequence,
        ids: &[u32],
        chunk: &mut Chunk,
    ) -> Result<(), OpsError> {
        chunk.ids.clear();
        chunk.ids.extend_from_slice(ids);
        let positions: Vec<usize> = (sequence.len()..sequence.len() + ids.len()).collect();
        let of = |rotation| Rotations::new(rotation, &positions);
        chunk.rotations = config.rotations(sequence.prompt_len()).map(of).collect();
        Ok(())
    }

    fn step_chunk(&self, _: &ModelConfig, rows: usize, _: &KvPages) -> Result<Chunk, OpsError> {
        Ok(Chunk { ids: Vec::with_capacity(rows), rotations: Vec::new() })
    }

    fn advance_step(
        &self,
        config: &ModelConfig,
        sequences: &[&Sequence],
        ids: &[u32],
        chunk: &mut Chunk,
    ) -> Result<(), OpsError> {
        chunk.ids.clear();
        chunk.ids.extend_from_slice(ids);
        let positions: Vec<usize> = sequences.iter().map(|sequence| sequence.len()).collect();
        let of = |rotation| Rotations::new(rotation, &positions);
        chunk.rotations = config.rotations(sequences[0].prompt_len()).map(of).collect();
        Ok(())
    }

    fn replay(&self, _: &mut (), _: usize, work: &mut dyn FnMut() -> Result<(), OpsError>) -> Result<(), OpsError> {
        awake(work)
    }

    fn embed(&self, embedding: &Embedding, chunk: &mut Chunk, out: &mut Tokens) -> Result<(), OpsError> {
        let Embedding { table, scale } = embedding;
        assert!(chunk.ids.len() == out.len && table.cols() == out.features);
        let stride = out.stride();
        out.panels.par_chunks_mut(stride).zip(chunk.ids.par_chunks(LANES)).for_each(|(panel, ids)| {
            let mut row = vec![0.0; table.cols()];
            for (lane, &id) in ids.iter().enumerate() {
                table.read_row(id as usize, &mut row);
                for (i, x) in row.iter().enumerate() {
                    panel[i * LANES + lane] = *x * scale;
                }
            }
        });
        Ok(())
    }

    fn rms_norm(&self, x: &Tokens, weight: &Vec<f32>, eps: f32, out: &mut Operand) -> Result<(), OpsError> {
        assert!(x.features == weight.len() && x.features == out.features && x.len == out.len);
        let stride = out.stride();
        (x.panels.par_chunks(x.stride()).zip(out.panels.par_chunks_mut(stride))).for_each(|(x, out)| {
            elementwise::rms_norm(self.simd, &x[..weight.len() * LANES], weight, eps, bytemuck::cast_slice_mut(out))
        });
        Ok(())
    }

    fn project_heads(&self, matrix: &Arc<Matrix>, x: &Operand, out: &mut Tokens) -> Result<(), OpsError> {
        matrix.multiply(self.products, x, out, false);
        Ok(())
    }

    fn attention(
        &self,
        spec: AttentionSpec,
        parameters: &HeadParameters<Vec<f32>>,
        qkv: &mut Tokens,
        chunk: &mut Chunk,
        pages: &LayerPages<KvPages>,
        sequences: &[&Sequence],
        out: &mut Operand,
    ) -> Result<AttentionReport, OpsError> {
        attention::prepare(self.simd, spec, parameters, qkv, &chunk.rotations[spec.rope]);
        match sequences {
            [sequence] => Ok(attention::run(self.simd, spec, qkv, pages, sequence, out)?),
            _ => attention::step(self.simd, spec, qkv, &mut pages.lock(), sequences, out),
        }
    }

    fn linear_add(&self, matrix: &Arc<Matrix>, x: &Operand, out: &mut Tokens) -> Result<(), OpsError> {
        matrix.multiply(self.products, x, out, true);
        Ok(())
    }

    fn add_normed(&self, branch: &mut Tokens, weight: &Vec<f32>, eps: f32, out: &mut Tokens) -> Result<(), OpsError> {
        assert!(branch.features == weight.len() && branch.features == out.features && branch.len == out.len);
        let stride = out.stride();
        branch.panels.par_chunks_mut(stride).zip(out.panels.par_chunks_mut(stride)).for_each(|(branch, out)| {
            elementwise::add_rms_norm(self.simd, weight, eps, branch, out);
        });
        Ok(())
    }

    fn mlp(
        &self,
        activation: Activation,
        GatedMlp { gate_up, down }: &GatedMlp<Arc<Matrix>>,
        x: &Operand,
        room: &mut MlpRoom,
        out: &mut Tokens,
        prefill: PrefillAttention,
    ) -> Result<(), OpsError> {
        let gated = &mut room.gated;
        assert!(x.len == out.len && x.len == gated.len);
        let rows = if prefill.pause() { STRETCH_ROWS } else { x.len };
        for first in (0..x.len).step_by(rows) {
            let len = rows.min(x.len - first);
            let x = x.stretch(first, len);
            let mut gated = gated.stretch_mut(first, len);
            gate_up.multiply_gated(self.products, activation, &x, &mut gated)?;
            down.multiply(self.products, &gated, &mut out.stretch_mut(first, len), true);
            if first + len < out.len {
                prefill.pause();
            }
        }
        Ok(())
    }

    fn route(
        &self,
        experts: &Experts,
        router: &Vec<f32>,
        x: &Tokens,
        eps: f32,
        room: &mut MlpRoom,
    ) -> Result<(), OpsError> {
        room.mixture.as_mut().expect(OF_EXPERTS).choose(self.simd, experts, router, x, eps);
        Ok(())
    }

    fn mix(
        &self,
        activation: Activation,
        experts: &Vec<GatedMlp<Arc<Matrix>>>,
        x: &Operand,
        room: &mut MlpRoom,
        out: &mut Tokens,
    ) -> Result<(), OpsError> {
        room.mixture.as_mut().expect(OF_EXPERTS).mix(self.products, activation, experts, x, out)
    }

    fn first_without_number(&self, x: &Tokens, len: usize) -> Result<Option<usize>, OpsError> {
        let is_one = |token: &usize| x.row(*token).all(f32::is_finite);
        Ok((0..len).find(|token| !is_one(token)))
    }

    fn logits_room(&self, config: &ModelConfig, rows: usize) -> Result<LogitsRoom, OpsError> {
        let (hidden, vocab) = (config.hidden_size, config.vocab_size);
        Ok(LogitsRoom {
            x: Tokens::new(hidden, rows)?,
            normed: Operand::new(hidden, Together::Step(rows))?,
            logits: WideRows::new(vocab, rows)?,
        })
    }

    fn output(
        &self,
        x: &Tokens,
        first: usize,
        norm: &Vec<f32>,
        eps: f32,
        matrix: &Arc<Matrix>,
        room: &mut LogitsRoom,
    ) -> Result<(), OpsError> {
        let LogitsRoom { x: few, normed, logits } = room;
        for row in 0..few.len {
            few.copy_row(row, x, first + row);
        }
        self.rms_norm(few, norm, eps, normed)?;
        matrix.multiply_to_wide(self.simd, normed, logits);
        Ok(())
    }

    fn logits(&self, room: &LogitsRoom, row: usize) -> Result<Vec<f32>, OpsError> {
        Ok(room.logits.row(row).flatten().copied().collect())
    }

    fn likeliest(&self, room: &mut LogitsRoom) -> Result<Vec<Option<u32>>, OpsError> {
        let of_row = |row| {
            let logits = || room.logits.row(row);
            logits().all(are_numbers).then(|| most_likely(logits()).0)
        };
        Ok((0..room.logits.len()).map(of_row).collect())
    }
}
