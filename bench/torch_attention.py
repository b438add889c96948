"""Dense causal attention of PyTorch on one GPU, FlashAttention-2 and cuDNN: what `bench_attention` is measured against.

usage: python3 bench/torch_attention.py [--heads 32,8,128] [--lengths 1024,...] [--runs 20]

bf16, batch 1. One JSON object a line: the median over `runs` timings, each of enough calls in a row to take 2 ms.
"""
import argparse
import json
import statistics

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = {"torch_fa2": SDPBackend.FLASH_ATTENTION, "torch_cudnn": SDPBackend.CUDNN_ATTENTION}


def milliseconds(call, times):
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", default="32,8,128", help="query heads, kv heads, head_dim")
    parser.add_argument("--lengths", default="1024,2048,4096,8192,16384,32768,65536,131072")
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    q_heads, kv_heads, head_dim = map(int, arguments.heads.split(","))
    for length in map(int, arguments.lengths.split(",")):
        q = torch.randn(1, q_heads, length, head_dim, device="cuda", dtype=torch.bfloat16)
        k, v = (torch.randn(1, kv_heads, length, head_dim, device="cuda", dtype=torch.bfloat16) for _ in "kv")
        operations = 2 * length * (length + 1) * head_dim * q_heads
        for name, backend in BACKENDS.items():
            with sdpa_kernel(backend):

                def call():
                    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

                for _ in range(3):
                    call()
                times = max(1, int(2 / milliseconds(call, 1)))
                taken = [milliseconds(call, times) for _ in range(arguments.runs)]
            median = statistics.median(taken)
            print(json.dumps({
                "device": torch.cuda.get_device_name(), "kernel": name, "heads": [q_heads, kv_heads, head_dim],
                "tokens": length, "runs": arguments.runs, "median_ms": median, "fastest_ms": min(taken),
                "slowest_ms": max(taken), "tflops": operations / median / 1e9,
            }), flush=True)


main()
