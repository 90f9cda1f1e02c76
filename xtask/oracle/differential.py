"""Changes model folders at random and compares the scores of transformers and of this project. Every case whose scores
differ, or that panics, is printed and kept.

    python differential.py COMMAND FOLDERS CASES SEED KEPT [KIND ...]

COMMAND is the program of `tests/parity/score_folders.rs`, which reads and writes a line of JSON for each case. FOLDERS
is `tests/fixtures`. Changed folders that were found are copied to KEPT. Refusals are counted by sentence.
"""

import collections
import contextlib
import copy
import io
import json
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

# Appended last, so that no script of this folder is imported in place of Python's own module.
sys.path.append(str(Path(__file__).parent))
from folders import Source, read, theirs, write  # noqa: E402

# Limits memory: without some keys a configuration describes a model of many gigabytes.
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))

TOLERANCE = 1e-4

# The chat template for folders that have none.
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"


def sources(root):
    found = []
    for group in ("parity", "model_files"):
        for folder in sorted((root / group).iterdir()):
            if (folder / "adapter_config.json").exists():
                base = read(folder / "adapter_config.json")["base_model_name_or_path"]
                found.append(Source(folder, folder.parent / base.removeprefix("../")))
            elif (folder / "config.json").exists() and not folder.name.endswith("_base"):
                found.append(Source(folder))
    return found


# How folders are changed.

