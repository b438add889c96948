r"""Time to first token beside llama.cpp: same GGUF file, same number of threads, interleaved.

    python bench/llama_cpp.py --binary target/release/sparse-accelerate \
        --model models/SmolLM2-135M-Instruct.Q4_1.gguf --lengths 2048,8192 --runs 5 --threads 2 \
        --json bench/results/llama_cpp.json

Each round runs `sparse-accelerate bench ttft` once, dense and sparse, and llama.cpp once for each length; every second
round in the opposite order. llama.cpp runs in a fresh process each time, through llama-cpp-python: loading is not timed,
32 tokens warm it up, then the prompt and the choice of the first token are timed. Neither side times its tokenizer.

Flash attention on and 512 tokens a batch are llama.cpp's fastest settings where we tried; --no-flash-attention and
--ubatch try others. `speedup` is llama.cpp's median over ours.

Nothing else may run meanwhile: llama.cpp's threads wait for each other after every operation, so other programs slow it
far more than they slow us. `cpu_share`, the part of its time that llama.cpp's threads had a core, is about 1 on a quiet
machine; below 0.9 there is a warning, and the ratios mean nothing.

llama-cpp-python must be built on the machine that measures, for its processor:

    pip install --no-binary llama-cpp-python llama-cpp-python

If llama.cpp then dies with SIGSEGV on a CPU with AMX, the compiler is at fault (GCC 12.2 is; see gcc_amx_fix.h):

    CXXFLAGS="-include $PWD/bench/gcc_amx_fix.h" \
        pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python llama-cpp-python
"""

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

FILLER = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "
WARM_UP_TOKENS = 32
ROOM = 64
QUIET = 0.9


def measure_llama_cpp(settings, length):
    """Time one prompt. Runs in a process of its own."""
    # Python looks beside the script first, where the script itself has the package's name.
    here = Path(__file__).resolve().parent
    sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != here]
    import llama_cpp

    llama = llama_cpp.Llama(
        model_path=settings["model"],
        n_ctx=length + ROOM,
        n_threads=settings["threads"],
        n_threads_batch=settings["threads"],
        n_batch=max(settings["ubatch"], 512),
        n_ubatch=settings["ubatch"],
        flash_attn=settings["flash_attention"],
        verbose=False,
    )
    text = FILLER
    while len(tokens := llama.tokenize(text.encode())) < length:
        text *= 2
    tokens = tokens[:length]

    llama.eval(tokens[:WARM_UP_TOKENS])
    llama.reset()
    begin, begin_cpu = time.perf_counter(), time.process_time()
    llama.eval(tokens)
    llama.sample(temp=0.0)
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - begin_cpu

    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "attention": "llama.cpp",
        "length": length,
        "ttft_ms": seconds * 1e3,
        "cpu_share": cpu_seconds / seconds / settings["threads"],
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        "system": llama_cpp.llama_print_system_info().decode(),
        "version": llama_cpp.__version__,
    }


def run_llama_cpp(settings, length):
    """Time one prompt in a fresh process, so that nothing is left over from another, and a crash is only an error."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure_llama_cpp, settings, length).result()
        except BrokenProcessPool:
            sys.exit("error: llama.cpp crashed; the head of this script says what to do on a CPU with AMX")


def run_ours(binary, settings, lengths):
    """One round of our own benchmark: a row for each length and attention mode."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "ttft.json"
        command = [str(binary), "bench", "ttft", "--model", settings["model"], "--attention", "dense,sparse", "--runs", "1"]
        command += ["--lengths", ",".join(map(str, lengths)), "--threads", str(settings["threads"]), "--json", str(out)]
        command += settings.get("options", [])
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"error: {binary.name} failed: {done.stderr.strip()}")
        results = json.loads(out.read_text())
    rows = results["rows"] if isinstance(results, dict) else results
    for row in rows:
        if isinstance(row["ttft_ms"], dict):
            row["ttft_ms"] = row["ttft_ms"]["median"]
    meta = results.get("meta", {}) if isinstance(results, dict) else {}
    return rows, {key: meta.get(key) for key in ("version", "commit")}


