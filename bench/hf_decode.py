"""Decoding speed of Hugging Face transformers on one GPU: what the decode rate of `generate` is measured against.

usage: python3 bench/hf_decode.py CONFIG_JSON...

Random weights of each config's shape, bf16, batch 1, greedy. One JSON object a line: tokens a second over 100 tokens behind
a prompt of 16, the best of three.
"""
import json
import sys
import time

import torch
from transformers import AutoConfig, AutoModelForCausalLM

torch.set_default_dtype(torch.bfloat16)
for path in sys.argv[1:]:
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path)).eval()
    ids = torch.randint(0, 256, (1, 16), device="cuda")
    rates = []
    for _ in range(4):
        torch.cuda.synchronize()
        start = time.perf_counter()
        model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=100, max_new_tokens=100)
        torch.cuda.synchronize()
        rates.append(100 / (time.perf_counter() - start))
    print(json.dumps({"device": torch.cuda.get_device_name(), "name": "hf_generate", "model": path.rsplit("/", 1)[-1],
                      "tokens_per_s": round(max(rates[1:]), 1)}), flush=True)
    del model
    torch.cuda.empty_cache()
