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
from transformers import AutoModelForSequenceClassification, CamembertConfig

# Last, so that Python's own `statistics` is found before the file of that name here: run it with -P.
sys.path.append(str(Path(__file__).parent))
from expected import read, write

root = Path(sys.argv[1])
SEED = 31130
# The kin, the configuration's class, the tokenizer's class and the model's.
KIN = {"camembert": ("xlm_roberta", CamembertConfig, "CamembertTokenizer", "CamembertForSequenceClassification")}
KEPT = ["hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "vocab_size", "pad_token_id"]
KEPT += ["bos_token_id", "eos_token_id", "max_position_embeddings", "type_vocab_size", "layer_norm_eps", "hidden_act"]

for name, (kin, settings, tokenizer, model_class) in KIN.items():
    folder = root / name
    folder.mkdir(exist_ok=True)
    for file in ("tokenizer.json", "special_tokens_map.json"):
        shutil.copyfile(root / kin / file, folder / file)
    own = read(root / kin / "tokenizer_config.json") | {"tokenizer_class": tokenizer}
    (folder / "tokenizer_config.json").write_text(json.dumps(own, indent=1, ensure_ascii=False) + "\n", "utf-8")
    theirs = read(root / kin / "config.json")
    config = settings(**{key: theirs[key] for key in KEPT}, num_labels=1, initializer_range=0.5)
    torch.manual_seed(SEED)
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager", dtype=torch.float32)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    written = {key: theirs[key] for key in KEPT} | {"model_type": config.model_type, "architectures": [model_class]}
    written |= {"id2label": {"0": "LABEL_0"}}
    (folder / "config.json").write_text(json.dumps(written, indent=1) + "\n", "utf-8")
    expected = read(root / kin / "expected.json") | {"case": name, "architecture": model_class, "seed": SEED}
    write(folder / "expected.json", expected, "rows")
