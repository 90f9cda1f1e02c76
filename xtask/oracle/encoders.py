"""Makes tiny random checkpoints of encoders that are another one's kin, beside its own in a folder of fixtures.

    python -P encoders.py tests/fixtures/kinds

Each has the tokenizer and the rows of its kin; `kinds.py` then writes the values.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    CamembertConfig,
    MPNetConfig,
    MPNetTokenizer,
)

# Last, so that Python's own `statistics` is found before the file of that name here: run it with -P.
sys.path.append(str(Path(__file__).parent))
from expected import read, write

root = Path(sys.argv[1])
SEED = 31130
# The kin, the configuration's class, the tokenizer's class and the model's.
KIN = {"camembert": ("xlm_roberta", CamembertConfig, "CamembertTokenizer", "CamembertForSequenceClassification")}
KEPT = ["hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "vocab_size", "pad_token_id"]
KEPT += ["bos_token_id", "eos_token_id", "max_position_embeddings", "type_vocab_size", "layer_norm_eps", "hidden_act"]



def made(name, settings, model_class, config, expected):
    """Writes a checkpoint with random weights, and its rows, whose values `kinds.py` then writes."""
    folder = root / name
    torch.manual_seed(SEED)
    model = AutoModelForSequenceClassification.from_config(settings, attn_implementation="eager", dtype=torch.float32)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    written = config | {"model_type": settings.model_type, "architectures": [model_class], "id2label": {"0": "LABEL_0"}}
    (folder / "config.json").write_text(json.dumps(written, indent=1) + "\n", "utf-8")
    write(folder / "expected.json", expected | {"case": name, "architecture": model_class, "seed": SEED}, "rows")


for name, (kin, settings, tokenizer, model_class) in KIN.items():
    folder = root / name
    folder.mkdir(exist_ok=True)
    for file in ("tokenizer.json", "special_tokens_map.json"):
        shutil.copyfile(root / kin / file, folder / file)
    own = read(root / kin / "tokenizer_config.json") | {"tokenizer_class": tokenizer}
    (folder / "tokenizer_config.json").write_text(json.dumps(own, indent=1, ensure_ascii=False) + "\n", "utf-8")
    theirs = read(root / kin / "config.json")
    config = {key: theirs[key] for key in KEPT}
    made(name, settings(**config, num_labels=1, initializer_range=0.5), model_class, config, read(root / kin / "expected.json"))

# MPNet has BERT's word pieces between RoBERTa's special tokens: those of ELECTRA's fixture here.
kin, folder = root / "electra", root / "mpnet"
pieces = read(kin / "tokenizer.json")["model"]["vocab"]
pieces = [piece for piece, _ in sorted(pieces.items(), key=lambda one: one[1]) if not piece.startswith("[")]
vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *pieces, "[UNK]", "<mask>"]
tokenizer = MPNetTokenizer(vocab={piece: place for place, piece in enumerate(vocabulary)}, model_max_length=512)
tokenizer.save_pretrained(folder)
theirs, expected = read(kin / "config.json"), read(kin / "expected.json")
config = {key: theirs[key] for key in KEPT if key not in ("bos_token_id", "eos_token_id", "type_vocab_size") and key in theirs}
config |= {"vocab_size": len(vocabulary), "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
settings = MPNetConfig(**config, num_labels=1, initializer_range=0.5)
expected["formula"] = "score = classifier.out_proj(tanh(classifier.dense(x))) at the first token; no sigmoid"
expected["uses_token_type_ids"] = False
(folder / "config.json").write_text(json.dumps({"model_type": "mpnet"}), "utf-8")
tokenizer = AutoTokenizer.from_pretrained(folder)
for row in expected["rows"]:
    row.pop("token_type_ids", None)
    row.pop("probability", None)
    # The tokenizers of transformers 5 take an empty second text for none.
    row["input_ids"] = tokenizer.backend_tokenizer.encode(row["input"]["prompt"], row["input"]["completion"]).ids
made("mpnet", settings, "MPNetForSequenceClassification", config, expected)
