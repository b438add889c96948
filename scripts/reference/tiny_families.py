"""Makes tiny random models of the families that have something of their own, with logits computed by transformers in f32.

    python scripts/reference/tiny_families.py crates/runtime/tests/reference/tiny

Hugging Face folders hold what differs from Llama in every way that a config can say it. GGUF files (`gguf/`) hold the same
weights as llama.cpp's converter writes them: norms of Gemma with their 1, Q and K of some families permuted. Needs torch,
transformers, safetensors and gguf.
"""

import argparse
import json
import pathlib
import shutil

import gguf
import numpy
import torch
import transformers
from tiny_models import write_vectors

# No size is a multiple of a tile.
SMALL = dict(vocab_size=60, hidden_size=40, intermediate_size=56, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0)
# Weights of large models, with what their checkpoints do not have in their names.
PARTS = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "mlp.gate": "ffn_gate_inp", "mlp.experts.gate_proj": "ffn_gate_exps",
    "mlp.experts.up_proj": "ffn_up_exps", "mlp.experts.down_proj": "ffn_down_exps", "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
}


def random(model, norm_mean):
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=norm_mean if "norm" in name else 0.0, std=0.12)
    return model.to(torch.bfloat16)


def vectors_of(folder, model_class):
    """From the files: what a model keeps beside its weights is not rounded there."""
    write_vectors(folder, model_class.from_pretrained(folder, dtype=torch.float32))


def make(folder, model, norm_mean=1.0, original_format=True):
    random(model, norm_mean)
    with torch.no_grad():
        # Which experts a token takes is decided clearly: rounding is not to choose others.
        for name, parameter in model.named_parameters():
            if name.endswith("mlp.gate.weight"):
                parameter *= 6
    model.save_pretrained(folder, save_original_format=original_format)
    (folder / "generation_config.json").unlink(missing_ok=True)
    vectors_of(folder, type(model))
    return model


def variant(folder, source, model_class, config):
    """The weights of another folder under another config."""
    folder.mkdir(parents=True, exist_ok=True)
    config.architectures = [model_class.__name__]
    config.save_pretrained(folder)
    shutil.copy(source / "model.safetensors", folder)
    vectors_of(folder, model_class)
    (folder / "model.safetensors").unlink()


