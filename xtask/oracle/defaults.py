"""Writes the values that transformers' classes assume for absent keys of a configuration.

    python defaults.py tests/fixtures/defaults.json
"""

import json
import sys
from pathlib import Path

import transformers

CLASSES = {
    "llama": "LlamaConfig",
    "mistral": "MistralConfig",
    "qwen2": "Qwen2Config",
    "qwen3": "Qwen3Config",
    "gemma": "GemmaConfig",
    "gemma2": "Gemma2Config",
    "gemma3_text": "Gemma3TextConfig",
    "gpt_neox": "GPTNeoXConfig",
    "bert": "BertConfig",
    "roberta": "RobertaConfig",
    "xlm-roberta": "XLMRobertaConfig",
    "camembert": "CamembertConfig",
    "distilbert": "DistilBertConfig",
    "electra": "ElectraConfig",
    "albert": "AlbertConfig",
    "mpnet": "MPNetConfig",
    "deberta-v2": "DebertaV2Config",
    "modernbert": "ModernBertConfig",
}

# Older keys, and where their values are in `rope_parameters` now.
OLDER = {
    "gemma3_text": {"rope_theta": ("full_attention", "rope_theta"), "rope_local_base_freq": ("sliding_attention", "rope_theta")},
    "gpt_neox": {"rotary_pct": ("partial_rotary_factor",), "rotary_emb_base": ("rope_theta",)},
    "modernbert": {"global_rope_theta": ("full_attention", "rope_theta"), "local_rope_theta": ("sliding_attention", "rope_theta")},
}


def every(types):
    """The period of layers with full attention: one layer in so many has it."""
    return types.index("full_attention", 1) + 1 if types[0] != "full_attention" else types.index("full_attention", 1)


found = {}
for name, kind in CLASSES.items():
    config = getattr(transformers, kind)()
    values = {key: value for key, value in config.to_dict().items() if not isinstance(value, (dict, list))}
    # The class has no default for these keys; the instance has a derived value.
    for key in ("head_dim", "num_key_value_heads"):
        if key in values and getattr(type(config), key, 0) is None:
            values[key] = None
    for key, path in OLDER.get(name, {}).items():
        value = config.rope_parameters
        for part in path:
            value = value[part]
        values[key] = value
    if name == "gemma3_text":
        values["sliding_window_pattern"] = every(config.layer_types)
    if name == "modernbert":
        values["global_attn_every_n_layers"] = every(config.layer_types)
    if name in ("qwen2", "qwen3"):
        values["sliding_window"] = type(config).sliding_window
    found[name] = dict(sorted(values.items()))

Path(sys.argv[1]).write_text(
    json.dumps({"transformers": transformers.__version__, "defaults": found}, indent=1) + "\n", encoding="utf-8"
)
