"""Writes reference vectors of a GGUF model, computed by Hugging Face transformers in f32 on the same file.

    python scripts/reference/model_vectors.py models/SmolLM2-135M-Instruct.Q4_1.gguf \
        crates/runtime/tests/reference/model/smollm2.json

Needs torch, transformers, accelerate, gguf and sentencepiece. transformers dequantises the file's own weights, so what differs from
our engine is arithmetic only: f32 here, bf16 products there.
"""

import argparse
import json
import pathlib

import torch
import transformers

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TEXT = ROOT / "crates/runtime/tests/reference/model/text.txt"
# Of other kinds: a licence and source code.
OTHERS = (ROOT / "LICENSE-APACHE", ROOT / "crates/attention/src/oracle.rs")
POSITIONS = 512
LONG = 2048
LONG_TAIL = 256
GREEDY_PROMPT = "The three largest oceans of the world are the"
GREEDY_TOKENS = 32
SAMPLED_POSITIONS = (0, 255, 511)
TOP = 16


def forward(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float()


def negative_log_likelihood(logits, ids):
    """NLL of ids[1:] given logits of ids[:-1]."""
    log_probabilities = torch.log_softmax(logits[:-1].double(), dim=-1)
    targets = torch.tensor(ids[1:]).unsqueeze(-1)
    return -log_probabilities.gather(-1, targets).squeeze(-1)


def text_vectors(model, ids):
    ids = ids[: POSITIONS + 1]
    assert len(ids) == POSITIONS + 1, f"the text has only {len(ids)} tokens"
    logits = forward(model, ids)
    nll = negative_log_likelihood(logits, ids)
    best, best_ids = logits[:POSITIONS].topk(2, dim=-1)
    samples = []
    for position in SAMPLED_POSITIONS:
        values, top_ids = logits[position].topk(TOP)
        samples.append({"position": position, "ids": top_ids.tolist(), "logits": [round(x, 4) for x in values.tolist()]})
    return {
        "ids": ids,
        "top1": best_ids[:, 0].tolist(),
        "margin": [round(x, 4) for x in (best[:, 0] - best[:, 1]).tolist()],
        "nll": [round(x, 5) for x in nll.tolist()],
        "perplexity": nll.mean().exp().item(),
        "samples": samples,
    }


def other_vectors(model, tokenizer, path, special):
    ids = tokenizer(path.read_text(), add_special_tokens=special).input_ids[: POSITIONS + 1]
    nll = negative_log_likelihood(forward(model, ids), ids)
    return {"name": path.name, "ids": ids, "perplexity": nll.mean().exp().item()}


def long_vectors(model, ids):
    ids = (ids * (LONG // len(ids) + 1))[: LONG + 1]
    nll = negative_log_likelihood(forward(model, ids), ids)
    # Repeated text is easy; the tail shows that long positions and chunks are right.
    return {"ids": ids, "tail": LONG_TAIL, "tail_nll": nll[-LONG_TAIL:].mean().item()}


def greedy_vectors(model, tokenizer, special):
    ids = tokenizer(GREEDY_PROMPT, add_special_tokens=special).input_ids
    prompt = list(ids)
    for _ in range(GREEDY_TOKENS):
        ids.append(int(forward(model, ids)[-1].argmax()))
    return {"prompt": prompt, "tokens": ids[len(prompt) :], "text": tokenizer.decode(ids[len(prompt) :])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--special", action="store_true", help="texts begin as prompts do, as Gemma's must: with its token <bos>")
    arguments = parser.parse_args()

    folder, name = arguments.gguf.resolve().parent, arguments.gguf.resolve().name
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    ids = tokenizer(TEXT.read_text(), add_special_tokens=arguments.special).input_ids
    vectors = {
        "made_by": f"transformers {transformers.__version__}, torch {torch.__version__}, float32",
        "file": arguments.gguf.name,
        "text": text_vectors(model, ids),
        "others": [other_vectors(model, tokenizer, path, arguments.special) for path in OTHERS],
        "long": long_vectors(model, ids),
        "greedy": greedy_vectors(model, tokenizer, arguments.special),
    }
    arguments.out.write_text(json.dumps(vectors, separators=(",", ":")) + "\n")
    print(f"perplexity {vectors['text']['perplexity']:.4f}, tail NLL {vectors['long']['tail_nll']:.4f}")
    print(vectors["greedy"]["text"])


if __name__ == "__main__":
    main()
