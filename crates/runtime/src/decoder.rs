//! The decoder of Llama, Mistral, Qwen2 and Qwen3 models, written once over [`Ops`].

use crate::config::ModelConfig;
use crate::kv_cache::{KvCache, Sequence};
use crate::ops::{AttentionReport, AttentionSpec, Ops, Stacking};
use crate::weights::{LayerPart, LoadError, ModelWeights, Tensor, TensorName};
use attention::planner::Planner;
use attention::shape::HeadShape;

/// A model on a device.
pub struct Decoder<O: Ops> {
    ops: O,
    weights: ModelWeights,
    heads: HeadShape,
    layers: Vec<Layer<O>>,
    output_norm: O::Vector,
    output_head: O::Matrix,
}

struct Layer<O: Ops> {
    attn_norm: O::Vector,
    /// Rows: all query heads, all key heads, all value heads.
    qkv: O::Matrix,
    qkv_bias: Option<O::Vector>,
    /// Norms of each query and of each key head.
    qk_norm: Option<(O::Vector, O::Vector)>,
    o: O::Matrix,
    mlp_norm: O::Vector,
    gate_up: O::Matrix,
    down: O::Matrix,
}

/// The residual stream of a chunk after the last layer.
pub struct Hidden<O: Ops> {
    x: O::Tokens,
    len: usize,
}

impl<O: Ops> Hidden<O> {
    /// Number of tokens, at least one.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }
}

impl<O: Ops> Decoder<O> {
    /// Puts the weights on the device; `progress` hears the number of layers done.
    ///
    /// # Errors
    /// When a tensor is missing or of the wrong shape.
    pub fn load(ops: O, weights: ModelWeights, progress: &mut dyn FnMut(usize)) -> Result<Self, LoadError> {
        let config = weights.config();
        let heads = HeadShape::new(config.num_q_heads, config.num_kv_heads, config.head_dim)
            .expect("checked when the config was read");
        let mut layers = Vec::with_capacity(config.num_layers);
        for layer in 0..config.num_layers {
            let part = |part| weights.tensor(TensorName::Layer { layer, part });
            use LayerPart::*;
            let qkv_bias = match config.qkv_bias {
                true => Some(ops.vector(&[part(QBias)?, part(KBias)?, part(VBias)?])?),
                false => None,
            };
            let qk_norm = match config.qk_norm {
                true => Some((ops.vector(&[part(QNorm)?])?, ops.vector(&[part(KNorm)?])?)),
                false => None,
            };
            layers.push(Layer {
                attn_norm: ops.vector(&[part(AttnNorm)?])?,
                qkv: ops.matrix(&[part(Q)?, part(K)?, part(V)?], Stacking::Rows)?,
                qkv_bias,
                qk_norm,
                o: ops.matrix(&[part(O)?], Stacking::Rows)?,
                mlp_norm: ops.vector(&[part(MlpNorm)?])?,
                gate_up: ops.matrix(&[part(Gate)?, part(Up)?], Stacking::GateUp)?,
                down: ops.matrix(&[part(Down)?], Stacking::Rows)?,
            });
            progress(layer + 1);
        }
        let output_norm = ops.vector(&[weights.tensor(TensorName::OutputNorm)?])?;
        let output_head = ops.matrix(&[weights.tensor(TensorName::OutputHead)?], Stacking::Rows)?;
        Ok(Self { heads, layers, output_norm, output_head, ops, weights })
    }

    /// Shape of the model.
    pub fn config(&self) -> &ModelConfig {
        self.weights.config()
    }

    /// Heads of every attention layer.
    pub fn heads(&self) -> HeadShape {
        self.heads
    }

    /// The device.
    pub fn ops(&self) -> &O {
        &self.ops
    }

    fn embedding(&self) -> Tensor<'_> {
        self.weights.tensor(TensorName::TokenEmbedding).expect("checked when the weights were opened")
    }

    /// Takes tokens through all layers, behind what `sequence` holds, and advances it.
    ///
    /// `planner` decides what attention computes; without one every pair is. The final `last_rows` tokens see every
    /// key. `ids` must be below the vocabulary size and their pages reserved.
    ///
    /// # Errors
    /// When the cache has no room reserved for the tokens.
    pub fn forward(
        &self,
        ids: &[u32],
        cache: &mut KvCache,
        sequence: &mut Sequence,
        planner: Option<&dyn Planner>,
        last_rows: usize,
    ) -> Result<(Hidden<O>, AttentionReport), attention::Error> {
        let (config, ops, len) = (self.config(), &self.ops, ids.len());
        let q_width = config.num_q_heads * config.head_dim;
        let kv_width = config.num_kv_heads * config.head_dim;
        let mut x = ops.tokens(config.hidden_size, len);
        let mut normed = ops.operand(config.hidden_size, len);
        let mut qkv = ops.tokens(q_width + 2 * kv_width, len);
        let mut attended = ops.operand(q_width, len);
        let mut gated = ops.operand(config.intermediate_size, len);
        let rotations = ops.rotations(config, sequence.len(), len, sequence.prompt_len());
        let mut report = AttentionReport::default();

        ops.embed(&self.embedding(), ids, &mut x);
        for (index, layer) in self.layers.iter().enumerate() {
            ops.rms_norm(&x, &layer.attn_norm, config.rms_norm_eps, &mut normed);
            ops.linear(&layer.qkv, layer.qkv_bias.as_ref(), &normed, &mut qkv);
            if let Some((q_norm, k_norm)) = &layer.qk_norm {
                ops.norm_heads(self.heads, q_norm, k_norm, config.rms_norm_eps, &mut qkv);
            }
            let (heads, rope_pairing, window) = (self.heads, config.rope_pairing, config.windows[index]);
            let spec = AttentionSpec { heads, rope_pairing, layer: index, window, planner, last_rows };
            report += ops.attention(spec, &mut qkv, &rotations, cache, sequence, &mut attended)?;
            ops.linear_add(&layer.o, &attended, &mut x);

            ops.rms_norm(&x, &layer.mlp_norm, config.rms_norm_eps, &mut normed);
            ops.gated_linear(&layer.gate_up, &normed, &mut gated);
            ops.linear_add(&layer.down, &gated, &mut x);
        }
        sequence.advance(len);
        Ok((Hidden { x, len }, report))
    }

    /// Logits `[vocab_size]` of the token after `token` of the chunk.
    pub fn logits(&self, hidden: &Hidden<O>, token: usize) -> Vec<f32> {
        let config = self.config();
        let mut x = self.ops.tokens(config.hidden_size, 1);
        let mut normed = self.ops.operand(config.hidden_size, 1);
        let mut logits = self.ops.tokens(config.vocab_size, 1);
        self.ops.select(&hidden.x, token, &mut x);
        self.ops.rms_norm(&x, &self.output_norm, config.rms_norm_eps, &mut normed);
        self.ops.linear(&self.output_head, None, &normed, &mut logits);
        self.ops.read(&logits, 0)
    }
}
