"""Times PyTorch, through transformers, on the shapes that bench.mjs and gpu.mjs time.

    python pytorch.py MODELS

On the card where there is one, else on the processor; a line of JSON a model.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification

TIMES = 5
SHAPES = {"minilm": (4, 256), "smollm2": (1, 512)}

device = "cuda" if torch.cuda.is_available() else "cpu"
for name, (count, length) in SHAPES.items():
    model = AutoModelForSequenceClassification.from_pretrained(
        Path(sys.argv[1]) / name, dtype=torch.float32, attn_implementation="sdpa"
    )
    model = model.eval().to(device)
    rows = [[(first * 131 + i * 7919) % 20_000 + 100 for i in range(length)] for first in range(count)]
    ids = torch.tensor(rows, device=device)
    taken = []
    with torch.no_grad():
        for _ in range(TIMES + 1):
            started = time.perf_counter()
            model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.cpu()
            taken.append((time.perf_counter() - started) * 1e3)
    where = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    ms = statistics.median(taken[1:])
    row = {"name": f"{name} {count} x {length}, PyTorch {torch.__version__}, f32, {where}", "ms": ms}
    print(json.dumps(row))
