use super::*;
use crate::config::{ConfigError, RopeScaling};
use crate::formats::FileError;
use crate::formats::gguf::tests::Writer;

/// A llama of one layer, two query heads, one kv head.
pub(crate) fn metadata() -> Writer {
    Writer::new()
        .text("general.architecture", "llama")
        .size("llama.embedding_length", 8)
        .size("llama.feed_forward_length", 6)
        .size("llama.block_count", 1)
        .size("llama.attention.head_count", 2)
        .size("llama.attention.head_count_kv", 1)
        .size("llama.context_length", 64)
        .float("llama.attention.layer_norm_rms_epsilon", 1e-5)
}

pub(crate) fn tensors(writer: Writer) -> Writer {
    [
        ("token_embd.weight", &[8, 10][..]),
        ("output_norm.weight", &[8]),
        ("blk.0.attn_norm.weight", &[8]),
        ("blk.0.attn_q.weight", &[8, 8]),
        ("blk.0.attn_k.weight", &[8, 4]),
        ("blk.0.attn_v.weight", &[8, 4]),
        ("blk.0.attn_output.weight", &[8, 8]),
        ("blk.0.ffn_norm.weight", &[8]),
        ("blk.0.ffn_gate.weight", &[8, 6]),
        ("blk.0.ffn_up.weight", &[8, 6]),
        ("blk.0.ffn_down.weight", &[6, 8]),
    ]
    .into_iter()
    .fold(writer, |writer, (name, dims)| writer.f32_tensor(name, dims))
}

fn open(writer: Writer) -> Result<ModelWeights, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    std::fs::write(&path, writer.bytes()).unwrap();
    ModelWeights::open_gguf(&path)
}

fn open_folder(files: &[(&str, &str)]) -> Result<ModelWeights, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    ModelWeights::open_folder(folder.path())
}

fn error(result: Result<ModelWeights, LoadError>) -> LoadError {
    match result {
        Ok(_) => panic!("opened"),
        Err(error) => error,
    }
}

#[test]
fn a_whole_model_opens() {
    let weights = open(tensors(metadata())).unwrap();
    let config = weights.config();
    assert_eq!((config.head_dim, config.vocab_size, config.tie_word_embeddings), (4, 10, true));
    let head = weights.tensor(TensorName::OutputHead).unwrap();
    assert_eq!((head.rows(), head.cols(), head.encoding()), (10, 8, Encoding::F32));
    let mut row = [0.0; 8];
    head.read_row(9, &mut row);
    assert_eq!(row, head.to_f32()[72..]);
}

