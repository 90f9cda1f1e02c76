"""Writes the expected values of `tests/fixtures/model_files`: what transformers gives for model folders, and peft for
adapters.

    python -P folders.py FIXTURES

Replaces the values in `expected.json` and `found.json`. `found.json` lists what the differential test found: a folder
to start from, the keys of its files to change, and the values.
"""

import json
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import peft
import torch
import transformers
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

torch.set_num_threads(1)
warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

HEADS = ("score.weight", "classifier.weight", "classifier.out_proj.weight")


def read(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write(path, value, **options):
    Path(path).write_text(json.dumps(value, ensure_ascii=False, **options), encoding="utf-8")


class Source:
    """A model folder to start from; an adapter's also has its base's folder."""

    def __init__(self, folder, base=None):
        self.folder, self.base = Path(folder), base and Path(base)
        self.is_adapter = base is not None
        config = read((self.base or self.folder) / "config.json")
        self.model_type = config["model_type"]
        # Sources with the same model type and architectures form a group.
        self.group = f"{config['model_type']} {config.get('architectures')}"
        self.is_encoder = self.model_type in ("bert", "roberta", "deberta-v2", "modernbert")


# What transformers gives for a folder.


def names(folder):
    there = [folder / name for name in ("model.safetensors", "adapter_model.safetensors") if (folder / name).exists()]
    found = {}
    for file in there[:1] or sorted(folder.glob("model-*.safetensors")):
        with safe_open(file, "pt") as tensors:
            found.update({name: list(tensors.get_slice(name).get_shape()) for name in tensors.keys()})
    return found


def head_rows(tensors):
    for name, shape in tensors.items():
        bare = name.removeprefix("base_model.model.").replace(".modules_to_save.", ".")
        if bare in HEADS or bare.split(".", 1)[-1] in HEADS:
            return shape[0] if shape else None
    return None


def theirs(case, rows):
    """transformers' value for each row and None, or None and why there are no values."""
    folder, base = case.folder, case.base or case.folder
    own, stored = names(folder), names(base)
    labels = head_rows(own) or head_rows(stored)
    config = AutoConfig.from_pretrained(base)
    options = {"dtype": torch.float32, "attn_implementation": "eager", "output_loading_info": True}
    if labels is not None:
        if len(config.id2label or {}) != labels:
            options["num_labels"] = labels
        kind = AutoModelForSequenceClassification
    else:
        kind = AutoModelForCausalLM
    model, info = kind.from_pretrained(base, **options)
    missing = set(info["missing_keys"])
    text = folder if (folder / "tokenizer.json").exists() or (folder / "vocab.json").exists() else base
    tokenizer = AutoTokenizer.from_pretrained(text)
    if case.base:
        embedding = next((shape for name, shape in own.items() if name.endswith("embed_tokens.weight")), None)
        if embedding and embedding[0] != config.vocab_size:
            model.resize_token_embeddings(embedding[0], mean_resizing=False)
        adapted = peft.PeftModel.from_pretrained(model, folder)
        brought = {name.removeprefix("base_model.model.") for name in own}
        missing -= brought
        model = adapted
    if missing:
        return None, f"missing {sorted(missing)[:2]}"
    model.eval()
    most = getattr(config, "max_position_embeddings", 1 << 30)
    values = []
    with torch.no_grad():
        for row in rows:
            if case.is_encoder:
                pair = tokenizer(row["prompt"], row["completion"], truncation=True, return_tensors="pt")
                if pair["input_ids"].shape[1] > most:
                    return None, "longer than its positions"
                logits = model(**pair).logits[0]
                values.append(float(logits[0]))
                continue
            ids = tokenizer.apply_chat_template(row["messages"], tokenize=True, return_dict=False)
            ids = ids[0] if ids and isinstance(ids[0], list) else ids
            if len(ids) > most:
                return None, "longer than its context"
            out = model(torch.tensor([ids]))
            if labels is not None:
                values.append(float(out.logits[0][0]))
                continue
            start = tokenizer.apply_chat_template(
                row["messages"][:-1], tokenize=True, add_generation_prompt=True, return_dict=False
            )
            first = next((i for i, (a, b) in enumerate(zip(start, ids)) if a != b), min(len(start), len(ids)))
            first = max(first, 1)
            logits = torch.log_softmax(out.logits[0], -1)
            own_tokens = [float(logits[i - 1, ids[i]]) for i in range(first, len(ids))]
            values.append(sum(own_tokens) / len(own_tokens))
    return values, None


def changed(root, found, scratch):
    """Makes the changed folder that an entry of found.json describes."""
    folder = Path(scratch) / "folder"
    shutil.copytree(root / found["from"], folder)
    for file, keys in found["with"].items():
        value = read(folder / file)
        for key, new in keys.items():
            value[key] = new
        write(folder / file, value)
    return Source(folder)


def main():
    root = Path(sys.argv[1])
    path = root / "model_files" / "expected.json"
    expected = read(path)
    for name, case in expected["cases"].items():
        base = case["base"] and root / "model_files" / case["base"]
        values, why = theirs(Source(root / "model_files" / name, base), expected[case["rows"]])
        if values is None:
            raise SystemExit(f"{name}: {why}")
        case["transformers"][transformers.__version__] = values
    write(path, expected, indent=1)
    path = root / "model_files" / "found.json"
    found = read(path)
    for case in found:
        if "refused" in case:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            values, why = theirs(changed(root, case, scratch), expected[case["rows"]])
        if values is None:
            raise SystemExit(f"{case}: {why}")
        case["transformers"] = values
    write(path, found, indent=1)


if __name__ == "__main__":
    main()
