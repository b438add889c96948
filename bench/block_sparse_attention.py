"""Public block-sparse attention kernels on one GPU, random causal lists of 128-key blocks: those of the packages that are there.

usage: python3 bench/block_sparse_attention.py [--heads 32,8,128] [--lengths 8192,...] [--densities 0.065,...] [--runs 20]

block_sparse_attn (MIT HAN Lab; a list for each query head, causal; it sorts its mask in every call, which is timed with it) and flashinfer (a list for each kv head, no causal mask: blocks on
the diagonal are computed whole). bf16, batch 1; blocks on the diagonal count whole for both.
"""
import importlib.util

import baseline

BLOCK = 128


def of_block_sparse_attn(torch, q, k, v, density):
    """A call, its mask, and the number of query heads that share a list."""
    from block_sparse_attn import block_sparse_attn_func

    (length, q_heads, _) = q.shape
    mask = baseline.random_mask(q_heads, length, BLOCK, density)
    ends = torch.tensor([0, length], device="cuda", dtype=torch.int32)
    by_list = torch.ones(q_heads, device="cuda", dtype=torch.int32)
    batched = mask[None].contiguous()
    call = lambda: block_sparse_attn_func(  # noqa: E731
        q, k, v, ends, ends, by_list, None, batched, length, length, 0.0, is_causal=True
    )
    return call, mask, 1


def of_flashinfer(torch, q, k, v, density):
    import flashinfer

    (length, q_heads, head_dim), kv_heads = q.shape, k.shape[1]
    mask = baseline.random_mask(kv_heads, length, BLOCK, density)
    sizes = torch.full((kv_heads, length // BLOCK), BLOCK, device="cuda", dtype=torch.int32)
    workspace = torch.empty(128 << 20, device="cuda", dtype=torch.uint8)
    wrapper = flashinfer.VariableBlockSparseAttentionWrapper(workspace)
    wrapper.plan(mask, sizes, sizes, q_heads, kv_heads, head_dim, q_data_type=q.dtype)
    by_head = [x.transpose(0, 1).contiguous() for x in (q, k, v)]
    return lambda: wrapper.run(*by_head), mask, q_heads // kv_heads


KERNELS = {"block_sparse_attn": of_block_sparse_attn, "flashinfer": of_flashinfer}


def main():
    arguments = baseline.parse(__doc__, densities="0.065,0.11,0.26,0.5")
    kernels = {name: make for name, make in KERNELS.items() if importlib.util.find_spec(name)}
    if not kernels:
        baseline.skip(f"package not there: {' or '.join(KERNELS)}")
    baseline.need("torch")
    import torch

    q_heads, kv_heads, head_dim = arguments.heads
    for length in arguments.lengths:
        q = torch.randn(length, q_heads, head_dim, device="cuda", dtype=torch.bfloat16)
        k, v = (torch.randn(length, kv_heads, head_dim, device="cuda", dtype=torch.bfloat16) for _ in "kv")
        for name, make in kernels.items():
            for density in arguments.densities:
                try:
                    call, mask, heads_a_list = make(torch, q, k, v, density)
                except Exception as error:  # each package has exceptions of its own, and asks for more memory than there may be
                    baseline.refused(name, length, error)
                    continue
                baseline.row(
                    call, what="sparse", kernel=name, heads=arguments.heads, tokens=length, runs=arguments.runs,
                    pairs=mask.sum().item() * heads_a_list * BLOCK * BLOCK, block_density=density,
                    density=baseline.density_of(mask, BLOCK, length),
                )


main()
