//! The CPU as a device: weights in tiles of sixteen rows, as quantised as their file has them; activations in panels of sixteen tokens.

mod attention;
mod elementwise;
mod experts;
mod footprint;
mod linear;
mod products;
mod router;

use crate::config::{Activation, Experts, ModelConfig};
use crate::footprint::Footprint;
use crate::formats::Tensor;
use crate::memory::{available_bytes, forget_peak_resident, peak_resident_bytes};
use crate::ops::{AttentionReport, AttentionSpec, GatedMlp, HeadParameters, Ops, OpsError, Stacking};
use crate::precision::Products;
use crate::sequence::Sequence;
use ::attention::kv::KvPages;
use ::attention::search::CostModel;
use ::attention::shape::HeadShape;
use ::attention::simd::{LANES, ROW_TILE, Simd, packed_len};
use ::attention::threads;
use ::attention::{Aligned, BLOCK_M};
use experts::Mixture;
use half::bf16;
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

/// Tokens and their rotations.
pub struct Chunk {
    ids: Vec<u32>,
    /// Of each of the model's ways to rotate.
    rotations: Vec<Rotations>,
}

/// One token on its way to logits.
pub struct LogitsRoom {
    x: Tokens,
    normed: Operand,
}

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

impl Operand {
    fn new(features: usize, len: usize) -> Result<Self, OpsError> {
        let panels = Aligned::try_zeroed("operands", packed_len(features) * len.div_ceil(LANES))?;
        Ok(Self { features, len, panels })
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

    fn tokens(&self, features: usize, len: usize) -> Result<Tokens, OpsError> {
        Tokens::new(features, len)
    }

    fn operand(&self, features: usize, len: usize) -> Result<Operand, OpsError> {
        Operand::new(features, len)
    }

    fn heads(&self, heads: HeadShape, len: usize) -> Result<Tokens, OpsError> {
        Tokens::new((heads.num_q_heads() + 2 * heads.num_kv_heads()) * heads.head_dim(), len)
    }

    fn mlp_room(&self, config: &ModelConfig, len: usize) -> Result<MlpRoom, OpsError> {
        let mixture = config.experts.as_ref().map(|experts| Mixture::new(config, experts, len));
        Ok(MlpRoom { gated: Operand::new(config.dense_mlp_size(), len)?, mixture: mixture.transpose()? })
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
        let of = |rotation| Rotations::new(rotation, sequence.len(), ids.len());
        chunk.rotations = config.rotations(sequence.prompt_len()).map(of).collect();
        Ok(())
    }

    fn replay(&self, _: &mut (), work: &mut dyn FnMut() -> Result<(), OpsError>) -> Result<(), OpsError> {
        work()
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
        pages: &mut KvPages,
        sequence: &Sequence,
        out: &mut Operand,
    ) -> Result<AttentionReport, OpsError> {
        attention::prepare(self.simd, spec, parameters, qkv, &chunk.rotations[spec.rope]);
        Ok(attention::run(self.simd, spec, qkv, pages, sequence, out)?)
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
    ) -> Result<(), OpsError> {
        gate_up.multiply_gated(self.products, activation, x, &mut room.gated)?;
        down.multiply(self.products, &room.gated, out, true);
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
        let is_one = |token: &usize| {
            let panel = &x.panels[token / LANES * x.stride()..][..x.features * LANES];
            panel.iter().skip(token % LANES).step_by(LANES).all(|value| value.is_finite())
        };
        Ok((0..len).find(|token| !is_one(token)))
    }

    fn logits_room(&self, config: &ModelConfig) -> Result<LogitsRoom, OpsError> {
        let hidden = config.hidden_size;
        Ok(LogitsRoom { x: Tokens::new(hidden, 1)?, normed: Operand::new(hidden, 1)? })
    }

    fn logits(
        &self,
        x: &Tokens,
        token: usize,
        norm: &Vec<f32>,
        eps: f32,
        matrix: &Arc<Matrix>,
        room: &mut LogitsRoom,
    ) -> Result<Vec<f32>, OpsError> {
        let LogitsRoom { x: last, normed } = room;
        let panel = &x.panels[token / LANES * x.stride()..][..x.stride()];
        for (last, lanes) in last.panels.chunks_exact_mut(LANES).zip(panel.chunks_exact(LANES)) {
            last[0] = lanes[token % LANES];
        }
        self.rms_norm(last, norm, eps, normed)?;
        let mut logits = vec![0.0; matrix.rows().next_multiple_of(ROW_TILE)];
        matrix.multiply_vector(self.simd, normed, &mut logits);
        logits.truncate(matrix.rows());
        Ok(logits)
    }
}
