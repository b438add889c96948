"""Writes what fuzzing begins with, fuzz/corpus/TARGET/*: small whole files of every kind, from fixtures of the tests here.

    python3 scripts/reference/fuzz_corpus.py
"""

import json
import struct
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "fuzz/corpus"
FIXTURES = ROOT / "crates/runtime/tests/reference"
VERSION = "0.1.0"  # calibrations of other versions are refused


def write(target, name, content):
    path = CORPUS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def byte_characters():
    """The characters that byte-level tokenizers spell bytes with, in the order of the bytes' ids."""
    itself = [b for b in range(256) if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or 0xAE <= b <= 0xFF]
    return [chr(b) for b in itself] + [chr(256 + n) for n in range(256 - len(itself))]


# Names and shapes of the model that the readers expect in a safetensors file: `SMALLEST_CONFIG`.
TENSORS = {"model.embed_tokens": [3, 2], "model.norm": [2], "model.layers.0.input_layernorm": [2],
           "model.layers.0.post_attention_layernorm": [2]}
TENSORS |= {f"model.layers.0.{part}": [2, 2] for part in
            ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
             "mlp.down_proj"]}


def safetensors(dtype, bytes_per_element):
    head, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in TENSORS.items():
        end = at + bytes_per_element * shape[0] * (shape[1] if len(shape) > 1 else 1)
        head[name + ".weight"] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + bytes(n % 60 for n in range(at))


