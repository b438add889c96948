//! The decoder of all model families, written once over [`Ops`].

use crate::config::ModelConfig;
use crate::footprint::WeightsNeed;
use crate::kv_cache::KvCache;
use crate::ops::{AttentionReport, AttentionSpec, GatedMlp, HeadParameters, Ops, OpsError, Stacking, Together};
use crate::policy::PrefillAttention;
use crate::sequence::Sequence;
use crate::weights::{ExpertPart, LayerPart, LoadError, ModelWeights, TensorName};
use attention::shape::HeadShape;
use std::fmt;
use std::ops::ControlFlow;

/// A model on a device.
pub struct Decoder<O: Ops> {
    ops: O,
    config: ModelConfig,
    weights_need: WeightsNeed,
    heads: HeadShape,
    embedding: O::Embedding,
    layers: Vec<Layer<O>>,
    output_norm: O::Vector,
    output_head: O::Matrix,
}

struct Layer<O: Ops> {
    attn_norm: O::Vector,
    /// Rows: all query heads, all key heads, all value heads.
    qkv: O::Matrix,
    of_heads: HeadParameters<O::Vector>,
    o: O::Matrix,
    /// Of what attention gives, where the model has such a norm.
    attn_output_norm: Option<O::Vector>,
    mlp_norm: O::Vector,
    mlp: Mlp<O>,
    /// Of what the MLP gives.
    mlp_output_norm: Option<O::Vector>,
}

enum Mlp<O: Ops> {
    /// One for all tokens.
    Dense(GatedMlp<O::Matrix>),
    /// Many, of which each token takes a few.
    Routed {
        /// As [`Ops::route`] wants it.
        router: O::Vector,
        experts: O::Experts,
    },
}

/// What layers hand to each other for a chunk of tokens; after the last, the residual stream that logits come from.
pub struct Activations<O: Ops> {
    x: O::Tokens,
    /// What attention or MLP gives before it is normalised, where it is; zeros between.
    branch: Option<O::Tokens>,
    normed: O::Operand,
    qkv: O::Heads,
    attended: O::Operand,
    mlp: O::MlpRoom,
    chunk: O::Chunk,
    len: usize,
}

/// What adds to the residual stream, or reads it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The token embedding.
    Embedding,
    /// Attention, with its norm and projections.
    Attention {
        /// Index of the layer.
        layer: usize,
    },
    /// The MLP, with its norm.
    Mlp {
        /// Index of the layer.
        layer: usize,
    },
    /// The norm behind the layers and the matrix that makes logits.
    OutputHead,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Part::Embedding => f.write_str("the token embedding"),
            Part::Attention { layer } => write!(f, "attention of layer {layer}"),
            Part::Mlp { layer } => write!(f, "the MLP of layer {layer}"),
            Part::OutputHead => f.write_str("the output norm or head, behind all layers"),
        }
    }
}

impl<O: Ops> Activations<O> {
    /// Number of tokens, at least one.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }
}

impl<O: Ops> Mlp<O> {
    fn load(ops: &O, weights: &ModelWeights, layer: usize) -> Result<Self, LoadError> {
        let mlp = |[gate, up, down]: [TensorName; 3]| -> Result<_, LoadError> {
            Ok(GatedMlp {
                gate_up: ops.matrix(&[weights.tensor(gate)?, weights.tensor(up)?], Stacking::GateUp)?,
                down: ops.matrix(&[weights.tensor(down)?], Stacking::Rows)?,
            })
        };
        let part = |part| TensorName::Layer { layer, part };
        let Some(experts) = weights.config().experts_of(layer) else {
            return Ok(Self::Dense(mlp([LayerPart::Gate, LayerPart::Up, LayerPart::Down].map(part))?));
        };
        let mut router = weights.vector(&[part(LayerPart::Router)])?;
        let norm = weights.vector(&[part(LayerPart::MlpNorm)])?;
        for row in router.chunks_exact_mut(norm.len()) {
            row.iter_mut().zip(&norm).for_each(|(router, norm)| *router *= norm);
        }
        let of = |expert| {
            [ExpertPart::Gate, ExpertPart::Up, ExpertPart::Down].map(|part| TensorName::Expert { layer, expert, part })
        };
        let experts = (0..experts.count).map(|expert| mlp(of(expert))).collect::<Result<_, _>>()?;
        Ok(Self::Routed { router: ops.vector(router)?, experts: ops.experts(experts)? })
    }
}