VALUES = [None, True, False, 0, 1, 2, 3, 8, 16, 0.5, 1e-5, 1e-3, 10.0, 10000.0, -1, "silu", "gelu", "gelu_pytorch_tanh", "x"]
KEYS = {
    "hidden_act": ["silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu"],
    "hidden_activation": ["silu", "gelu", "gelu_pytorch_tanh", None],
    "is_causal": [False, True, None],
    "tie_word_embeddings": [True, False],
    "sliding_window": [None, 2, 3, 5, 8, 4096],
    "use_sliding_window": [True, False],
    "max_window_layers": [0, 1, 2, 28],
    "rope_theta": [100.0, 10000.0, 500000.0, None],
    "attn_logit_softcapping": [None, 1.0, 5.0, 50.0],
    "final_logit_softcapping": [None, 1.0, 30.0],
    "query_pre_attn_scalar": [1, 16, 64, 256],
    "rms_norm_eps": [1e-6, 1e-5, 1e-2],
    "layer_norm_eps": [1e-12, 1e-5, 1e-2],
    "norm_eps": [1e-5, 1e-2],
    "pad_token_id": [None, -1, 0, 1, 2, 5],
    "head_dim": [None, 4, 8, 16],
    "num_key_value_heads": [None, 1, 2, 4],
    "attention_bias": [True, False],
    "mlp_bias": [True, False],
    "partial_rotary_factor": [0.5, 1.0],
    "rotary_pct": [0.25, 0.5, 1.0],
    "use_parallel_residual": [True, False],
    "position_buckets": [-1, 4, 8, 256],
    "max_relative_positions": [-1, 4, 64],
    "pos_att_type": ["c2p", "p2c|c2p", ["c2p"], ["p2c", "c2p"], None],
    "norm_rel_ebd": ["none", "layer_norm", None],
    "share_att_key": [True, False],
    "position_biased_input": [True, False],
    "relative_attention": [True, False],
    "pooler_hidden_act": ["gelu", "tanh"],
    "classifier_pooling": ["cls", "mean"],
    "classifier_activation": ["gelu", "silu"],
    "global_attn_every_n_layers": [1, 2, 3],
    "local_attention": [2, 4, 8, 128],
    "type_vocab_size": [0, 1, 2],
    "is_decoder": [True, False],
    "architectures": [None, [], ["LlamaModel"], ["BertModel"]],
    "num_labels": [1, 2, 3],
    "max_position_embeddings": [512, 1024, 4096],
    "original_max_position_embeddings": [8, 64],
    "layer_types": [None, ["full_attention"] * 3, ["sliding_attention"] * 3, ["sliding_attention", "full_attention", "sliding_attention"]],
    "sliding_window_pattern": [1, 2, 3],
    "model_type": ["llama", "mistral", "qwen2"],
    "rope_scaling": [
        None,
        {"rope_type": "linear", "factor": 2.0},
        {"type": "linear", "factor": 4.0},
        {"rope_type": "dynamic", "factor": 2.0},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
        {"rope_type": "yarn", "factor": 2.0, "beta_fast": 16.0, "beta_slow": 2.0, "attention_factor": 0.9},
        {"rope_type": "yarn", "factor": 8.0, "mscale": 0.7, "mscale_all_dim": 0.5, "truncate": False},
        {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64},
        {"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        {},
    ],
}
DEAD = {"transformers_version", "_name_or_path", "torch_dtype", "dtype", "initializer_range", "use_cache"}


def config_of(case):
    return case.base or case.folder


def edit(path, change):
    value = read(path)
    change(value)
    write(path, value)


def config_drop(case, draw):
    def change(config):
        keys = [key for key in config if key not in DEAD]
        # Keys in KEYS are preferred, because many of the others are sizes, without which a model cannot be loaded.
        known = [key for key in keys if key in KEYS]
        keys = known if known and draw.random() < 0.6 else keys
        for key in draw.sample(keys, min(len(keys), draw.choice([1, 1, 1, 2, 3]))):
            del config[key]

    edit(config_of(case) / "config.json", change)


def config_null(case, draw):
    def change(config):
        config[draw.choice([key for key in config if key not in DEAD])] = None

    edit(config_of(case) / "config.json", change)


def config_rename(case, draw):
    def change(config):
        key = draw.choice([key for key in config if key not in DEAD])
        config[draw.choice([key + "_", "_" + key, key.upper(), key.replace("_", "")])] = config.pop(key)

    edit(config_of(case) / "config.json", change)


def config_contradict(case, draw):
    def change(config):
        known = [key for key in KEYS if key in config] + ["is_causal", "rope_scaling", "rope_theta", "sliding_window"]
        key = draw.choice(known if draw.random() < 0.7 else list(KEYS))
        config[key] = copy.deepcopy(draw.choice(KEYS[key]))
        if key == "rope_scaling" and draw.random() < 0.5:
            config["rope_parameters"] = config.pop("rope_scaling")
        elif key == "rope_scaling":
            config.pop("rope_parameters", None)

    edit(config_of(case) / "config.json", change)


def tensors_of(case):
    name = "adapter_model.safetensors" if case.is_adapter else "model.safetensors"
    one = case.folder / name
    return one if one.exists() else sorted(case.folder.glob("model-*.safetensors"))[0]


def with_tensors(case, change):
    path = tensors_of(case)
    tensors = load_file(path)
    change(tensors)
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, path, {"format": "pt"})


def tensor_rename(case, draw):
    def change(tensors):
        way = draw.choice(["strip", "add", "gamma", "beta", "one", "all_strip"])
        listed = list(tensors)
        if way in ("strip", "all_strip"):
            prefix = draw.choice(["model.", "bert.", "roberta.", "deberta.", "gpt_neox.", "base_model.model."])
            chosen = [name for name in listed if name.startswith(prefix)]
            for name in chosen if way == "all_strip" else chosen[:1]:
                tensors[name.removeprefix(prefix)] = tensors.pop(name)
        elif way == "add":
            prefix = draw.choice(["model.", "bert.", "transformer.", "module."])
            for name in listed if draw.random() < 0.5 else [draw.choice(listed)]:
                tensors[prefix + name] = tensors.pop(name)
        elif way in ("gamma", "beta"):
            old, new = ("LayerNorm.weight", "LayerNorm.gamma") if way == "gamma" else ("LayerNorm.bias", "LayerNorm.beta")
            for name in listed:
                if old in name:
                    tensors[name.replace(old, new)] = tensors.pop(name)
        else:
            name = draw.choice(listed)
            tensors[name + draw.choice(["_", ".x", "2"])] = tensors.pop(name)

    with_tensors(case, change)


