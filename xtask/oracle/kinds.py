"""Writes the expected values of reward models that are no class of transformers: its backbones in float32 with eager
attention, and on them the head as its publishers compute it.

    python -P kinds.py tests/fixtures/kinds

Each row's ids and positions are input; every value is computed again.
"""

import math
import sys
from pathlib import Path

import sentence_transformers
import torch
import transformers
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, LlamaConfig

# Last, so that Python's own `statistics` is found before the file of that name here: run it with -P.
sys.path.append(str(Path(__file__).parent))
from expected import read, write

root = Path(sys.argv[1])
torch.set_num_threads(1)

VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__}
VERSIONS |= {"sentence-transformers": sentence_transformers.__version__}
COMPUTE = "float32, eager attention, CPU"
# Parts of InternLM2's names of tensors and Llama's names for the same.
INTERNLM2 = {
    "model.tok_embeddings": "model.embed_tokens",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w3": "mlp.up_proj",
    "feed_forward.w2": "mlp.down_proj",
}


def as_llama(config, tensors):
    """InternLM2 as a Llama: for each head of keys, `wqkv` has its queries, then its keys, then its values."""
    heads, keys = config["num_attention_heads"], config["num_key_value_heads"]
    width = config["hidden_size"] // heads
    group = heads // keys
    out = {}
    for name, tensor in tensors.items():
        if "attention.wqkv" in name:
            parts = tensor.reshape(keys, group + 2, width, -1)
            for part, rows in (("q", parts[:, :group]), ("k", parts[:, group]), ("v", parts[:, group + 1])):
                own = name.replace("attention.wqkv", f"self_attn.{part}_proj")
                out[own] = rows.reshape(-1, tensor.shape[1]).contiguous()
            continue
        for theirs, llamas in INTERNLM2.items():
            name = name.replace(theirs, llamas)
        out[name] = tensor
    kept = ["hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "num_key_value_heads"]
    kept += ["vocab_size", "rms_norm_eps", "max_position_embeddings", "rope_theta"]
    return LlamaConfig(**{key: config[key] for key in kept}), out


def opened(folder):
    """The backbone and all tensors of a case."""
    config, tensors = read(folder / "config.json"), load_file(folder / "model.safetensors")
    if config["model_type"] == "internlm2":
        settings, tensors = as_llama(config, tensors)
    else:
        settings = AutoConfig.for_model(**{key: value for key, value in config.items() if key != "architectures"})
    model = AutoModel.from_config(settings, attn_implementation="eager", dtype=torch.float32).eval()
    own = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    model.load_state_dict(own, strict=True)
    return config, tensors, model


def linear(tensors, name, x):
    bias = tensors.get(f"{name}.bias")
    return torch.nn.functional.linear(x, tensors[f"{name}.weight"], bias)


def two_layers(tensors, name, x):
    return linear(tensors, f"{name}.2", torch.relu(linear(tensors, f"{name}.0", x)))


def value(case, config, tensors, x):
    """The output of a case's head for a hidden state."""
    if case.startswith("rm_two_layer"):
        return two_layers(tensors, "score", x)
    if case == "value_head_mlp":
        return two_layers(tensors, "v_head.summary", x)
    names = {"openrlhf": config.get("value_head_prefix"), "regression_head": "regression_head"}
    names |= {"regression_head_athene": "v_head", "internlm2": "v_head"}
    return linear(tensors, names.get(case, "v_head.summary"), x)


def gated(config, tensors, row, hidden):
    """ArmoRM (Wang et al., 2024, arXiv:2406.12845)."""
    rewards = linear(tensors, "regression_layer", hidden[row["position"]])
    gates = hidden[row["gating_position"]]
    for layer in range(config["gating_n_hidden"]):
        gates = torch.relu(linear(tensors, f"gating.layers.{layer}", gates))
    gates = linear(tensors, f"gating.layers.{config['gating_n_hidden']}", gates)
    gates = torch.softmax(gates / config["gating_temperature"], 0) * tensors["gating.logit_scale"][0]
    row["rewards"], row["gating_output"] = rewards.tolist(), gates.tolist()
    row["score"] = (gates * (rewards @ tensors["reward_transform_matrix"])).sum().item()


def combined(combine, logits):
    """What a reader makes of the logits of its tokens, or of a head's outputs."""
    if combine == "logit":
        return logits[0]
    if combine == "difference":
        return logits[0] - logits[1]
    shares = torch.softmax(logits, 0)
    if "softmax" in combine:
        return shares[combine["softmax"]]
    return (shares * torch.tensor(combine["expected"], dtype=shares.dtype)).sum()


def aggregated(row, scores):
    """The values of a solution's steps, and what becomes of them."""
    row |= {"step_scores": scores, "score": min(scores), "min": min(scores)}
    row |= {"product": math.prod(scores), "last": scores[-1]}


def read_by(reader, tensors, row, hidden):
    """A reader's verdict: the rows of its tokens in the vocabulary's matrix are the head."""
    matrix = tensors.get("lm_head.weight", tensors["model.embed_tokens.weight"])[reader["tokens"]]
    logits = lambda position: torch.nn.functional.linear(hidden[position], matrix)
    if "step_positions" in row:
        row["step_logits"] = [logits(position).tolist() for position in row["step_positions"]]
        read = lambda position: combined(reader["combine"], logits(position)).item()
        return aggregated(row, [read(position) for position in row["step_positions"]])
    own = logits(row["position"])
    row["score"] = combined(reader["combine"], own).item()
    if "logits" in row:
        row["logits"] = own.tolist()
    if "probability" in row:
        row["probability"] = 1 / (1 + math.exp(-row["score"]))
    if "probabilities" in row:
        row["probabilities"] = torch.softmax(own, 0).tolist()


def stepped(case, tensors, row, hidden):
    """A process reward model: the share of the second of two outputs."""
    of = linear if case == "prm_token_classification" else two_layers
    row["step_logits"] = [of(tensors, "score", hidden[position]).tolist() for position in row["step_positions"]]
    aggregated(row, [torch.softmax(torch.tensor(two), 0)[1].item() for two in row["step_logits"]])


def encoded(folder, expected):
    """The scores of an encoder's classifier, which transformers has."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").float().eval()
    # A folder that names no activation has a sigmoid.
    encoder = CrossEncoder(str(folder), device="cpu", model_kwargs={"attn_implementation": "eager"})
    for row in expected["rows"]:
        given = {key: torch.tensor([row[key]]) for key in ("input_ids", "token_type_ids") if key in row}
        row["score"] = model(**given).logits[0, 0].item()
        # The tokenizers of transformers 5 take an empty second text for none, and ALBERT's gives no token types.
        if row["input"]["completion"] and set(encoder.tokenizer.model_input_names) >= set(given):
            pair = (row["input"]["prompt"], row["input"]["completion"])
            row["probability"] = encoder.predict([pair])[0].item()
    expected["versions"], expected["compute"] = VERSIONS, COMPUTE
    write(folder / "expected.json", expected, "rows")


def score(case, folder):
    expected = read(folder / "expected.json")
    if expected["kind"] == "pair":
        return  # `pairs.py` writes it.
    if expected["kind"] == "encoder_reward":
        return encoded(folder, expected)
    config, tensors, model = opened(folder)
    for row in expected["rows"]:
        of = lambda ids: model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        hidden = of(row["input_ids"])
        at = lambda position, states=hidden: value(case, config, tensors, states[position]).item()
        if case == "armorm":
            gated(config, tensors, row, hidden)
        elif "reader" in expected:
            read_by(expected["reader"], tensors, row, hidden)
        elif case.startswith("prm_"):
            stepped(case, tensors, row, hidden)
            if "joined" in row:
                stepped(case, tensors, row["joined"], of(row["joined"]["input_ids"]))
        elif "step_positions" in row:
            values = [at(position) for position in row["step_positions"]]
            scores = [1 / (1 + math.exp(-one)) for one in values]
            row["step_values"] = values
            aggregated(row, scores)
            row["value_at_last_token"] = at(-1)
        else:
            row["score"] = at(row["position"])
        if case == "openrlhf":
            row["raw"] = row["score"]
            row["score"] = (row["raw"] - config["mean"]) / config["std"]
        if "score_with_second_bos" in row:
            twice = of([row["input_ids"][0], *row["input_ids"]])
            row["score_with_second_bos"] = at(-1, twice)
    expected["versions"], expected["compute"] = VERSIONS, COMPUTE
    write(folder / "expected.json", expected, "rows")


with torch.no_grad():
    for folder in sorted(root.iterdir()):
        score(folder.name, folder)
        print(folder.name)
