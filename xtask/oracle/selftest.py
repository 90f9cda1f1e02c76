"""Writes the engine's self-test: a tiny Llama in a GGUF file, and its log-probabilities by transformers.

The weights are random with a fixed seed. The PyPI package gguf quantises the matrices to Q4_1 and the embedding to
Q8_0. transformers loads the same file, so both sides see the same dequantised weights.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM

HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, VOCAB, CONTEXT = 64, 128, 2, 4, 2, 192, 256
HEAD = HIDDEN // HEADS
out = Path(sys.argv[1])
rng = np.random.default_rng(20261123)

writer = gguf.GGUFWriter(str(out / "selftest.gguf"), "llama")
writer.add_block_count(LAYERS)
writer.add_context_length(CONTEXT)
writer.add_embedding_length(HIDDEN)
writer.add_feed_forward_length(FFN)
writer.add_head_count(HEADS)
writer.add_head_count_kv(KV_HEADS)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_rope_freq_base(10000.0)
writer.add_rope_dimension_count(HEAD)
writer.add_vocab_size(VOCAB)


def quantised(name, shape, kind, scale):
    values = (rng.standard_normal(shape) * scale).astype(np.float32)
    writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


def norm(name):
    writer.add_tensor(name, (1 + 0.2 * rng.standard_normal(HIDDEN)).astype(np.float32))


Q4_1, Q8_0 = gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.Q8_0
quantised("token_embd.weight", (VOCAB, HIDDEN), Q8_0, 0.6)
for i in range(LAYERS):
    for name, rows, columns in [
        ("attn_q", HIDDEN, HIDDEN),
        ("attn_k", KV_HEADS * HEAD, HIDDEN),
        ("attn_v", KV_HEADS * HEAD, HIDDEN),
        ("attn_output", HIDDEN, HIDDEN),
        ("ffn_gate", FFN, HIDDEN),
        ("ffn_up", FFN, HIDDEN),
        ("ffn_down", HIDDEN, FFN),
    ]:
        quantised(f"blk.{i}.{name}.weight", (rows, columns), Q4_1, 1.5 / np.sqrt(columns))
    norm(f"blk.{i}.attn_norm.weight")
    norm(f"blk.{i}.ffn_norm.weight")
norm("output_norm.weight")
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

model = AutoModelForCausalLM.from_pretrained(
    str(out), gguf_file="selftest.gguf", dtype=torch.float32, attn_implementation="eager"
)
model.eval()
cases = []
for length in (37, 21):
    ids = rng.integers(0, VOCAB, length)
    with torch.no_grad():
        logits = model(torch.tensor(ids)[None]).logits[0]
    logprobs = torch.log_softmax(logits.double(), -1)[:-1].gather(1, torch.tensor(ids)[1:, None])[:, 0]
    cases.append({"input_ids": ids.tolist(), "token_logprobs": [round(float(p), 6) for p in logprobs]})
versions = {"transformers": transformers.__version__, "torch": torch.__version__, "numpy": np.__version__}
how = "transformers, GGUF dequantised to float32, eager attention, CPU"
(out / "expected.json").write_text(json.dumps({"how": how, "versions": versions, "cases": cases}, indent=1) + "\n")