def tensor_duplicate(case, draw):
    def change(tensors):
        name = draw.choice(list(tensors))
        value = tensors[name].clone()
        if draw.random() < 0.5:
            value = value + 0.25
        way = draw.choice(["strip", "add", "copy", "head", "head"])
        if way == "strip":
            tensors[name.split(".", 1)[-1]] = value
        elif way == "add":
            tensors["model." + name] = value
        elif way == "copy":
            tensors[name + ".copy"] = value
        else:
            embedding = next((key for key in tensors if "embed" in key and key.endswith("weight")), name)
            other = tensors[embedding].clone()
            head = "embed_out.weight" if embedding.startswith("gpt_neox.") else "lm_head.weight"
            # Random values, because adding a constant would change all logits alike and no log-probability.
            tensors[head] = other + 0.05 * torch.randn(other.shape) if draw.random() < 0.7 else other

    with_tensors(case, change)


def tensor_add(case, draw):
    def change(tensors):
        hidden = next((value.shape[-1] for key, value in tensors.items() if "norm" in key.lower() and value.dim() == 1), 8)
        name = draw.choice([
            "score.weight", "classifier.weight", "v_head.summary.weight", "value_head.weight", "lm_head.weight",
            "model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.rotary_emb.inv_freq", "score.bias",
            "bert.embeddings.position_ids", "bert.pooler.dense.weight", "extra.weight",
        ])
        rows = draw.choice([1, 1, 2, 3])
        if name.endswith("position_ids"):
            tensors[name] = torch.arange(8)[None]
        elif name.endswith(("bias", "inv_freq")):
            tensors[name] = torch.rand(hidden)
        else:
            tensors[name] = torch.randn(rows, hidden)
        if draw.random() < 0.3:
            kind = draw.choice([torch.float64, torch.float16, torch.bfloat16])
            for key in draw.sample(list(tensors), min(3, len(tensors))):
                if tensors[key].is_floating_point():
                    tensors[key] = tensors[key].to(kind)

    with_tensors(case, change)


def text_folder(case):
    return case.folder if (case.folder / "tokenizer.json").exists() else case.base


def tokenizer_leave_out(case, draw):
    folder = text_folder(case)
    way = draw.random()
    if way < 0.3:
        there = [name for name in ("tokenizer_config.json", "special_tokens_map.json") if (folder / name).exists()]
        if there:
            (folder / draw.choice(there)).unlink()
        return

    def change(config):
        keys = [key for key in config if key != "chat_template"]
        for key in draw.sample(keys, min(len(keys), draw.choice([1, 1, 2]))):
            del config[key]

    if (folder / "tokenizer_config.json").exists():
        edit(folder / "tokenizer_config.json", change)


CLASSES = [
    "PreTrainedTokenizerFast", "TokenizersBackend", "BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer",
    "RobertaTokenizer", "RobertaTokenizerFast", "LlamaTokenizer", "LlamaTokenizerFast", "Qwen2Tokenizer",
    "Qwen2TokenizerFast", "GemmaTokenizer", "GemmaTokenizerFast", "GPT2Tokenizer", "GPTNeoXTokenizerFast",
    "DebertaV2Tokenizer", "DebertaV2TokenizerFast",
]


