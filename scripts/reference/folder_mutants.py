"""Changes a small folder's safetensors head, tokenizer and chat template many times, and compares who reads them.

    python scripts/reference/folder_mutants.py target/release/sparse-accelerate 1000

Needs the packages safetensors, tokenizers and jinja2, which transformers reads these files with. A fault is a panic, a signal, a run
of over 20 s, over 3 GB; each ends the script with 1. Files that the program answers from and the package refuses are listed: whether
one matters is for a reader to say.
"""

import argparse
import json
import pathlib
import random
import resource
import struct
import subprocess
import sys
import tempfile

import jinja2
import jinja2.sandbox
import safetensors
import tokenizers

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 20
ADDRESS_SPACE_BYTES = 3 << 30
SIZE, VOCABULARY = 16, 257
MESSAGES = [{"role": "user", "content": "aaaa"}]
# Most of what templates do: conditions, loops, filters, methods, slices, namespaces, their own exceptions.
TEMPLATE = """{%- set ns = namespace(found=[1, 2], first=true) -%}
{% for m in messages if m['role'] != 'system' %}{% if m['role'] == 'user' %}{% set ns.first = false -%}
{{ '<|im_start|>' ~ m['content'].strip() | trim ~ '\\n' }}{% else %}{{ raise_exception('no') }}{% endif %}{% endfor %}
{% macro end(n) %}{{ 'assistant' * n }}{% endmacro %}{{ end(2) if add_generation_prompt else ns.found[::-1] | tojson }}"""


def safetensors_head():
    """The head of a decoder of one layer, and its zeros."""
    square = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    shapes = {"model.embed_tokens": [VOCABULARY, SIZE], "model.norm": [SIZE]}
    shapes |= {f"model.layers.0.{name}": [SIZE] for name in ["input_layernorm", "post_attention_layernorm"]}
    shapes |= {f"model.layers.0.{name}": [SIZE, SIZE] for name in square}
    head, at = {}, 0
    for name, shape in shapes.items():
        end = at + 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        head[name + ".weight"] = {"dtype": "F32", "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text, bytes(at)


def change(content, rng):
    """One to three changes: other bytes, parts that are gone, parts that come again, numbers of the edges."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(content))
        part = bytes(content[at:at + rng.randint(1, 30)])
        begin, end, new = rng.choice([
            (at, at + 1, bytes([rng.choice(b'0123456789-.,:[]{}"%|')])),
            (at, at + 1, bytes([rng.randrange(256)])),
            (at, at + len(part), b""),
            (at, at, part * rng.randint(1, 50)),
            (at, at + 1, str(rng.choice([0, -1, 2**31, 2**32, 2**63, 2**64, 1e308])).encode()),
        ])
        content[begin:end] = new
        content = content or bytearray(b" ")
    return bytes(content)


def run(command):
    """Exit status (None: too long) and what it said."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, preexec_fn=limit)
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stderr.decode(errors="replace")


def raise_exception(message):
    raise jinja2.TemplateError(message)


def read_safetensors(path):
    with safetensors.safe_open(path, "np") as file:
        list(file.keys())


def read_tokenizer(path):
    tokenizers.Tokenizer.from_file(str(path)).encode("aaaa")


def read_template(path):
    """As transformers does."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.globals["raise_exception"] = raise_exception
    environment.from_string(path.read_text()).render(messages=MESSAGES, add_generation_prompt=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    head, data = safetensors_head()
    corpus = ROOT / "fuzz/corpus"
    kinds = [  # file, whole contents, what follows them unchanged, flags, who else reads it
        ("model.safetensors", [head], data, [], read_safetensors),
        ("tokenizer.json", [(corpus / f"tokenizer_json/{n}.json").read_bytes() for n in ("padded", "bytes")], b"", [], read_tokenizer),
        ("chat_template.jinja", [TEMPLATE.encode()], b"", ["--chat"], read_template),
    ]
    any_fault = False
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "config.json").write_bytes((corpus / "model_folder/0_small.json").read_bytes()[1:])
        for name, whole, after, *_ in kinds:
            (folder / name).write_bytes(whole[0] + after)
        ask = [str(arguments.program), "generate", "--model", str(folder), "--prompt", "aaaa", "--max-tokens", "1", "--device", "cpu",
               "--threads", "1"]
        for name, whole, after, flags, read in kinds:
            status, said = run(ask + flags)
            assert status == 0, f"the program reads {name} as it is: {said}"
            read(folder / name)
            rng, answered, differ, faults = random.Random(f"{arguments.seed} {name}"), 0, 0, 0
            for n in range(arguments.count):
                (folder / name).write_bytes(change(rng.choice(whole), rng) + after)
                status, said = run(ask + flags)
                if status not in (0, 1) or "panicked" in said:
                    faults += 1
                    print(f"FAULT {name} {n}: exit {status}: {said[-300:]}", flush=True)
                if status == 0:
                    answered += 1
                    try:
                        read(folder / name)
                    except BaseException as error:  # the libraries' panics are no Exception
                        differ += 1
                        print(f"only we {name} {n}: {type(error).__name__}: {str(error)[:150]!r}", flush=True)
            print(f"{name}: {arguments.count} files: {answered} answered from, {differ} of them refused by the package, {faults} faults",
                  flush=True)
            any_fault |= faults > 0
            (folder / name).write_bytes(whole[0] + after)
    sys.exit(any_fault)


if __name__ == "__main__":
    main()
