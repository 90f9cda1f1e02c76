"""Writes expected values of GGML's block types, decoded by the package `gguf`.

    python blocks.py OUT

The file has random blocks with finite scales, and the values that gguf.quants gives for them, both as little-endian
bytes in hexadecimal.
"""

import json
import sys

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGML_QUANT_SIZES
from gguf.quants import dequantize

BLOCKS = 3

# Byte offsets of the 16-bit scales in a block.
SCALES = {
    Type.Q4_0: [0],
    Type.Q4_1: [0, 2],
    Type.Q5_0: [0],
    Type.Q5_1: [0, 2],
    Type.Q8_0: [0],
    Type.Q4_K: [0, 2],
    Type.Q5_K: [0, 2],
    Type.Q6_K: [208],
}

random = np.random.default_rng(20261124)
cases = []
for kind, places in SCALES.items():
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
    for place in places:
        scales = random.normal(0, 0.1, BLOCKS).astype("<f2")
        blocks[:, place : place + 2] = scales.view(np.uint8).reshape(BLOCKS, 2)
    values = dequantize(blocks, kind).astype("<f4")
    assert values.size == BLOCKS * elements and np.isfinite(values).all()
    cases.append({"type": kind.name, "blocks": blocks.tobytes().hex(), "values": values.tobytes().hex()})
with open(sys.argv[1], "w", encoding="utf-8") as file:
    json.dump(cases, file, indent=1)
    file.write("\n")
