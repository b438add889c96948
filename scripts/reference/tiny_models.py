"""Makes tiny random models as Hugging Face folders, with logits computed by transformers in f32.

    python scripts/reference/tiny_models.py crates/runtime/tests/reference/tiny

They test what the real GGUF models do not: safetensors in one file and in several, sizes that are no multiples of a
tile, tied and untied output heads, biases that matter, norms of query and key heads, sliding windows in all and in some
layers. The RoPE scalings share the weights of `llama` and have only a config. Needs torch, transformers and safetensors.
"""

import argparse
import json
import pathlib

import torch
import transformers

TOKENS = 150
MIDDLE = 70


def make(folder, model, shard_size):
    # Default initialisation gives near-uniform attention; larger weights make every detail visible.
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.0, std=0.12)
    model = model.to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size=shard_size)
    write_vectors(folder, model)
    return model


def write_vectors(folder, model):
    model = model.float().eval()
    ids = torch.randint(model.config.vocab_size, (1, TOKENS))
    with torch.no_grad():
        logits = model(ids).logits[0]
    nll = torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:]).item()
    rounded = lambda row: [round(x, 5) for x in row.tolist()]
    vectors = {"ids": ids[0].tolist(), "middle": MIDDLE, "middle_logits": rounded(logits[MIDDLE]),
               "last_logits": rounded(logits[-1]), "nll": nll, "made_by": f"transformers {transformers.__version__}"}
    (folder / "vectors.json").write_text(json.dumps(vectors, separators=(",", ":")) + "\n")
    print(folder.name, sorted(path.name for path in folder.iterdir()), f"NLL {nll:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    out = parser.parse_args().out
    torch.manual_seed(20261123)
    llama = transformers.LlamaConfig(
        vocab_size=128, hidden_size=64, intermediate_size=112, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=512, rope_theta=10000.0, tie_word_embeddings=False)
    llama_model = make(out / "llama", transformers.LlamaForCausalLM(llama), "60KB")
    qwen2 = transformers.Qwen2Config(
        vocab_size=100, hidden_size=48, intermediate_size=88, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, rope_theta=1000000.0, tie_word_embeddings=True)
    make(out / "qwen2", transformers.Qwen2ForCausalLM(qwen2), "10MB")
    mistral = transformers.MistralConfig(
        vocab_size=60, hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=512, sliding_window=40, tie_word_embeddings=False,
        bos_token_id=1, eos_token_id=2)
    make(out / "mistral", transformers.MistralForCausalLM(mistral), "10MB")
    qwen3 = transformers.Qwen3Config(
        vocab_size=60, hidden_size=40, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=512, rope_theta=1000000.0, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2)
    make(out / "qwen3", transformers.Qwen3ForCausalLM(qwen3), "10MB")
    windowed = transformers.Qwen2Config(
        vocab_size=60, hidden_size=32, intermediate_size=56, num_hidden_layers=3, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=512, use_sliding_window=True, sliding_window=33,
        max_window_layers=1, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)
    make(out / "qwen2-windowed", transformers.Qwen2ForCausalLM(windowed), "10MB")
    weights = llama_model.state_dict()
    for name, context, scaling in [
        ("linear", 512, {"rope_type": "linear", "factor": 3.0}),
        ("dynamic", 64, {"rope_type": "dynamic", "factor": 4.0}),
        ("yarn", 32, {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32}),
        ("llama3", 512, {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 64}),
    ]:
        folder = out / "rope" / name
        folder.mkdir(parents=True, exist_ok=True)
        config = transformers.LlamaConfig(**{**llama.to_dict(), "max_position_embeddings": context,
                                             "rope_parameters": {**scaling, "rope_theta": 10000.0}})
        model = transformers.LlamaForCausalLM(config)
        model.load_state_dict(weights)
        config.architectures = ["LlamaForCausalLM"]
        config.save_pretrained(folder)
        write_vectors(folder, model)


if __name__ == "__main__":
    main()
