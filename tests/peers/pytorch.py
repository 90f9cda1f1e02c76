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
SHAPES = {"minilm": [(4, 256)], "smollm2": [(1, 512)]}
# What a card is made for.
LARGE = {"minilm": [(64, 256)], "smollm2": [(16, 512)], "llama": [(8, 512)]}
ON_CARD = {name: SHAPES.get(name, []) + shapes for name, shapes in LARGE.items()}

device = "cuda" if torch.cuda.is_available() else "cpu"
where = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
torch.backends.cuda.matmul.allow_tf32 = False


def say(name, ms, **more):
    machine = {"device": where, "torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}
    print(json.dumps({"machine": machine, "name": name, "ms": ms, **more}), flush=True)


def usual(work):
    taken = []
    for _ in range(TIMES + 1):
        started = time.perf_counter()
        work()
        taken.append((time.perf_counter() - started) * 1e3)
    return statistics.median(taken[1:])


if device == "cuda":
    # What the card makes of a product that fills it: the measure of all others.
    for kind in [torch.float32, torch.float16]:
        x, y = (torch.randn(8192, 8192, device=device, dtype=kind) for _ in range(2))

        def product():
            for _ in range(10):
                x @ y
            torch.cuda.synchronize()

        ms = usual(product) / 10
        say(f"8192 x 8192 x 8192, {kind}", ms, gflops=2 * 8192**3 / ms / 1e6)

for name, shapes in (ON_CARD if device == "cuda" else SHAPES).items():
    if not (Path(sys.argv[1]) / name).exists():
        continue
    model = AutoModelForSequenceClassification.from_pretrained(
        Path(sys.argv[1]) / name, dtype=torch.float32, attn_implementation="sdpa"
    )
    model = model.eval().to(device)
    for kind in [torch.float32, torch.float16] if device == "cuda" else [torch.float32]:
        model = model.to(kind)
        for count, length in shapes:
            rows = [[(first * 131 + i * 7919) % 20_000 + 100 for i in range(length)] for first in range(count)]
            ids = torch.tensor(rows, device=device)

            def scored():
                with torch.no_grad():
                    model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.cpu()

            say(f"{name} {count} x {length}, PyTorch, {kind}", usual(scored))