def summarise(samples, lengths):
    """One row for each length and engine, llama.cpp first."""
    rows = []
    for length in lengths:
        for attention in ("llama.cpp", "dense", "sparse"):
            mine = [s for s in samples if s["length"] == length and s["attention"] == attention]
            times = [s["ttft_ms"] for s in mine]
            spread = {"min": min(times), "median": statistics.median(times), "max": max(times)}
            row = {"length": length, "attention": attention, "ttft_ms": spread}
            for key in ("search_ms", "attention_ms", "density", "cpu_share"):
                if mine[0].get(key) is not None:
                    row[key] = statistics.median(s[key] for s in mine)
            row["peak_memory_bytes"] = max(s.get("peak_memory_bytes") or 0 for s in mine)
            rows.append(row)
        theirs = rows[-3]["ttft_ms"]["median"]
        for row in rows[-2:]:
            row["speedup"] = theirs / row["ttft_ms"]["median"]
    return rows


def print_table(rows):
    print(f"{'length':>7}  {'attention':<10} {'TTFT ms':>10} {'min .. max':>21} {'density':>8} {'speedup':>8}")
    for row in rows:
        spread = row["ttft_ms"]
        limits = f"{spread['min']:.0f} .. {spread['max']:.0f}"
        density = f"{row['density']:.3f}" if "density" in row else ""
        speedup = f"{row['speedup']:.2f}x" if "speedup" in row else ""
        print(f"{row['length']:>7}  {row['attention']:<10} {spread['median']:>10.0f} {limits:>21} {density:>8} {speedup:>8}")


def cpu_model():
    """The processor's name; the machine's own name stays out of the results."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True, help="the program sparse-accelerate")
    parser.add_argument("--model", type=Path, required=True, help="GGUF file that both load")
    parser.add_argument("--lengths", default="2048,8192", help="prompt lengths in tokens (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each side (default: %(default)s)")
    parser.add_argument("--ubatch", type=int, default=512, help="llama.cpp's n_ubatch (default: %(default)s)")
    parser.add_argument("--flash-attention", action=argparse.BooleanOptionalAction, default=True, help="llama.cpp's")
    parser.add_argument("--json", type=Path, help="file for the results")
    args = parser.parse_args()
    if args.runs < 1:
        parser.error("--runs must be at least 1")
    lengths = [int(length) for length in args.lengths.split(",")]
    settings = {
        "model": str(args.model),
        "threads": args.threads,
        "ubatch": args.ubatch,
        "flash_attention": args.flash_attention,
    }
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    load = os.getloadavg()[0]

    samples, build = [], {}
    for round_ in range(args.runs):
        sides = ["ours", "theirs"] if round_ % 2 == 0 else ["theirs", "ours"]
        for side in sides:
            print(f"round {round_ + 1} of {args.runs}: {side}", file=sys.stderr)
            if side == "ours":
                rows, build = run_ours(args.binary, settings, lengths)
                samples += rows
            else:
                samples += [run_llama_cpp(settings, length) for length in lengths]

    rows = summarise(samples, lengths)
    print_table(rows)
    if (share := min(row.get("cpu_share", 1.0) for row in rows)) < QUIET:
        print(f"warning: llama.cpp had a core only {share:.0%} of the time: measure on a quiet machine", file=sys.stderr)
    if args.json:
        one = next(s for s in samples if s["attention"] == "llama.cpp")
        meta = {
            "date": date,
            "model": args.model.name,
            "cpu": cpu_model(),
            "threads": args.threads,
            "runs": args.runs,
            "load_average_before": round(load, 2),
            "sparse_accelerate": build,
            "llama_cpp": {
                "llama_cpp_python": one["version"],
                "system": one["system"].strip(),
                "n_ubatch": args.ubatch,
                "flash_attention": args.flash_attention,
            },
        }
        args.json.write_text(json.dumps({"meta": meta, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
