"""What the scripts that time other people's attention kernels share: arguments, timing, masks, and rows.

Rows have the fields of those of `sparse-accelerate bench kernel --json`, one JSON object a line: what, kernel, device, heads, tokens,
median_ms, fastest_ms, slowest_ms, runs, tflops, and block_density and density where sparse.
"""
import argparse
import importlib.util
import json
import statistics
import sys


def need(*packages):
    """Ends the script, as a success, where a package or the GPU is not there."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            skip(f"package not there: {package}")
    import torch

    if not torch.cuda.is_available():
        skip("PyTorch sees no GPU")


def skip(why):
    # Not on standard output, which is for rows.
    print(f"SKIPPED: {why}", file=sys.stderr)
    sys.exit(0)


def parse(description, lengths="8192,32768,131072", densities=None):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", default="32,8,128", help="query heads, kv heads, head_dim")
    parser.add_argument("--lengths", default=lengths)
    parser.add_argument("--runs", type=int, default=20)
    if densities:
        parser.add_argument("--densities", default=densities)
    arguments = parser.parse_args()
    arguments.heads = [int(n) for n in arguments.heads.split(",")]
    arguments.lengths = [int(n) for n in arguments.lengths.split(",")]
    if densities:
        arguments.densities = [float(x) for x in arguments.densities.split(",")]
    return arguments


def milliseconds(call, times):
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / times


def random_mask(heads, length, block, density):
    """Which blocks of keys each block of queries computes, [head][query block][key block]: random before the diagonal, which always is."""
    import torch

    blocks = length // block
    random = torch.Generator(device="cuda").manual_seed(1)
    diagonal = torch.eye(blocks, dtype=torch.bool, device="cuda")
    listed = torch.rand(heads, blocks, blocks, device="cuda", generator=random) < density
    return listed.tril(-1) | diagonal


def density_of(mask, block, length):
    """Causal pairs computed of all causal pairs."""
    heads, blocks, _ = mask.shape
    on_diagonal = heads * blocks
    pairs = (mask.sum().item() - on_diagonal) * block * block + on_diagonal * block * (block + 1) // 2
    return pairs / (heads * length * (length + 1) / 2)


def row(call, *, what, kernel, heads, tokens, runs, pairs, **more):
    """Times `call` and prints its row; `pairs` of all query heads. What the kernel refuses is said on standard error."""
    import torch

    try:
        for _ in range(3):
            call()
        # Enough in a row to take 2 ms, so that the host's part of a launch is hidden.
        times = max(1, int(2 / milliseconds(call, 1)))
        taken = [milliseconds(call, times) for _ in range(runs)]
    except (RuntimeError, ValueError, NotImplementedError) as error:
        refused(kernel, tokens, error)
        return
    median = statistics.median(taken)
    print(json.dumps({
        "what": what, "kernel": kernel, "device": torch.cuda.get_device_name(), "heads": heads, "tokens": tokens, "runs": runs,
        "median_ms": median, "fastest_ms": min(taken), "slowest_ms": max(taken), "tflops": 4 * heads[2] * pairs / median / 1e9, **more,
    }), flush=True)


def refused(kernel, tokens, error):
    print(f"SKIPPED: {kernel} at {tokens} tokens: {str(error).splitlines()[0] if str(error) else type(error).__name__}", file=sys.stderr)