impl<O: Ops> Decoder<O> {
    /// Puts the weights on the device; `progress` hears the number of layers done.
    ///
    /// # Errors
    /// When a tensor is missing or of the wrong shape, a file is written to meanwhile, or the device has no room.
    pub fn load(ops: O, weights: ModelWeights, progress: &mut dyn FnMut(usize)) -> Result<Self, LoadError> {
        let config = weights.config().clone();
        let weights_need = WeightsNeed::of(ops.footprint(), &weights)?;
        let heads = config.heads();
        // The largest tensors first, when least is held beside what was read of them.
        let table = weights.tensor(TensorName::OutputHead)?;
        let output_head = ops.output_head(&table)?;
        let embedding = match config.tie_word_embeddings {
            true => ops.tied_embedding(&config, table, &output_head)?,
            false => {
                drop(table);
                ops.embedding(&config, weights.tensor(TensorName::TokenEmbedding)?)?
            }
        };
        let mut layers = Vec::with_capacity(config.num_layers);
        for layer in 0..config.num_layers {
            let part = |part| weights.tensor(TensorName::Layer { layer, part });
            use LayerPart::*;
            let vector = |parts: &[LayerPart]| {
                let names: Vec<_> = parts.iter().map(|part| TensorName::Layer { layer, part: *part }).collect();
                Ok::<_, LoadError>(ops.vector(weights.vector(&names)?)?)
            };
            let vector_if = |has: bool, parts: &[LayerPart]| has.then(|| vector(parts)).transpose();
            let bias = vector_if(config.qkv_bias, &[QBias, KBias, VBias])?;
            let norms = vector_if(config.qk_norm, &[QNorm])?.zip(vector_if(config.qk_norm, &[KNorm])?);
            layers.push(Layer {
                attn_norm: vector(&[AttnNorm])?,
                qkv: ops.matrix(&[part(Q)?, part(K)?, part(V)?], Stacking::Rows)?,
                of_heads: HeadParameters { bias, norms, eps: config.rms_norm_eps },
                o: ops.matrix(&[part(O)?], Stacking::Rows)?,
                attn_output_norm: vector_if(config.output_norms, &[AttnOutputNorm])?,
                mlp_norm: vector(&[MlpNorm])?,
                mlp: Mlp::load(&ops, &weights, layer)?,
                mlp_output_norm: vector_if(config.output_norms, &[MlpOutputNorm])?,
            });
            progress(layer + 1);
        }
        let output_norm = ops.vector(weights.vector(&[TensorName::OutputNorm])?)?;
        weights.check_unchanged()?;
        Ok(Self { ops, config, weights_need, heads, embedding, layers, output_norm, output_head })
    }

    /// Shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Heads of every attention layer.
    pub fn heads(&self) -> HeadShape {
        self.heads
    }

    /// What the weights take of the device.
    pub fn weights_need(&self) -> WeightsNeed {
        self.weights_need
    }

    /// The device.
    pub fn ops(&self) -> &O {
        &self.ops
    }