def tokenizer_contradict(case, draw):
    folder = text_folder(case)
    if not (folder / "tokenizer_config.json").exists():
        return

    def change(config):
        way = draw.choice([
            "do_lower_case", "strip_accents", "tokenize_chinese_chars", "add_prefix_space", "class", "class", "special",
            "extra", "listed", "side", "most", "names", "map", "split", "legacy", "model_specific",
        ])
        flag = draw.choice([True, False])
        token = draw.choice(["<|new|>", "Paris", "<x>", " the", "city"])
        if way in ("do_lower_case", "strip_accents", "tokenize_chinese_chars", "add_prefix_space", "legacy"):
            config[way] = flag
        elif way == "class":
            config["tokenizer_class"] = draw.choice(CLASSES)
        elif way == "special":
            config[draw.choice(["bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token"])] = draw.choice([token, None])
        elif way == "extra":
            config[draw.choice(["additional_special_tokens", "extra_special_tokens"])] = [token]
        elif way == "listed":
            listed = config.setdefault("added_tokens_decoder", {})
            number = draw.choice([str(len(listed) + 1000), "5", "1003"])
            listed[number] = {"content": token, "lstrip": flag, "normalized": draw.choice([True, False]), "rstrip": False,
                              "single_word": draw.choice([True, False, False]), "special": draw.choice([True, False])}
        elif way == "side":
            config["truncation_side"] = draw.choice(["left", "right"])
            config["model_max_length"] = draw.choice([12, 16, 24])
        elif way == "most":
            config["model_max_length"] = draw.choice([12, 20, 512, 1e30])
        elif way == "names":
            config["model_input_names"] = draw.choice([["input_ids", "attention_mask"], ["input_ids", "token_type_ids", "attention_mask"]])
        elif way == "map":
            config.pop("added_tokens_decoder", None)
            write(folder / "special_tokens_map.json", {"bos_token": token, "eos_token": {"content": "<e>", "lstrip": flag}})
        elif way == "split":
            config["split_special_tokens"] = flag
        else:
            config["image_token"] = token

    edit(folder / "tokenizer_config.json", change)


def adapter_switch(case, draw):
    def change(config):
        ways = {
            "bias": ["none", "all", "lora_only"],
            "use_rslora": [True, False],
            "use_dora": [True, False],
            "lora_alpha": [1, 4, 16, 3.5],
            "r": [2, 4, 8],
            "init_lora_weights": [True, False, "gaussian", "pissa", "olora", "pissa_niter_2", "orthogonal", "eva"],
            "fan_in_fan_out": [True, False],
            "lora_bias": [True, False],
            "rank_pattern": [{}, {"q_proj": 4}, {".*q_proj": 4}, {"layers.0": 2}, {"^model.*q_proj": 4}],
            "alpha_pattern": [{}, {"q_proj": 32}, {r".*\.1\..*": 1}, {r"layers\.\d+\.self_attn\.v_proj": 2}, {"query": 5}],
            "layer_replication": [None, [[0, 2], [1, 3]]],
            "alora_invocation_tokens": [None, [5, 6]],
            "target_parameters": [None, ["x"]],
            "trainable_token_indices": [None, [5, 6]],
            "modules_to_save": [None, ["score"], ["classifier", "score"], ["embed_tokens"]],
            "task_type": ["SEQ_CLS", None],
            "megatron_config": [None],
            "exclude_modules": [None, ["x"]],
            "layers_to_transform": [None],
            "ensure_weight_tying": [True, False],
        }
        key = draw.choice(list(ways))
        config[key] = draw.choice(ways[key])

    edit(case.folder / "adapter_config.json", change)


KINDS = {
    kind.__name__: kind
    for kind in (
        config_drop, config_null, config_rename, config_contradict, tensor_rename, tensor_duplicate, tensor_add,
        tokenizer_leave_out, tokenizer_contradict, adapter_switch,
    )
}


