"""Dense causal attention of PyTorch on one GPU, FlashAttention-2 and cuDNN: what `sparse-accelerate bench kernel` is measured against.

usage: python3 bench/torch_attention.py [--heads 32,8,128] [--lengths 1024,...] [--runs 20]

bf16, batch 1. One JSON object a line: the median over `runs` timings, each of enough calls in a row to take 2 ms.
"""
import baseline


def main():
    arguments = baseline.parse(__doc__, lengths="1024,2048,4096,8192,16384,32768,65536,131072")
    baseline.need("torch")
    import torch
    import torch.nn.functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel

    backends = {"torch_fa2": SDPBackend.FLASH_ATTENTION, "torch_cudnn": SDPBackend.CUDNN_ATTENTION}
    q_heads, kv_heads, head_dim = arguments.heads
    for length in arguments.lengths:
        q = torch.randn(1, q_heads, length, head_dim, device="cuda", dtype=torch.bfloat16)
        k, v = (torch.randn(1, kv_heads, length, head_dim, device="cuda", dtype=torch.bfloat16) for _ in "kv")
        for name, backend in backends.items():
            with sdpa_kernel(backend):
                baseline.row(
                    lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
                    what="dense", kernel=name, heads=arguments.heads, tokens=length, runs=arguments.runs,
                    pairs=q_heads * length * (length + 1) // 2,
                )


main()