    /// A cache for `tokens` tokens.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn kv_cache(&self, tokens: usize) -> Result<KvCache<O>, OpsError> {
        KvCache::new(&self.ops, self.heads, self.config.num_layers, tokens)
    }

    /// Room for chunks of `len` tokens of `sequence`, used again from chunk to chunk.
    ///
    /// # Errors
    /// When the device has none.
    pub fn activations(&self, sequence: &Sequence, len: usize) -> Result<Activations<O>, OpsError> {
        self.activations_of(Together::Chunk(len), self.ops.chunk(&self.config, sequence, len)?)
    }

    /// Room for steps of `rows` sequences of a cache, at least one, used again from step to step.
    ///
    /// # Errors
    /// When the device has none.
    pub fn step_activations(&self, rows: usize, cache: &KvCache<O>) -> Result<Activations<O>, OpsError> {
        let chunk = self.ops.step_chunk(&self.config, rows, &cache.layer(0).lock())?;
        self.activations_of(Together::Step(rows), chunk)
    }

    fn activations_of(&self, together: Together, chunk: O::Chunk) -> Result<Activations<O>, OpsError> {
        let Self { ops, config, heads, .. } = self;
        let len = together.rows();
        Ok(Activations {
            x: ops.tokens(config.hidden_size, len)?,
            branch: config.output_norms.then(|| ops.tokens(config.hidden_size, len)).transpose()?,
            normed: ops.operand(config.hidden_size, together)?,
            qkv: ops.heads(*heads, len)?,
            attended: ops.operand(config.num_q_heads * config.head_dim, together)?,
            mlp: ops.mlp_room(config, together)?,
            chunk,
            len,
        })
    }

    /// Takes tokens through all layers, behind what `sequence` holds, and advances it.
    ///
    /// `prefill` says what attention computes, and who may break off between two layers: then `sequence` is not advanced. The final
    /// `last_rows` tokens see every key. `ids` must be below the vocabulary size, as many as `activations` has room for, and their pages reserved.
    ///
    /// # Errors
    /// When the cache has no room reserved for the tokens, and what the device says.
    pub fn forward(
        &self,
        ids: &[u32],
        activations: &mut Activations<O>,
        cache: &KvCache<O>,
        sequence: &mut Sequence,
        prefill: PrefillAttention,
        last_rows: usize,
    ) -> Result<AttentionReport, OpsError> {
        self.forward_watched(ids, activations, cache, sequence, (prefill, last_rows), |_, _| Ok(()))
    }

    /// As [`forward`](Self::forward); `watch` sees the residual stream behind the embedding, attention and MLPs.
    ///
    /// # Errors
    /// As there, and what `watch` says.
    pub(crate) fn forward_watched(
        &self,
        ids: &[u32],
        activations: &mut Activations<O>,
        cache: &KvCache<O>,
        sequence: &mut Sequence,
        (prefill, last_rows): (PrefillAttention, usize),
        watch: impl FnMut(Part, &O::Tokens) -> Result<(), OpsError>,
    ) -> Result<AttentionReport, OpsError> {
        assert_eq!(ids.len(), activations.len, "activations are for chunks of one length");
        self.ops.advance(&self.config, sequence, ids, &mut activations.chunk)?;
        let (report, flow) = self.layers(activations, cache, &[sequence], (prefill, last_rows), watch)?;
        if flow.is_continue() {
            sequence.advance(ids.len());
        }
        Ok(report)
    }

    /// As [`forward`](Self::forward) for one token and all its keys, replayed where the device can. The recording must see
    /// no other activations and no other cache.
    pub(crate) fn forward_one(
        &self,
        id: u32,
        recording: &mut O::Recording,
        activations: &mut Activations<O>,
        cache: &KvCache<O>,
        sequence: &mut Sequence,
    ) -> Result<(), OpsError> {
        self.ops.advance(&self.config, sequence, &[id], &mut activations.chunk)?;
        let attention = (PrefillAttention::default(), 0);
        let mut layers = || self.layers(activations, cache, &[sequence], attention, |_, _| Ok(())).map(drop);
        self.ops.replay(recording, 1, &mut layers)?;
        sequence.advance(1);
        Ok(())
    }

    /// As [`forward_one`](Self::forward_one) for the next token of each of several sequences that rotate alike, as many as the
    /// activations are for: one pass over the weights for all of them.
    ///
    /// On a CPU each comes out as it does alone, bit for bit. On a GPU products of several rows add up in another order than those of
    /// one.
    pub(crate) fn step(
        &self,
        ids: &[u32],
        recording: &mut O::Recording,
        activations: &mut Activations<O>,
        cache: &KvCache<O>,
        sequences: &mut [&mut Sequence],
    ) -> Result<(), OpsError> {
        let at: Vec<&Sequence> = sequences.iter().map(|sequence| &**sequence).collect();
        assert!(ids.len() == activations.len && at.len() == activations.len, "activations are for steps of one width");
        self.ops.advance_step(&self.config, &at, ids, &mut activations.chunk)?;
        let attention = (PrefillAttention::default(), 0);
        let mut layers = || self.layers(activations, cache, &at, attention, |_, _| Ok(())).map(drop);
        self.ops.replay(recording, ids.len(), &mut layers)?;
        sequences.iter_mut().for_each(|sequence| sequence.advance(1));
        Ok(())
    }

    fn layers(
        &self,
        activations: &mut Activations<O>,
        cache: &KvCache<O>,
        sequences: &[&Sequence],
        (prefill, last_rows): (PrefillAttention, usize),
        mut watch: impl FnMut(Part, &O::Tokens) -> Result<(), OpsError>,
    ) -> Result<(AttentionReport, ControlFlow<()>), OpsError> {
        let (config, ops) = (&self.config, &self.ops);
        let Activations { x, branch, normed, qkv, attended, mlp, chunk, .. } = activations;
        let mut report = AttentionReport::default();
        ops.embed(&self.embedding, chunk, x)?;
        watch(Part::Embedding, x)?;
        for (index, layer) in self.layers.iter().enumerate() {
            ops.rms_norm(x, &layer.attn_norm, config.rms_norm_eps, normed)?;
            ops.project_heads(&layer.qkv, normed, qkv)?;
            let spec = AttentionSpec {
                heads: self.heads,
                rope_pairing: config.rope_pairing,
                rope: config.layer_ropes[index],
                layer: index,
                window: config.windows[index],
                prefill,
                last_rows,
            };
            report += ops.attention(spec, &layer.of_heads, qkv, chunk, cache.layer(index), sequences, attended)?;
            prefill.pause();
            ops.linear_add(&layer.o, attended, branch.as_mut().unwrap_or(x))?;
            self.join(branch, &layer.attn_output_norm, x)?;
            watch(Part::Attention { layer: index }, x)?;

            ops.rms_norm(x, &layer.mlp_norm, config.rms_norm_eps, normed)?;
            match &layer.mlp {
                Mlp::Dense(dense) => {
                    let out = branch.as_mut().unwrap_or(x);
                    ops.mlp(config.activation, dense, normed, mlp, out, prefill)?;
                }
                Mlp::Routed { router, experts } => {
                    let shape = config.experts_of(index).expect("loaded by this config");
                    ops.route(shape, router, x, config.rms_norm_eps, mlp)?;
                    ops.mix(config.activation, experts, normed, mlp, branch.as_mut().unwrap_or(x))?;
                }
            }
            self.join(branch, &layer.mlp_output_norm, x)?;
            watch(Part::Mlp { layer: index }, x)?;
            if prefill.tell_progress(index + 1).is_break() && index + 1 < self.layers.len() {
                return Ok((report, ControlFlow::Break(())));
            }
        }
        Ok((report, ControlFlow::Continue(())))
    }

    /// Adds a branch, normalised, to the residual stream, where it did not go there at once.
    fn join(
        &self,
        branch: &mut Option<O::Tokens>,
        norm: &Option<O::Vector>,
        x: &mut O::Tokens,
    ) -> Result<(), OpsError> {
        match branch.as_mut().zip(norm.as_ref()) {
            Some((branch, norm)) => self.ops.add_normed(branch, norm, self.config.rms_norm_eps, x),
            None => Ok(()),
        }
    }

    /// Room for logits of `rows` tokens, used again from step to step.
    ///
    /// # Errors
    /// When the device has none.
    pub fn logits_room(&self, rows: usize) -> Result<O::LogitsRoom, OpsError> {
        self.ops.logits_room(&self.config, rows)
    }

    /// What comes after each of the tokens from `first` of the chunk on, as many as there is room for, where it is to be read: by
    /// [`logits`](Self::logits) and [`likeliest`](Self::likeliest).
    ///
    /// # Errors
    /// What the device says.
    pub fn output(&self, activations: &Activations<O>, first: usize, room: &mut O::LogitsRoom) -> Result<(), OpsError> {
        let Self { ops, config, output_norm, output_head, .. } = self;
        ops.output(&activations.x, first, output_norm, config.rms_norm_eps, output_head, room)
    }

    /// Logits `[vocab_size]` of a row of the last [`output`](Self::output).
    ///
    /// # Errors
    /// What the device says, of this and of everything asked for before.
    pub fn logits(&self, room: &O::LogitsRoom, row: usize) -> Result<Vec<f32>, OpsError> {
        let mut logits = self.ops.logits(room, row)?;
        self.config.scales.finish(&mut logits);
        Ok(logits)
    }

    /// The most likely token of each row of the last [`output`](Self::output), which no scale of the model's changes; the lowest id where
    /// several are equal, nothing where a logit is no finite number.
    ///
    /// # Errors
    /// What the device says, of this and of everything asked for before.
    pub fn likeliest(&self, room: &mut O::LogitsRoom) -> Result<Vec<Option<u32>>, OpsError> {
        self.ops.likeliest(room)
    }
}