#[test]
fn every_loader_error_says_what_is_wrong() {
    let missing = Writer { tensors: tensors(metadata()).tensors.into_iter().skip(1).collect(), ..metadata() };
    let replaced = |key: &str, value: Writer| {
        let mut writer = tensors(metadata());
        writer.entries.retain(|(k, _)| k != key);
        writer.entries.extend(value.entries);
        writer
    };
    let size = |key: &str, n| replaced(key, Writer::new().size(key, n));
    let config = |writer| match error(open(writer)) {
        LoadError::Config { error, .. } => error,
        other => panic!("{other}"),
    };
    // Without an embedding the vocabulary is empty.
    assert!(matches!(config(missing), ConfigError::Size { what: "vocabulary size", .. }));
    let architecture = "general.architecture";
    let unknown = config(replaced(architecture, Writer::new().text(architecture, "mamba")));
    assert!(unknown.to_string().contains("mamba") && unknown.to_string().contains("qwen2"), "{unknown}");
    assert!(matches!(config(replaced(architecture, Writer::new())), ConfigError::Gguf(_)));
    assert!(matches!(config(size("llama.block_count", 0)), ConfigError::Size { .. }));
    assert!(matches!(config(size("llama.attention.head_count", 0)), ConfigError::Size { .. }));
    assert!(matches!(config(size("llama.attention.head_count_kv", 0)), ConfigError::Size { .. }));
    assert!(matches!(config(size("llama.attention.head_count", 8)), ConfigError::Size { what: "head size", .. }));
    assert!(matches!(config(size("llama.feed_forward_length", 1 << 30)), ConfigError::Size { .. }));
    assert!(matches!(config(size("llama.rope.dimension_count", 2)), ConfigError::Unsupported(_)));
    let model = || tensors(metadata());
    for (says, writer) in [
        ("longrope", model().text("llama.rope.scaling.type", "longrope")),
        (
            "rope.scaling.yarn_ext_factor",
            model().text("llama.rope.scaling.type", "yarn").float("llama.rope.scaling.yarn_ext_factor", 2.0),
        ),
        ("causal", model().raw("llama.attention.causal", 7, &[0])),
    ] {
        let unsupported = config(writer);
        assert!(matches!(unsupported, ConfigError::Unsupported(_)), "{unsupported}");
        assert!(unsupported.to_string().contains(says), "{says}: {unsupported}");
    }
    let part = model().text("llama.rope.scaling.type", "yarn").float("llama.rope.scaling.yarn_ext_factor", 0.5);
    assert!(matches!(config(part), ConfigError::Unsupported(_)));
    let divisors = config(model().f32_tensor("rope_freqs.weight", &[3]));
    assert!(matches!(divisors, ConfigError::Size { what: "number of RoPE divisors", .. }), "{divisors}");
    let window = model().size("llama.attention.sliding_window", 32);
    assert_eq!(open(window).unwrap().config().windows, [Some(32)]);
    let scaled = |writer| open(writer).unwrap().config().ropes[0].scaling.clone();
    for name in ["llama.rope.scaling.factor", "llama.rope.scale_linear"] {
        assert_eq!(scaled(model().float(name, 4.0)), RopeScaling::Linear { factor: 4.0 });
    }
    let yarn = model().text("llama.rope.scaling.type", "yarn").float("llama.rope.scaling.factor", 4.0);
    let yarn = open(yarn.size("llama.rope.scaling.original_context_length", 32)).unwrap();
    assert_eq!(yarn.config().max_context, 128);
    assert!(matches!(yarn.config().ropes[0].scaling, RopeScaling::Yarn { original: 32, .. }));
    let zeros = config(model().f32_tensor("rope_freqs.weight", &[2]));
    assert!(matches!(zeros, ConfigError::Size { what: "RoPE scaling factor", .. }), "{zeros}");
    let unscaled = model().text("llama.rope.scaling.type", "none").float("llama.rope.scale_linear", 1.0);
    open(unscaled.raw("llama.attention.causal", 7, &[1])).unwrap();

    let mut lacks = tensors(metadata());
    lacks.tensors.retain(|(name, ..)| name != "blk.0.ffn_up.weight");
    let lacks = error(open(lacks));
    assert!(matches!(&lacks, LoadError::MissingTensor { name } if name == "blk.0.ffn_up.weight"), "{lacks}");
    for extra in ["blk.0.attn_output.bias", "blk.0.attn_q_norm.weight", "blk.1.ffn_up.weight", "blk.0.ffn_up.bias"] {
        let unknown = error(open(tensors(metadata()).f32_tensor(extra, &[8])));
        assert!(matches!(&unknown, LoadError::UnknownTensor { name, .. } if name == extra), "{unknown}");
    }
    let shape = error(open(size("llama.feed_forward_length", 7)));
    assert!(matches!(shape, LoadError::Shape { .. }) && shape.to_string().contains("(7, 8)"), "{shape}");

    let nowhere = Path::new("nowhere.gguf");
    assert!(matches!(error(ModelWeights::open_gguf(nowhere)), LoadError::File(FileError::Read { .. })));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.gguf");
    std::fs::write(&path, "").unwrap();
    let empty = error(ModelWeights::open_gguf(&path));
    assert!(empty.to_string().contains("empty"), "{empty}");
    std::fs::write(&path, "this is no model at all").unwrap();
    assert!(matches!(error(ModelWeights::open_gguf(&path)), LoadError::File(FileError::Gguf { .. })));
}

