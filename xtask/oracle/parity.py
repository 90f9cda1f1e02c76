"""Writes the expected values of the tiny checkpoints by transformers in float32 with eager attention. Also makes causal
language models from the classifiers' backbones.

    python parity.py tests/fixtures/parity

Each conversation's ids are input. Every score, log-probability and token score is computed again.
"""

import json
import math
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from expected import read, write

root = Path(sys.argv[1])
torch.set_num_threads(1)

VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__}
COMPUTE = "float32, eager attention, CPU"
# A cap on Gemma 2's final logits that is small enough to change log-probabilities.
SOFTCAP = 3.0
CAUSAL = {
    "mistral": ("mistral_sliding", "MistralForCausalLM", False),
    "qwen2": ("qwen2", "Qwen2ForCausalLM", True),
    "qwen3": ("qwen3", "Qwen3ForCausalLM", False),
    "gemma": ("gemma", "GemmaForCausalLM", True),
    "gemma2": ("gemma2", "Gemma2ForCausalLM", True),
    "gemma3": ("gemma3_text", "Gemma3ForCausalLM", True),
    "gpt_neox": ("gpt_neox", "GPTNeoXForCausalLM", False),
}


def rounded(values):
    return [float(f"{value:.9g}") for value in values]


def load(kind, folder):
    return kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def merged(folder):
    """The base of an adapter with the low-rank products added, as in peft's merge."""
    config = read(folder / "adapter_config.json")
    model = load(AutoModelForSequenceClassification, root / config["base_model_name_or_path"].split("/")[-1])
    tensors = load_file(folder / "adapter_model.safetensors")
    own = model.state_dict()
    rank = config["r"]
    scale = config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
    for name, value in tensors.items():
        name = name.removeprefix("base_model.model.")
        if name.endswith("lora_A.weight"):
            b = tensors[f"base_model.model.{name.replace('lora_A', 'lora_B')}"].float()
            own[name.replace("lora_A.weight", "weight")] += scale * (b @ value.float())
        elif not name.endswith("lora_B.weight"):
            own[name] = value.float()
    model.load_state_dict(own)
    return model


def classifier(folder):
    old = read(folder / "expected.json")
    adapter = (folder / "adapter_config.json").exists()
    model = merged(folder) if adapter else load(AutoModelForSequenceClassification, folder)
    rows, worst = [], 0.0
    for row in old["conversations"]:
        if "input_ids" not in row:
            rows.append({key: row[key] for key in ("id", "messages", "template_error") if key in row})
            continue
        ids = torch.tensor([row["input_ids"]])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if "token_type_ids" in row:
            inputs["token_type_ids"] = torch.tensor([row["token_type_ids"]])
        with torch.no_grad():
            outputs = model(**inputs, output_hidden_states=True)
            new = {"score": outputs.logits[0, 0].item()}
            if "prompt" not in row:
                scores = model.score(outputs.hidden_states[-1])[0, :, 0].tolist()
                new["token_scores"] = rounded(scores)
        worst = max(worst, abs(new["score"] - row["score"]))
        for a, b in zip(new.get("token_scores", []), row.get("token_scores", [])):
            worst = max(worst, abs(a - b))
        kept = ("id", "messages", "prompt", "response", "input_ids", "token_type_ids")
        rows.append({**{key: row[key] for key in kept if key in row}, **new})
    head = {"case": folder.name, "versions": VERSIONS, "compute": COMPUTE}
    write(folder / "expected.json", {**head, "conversations": rows}, "conversations")
    print(f"{folder.name}: moved by {worst:.1e}")


def log_probabilities(model, ids, start):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].float()
    values = torch.log_softmax(logits, -1)[torch.arange(start - 1, len(ids) - 1), torch.tensor(ids[start:])].double()
    total = values.sum().item()
    sums = {"sum": total, "avg": total / len(values), "norm": -values.pow(2).sum().sqrt().item()}
    return rounded(values.tolist()), sums


def dpo(folder):
    old = read(folder / "expected.json")
    models = {name: load(AutoModelForCausalLM, folder / name) for name in ("policy", "reference")}
    rows, worst = [], 0.0
    for row in old["conversations"]:
        new = {"id": row["id"], "messages": row["messages"]}
        for layout in ("chat", "rewardbench"):
            ids, start = row[layout]["input_ids"], row[layout]["response_start"]
            new[layout] = {"input_ids": ids, "response_start": start}
            for name, model in models.items():
                values, new[layout][name] = log_probabilities(model, ids, start)
                new[layout][f"{name}_logprobs"] = values
                worst = max([worst, *(abs(a - b) for a, b in zip(values, row[layout][f"{name}_logprobs"]))])
        rows.append(new)
    head = {"case": folder.name, "versions": VERSIONS, "compute": COMPUTE, "layouts": old["layouts"]}
    write(folder / "expected.json", {**head, "conversations": rows}, "conversations")
    print(f"{folder.name}: moved by {worst:.1e}")


def causal(name, seed):
    source, architecture, tied = CAUSAL[name]
    source, folder = root / source, root / f"causal_{name}"
    folder.mkdir(exist_ok=True)
    tensors = {}
    for file in sorted(source.glob("model*.safetensors")):
        tensors.update(load_file(file))
    score = tensors.pop("score.weight")
    for file in ("config.json", "config.as_saved_by_v5.json"):
        config = read(source / file)
        config["architectures"] = [architecture]
        config["tie_word_embeddings"] = tied
        for key in ("id2label", "label2id", "num_labels", "problem_type"):
            config.pop(key, None)
        if name == "gemma2":
            config["final_logit_softcapping"] = SOFTCAP
        (folder / file).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if not tied:
        draw = torch.randn(config["vocab_size"], score.shape[1], generator=torch.Generator().manual_seed(seed))
        head = "embed_out.weight" if name == "gpt_neox" else "lm_head.weight"
        tensors[head] = (0.3 * draw).to(score.dtype)
    save_file({key: value.contiguous() for key, value in sorted(tensors.items())}, folder / "model.safetensors")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / file, folder / file)
    model = load(AutoModelForCausalLM, folder)
    given = [row for row in read(source / "expected.json")["conversations"] if len(row.get("input_ids", [])) > 8]
    given.sort(key=lambda row: len(row["input_ids"]))
    rows = []
    for row in given[:: max(1, (len(given) - 1) // 4)]:
        ids = row["input_ids"]
        start = len(ids) // 2
        values, sums = log_probabilities(model, ids, start)
        new = {"id": row["id"], "input_ids": ids, "response_start": start}
        rows.append({**new, "policy_logprobs": values, "policy": sums})
    if name == "gemma2":
        model.config.final_logit_softcapping = None
        moved = abs(log_probabilities(model, rows[0]["input_ids"], rows[0]["response_start"])[0][0] - rows[0]["policy_logprobs"][0])
        assert moved > 0.01, moved
    head = {"case": folder.name, "seed": seed, "versions": VERSIONS, "compute": COMPUTE}
    write(folder / "expected.json", {**head, "conversations": rows}, "conversations")
    print(f"{folder.name}: {[len(row['input_ids']) for row in rows]}")


for folder in sorted(path for path in root.iterdir() if not path.name.startswith("causal_")):
    if folder.name == "dpo_llama":
        dpo(folder)
    else:
        classifier(folder)
for seed, name in enumerate(CAUSAL):
    causal(name, seed)
