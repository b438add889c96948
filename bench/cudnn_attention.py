"""Attention of cuDNN's own front end on one GPU: dense and causal, and by lists of 64-key or 128-key blocks.

usage: python3 bench/cudnn_attention.py [--heads 32,8,128] [--lengths 8192,...] [--densities 0.065,...] [--runs 20]

Needs `pip install torch nvidia-cudnn-frontend`, and its CuTe kernels (`nvidia-cudnn-frontend[cutedsl]`) for the lists. bf16, batch 1, a list
for each query head. The kernels that read lists know no causal mask: blocks on the diagonal are computed whole, and counted so.
"""
import baseline


def dense(cudnn, torch, q, k, v):
    """A call of causal attention over these operands, [1][head][token][head_dim]."""
    handle = cudnn.create_handle()
    cudnn.set_stream(handle=handle, stream=torch.cuda.current_stream().cuda_stream)
    real = cudnn.data_type.FLOAT
    graph = cudnn.pygraph(
        io_data_type=cudnn.data_type.BFLOAT16, intermediate_data_type=real, compute_data_type=real, handle=handle
    )
    operands = [graph.tensor_like(x) for x in (q, k, v)]
    o = torch.empty_like(q)
    output, _ = graph.sdpa(
        name="sdpa", q=operands[0], k=operands[1], v=operands[2], attn_scale=q.shape[-1] ** -0.5, is_inference=True, use_causal_mask=True
    )
    output.set_output(True).set_dim(list(o.shape)).set_stride(list(o.stride()))
    graph.build([cudnn.heur_mode.A])
    workspace = torch.empty(max(1, graph.get_workspace_size()), device="cuda", dtype=torch.uint8)
    pack = dict(zip(operands, (q, k, v))) | {output: o}
    return lambda: graph.execute(pack, workspace, handle=handle)


def lists(torch, mask):
    """Indices of the blocks of each row, first those that are listed, and their number."""
    order = torch.argsort(mask.to(torch.uint8), dim=-1, descending=True, stable=True)
    return order.to(torch.int32)[None].contiguous(), mask.sum(-1).to(torch.int32)[None].contiguous()


def main():
    arguments = baseline.parse(__doc__, densities="0.065,0.11,0.26,0.5")
    baseline.need("torch", "cudnn")
    import cudnn
    import torch

    q_heads, kv_heads, head_dim = arguments.heads
    common = {"heads": arguments.heads, "runs": arguments.runs}
    for length in arguments.lengths:
        q = torch.randn(1, q_heads, length, head_dim, device="cuda", dtype=torch.bfloat16)
        k, v = (torch.randn(1, kv_heads, length, head_dim, device="cuda", dtype=torch.bfloat16) for _ in "kv")
        try:
            call = dense(cudnn, torch, q, k, v)
        except Exception as error:  # cudnn has exceptions of its own
            baseline.refused("cudnn_frontend", length, error)
        else:
            baseline.row(
                call, what="dense", kernel="cudnn_frontend", tokens=length, pairs=q_heads * length * (length + 1) // 2, **common
            )
        try:
            from cudnn.block_sparse_attention import block_sparse_attention_forward as forward
        except Exception as error:  # an older front end, or no CuTe
            baseline.refused("cudnn_block_sparse", length, error)
            continue
        for block in (64, 128):
            for density in arguments.densities:
                mask = baseline.random_mask(q_heads, length, block, density)
                indices, counts = lists(torch, mask)
                baseline.row(
                    lambda: forward(q, k, v, indices, q2k_block_nums=counts, sparse_block_size=block),
                    what="sparse", kernel=f"cudnn_block_sparse_{block}", tokens=length, pairs=mask.sum().item() * block * block,
                    block_density=density, density=baseline.density_of(mask, block, length), **common,
                )


main()
