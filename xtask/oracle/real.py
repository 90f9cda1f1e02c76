"""Writes the hidden states of real models at each text's last token, by transformers.

    python real.py SMOLLM2_GGUF GEMMA3_GGUF MINILM_FOLDER OUT

Ids are from each model's own tokenizer. Hidden states are in float32 with eager attention, after the final norm if the
model has one. transformers dequantises GGUF files.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

TEXTS = [
    "What is the capital of France? The capital of France is Paris.",
    "def mean(xs):\n    return sum(xs) / len(xs)\n",
    "Zähle bis drei: eins, zwei, drei. ☀ 你好 ¡Hola!",
    "  Two spaces first, then 12345 and 3.14159; a\ttab, an é, and an emoji 🦀.",
    "The quick brown fox jumps over the lazy dog. " * 60,
]

smollm2, gemma3, minilm, out = sys.argv[1:5]


def states(tokenizer, model, **special):
    cases = []
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt", **special).input_ids
        with torch.no_grad():
            outputs = model(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        # In a causal model the last entry of hidden_states is after the final norm.
        state = outputs.hidden_states[-1][0, -1].tolist()
        cases.append({"text": text, "input_ids": ids[0].tolist(), "state": [float(f"{x:.7g}") for x in state]})
    return cases


def gguf(path):
    folder, file = str(Path(path).parent), Path(path).name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    return states(tokenizer, model, add_special_tokens=True)


encoder = AutoModel.from_pretrained(minilm, dtype=torch.float32, attn_implementation="eager").eval()
models = {
    "smollm2": gguf(smollm2),
    "gemma3": gguf(gemma3),
    "minilm": states(AutoTokenizer.from_pretrained(minilm), encoder, truncation=True, max_length=512),
}
versions = {"torch": torch.__version__, "transformers": transformers.__version__}
with open(out, "w", encoding="utf-8") as file:
    json.dump({"versions": versions, "models": models}, file, ensure_ascii=False)
    file.write("\n")
