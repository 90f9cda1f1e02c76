"""Makes a tiny random PairRM, and writes what llm-blender's own classes compute of it.

    python -P pairs.py tests/fixtures/parity/deberta_v3 tests/fixtures/kinds/pairrm

The tokenizer is DeBERTa's of the first folder with the tokens that PairRM's publishers add.
"""

import ast
import importlib.metadata
import importlib.util
import itertools
import json
import sys
from pathlib import Path

import numpy
import scipy
import torch
import transformers
from safetensors.torch import save_file
from scipy.optimize import minimize
from transformers import AutoTokenizer, DebertaV2Config

# Last, so that Python's own `statistics` is found before the file of that name here: run it with -P.
sys.path.append(str(Path(__file__).parent))
from expected import read, write

kin, folder = map(Path, sys.argv[1:])
SEED = 31131
PACKAGE = "llm-blender"
ADDED = ["<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>"]
FUNCTIONS = ["tokenize_pair", "get_pair_from_conv", "tokenize_conv_pair"]
torch.set_num_threads(1)


def source(name):
    """A file of the package. Importing the package whole asks for another version of transformers."""
    (found,) = [file for file in importlib.metadata.files(PACKAGE) if str(file).endswith(name)]
    return found.locate()


spec = importlib.util.spec_from_file_location("pairrm", source("pair_ranker/pairrm.py"))
pairrm = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pairrm)
texts = {"List": list}
tree = ast.parse(Path(source("blender/blender_utils.py")).read_text("utf-8"))
tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in FUNCTIONS]
exec(compile(tree, "blender_utils.py", "exec"), texts)


def made():
    """Writes the checkpoint."""
    folder.mkdir(exist_ok=True)
    config = read(kin / "config.json")
    first = config["vocab_size"]
    ids = {token: first + place for place, token in enumerate(ADDED)}
    tokenizer = read(kin / "tokenizer.json")
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    tokenizer["added_tokens"] += [{"id": ids[token], "content": token} | plain for token in ADDED]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), "utf-8")
    settings = read(kin / "tokenizer_config.json")
    settings["added_tokens_decoder"] |= {str(ids[token]): {"content": token} | plain for token in ADDED}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n", "utf-8")
    drop = ["architectures", "id2label", "label2id", "torch_dtype", "transformers_version"]
    config = {key: value for key, value in config.items() if key not in drop}
    prefixes = ["source_prefix_id", "cand1_prefix_id", "cand2_prefix_id", "cand_prefix_id"]
    config |= dict(zip(prefixes, ids.values())) | {"vocab_size": first + len(ADDED), "initializer_range": 0.3}
    config |= {"n_tasks": 2, "drop_out": 0.05, "sep_token_id": 2, "max_position_embeddings": 512}
    torch.manual_seed(SEED)
    model = pairrm.DebertaV2PairRM(DebertaV2Config(**config)).float().eval()
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    config |= {"architectures": ["DebertaV2PairRM"], "torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
    return model


def strengths(margins):
    """The Bradley-Terry strengths of the greatest likelihood, with the mean 0."""
    count = len(margins)
    wins = 1 / (1 + numpy.exp(-margins))

    def loss(free):
        of = numpy.append(free, -free.sum())
        gaps = of[:, None] - of[None, :]
        return sum(wins[i, j] * numpy.logaddexp(0, -gaps[i, j]) for i, j in itertools.permutations(range(count), 2))

    found = minimize(loss, numpy.zeros(count - 1), method="BFGS", options={"gtol": 1e-10}).x
    return numpy.append(found, -found.sum()).tolist()


def row(name, messages, completions, is_conversation, model, tokenizer):
    """A prompt with its completions, each before and after each other."""
    pairs = list(itertools.permutations(range(len(completions)), 2))
    logits = numpy.zeros((len(completions),) * 2)
    kept = []
    for one, other in pairs:
        if is_conversation:
            upper = [{"role": turn["role"].upper(), "content": turn["content"]} for turn in messages]
            both = [upper + [{"role": "ASSISTANT", "content": completions[place]}] for place in (one, other)]
            encoded = texts["tokenize_conv_pair"](tokenizer, [both[0]], [both[1]])
        else:
            prompt = "".join(turn["content"] for turn in messages)
            encoded = texts["tokenize_pair"](tokenizer, [prompt], [completions[one]], [completions[other]])
        seen = encoded["attention_mask"][0].bool()
        ids = encoded["input_ids"][:, seen]
        with torch.no_grad():
            logits[one, other] = model(input_ids=ids, attention_mask=torch.ones_like(ids), return_dict=True).logits.item()
        kept.append({"first": one, "second": other, "input_ids": ids[0].tolist(), "logit": logits[one, other]})
    margins = (logits - logits.T) / 2
    wins = 1 / (1 + numpy.exp(-margins))
    rates = [float(numpy.delete(wins[place], place).mean()) for place in range(len(completions))]
    upper = numpy.triu_indices(len(completions), 1)
    bias = {"lean": float((logits + logits.T)[upper].mean() / 2)}
    bias["turned"] = int(((logits > 0) == (logits.T > 0))[upper].sum())
    return {
        "id": name,
        "protocol": "reference" if is_conversation and len(messages) == 1 else "default",
        "input": {"messages": messages, "completions": completions},
        "pairs": kept,
        "win_rate": rates,
        "bradley_terry": strengths(margins),
        "position_bias": bias,
    }


model, question = made(), "What is the capital of Norway?"
tokenizer = AutoTokenizer.from_pretrained(folder)
assert tokenizer.convert_tokens_to_ids(ADDED) == list(range(len(tokenizer) - len(ADDED), len(tokenizer)))


def user(content):
    return {"role": "user", "content": content}


short = ["It is Oslo.", "Bergen, I think.", "The capital of Norway is Oslo, a city at the sea."]
turns = [user("Name a colour."), {"role": "assistant", "content": "Blue."}, user("And another one?")]
system = {"role": "system", "content": "Answer in one sentence. "}
long = " ".join(f"Part {number} of a long text about the sea." for number in range(160))
cases = [
    ("question", [user(question)], short, False),
    ("question as a conversation", [user(question)], short, True),
    ("system", [system, user(question)], short[:2], False),
    ("turns", turns, ["Red.", "Green, like grass.", ""], True),
    ("long prompt", [user(long)], [long, "No."], False),
    ("long completions", [user(question)], [long, long[::-1]], False),
]
rows = [row(*case, model, tokenizer) for case in cases]
versions = {"torch": torch.__version__, "transformers": transformers.__version__, "scipy": scipy.__version__}
expected = {
    "case": "pairrm",
    "kind": "pair",
    "architecture": "DebertaV2PairRM",
    "formula": "mean over the tasks of head([x, y1]) - head([x, y2]); x, y1, y2 at the tokens that begin the parts",
    "compute": "float32, CPU",
    "versions": versions | {PACKAGE: importlib.metadata.version(PACKAGE)},
    "seed": SEED,
    "rows": rows,
}
write(folder / "expected.json", expected, "rows")