#[test]
fn yarn_in_gguf_is_read_with_its_numbers() {
    let yarn = |key: &str, x: f32| {
        let writer =
            tensors(metadata()).text("llama.rope.scaling.type", "yarn").float("llama.rope.scaling.factor", 2.0);
        open(writer.float(&format!("llama.rope.scaling.{key}"), x)).unwrap().config().ropes[0].scaling.clone()
    };
    let RopeScaling::Yarn { attention_factor: plain, .. } = yarn("yarn_ext_factor", 1.0) else { panic!("not YaRN") };
    assert!(matches!(yarn("yarn_beta_fast", 48.0), RopeScaling::Yarn { beta_fast: 48.0, beta_slow: 1.0, .. }));
    assert!(matches!(yarn("yarn_beta_slow", 2.0), RopeScaling::Yarn { beta_fast: 32.0, beta_slow: 2.0, .. }));
    for key in ["attn_factor", "yarn_attn_factor"] {
        let RopeScaling::Yarn { attention_factor, .. } = yarn(key, 0.5) else { panic!("not YaRN") };
        assert!((attention_factor / plain - 0.5).abs() < 1e-9, "{key}");
    }
}

/// Each of Q, K and V may have a bias or not; other biases may be there when they are zero.
#[test]
fn biases_that_a_file_has_are_used() {
    let bias = |weights: &ModelWeights, part| {
        weights.tensor(TensorName::Layer { layer: 0, part }).map(|bias| bias.to_f32()).unwrap()
    };
    assert!(!open(tensors(metadata())).unwrap().config().qkv_bias);
    for (name, part, len) in
        [("attn_q", LayerPart::QBias, 8), ("attn_k", LayerPart::KBias, 4), ("attn_v", LayerPart::VBias, 4)]
    {
        let weights = open(tensors(metadata()).f32_tensor(&format!("blk.0.{name}.bias"), &[len])).unwrap();
        assert!(weights.config().qkv_bias, "{name}");
        for other in [LayerPart::QBias, LayerPart::KBias, LayerPart::VBias] {
            let bias = bias(&weights, other);
            assert_eq!(bias.iter().any(|x| *x != 0.0), other == part, "{name}, {other:?}");
            assert_eq!(bias.len(), if other == LayerPart::QBias { 8 } else { 4 });
        }
    }
    let shape = error(open(tensors(metadata()).f32_tensor("blk.0.attn_k.bias", &[8])));
    assert!(matches!(shape, LoadError::Shape { .. }), "{shape}");
    for name in ["blk.0.attn_output.bias", "blk.0.ffn_down.bias", "output_norm.bias"] {
        let weights = open(tensors(metadata()).tensor(name, &[8], 0, &[0; 32])).unwrap();
        assert!(!weights.config().qkv_bias, "{name}");
    }
}

/// A safetensors file of zeros, for the config below.
fn safetensors(spelt: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    let layer = |part: &str| format!("model.layers.0.{part}.weight");
    let all = [
        ("model.embed_tokens.weight".to_string(), vec![10, 8]),
        ("model.norm.weight".into(), vec![8]),
        ("lm_head.weight".into(), vec![10, 8]),
        (layer("input_layernorm"), vec![8]),
        (layer("post_attention_layernorm"), vec![8]),
        (layer("self_attn.q_proj"), vec![8, 8]),
        (layer("self_attn.k_proj"), vec![8, 8]),
        (layer("self_attn.v_proj"), vec![8, 8]),
        (layer("self_attn.o_proj"), vec![8, 8]),
        (layer("mlp.gate_proj"), vec![6, 8]),
        (layer("mlp.up_proj"), vec![6, 8]),
        (layer("mlp.down_proj"), vec![8, 6]),
    ];
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, shape) in all {
        let Some(name) = spelt(&name) else { continue };
        let from = end;
        end += 4 * shape.iter().product::<usize>();
        header.insert(name, serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [from, end]}));
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &vec![0; end]].concat()
}

