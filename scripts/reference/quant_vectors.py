"""Writes random blocks of every quantised GGML type and their values, dequantised by the gguf package.

    python scripts/reference/quant_vectors.py crates/runtime/tests/reference/quant.json

Needs gguf and numpy.
"""

import argparse
import json
import pathlib

import gguf
import numpy as np

TYPES = ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
# Where a block holds f16 scales: random bits there would be NaN or huge.
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    out = parser.parse_args().out
    random = np.random.default_rng(20261123)
    rows = []
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        if name in ("F16", "BF16"):
            values = random.normal(size=32).astype(np.float32)
            data = gguf.quants.quantize(values, kind).view(np.uint8).reshape(-1)
        else:
            data = random.integers(0, 256, size=(2, size), dtype=np.uint8)
            for at in SCALES[name]:
                data[:, at : at + 2] = random.normal(size=(2, 1)).astype(np.float16).view(np.uint8)
            data = data.reshape(-1)
        values = gguf.quants.dequantize(data, kind).reshape(-1).astype(np.float32)
        rows.append({"type": int(kind), "name": name, "bytes": data.tolist(), "values": [float(x) for x in values]})
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    out.write_text("[\n" + lines + "\n]\n")


if __name__ == "__main__":
    main()