class Case:
    """A copy of a source, changed at random."""

    def __init__(self, source, kind, seed, scratch):
        self.kind, self.seed, self.name = kind, seed, source.folder.name
        self.folder = scratch / source.folder.name
        shutil.copytree(source.folder, self.folder)
        self.base = None
        if source.base:
            self.base = scratch / source.base.name
            shutil.copytree(source.base, self.base)
        self.is_adapter, self.is_encoder = source.is_adapter, source.is_encoder
        text = text_folder(self)
        settings = text / "tokenizer_config.json"
        if not self.is_encoder and not (settings.exists() and "chat_template" in read(settings)):
            (text / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
        draw = random.Random(seed)
        torch.manual_seed(draw.getrandbits(32))
        KINDS[kind](self, draw)


class Ours:
    """This project's program. It gets a line for each case, and is started again when it ends."""

    def __init__(self, command):
        self.command = command
        self.start()

    def start(self):
        self.process = subprocess.Popen([self.command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def ask(self, case, rows):
        asked = {"folder": str(case.folder), "base": case.base and str(case.base), "rows": rows}
        try:
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.start()
            return {"panicked": "the process ended"}
        return json.loads(line)


def sentence(message):
    message = re.sub(r"/\S+/", "", message)
    message = re.sub(r"(Unrecognized model in) \S+", r"\1 a folder", message)
    message = re.sub(r"\d+", "N", message)
    return " ".join(message.split())[:110]


def main():
    command, root, cases, seed, kept = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5])
    kinds = sys.argv[6:] or list(KINDS)
    data = read(root / "model_files" / "expected.json")
    start, ours = sources(root), Ours(command)
    counts, refusals, unscored = collections.Counter(), Sentences(), Sentences()
    found = 0
    for number in range(cases):
        kind = kinds[number % len(kinds)]
        draw = random.Random(f"{seed}:{number}")
        able = [source for source in start if source.is_adapter == (kind == "adapter_switch") or (source.is_adapter and draw.random() < 0.05)]
        source = draw.choice(able)
        if draw.random() < 0.5:
            # Every group of sources is drawn equally often.
            alike = draw.choice(sorted({source.group for source in able}))
            source = draw.choice([source for source in able if source.group == alike])
        with tempfile.TemporaryDirectory() as scratch:
            try:
                case = Case(source, kind, f"{seed}:{number}", Path(scratch))
            except Exception as error:
                unscored.add(f"no such change: {type(error).__name__}", number)
                continue
            counts[kind] += 1
            rows = data["pairs" if case.is_encoder else "rows"]
            answer = ours.ask(case, rows)
            try:
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    want, why = theirs(case, rows)
            except Exception as error:
                want, why = None, f"{type(error).__name__}: {error}"
            verdict = judged(answer, want, why, number, refusals, unscored)
            if verdict:
                found += 1
                print(f"case {number} ({kind}, {source.folder.name}): {verdict}", flush=True)
                shutil.copytree(scratch, kept / f"{seed}_{number}_{kind}_{source.folder.name}", dirs_exist_ok=True)
        if (number + 1) % 500 == 0:
            print(f"{number + 1} cases, {found} found", flush=True)
    print(json.dumps({"cases": dict(counts), "found": found}))
    for title, sentences in (("refused here", refusals), ("no value there", unscored)):
        print(f"{title}:")
        for text, count in sentences.counts.most_common(60):
            print(f"  {count:5} {text} (case {sentences.first[text]})")
    sys.exit(1 if found else 0)


class Sentences:
    """Counts sentences, and keeps the number of the first case of each."""

    def __init__(self):
        self.counts, self.first = collections.Counter(), {}

    def add(self, text, number):
        self.counts[text] += 1
        self.first.setdefault(text, number)


def judged(answer, want, why, number, refusals, unscored):
    """What is wrong with this project's answer, or None."""
    if "panicked" in answer:
        return f"panicked: {answer['panicked']}"
    if "refused" in answer:
        refusals.add(("both: " if want is None else "") + sentence(answer["refused"]), number)
        return None
    if want is None:
        unscored.add(("a value here: " if not why.startswith("missing") else "") + sentence(why), number)
        return f"a value from tensors that are not there ({why})" if why.startswith("missing") else None
    off = [abs(a - b) for a, b in zip(answer["scores"], want)]
    if len(answer["scores"]) != len(want) or any(not (error <= TOLERANCE) for error in off):
        return f"{answer['scores']} is not {want}"
    return None


if __name__ == "__main__":
    main()