def permuted(weight, heads):
    """Rows of each head as RoPE over neighbours wants them."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def tensors_of(model):
    """Weights by their names, gates and up projections of experts apart."""
    for key, weight in model.state_dict().items():
        weight = weight.float().numpy()
        if ".experts." not in key:
            yield key, weight
        elif key.endswith("gate_up_proj"):
            gate, up = numpy.split(weight, 2, axis=1)
            yield key.replace("gate_up", "gate") + ".weight", gate
            yield key.replace("gate_up", "up") + ".weight", up
        else:
            yield key + ".weight", weight


def gguf_file(path, name, model, metadata, tables=(), permute=False, norm_offset=0.0, quantised_experts=None):
    config = model.config
    writer = gguf.GGUFWriter(path, name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    for key, value in metadata.items():
        {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}[type(value)](f"{name}.{key}", value)
    for table, values in tables:
        writer.add_tensor(table, numpy.array(values, dtype=numpy.float32))
    four_norms = any("pre_feedforward" in key for key in model.state_dict())
    parts = {**PARTS, "post_attention_layernorm": "post_attention_norm" if four_norms else "ffn_norm"}
    whole = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
    for key, weight in tensors_of(model):
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if "norm" in key:
            weight = weight + numpy.float32(norm_offset)
        if permute and "q_proj" in key:
            weight = permuted(weight, config.num_attention_heads)
        if permute and "k_proj" in key:
            weight = permuted(weight, config.num_key_value_heads)
        if key not in whole:
            layer, part = key.removeprefix("model.layers.").split(".", 1)
            part, kind = part.rsplit(".", 1)
            whole[key] = f"blk.{layer}.{parts[part]}.{kind}"
        if quantised_experts is not None and ".experts." in key:
            writer.add_tensor(whole[key], gguf.quants.quantize(weight, quantised_experts), raw_dtype=quantised_experts)
            continue
        # As converters do: matrices in 16 bits, vectors and routers in 32.
        in_32_bits = weight.ndim == 1 or key.endswith("mlp.gate.weight")
        writer.add_tensor(whole[key], weight if in_32_bits else weight.astype(numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gemma3(out):
    config = dict(SMALL, head_dim=24, num_hidden_layers=6, sliding_window=33, tie_word_embeddings=True,
                  rope_parameters={"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000000.0},
                                   "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}})
    own = transformers.Gemma3TextConfig(**config, query_pre_attn_scalar=15, final_logit_softcapping=9.0)
    model = make(out / "gemma3", transformers.Gemma3ForCausalLM(own), norm_mean=0.0)
    # What GGUF files do not say is as in the published models. These are the old names of the same things.
    plain = transformers.Gemma3TextConfig(**config, query_pre_attn_scalar=24)
    variant(out / "gguf/gemma3", out / "gemma3", type(model), plain)
    written = json.loads((out / "gguf/gemma3/config.json").read_text())
    for new in ("rope_parameters", "layer_types"):
        written.pop(new)
    written |= {"sliding_window_pattern": 6, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
                "rope_scaling": {"rope_type": "linear", "factor": 4.0}}
    (out / "gguf/gemma3/config.json").write_text(json.dumps(written, indent=2) + "\n")
    model.config = plain
    gguf_file(out / "gguf/gemma3/model.gguf", "gemma3", model, {
        "attention.key_length": 24, "attention.value_length": 24, "attention.sliding_window": 33,
        "rope.freq_base": 1000000.0, "rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, norm_offset=1.0)


def phi3(out):
    factors = {"short_factor": [1.0, 1.05, 1.2, 1.3, 1.7, 2.0], "long_factor": [1.0, 1.4, 2.0, 3.0, 5.0, 8.0]}
    config = dict(SMALL, num_hidden_layers=2, tie_word_embeddings=True) | {"hidden_size": 64}
    def of(original, **more):
        rope = {"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75, **factors}
        return transformers.Phi3Config(**config, original_max_position_embeddings=original, rope_parameters=rope, **more)
    model = make(out / "phi3", transformers.Phi3ForCausalLM(of(64)))
    # Prompts within the context of the training, and a window.
    short = of(256, sliding_window=40)
    variant(out / "gguf/phi3", out / "phi3", type(model), short)
    model.config = short
    gguf_file(out / "gguf/phi3/model.gguf", "phi3", model, {
        "attention.sliding_window": 40, "rope.dimension_count": 12, "rope.freq_base": 10000.0,
        "rope.scaling.original_context_length": 256,
        "rope.scaling.attn_factor": (1 + numpy.log(512 / 256) / numpy.log(256)).item() ** 0.5},
        [(f"rope_factors_{kind}.weight", factors[f"{kind}_factor"]) for kind in ("short", "long")])


def smollm3(out):
    config = transformers.SmolLM3Config(**SMALL, num_hidden_layers=4, tie_word_embeddings=True,
                                        rope_parameters={"rope_type": "default", "rope_theta": 5000000.0})
    model = make(out / "smollm3", transformers.SmolLM3ForCausalLM(config))
    variant(out / "gguf/smollm3", out / "smollm3", type(model), config)
    gguf_file(out / "gguf/smollm3/model.gguf", "smollm3", model, {"rope.freq_base": 5000000.0, "rope.dimension_count": 10},
              permute=True)
    other = transformers.SmolLM3Config(**{**config.to_dict(), "no_rope_layers": [0, 1, 1, 0], "use_sliding_window": True,
                                          "sliding_window": 30, "layer_types": None})
    variant(out / "smollm3-windowed", out / "smollm3", type(model), other)


def granite(out):
    factors = dict(embedding_multiplier=12.0, residual_multiplier=0.22, attention_multiplier=0.15, logits_scaling=8.0)
    config = transformers.GraniteConfig(**SMALL, **factors, num_hidden_layers=2, tie_word_embeddings=False,
                                        rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    model = make(out / "granite", transformers.GraniteForCausalLM(config))
    variant(out / "gguf/granite", out / "granite", type(model), config)
    gguf_file(out / "gguf/granite/model.gguf", "granite", model, {
        "embedding_scale": 12.0, "residual_scale": 0.22, "attention.scale": 0.15, "logit_scale": 8.0,
        "rope.dimension_count": 10}, permute=True)


def qwen3_moe(out):
    config = dict(SMALL, head_dim=16, num_hidden_layers=2, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=24,
                  tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})
    def of(**more):
        return transformers.Qwen3MoeConfig(**{**config, **more})
    model = make(out / "qwen3-moe", transformers.Qwen3MoeForCausalLM(of()))
    variant(out / "gguf/qwen3-moe", out / "qwen3-moe", type(model), of(norm_topk_prob=True))
    gguf_file(out / "gguf/qwen3-moe/model.gguf", "qwen3moe", model, {
        "attention.key_length": 16, "attention.value_length": 16, "rope.freq_base": 1000000.0, "expert_count": 6,
        "expert_used_count": 2, "expert_feed_forward_length": 24})
    # Experts in the second layer and not in the fourth, as transformers keeps them in memory; a window.
    mixed = of(num_hidden_layers=4, decoder_sparse_step=2, mlp_only_layers=[3], norm_topk_prob=True, num_experts_per_tok=3,
               use_sliding_window=True, sliding_window=50)
    make(out / "qwen3-moe-mixed", transformers.Qwen3MoeForCausalLM(mixed), original_format=False)


def mixtral(out):
    config = transformers.MixtralConfig(**SMALL, num_hidden_layers=2, num_local_experts=5, num_experts_per_tok=2,
                                        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})
    model = make(out / "mixtral", transformers.MixtralForCausalLM(config))
    variant(out / "gguf/mixtral", out / "mixtral", type(model), config)
    gguf_file(out / "gguf/mixtral/model.gguf", "llama", model, {
        "rope.freq_base": 1000000.0, "rope.dimension_count": 10, "expert_count": 5, "expert_used_count": 2}, permute=True)


def of_gpus(out):
    """The families above whose heads no GPU kernel takes there: heads of a multiple of 16 elements. Gemma's are as large as in
    the published models."""
    gemma3 = transformers.Gemma3TextConfig(
        **SMALL | dict(hidden_size=24, num_attention_heads=2, num_key_value_heads=1), head_dim=256, num_hidden_layers=2,
        sliding_window=33, layer_types=["sliding_attention", "full_attention"], tie_word_embeddings=True,
        query_pre_attn_scalar=168, final_logit_softcapping=9.0,
        rope_parameters={"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000000.0},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}})
    make(out / "gpu/gemma3", transformers.Gemma3ForCausalLM(gemma3), norm_mean=0.0)
    wide = SMALL | dict(hidden_size=64)
    rope = {"rope_type": "default", "rope_theta": 1000000.0}
    smollm3 = transformers.SmolLM3Config(**wide, num_hidden_layers=4, tie_word_embeddings=True, rope_parameters=rope,
                                         no_rope_layers=[0, 1, 1, 0], use_sliding_window=True, sliding_window=30)
    make(out / "gpu/smollm3", transformers.SmolLM3ForCausalLM(smollm3))
    granite = transformers.GraniteConfig(**wide, num_hidden_layers=2, tie_word_embeddings=False, rope_parameters=rope,
                                         embedding_multiplier=12.0, residual_multiplier=0.22, attention_multiplier=0.15,
                                         logits_scaling=8.0)
    make(out / "gpu/granite", transformers.GraniteForCausalLM(granite))
    mixtral = transformers.MixtralConfig(**SMALL | dict(hidden_size=48, num_attention_heads=3, num_key_value_heads=1),
                                         num_hidden_layers=2, num_local_experts=5, num_experts_per_tok=2,
                                         rope_parameters=rope)
    make(out / "gpu/mixtral", transformers.MixtralForCausalLM(mixtral))
    quantised_mixtral(out / "gpu/mixtral-q8_0")


def quantised_mixtral(folder):
    """Experts whose weights stay quantised: rows of whole blocks."""
    sizes = dict(hidden_size=32, intermediate_size=64, num_attention_heads=2, num_key_value_heads=1)
    config = transformers.MixtralConfig(**SMALL | sizes, num_hidden_layers=2, num_local_experts=5, num_experts_per_tok=2,
                                        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})
    q8_0 = gguf.GGMLQuantizationType.Q8_0
    model = random(transformers.MixtralForCausalLM(config), 1.0).float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("mlp.gate.weight"):
                parameter *= 6
            elif ".experts." in name:
                rounded = gguf.quants.dequantize(gguf.quants.quantize(parameter.numpy(), q8_0), q8_0)
                parameter.copy_(torch.from_numpy(rounded))
    folder.mkdir(parents=True, exist_ok=True)
    gguf_file(folder / "model.gguf", "llama", model, {
        "rope.freq_base": 1000000.0, "rope.dimension_count": 16, "expert_count": 5, "expert_used_count": 2},
        permute=True, quantised_experts=q8_0)
    write_vectors(folder, model)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    out = parser.parse_args().out
    for family in (gemma3, phi3, smollm3, granite, qwen3_moe, mixtral, of_gpus):
        torch.manual_seed(20261126)
        family(out)


if __name__ == "__main__":
    main()
