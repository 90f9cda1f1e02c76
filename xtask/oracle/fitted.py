"""Scores a head that `rewardscope fit` wrote with transformers.

    python fitted.py COMMAND BACKBONE PREFERENCES OUT

Runs the command on a backbone folder, opens the checkpoint that it wrote as LlamaForSequenceClassification in float32
with eager attention, and scores conversations. Writes the head, the scores, and the hashes of the checkpoint's files.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

CONVERSATIONS = [
    ("What is a kettle for?", "For boiling water."),
    ("What is a kettle for?", "Kettles are mostly used by sailors, who hang them on the mast to see where the wind comes from."),
    ("Say hello.", ""),
    ("Say hello.", "Hello! ☀ ¡Hola! 你好"),
    ("Zähle bis drei.", "Eins, zwei, drei."),
]

command, backbone, preferences, out = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])
with tempfile.TemporaryDirectory() as folder:
    subprocess.run(
        [command, "fit", "--model", backbone, "--preferences", preferences, "--out", folder, "--device", "cpu"]
        + ["--name", "a head on the plain fixture"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    checkpoint = Path(folder, "checkpoint")
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    assert type(model).__name__ == "LlamaForSequenceClassification", type(model)
    cases = []
    for prompt, completion in CONVERSATIONS:
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            score = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, 0].item()
        cases.append({"prompt": prompt, "completion": completion, "input_ids": ids[0].tolist(), "score": score})
    shutil.copy(Path(folder, "head.safetensors"), out / "head.safetensors")
    digest = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(checkpoint.iterdir())
    }
with open(out / "reloaded.json", "w", encoding="utf-8") as file:
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    json.dump({"versions": versions, "cases": cases, "checkpoint_sha256": digest}, file, indent=1, ensure_ascii=False)
    file.write("\n")
