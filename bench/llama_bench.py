r"""Prefill and decoding beside llama.cpp or ik_llama.cpp, by their own `llama-bench`: same GGUF file, same threads, interleaved.

    git clone https://github.com/ikawrakow/ik_llama.cpp && cd ik_llama.cpp
    cmake -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON && cmake --build build --target llama-bench
    python bench/llama_bench.py --binary target/release/sparse-accelerate --llama-bench build/bin/llama-bench \
        --options="-fa 1 -rtr 1" --model models/SmolLM2-135M-Instruct.Q4_1.gguf --lengths 512,2048,8192 --json beside-ik.json

Each round runs `sparse-accelerate bench ttft` (dense and sparse), `sparse-accelerate generate` for tokens behind a prompt of a few, and
`llama-bench -p LENGTH` and `-n TOKENS`, each in a fresh process; every second round in the opposite order. `-rtr 1` repacks weights when
ik_llama.cpp loads, which is its fastest. Loading is not timed, nor is a warm-up of either. `speedup` is their median time over ours.

Nothing else may run meanwhile; see llama_cpp.py, which does the same through llama-cpp-python.
"""

import argparse
import datetime
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from llama_cpp import cpu_model, run_ours

PROMPT = "Write down all numbers from one to one thousand in words, one behind the other: one, two, three,"


def peak_of(command):
    """Output of a program and the most memory that it held."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=out, stderr=errors, text=True)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            sys.exit(f"error: {command[0]} ended with {process.returncode}: {errors.read()[-2000:]}")
        unit = 1 if sys.platform == "darwin" else 1024
        return out.read(), usage.ru_maxrss * unit


def llama_bench(args, options):
    command = [str(args.llama_bench), "-m", str(args.model), "-t", str(args.threads), "-r", "1", "-o", "json"]
    out, peak = peak_of(command + shlex.split(args.options) + options)
    rows = json.loads(out[out.index("[") :])
    return rows, peak


def theirs(args, lengths):
    samples = []
    for length in lengths:
        rows, peak = llama_bench(args, ["-p", str(length), "-n", "0"])
        build = {key: rows[0].get(key) for key in ("build_commit", "build_number", "cpu_info")}
        ms = rows[0]["avg_ns"] / 1e6
        samples.append({"what": "prefill", "length": length, "who": "theirs", "ms": ms, "peak_memory_bytes": peak, "build": build})
    rows, peak = llama_bench(args, ["-p", "0", "-n", str(args.tokens)])
    build = {key: rows[0].get(key) for key in ("build_commit", "build_number", "cpu_info")}
    ms = rows[0]["avg_ns"] / 1e6 / args.tokens
    samples.append({"what": "token", "who": "theirs", "ms": ms, "peak_memory_bytes": peak, "build": build})
    return samples


def ours(args, lengths):
    options = shlex.split(args.ours)
    settings = {"model": str(args.model), "threads": args.threads, "options": options}
    rows, build = run_ours(args.binary, settings, lengths) if lengths else ([], {})
    samples = [
        {"what": "prefill", "length": row["length"], "who": row["attention"], "ms": row["ttft_ms"], "density": row.get("density"), "build": build}
        for row in rows
    ]
    command = [str(args.binary), "generate", "--model", str(args.model), "--threads", str(args.threads), "--prompt", PROMPT]
    command += ["--max-tokens", str(args.tokens), "--json", *options]
    out, peak = peak_of(command)
    result = json.loads(out)
    if result["generated_tokens"] < args.tokens:
        print(f"warning: only {result['generated_tokens']} tokens were made", file=sys.stderr)
    ms = 1e3 / result["decode_tokens_per_s"]
    samples.append({"what": "token", "who": "ours", "ms": ms, "peak_memory_bytes": peak, "build": build})
    return samples


def summarise(samples):
    kinds = dict.fromkeys((s["what"], s.get("length"), s["who"]) for s in samples)
    rows = []
    for what, length, who in sorted(kinds, key=lambda kind: (kind[0], kind[1] or 0, kind[2] != "theirs", kind[2])):
        mine = [s for s in samples if (s["what"], s.get("length"), s["who"]) == (what, length, who)]
        times = [s["ms"] for s in mine]
        row = {"what": what, "length": length, "who": who}
        row["ms"] = {"min": min(times), "median": statistics.median(times), "max": max(times)}
        if mine[0].get("density") is not None:
            row["density"] = statistics.median(s["density"] for s in mine)
        if what == "token":
            row["tokens_per_s"] = 1e3 / row["ms"]["median"]
        if mine[0].get("peak_memory_bytes"):
            row["peak_memory_bytes"] = max(s["peak_memory_bytes"] for s in mine)
        if who == "theirs":
            beside = row["ms"]["median"]
        else:
            row["speedup"] = beside / row["ms"]["median"]
        rows.append(row)
    return rows


def print_table(rows):
    print(f"{'':<8} {'tokens':>7}  {'who':<7} {'ms':>10} {'min .. max':>21} {'density':>8} {'MB':>6} {'speedup':>8}")
    for row in rows:
        ms = row["ms"]
        limits = f"{ms['min']:.1f} .. {ms['max']:.1f}"
        density = f"{row['density']:.3f}" if "density" in row else ""
        megabytes = f"{row['peak_memory_bytes'] / 1e6:.0f}" if "peak_memory_bytes" in row else ""
        speedup = f"{row['speedup']:.2f}x" if "speedup" in row else ""
        print(f"{row['what']:<8} {row['length'] or '':>7}  {row['who']:<7} {ms['median']:>10.1f} {limits:>21} {density:>8} {megabytes:>6} {speedup:>8}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True, help="the program sparse-accelerate")
    parser.add_argument("--llama-bench", type=Path, required=True, help="llama-bench of llama.cpp or ik_llama.cpp")
    parser.add_argument("--options", default="-fa 1", help="more options of llama-bench (default: %(default)s)")
    parser.add_argument("--ours", default="", help="more options of sparse-accelerate, such as --ours=\"--products int8\"")
    parser.add_argument("--model", type=Path, required=True, help="GGUF file that both load")
    parser.add_argument("--lengths", default="512,2048,8192", help="prompt lengths in tokens; none times new tokens alone (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=128, help="new tokens that are timed (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="rounds (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each side (default: %(default)s)")
    parser.add_argument("--note", default="", help="what else is to be known, such as the commit of llama-bench")
    parser.add_argument("--json", type=Path, help="file for the results")
    args = parser.parse_args()
    lengths = [int(length) for length in args.lengths.split(",") if length]
    meta = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "model": args.model.name,
        "cpu": cpu_model(),
        "threads": args.threads,
        "runs": args.runs,
        "load_average_before": round(os.getloadavg()[0], 2),
        "options": args.options,
        "ours": args.ours,
        "note": args.note,
    }
    samples = []
    for round_ in range(args.runs):
        for side in (ours, theirs) if round_ % 2 == 0 else (theirs, ours):
            print(f"round {round_ + 1} of {args.runs}: {side.__name__}", file=sys.stderr)
            samples += side(args, lengths)
    rows = summarise(samples)
    print_table(rows)
    if args.json:
        builds = {s["who"]: s["build"] for s in samples if s["what"] == "token"}
        args.json.write_text(json.dumps({"meta": meta | {"builds": builds}, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