fn open_weights(config: &str, weights: &[u8]) -> Result<ModelWeights, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), weights).unwrap();
    ModelWeights::open_folder(folder.path())
}

#[test]
fn base_models_are_read_by_their_shorter_names() {
    let config = |extra: &str| CONFIG.replace("EXTRA", extra);
    let whole = |name: &str| Some(name.to_string());
    let bare = |name: &str| Some(name.strip_prefix("model.").unwrap_or(name).to_string());
    let headless = |name: &str| bare(name).filter(|name| name != "lm_head.weight");
    open_weights(&config(""), &safetensors(whole)).unwrap();
    open_weights(&config(""), &safetensors(bare)).unwrap();
    open_weights(&config(r#", "tie_word_embeddings": true"#), &safetensors(headless)).unwrap();
    let no_head = error(open_weights(&config(""), &safetensors(headless)));
    assert!(matches!(no_head, LoadError::NoOutputHead), "{no_head}");
    let half = |name: &str| if name.contains("norm") { bare(name) } else { whole(name) };
    let half = error(open_weights(&config(""), &safetensors(half)).map_err(|error| {
        assert!(!error.to_string().contains("again"), "{error}");
        error
    }));
    assert!(matches!(half, LoadError::MissingTensor { .. } | LoadError::UnknownTensor { .. }), "{half}");
}

/// In every family: some converters write what others split.
#[test]
fn fused_projections_are_read_as_their_parts() {
    let fused = |qkv_rows| {
        let mut writer = tensors(metadata());
        writer.tensors.retain(|tensor| {
            let name = &tensor.0;
            !["attn_q.", "attn_k.", "attn_v.", "ffn_gate.", "ffn_up."].iter().any(|part| name.contains(part))
        });
        writer.f32_tensor("blk.0.attn_qkv.weight", &[8, qkv_rows]).f32_tensor("blk.0.ffn_up.weight", &[8, 12])
    };
    let weights = open(fused(16)).unwrap();
    let values = |part| weights.tensor(TensorName::Layer { layer: 0, part }).unwrap().to_f32();
    let whole = |name: &str| weights.stored(name).unwrap().to_f32();
    let qkv = whole("blk.0.attn_qkv.weight");
    assert_eq!([values(LayerPart::Q), values(LayerPart::K), values(LayerPart::V)].concat(), qkv);
    assert_eq!(values(LayerPart::K), qkv[64..96]);
    assert_eq!([values(LayerPart::Gate), values(LayerPart::Up)].concat(), whole("blk.0.ffn_up.weight"));
    let wrong = error(open(fused(15)));
    assert!(matches!(&wrong, LoadError::Shape { expected: (16, 8), found: (15, 8), .. }), "{wrong}");
}

/// Two experts, stacked, with the gate above the up projection, or one tensor an expert: the same weights.
#[test]
fn experts_are_read_one_by_one_and_stacked() {
    let sized = || metadata().size("llama.expert_count", 2).size("llama.expert_used_count", 1);
    let router = |writer: Writer| writer.f32_tensor("blk.0.ffn_gate_inp.weight", &[8, 2]);
    let with = |writer: Writer, experts: &[(&str, &[u64])]| {
        let mut writer = tensors(writer);
        writer.tensors.retain(|tensor| !["ffn_gate.", "ffn_up.", "ffn_down."].iter().any(|mlp| tensor.0.contains(mlp)));
        experts.iter().fold(writer, |writer, (name, dims)| writer.f32_tensor(&format!("blk.0.{name}.weight"), dims))
    };
    let down = ("ffn_down_exps", &[6, 8, 2][..]);
    let apart =
        open(router(with(sized(), &[("ffn_gate_exps", &[8, 6, 2]), ("ffn_up_exps", &[8, 6, 2]), down]))).unwrap();
    let fused = open(router(with(sized(), &[("ffn_gate_up_exps", &[8, 12, 2]), down]))).unwrap();
    let mut single: Vec<(String, &[u64])> = Vec::new();
    for expert in 0..2 {
        let parts = [("ffn_gate", &[8, 6][..]), ("ffn_up", &[8, 6]), ("ffn_down", &[6, 8])];
        single.extend(parts.map(|(part, dims)| (format!("{part}.{expert}"), dims)));
    }
    let names: Vec<(&str, &[u64])> = single.iter().map(|(name, dims)| (name.as_str(), *dims)).collect();
    let one_each = open(router(with(sized(), &names))).unwrap();
    let values = |weights: &ModelWeights, expert, part| {
        weights.tensor(TensorName::Expert { layer: 0, expert, part }).unwrap().to_f32()
    };
    let whole = |weights: &ModelWeights, name: &str| weights.stored(&format!("blk.0.{name}.weight")).unwrap().to_f32();
    use ExpertPart::*;
    for (part, name, own) in
        [(Gate, "ffn_gate_exps", "ffn_gate"), (Up, "ffn_up_exps", "ffn_up"), (Down, down.0, "ffn_down")]
    {
        assert_eq!([values(&apart, 0, part), values(&apart, 1, part)].concat(), whole(&apart, name));
        for expert in 0..2 {
            assert_eq!(values(&one_each, expert, part), whole(&one_each, &format!("{own}.{expert}")));
        }
    }
    let of_expert = |expert| [values(&fused, expert, Gate), values(&fused, expert, Up)].concat();
    assert_eq!([of_expert(0), of_expert(1)].concat(), whole(&fused, "ffn_gate_up_exps"));
    assert_eq!(apart.config().architecture, Architecture::Mixtral);

    let missing = |experts: &[(&str, &[u64])]| match error(open(router(with(sized(), experts)))) {
        LoadError::MissingTensor { name } => name,
        other => panic!("{other}"),
    };
    assert_eq!(missing(&[("ffn_up_exps", &[8, 6, 2]), down]), "blk.0.ffn_gate_exps.weight");
    assert_eq!(missing(&names[..5]), "blk.0.ffn_down.1.weight");
    let no_router = error(open(with(sized(), &[("ffn_gate_up_exps", &[8, 12, 2]), down])));
    assert!(no_router.to_string().contains("ffn_gate_inp.weight` is missing"), "{no_router}");
    let wrong = error(open(router(with(sized(), &[("ffn_gate_up_exps", &[8, 12, 3]), down]))));
    assert!(matches!(wrong, LoadError::Shape { expected: (24, 8), found: (36, 8), .. }), "{wrong}");
    let shared = router(with(sized(), &[("ffn_gate_up_exps", &[8, 12, 2]), down, ("ffn_up_shexp", &[8, 6])]));
    assert!(matches!(error(open(shared)), LoadError::UnknownTensor { .. }));
}

#[test]
fn mixtures_that_gguf_files_route_in_other_ways_are_refused() {
    let sized = |count, used| metadata().size("llama.expert_count", count).size("llama.expert_used_count", used);
    for (says, writer) in [
        ("number of experts of a token is 3", sized(2, 3)),
        ("number of experts of a token is 0", sized(2, 0)),
        ("number of experts is 5000", sized(5000, 2)),
        ("llama.expert_used_count", metadata().size("llama.expert_count", 2)),
        ("llama.expert_gating_func", sized(2, 1).size("llama.expert_gating_func", 2)),
        ("llama.expert_shared_count", sized(2, 1).size("llama.expert_shared_count", 1)),
        ("llama.expert_group_count", sized(2, 1).size("llama.expert_group_count", 2)),
        ("llama.expert_weights_scale", sized(2, 1).float("llama.expert_weights_scale", 2.5)),
        ("llama.expert_weights_norm", sized(2, 1).raw("llama.expert_weights_norm", 7, &[0])),
    ] {
        let refused = error(open(tensors(writer))).to_string();
        assert!(refused.contains(says), "{says}: {refused}");
    }
    // What changes nothing does not matter: then the experts themselves are missing.
    let neutral = sized(2, 1).size("llama.expert_gating_func", 1).float("llama.expert_weights_scale", 1.0);
    let neutral = neutral.size("llama.expert_shared_count", 0).raw("llama.expert_weights_norm", 7, &[1]);
    assert!(matches!(error(open(tensors(neutral))), LoadError::MissingTensor { .. }));
    open(tensors(metadata().size("llama.expert_count", 0))).unwrap();
}

/// As it was published, and as transformers 5 keeps it.
#[test]
fn mixtral_is_read_by_old_names_and_new() {
    let config = CONFIG.replace("EXTRA", r#", "num_local_experts": 1, "num_experts_per_tok": 1"#);
    let config = config
        .replace("LlamaForCausalLM", "MixtralForCausalLM")
        .replace(r#""vocab"#, r#""num_key_value_heads": 2, "vocab"#);
    let renamed = |[gate, up, down]: [&str; 3], router: &str| {
        let names = [("gate_proj", gate), ("up_proj", up), ("down_proj", down)];
        let (names, router) = (names.map(|(from, to)| (from, to.to_string())), router.to_string());
        let layer = |name: &str| format!("model.layers.0.{name}.weight");
        let weights = safetensors(|name| {
            let is_mlp = names.iter().find(|(from, _)| name == layer(&format!("mlp.{from}")));
            Some(is_mlp.map_or(name.to_string(), |(_, to)| layer(to)))
        });
        // And the router, of one expert.
        let head_len = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
        let mut head: serde_json::Value = serde_json::from_slice(&weights[8..8 + head_len]).unwrap();
        let end = weights.len() - 8 - head_len;
        head[layer(&router)] = serde_json::json!({"dtype": "F32", "shape": [1, 8], "data_offsets": [end, end + 32]});
        let head = serde_json::to_vec(&head).unwrap();
        [&(head.len() as u64).to_le_bytes()[..], &head, &vec![0; end + 32]].concat()
    };
    let old = ["w1", "w3", "w2"].map(|part| format!("block_sparse_moe.experts.0.{part}"));
    let new = ["w1", "w3", "w2"].map(|part| format!("mlp.experts.0.{part}"));
    for (names, router) in [(old, "block_sparse_moe.gate"), (new, "mlp.gate")] {
        open_weights(&config, &renamed(names.each_ref().map(String::as_str), router)).unwrap();
        let lacks = error(open_weights(&config, &renamed(names.each_ref().map(String::as_str), "mlp.gates")));
        assert!(matches!(lacks, LoadError::MissingTensor { .. }), "{lacks}");
    }
}

const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 6,
    "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 10, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5 EXTRA}"#;

#[test]
fn every_error_of_a_hugging_face_folder_says_what_is_wrong() {
    let config = |extra: &str| CONFIG.replace("EXTRA", extra);
    assert!(matches!(error(open_folder(&[])), LoadError::File(FileError::Read { .. })));
    assert!(matches!(error(open_folder(&[("config.json", "{")])), LoadError::File(FileError::Json { .. })));
    let unnamed = error(open_folder(&[("config.json", "{}")]));
    assert!(matches!(&unnamed, LoadError::Config { error: ConfigError::Architecture(_), .. }), "{unnamed}");
    let word = config(r#", "rope_theta": Infinity"#);
    let word = error(open_folder(&[("config.json", &word)]));
    assert!(
        matches!(&word, LoadError::File(FileError::Json { .. })) && word.to_string().contains("Infinity"),
        "{word}"
    );
    for extra in [
        r#", "attn_logit_softcapping": 50.0"#,
        r#", "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}"#,
        // Files written for old and new readers name the type twice.
        r#", "rope_scaling": {"type": "mrope", "rope_type": "default"}"#,
        r#", "hidden_act": "gelu""#,
        r#", "quantization_config": {"quant_method": "awq"}"#,
    ] {
        let error = error(open_folder(&[("config.json", &config(extra))]));
        assert!(matches!(&error, LoadError::Config { error: ConfigError::Unsupported(_), .. }), "{extra}: {error}");
    }
    for (extra, says) in [
        (r#", "rope_scaling": {"rope_type": "llama3", "factor": 8.0}"#, "original context"),
        (r#", "rope_scaling": {"rope_type": "linear"}"#, "RoPE scaling factor is missing"),
        (r#", "rope_scaling": {"rope_type": "linear", "factor": -1.0}"#, "RoPE scaling factor is -1"),
        (r#", "rope_scaling": {"type": "yarn", "factor": 2.0, "beta_fast": 0.5}"#, "beta_fast"),
        (r#", "rope_theta": 0.0"#, "RoPE base"),
        (r#", "rope_scaling": {"rope_type": "longrope", "factor": 4.0}"#, "short_factor"),
        (r#", "rope_scaling": {"type": "su", "short_factor": [1.0], "long_factor": [1.0]}"#, "RoPE divisors"),
        (r#", "rope_scaling": {"type": "su", "short_factor": [1.0, 1.0], "long_factor": [1.0]}"#, "long RoPE factors"),
        (r#", "rope_scaling": {"type": "su", "short_factor": [1.0, 1.0], "long_factor": [1.0, 0.0]}"#, "factor is 0"),
    ] {
        let error = error(open_folder(&[("config.json", &config(extra))]));
        assert!(matches!(&error, LoadError::Config { error: ConfigError::Size { .. }, .. }), "{extra}: {error}");
        assert!(error.to_string().contains(says), "{extra}: {error}");
    }
    let other = config("").replace("LlamaForCausalLM", "MambaForCausalLM");
    let other = error(open_folder(&[("config.json", &other)]));
    assert!(matches!(&other, LoadError::Config { error: ConfigError::Architecture(_), .. }), "{other}");

    let good = config("");
    assert!(
        matches!(error(open_folder(&[("config.json", &good)])), LoadError::File(FileError::Read { .. })),
        "no weights"
    );
    let not_safetensors = [("config.json", good.as_str()), ("model.safetensors", "garbage that is long enough")];
    assert!(matches!(error(open_folder(&not_safetensors)), LoadError::File(FileError::Safetensors { .. })));
    let elsewhere = [
        ("config.json", good.as_str()),
        ("model.safetensors.index.json", r#"{"weight_map": {"a": "../../secret.safetensors"}}"#),
    ];
    let elsewhere = error(open_folder(&elsewhere));
    assert!(elsewhere.to_string().contains("same folder"), "{elsewhere}");
    let quantised = r#"{"model.embed_tokens.weight":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}"#;
    let quantised =
        format!("{}{quantised} ", String::from_utf8((quantised.len() as u64).to_le_bytes().to_vec()).unwrap());
    let quantised = error(open_folder(&[("config.json", good.as_str()), ("model.safetensors", quantised.as_str())]));
    assert!(matches!(quantised, LoadError::File(FileError::Safetensors { .. })));
    assert!(quantised.to_string().contains("F8_E4M3") && !quantised.to_string().contains("again"), "{quantised}");
    let empty = format!("{}{{}}", String::from_utf8(2u64.to_le_bytes().to_vec()).unwrap());
    let without = [("config.json", good.as_str()), ("model.safetensors", empty.as_str())];
    assert!(matches!(error(open_folder(&without)), LoadError::MissingTensor { .. }));
}