def added(first, names):
    return [{"id": first + n, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": True} for n, name in enumerate(names)]


def tokenizers():
    """The kinds of `tokenizer.json` that are read, with few tokens."""
    base = {"version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None}
    characters = byte_characters()
    words = ["th", "he", "the", "\u0120t", "\u0120the"]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"}, "behavior": "Isolated",
             "invert": False}
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<end>", "type_id": 0}},
                                                          {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<end>": {"id": "<end>", "ids": [261], "tokens": ["<end>"]}}}
    bytes_model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                   "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
                   "vocab": {token: n for n, token in enumerate(characters + words)},
                   "merges": ["t h", "h e", "th e", "\u0120 t", "\u0120t he"]}
    yield "bytes.json", base | {"added_tokens": added(261, ["<end>"]), "decoder": byte_level, "model": bytes_model,
                                "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
                                "normalizer": {"type": "NFC"}, "post_processor": template}

    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + ["\u2581", "t", "h", "e", "th", "the", "\u2581the"]
    pieces_model = {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
                    "vocab": {token: n for n, token in enumerate(pieces)},
                    "merges": [["t", "h"], ["th", "e"], ["\u2581", "the"]]}
    spaces = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
                                                   {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}
    text = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                                             {"type": "ByteFallback"}, {"type": "Fuse"},
                                             {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    yield "pieces.json", base | {"added_tokens": added(0, ["<unk>", "<s>", "</s>"]), "normalizer": spaces, "decoder": text,
                                 "pre_tokenizer": None, "model": pieces_model}

    unigram = {"type": "Unigram", "unk_id": 0, "byte_fallback": True, "vocab": [[token, -float(n)] for n, token in enumerate(pieces)]}
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    # One entry of a table that replaces nothing: a trie of one empty unit, and no text.
    charsmap = "BAAAAAAAAAA="
    yield "unigram.json", base | {"added_tokens": added(0, ["<unk>", "<s>", "</s>"]), "decoder": metaspace, "pre_tokenizer": metaspace,
                                  "normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap}, "model": unigram}

    yield "padded.json", base | {"added_tokens": [], "decoder": byte_level, "pre_tokenizer": byte_level,
                                 "truncation": {"direction": "Right", "strategy": "LongestFirst", "stride": 0, "max_length": 2},
                                 "padding": {"direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "!",
                                             "strategy": {"Fixed": 4}, "pad_to_multiple_of": 8},
                                 "model": {"type": "BPE", "vocab": {c: n for n, c in enumerate(characters)}, "merges": []}}


def string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def value(content):
    """A value of GGUF's metadata, its type in front."""
    match content:
        case bool():
            return struct.pack("<I?", 7, content)
        case int():
            return struct.pack("<II", 4, content)
        case float():
            return struct.pack("<If", 6, content)
        case str():
            return struct.pack("<I", 8) + string(content)
        case [first, *_]:
            kind = {int: 5, float: 6, str: 8}[type(first)]
            each = {int: lambda x: struct.pack("<i", x), float: lambda x: struct.pack("<f", x), str: string}[type(first)]
            return struct.pack("<IIQ", 9, kind, len(content)) + b"".join(map(each, content))


def gguf(metadata, tensors):
    """A file of tensors of zeros; `tensors` are names, dimensions, type numbers and bytes."""
    head, data = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata)), b""
    head += b"".join(string(key) + value(content) for key, content in metadata.items())
    for name, dims, kind, size in tensors:
        head += string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, len(data))
        data += bytes(size + -size % 32)
    return head + bytes(-len(head) % 32) + data


def gguf_metadata(family, tokens, **tokenizer):
    metadata = {"general.architecture": family, "general.alignment": 32}
    metadata |= {f"{family}.{key}": content for key, content in {
        "block_count": 1, "embedding_length": 32, "feed_forward_length": 32, "attention.head_count": 1,
        "attention.head_count_kv": 1, "context_length": 64, "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 1e4,
        "rope.dimension_count": 32, "attention.key_length": 32, "attention.value_length": 32}.items()}
    metadata |= {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.add_bos_token": False}
    return metadata | {f"tokenizer.{key.replace('__', '.')}": content for key, content in tokenizer.items()}


def ggufs():
    matrices = [("blk.0.attn_q.weight", [32, 32], 2, 18 * 32), ("blk.0.ffn_up.weight", [32, 32], 8, 34 * 32),
                ("blk.0.attn_norm.weight", [32], 0, 128), ("output_norm.weight", [32], 1, 64)]

    def embedding(tokens):
        return ("token_embd.weight", [32, len(tokens)], 2, 18 * len(tokens))

    characters = byte_characters()
    tokens = characters + ["th", "the", "<|im_end|>"]
    yield "bytes.gguf", gguf(gguf_metadata("qwen2", tokens, ggml__model="gpt2", ggml__pre="qwen2",
                                           ggml__token_type=[1] * 258 + [3], ggml__merges=["t h", "th e"],
                                           chat_template="{{ messages[0]['content'] }}"), [embedding(tokens), *matrices])
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + ["\u2581", "t", "h", "th"]
    yield "pieces.gguf", gguf(gguf_metadata("llama", pieces, ggml__model="llama", ggml__token_type=[2, 3, 3] + [6] * 256 + [1] * 4,
                                            ggml__scores=[-float(n) for n in range(263)], ggml__add_space_prefix=True,
                                            ggml__bos_token_id=1), [embedding(pieces), matrices[0]])
    yield "no_tokenizer.gguf", gguf({"general.architecture": "llama", "a": [1.5, 2.5], "b": ["x"], "c": True}, matrices)


def calibrations():
    names = ["step_us", "gathered_step", "gather_key", "gather_centre", "tile", "score_block", "probe_block", "choose_block"]
    costs = {"head_dim": 64} | {name: 0.5 + n for n, name in enumerate(names)}
    head = {"format": "sparse-accelerate calibration", "version": 2, "crate_version": VERSION}
    cpu = {"device": "Example CPU", "simd": "avx2", "threads": 2, "date": "2026-01-31T12:00:00Z", "entries": [costs]}
    gpu = {"device": "Example GPU", "capability": [9, 0], "driver_version": 13000, "kernel": "attend_sm90", "block_m": 192,
           "heads": [14, 2], "date": "2026-01-31T12:00:00Z", "costs": costs | {"search_head": 600.0}}
    yield "both.json", head | {"cpu": cpu, "gpus": [gpu, gpu | {"capability": [8, 0]}]}
    yield "gpu.json", head | {"gpus": [gpu]}
    yield "version_1.json", head | {"version": 1} | cpu


def plans():
    head = {"format": "sparse-accelerate plan", "version": 2, "q_len": 100, "kv_len": 130}
    tiles = {"indptr": [0, 2, 4], "indices": [0, 1, 1, 2]}
    sparse = {"sparse": tiles | {"block_m": 64, "columns": [7, 30], "centres": True}}
    yield "all_kinds.json", head | {"heads": ["dense", {"window": 64}, sparse]}
    yield "version_1.json", head | {"version": 1, "heads": ["dense", {"sparse": tiles | {"columns": []}}]}


def patterns():
    head = {"format": "sparse-accelerate patterns", "version": 1, "centres": False}
    yield "own.json", head | {"layers": [
        [{"pattern": "dense"}, {"pattern": "triangular", "sink": 128, "window": 1024}],
        [{"pattern": "interval_slash", "columns": 1000, "slashes": 6096}, {"pattern": "top_blocks", "blocks": 100}]]}
    yield "minference.json", [{"0": ["vertical_and_slash", 1000, 6096, 0.5], "1": ["stream_llm", 100, 800, 0.9]}]


def small_model():
    """What the tests' small model says of itself; the number is that of the file in the reader's list."""
    yield "0_small.json", {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 16,
                           "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1,
                           "head_dim": 16, "vocab_size": 257, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
                           "rope_theta": 1e4, "tie_word_embeddings": True, "hidden_act": "silu", "eos_token_id": 256}
    yield "1_small.json", {"eos_token_id": [256], "bos_token_id": None}
    yield "2_small.json", {"eos_token": {"content": "<end>"}, "bos_token": None, "chat_template": [
        {"name": "default", "template": "{{ messages[0]['content'] }}"}]}


def main():
    for kind, size in [("F32", 4), ("F16", 2), ("BF16", 2)]:
        write("safetensors_file", f"{kind.lower()}.safetensors", safetensors(kind, size))
    for name, tokenizer in tokenizers():
        write("tokenizer_json", name, json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")))
    write("chat_template", "reversed.jinja", "{% for message in messages[::-1] %}{{ message.role }}{% endfor %}")
    for target, files in [("calibration_file", calibrations), ("plan_file", plans), ("pattern_file", patterns)]:
        for name, content in files():
            write(target, name, json.dumps(content))
    for name, content in ggufs():
        write("gguf_parse", name, content)
    vectors = json.loads((FIXTURES / "chat_template.json").read_text())
    for n, feature in enumerate(vectors["features"]):
        write("chat_template", f"feature_{n}.jinja", feature["template"])
    for path in sorted(FIXTURES.glob("tiny/**/config.json")):
        write("model_folder", "0_" + "_".join(path.parent.relative_to(FIXTURES / "tiny").parts) + ".json", "0" + path.read_text())
    for path in sorted(FIXTURES.glob("tiny/*/generation_config.json")):
        write("model_folder", f"1_{path.parent.name}.json", "1" + path.read_text())
    for name, content in small_model():
        write("model_folder", name, name[0] + json.dumps(content))
    write("model_folder", "3_llama.json", "3" + (FIXTURES / "tiny/llama/model.safetensors.index.json").read_text())


if __name__ == "__main__":
    main()
