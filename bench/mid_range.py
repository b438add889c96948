#!/usr/bin/env python3
"""What smaller cards would hold, and how soon they would answer: a projection, no card of these was measured.

    bench/mid_range.py PROGRAM CONFIG.json [--json FILE]

Memory is what `PROGRAM fit` predicts for the model of CONFIG.json. Times scale what was measured on an H100 (bench/results)
by what the cards are sold with: products by the peak of their bf16 tensor cores with f32 sums; the attention kernel for
sm_80 likewise, from the share of an H100's peak that its instruction reaches there; the search by the slower of that and of
the memory; the rest by the memory.
"""
import argparse
import json
import subprocess
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
LENGTH = 32768
LAYERS = 32
# bf16 with f32 sums and without sparse weights, TFLOP/s; memory, GB/s and GB. NVIDIA's data sheets of H100 SXM, RTX A5000,
# RTX A6000 and L40S; its papers on the architectures GA102 and Ada for the others.
H100 = {"tflops": 989.4, "memory_gb_s": 3350}
CARDS = {
    "RTX 3090": {"tflops": 71.0, "memory_gb_s": 936, "gb": 24},
    "RTX A5000": {"tflops": 111.1, "memory_gb_s": 768, "gb": 24},
    "RTX 4090": {"tflops": 165.2, "memory_gb_s": 1008, "gb": 24},
    "RTX A6000": {"tflops": 154.8, "memory_gb_s": 768, "gb": 48},
    "L40S": {"tflops": 362.0, "memory_gb_s": 864, "gb": 48},
}
# Of the H100's peak, with the instruction of sm_80 (`mma.sync`): Luo et al., arXiv 2402.13499, section 4.
MMA_SYNC_SHARE = 0.629
# Of all pairs: what Qwen2.5-0.5B took for a recall of 0.98 in RULER at this length, and what a budget of a tenth took there.
DENSITIES = [0.37, 0.075]


def rows(name, **wanted):
    found = json.loads((RESULTS / name).read_text())["rows"]
    return [row for row in found if all(row.get(key) == value for key, value in wanted.items())]


def line_through(points, at):
    """Straight lines through the points, the outer ones beyond them."""
    points = sorted(points)
    last = len(points) - 2
    left = next((n for n in range(last) if at < points[n + 1][0]), last)
    (x0, y0), (x1, y1) = points[left], points[left + 1]
    return y0 + (y1 - y0) * (at - x0) / (x1 - x0)


def measured():
    """Seconds on an H100: products, attention by density, search, rest."""
    kernel = "h100/kernel-32-8-128-sm80.json"
    of_length = [row for row in rows(kernel) if LENGTH in (row.get("length"), row.get("tokens"), row.get("keys"))]
    ms = lambda row: row["median_ms"] * LAYERS
    dense = next(ms(row) for row in of_length if row["what"] == "dense")
    search = next(ms(row) for row in of_length if row["what"] == "search")
    planned = [(row["density"], ms(row)) for row in of_length if row["what"] == "sparse" and row.get("centres")]
    profile = rows("h200/profile-llama-3.1-8b.json", length=LENGTH, attention="dense")[0]
    whole = rows("h100/ttft-llama-3.1-8b-density-0.1.json", length=LENGTH, attention="dense")[0]
    rest = whole["ttft_ms"]["median"] - whole["attention_ms"] - profile["products_ms"]
    attention = {density: line_through(planned, density) for density in DENSITIES}
    return {"products": profile["products_ms"], "dense": dense, "planned": attention, "search": search, "rest": rest}


def project(card, on_h100):
    """Seconds to the first token: dense, and by density."""
    of_peak = H100["tflops"] / card["tflops"]
    of_kernel = of_peak * MMA_SYNC_SHARE
    of_memory = H100["memory_gb_s"] / card["memory_gb_s"]
    around = on_h100["products"] * of_peak + on_h100["rest"] * of_memory
    search = on_h100["search"] * max(of_kernel, of_memory)
    planned = {density: (around + search + ms * of_kernel) / 1000 for density, ms in on_h100["planned"].items()}
    return {"dense_s": (around + on_h100["dense"] * of_kernel) / 1000, "sparse_s": planned}


def fits(program, config, gb, weights, attention):
    """What `fit` says of a card's memory."""
    command = [program, "fit", "--model", config, "--device-memory", f"{gb}G", "--context", str(LENGTH), "--json"]
    command += ["--attention", attention] + weights
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)}: {ran.stderr}")
    return json.loads(ran.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("config")
    parser.add_argument("--json")
    asked = parser.parse_args()
    kinds = {
        "bf16": ["--random-weights", "bf16"],
        "8 bits": ["--random-weights", "bf16", "--quantization", "fp8"],
        "4 bits": ["--random-weights", "q4_0"],
    }
    memory = []
    for gb in sorted({card["gb"] for card in CARDS.values()}):
        for kind, weights in kinds.items():
            for attention in ("dense", "sparse"):
                memory.append({"gb": gb, "weights": kind, "attention": attention}
                              | fits(asked.program, asked.config, gb, weights, attention))
    on_h100 = measured()
    times = {name: project(card, on_h100) for name, card in CARDS.items()}
    print("| weights | card | dense: longest | sparse: longest |\n|---|--:|--:|--:|")
    for dense, sparse in zip(memory[::2], memory[1::2]):
        longest = [f"{row['longest_context_tokens']:,}" for row in (dense, sparse)]
        print(f"| {dense['weights']} | {dense['gb']} GB | {' | '.join(longest)} |")
    print("\n| card | dense |" + "".join(f" {density:.1%} of the pairs |" for density in DENSITIES))
    print("|---|--:|" + "--:|" * len(DENSITIES))
    for name, row in times.items():
        sparse = "".join(f" {s:.1f} s ({s / row['dense_s']:.2f}) |" for s in row["sparse_s"].values())
        print(f"| {name} | {row['dense_s']:.1f} s |{sparse}")
    if asked.json:
        result = {"what": "a projection: no card of these was measured", "length": LENGTH, "on_h100_ms": on_h100,
                  "memory": memory, "ttft": times}
        Path(asked.json).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
