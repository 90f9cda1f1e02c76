"""The models that peers are timed on, as transformers writes them and as ONNX.

    python export.py SMOLLM2_GGUF MINILM_FOLDER OUT
    python export.py random FIXTURES OUT

With random, models of the same shapes and one of Llama-3.2-1B's layers, with seeded weights: for a
machine that models cannot be brought to. FIXTURES is tests/fixtures/parity, whose tokenizers they get.

Each becomes a sequence classifier of one label with a seeded head, in float32: config.json,
model.safetensors and the tokenizer's files for us, onnx/model.onnx of the same weights for the peers,
expected.json with transformers' own logits for the inputs that bench.mjs asks both for.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

smollm2, minilm, out = sys.argv[1:4]
ENCODER = ["input_ids", "attention_mask", "token_type_ids"]
DECODER = ["input_ids", "attention_mask"]


def ids(count, first):
    """As bench.mjs makes them."""
    return [(first * 131 + i * 7919) % 20_000 + 100 for i in range(count)]


class Logits(torch.nn.Module):
    """A classifier without a cache, of which nothing but the logits is wanted."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        return self.model(input_ids=input_ids, attention_mask=attention_mask, **types).logits


def seeded(head):
    torch.manual_seed(0)
    torch.nn.init.normal_(head.weight, std=0.5)
    if head.bias is not None:
        torch.nn.init.zeros_(head.bias)


def write(name, model, tokenizer, inputs):
    folder = Path(out) / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "onnx").mkdir(parents=True)
    model = model.eval().float()
    model.save_pretrained(folder)
    tokenizer(folder)
    batch = {key: torch.tensor([[0] * 9, [0] * 9]) for key in inputs}
    batch["input_ids"] = torch.tensor([ids(9, 1), ids(9, 2)])
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    dynamic = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    torch.onnx.export(
        Logits(model),
        kwargs=batch,
        f=str(folder / "onnx/model.onnx"),
        input_names=list(batch),
        output_names=["logits"],
        dynamic_shapes={key: dynamic for key in batch},
        opset_version=20,
        dynamo=True,
        external_data=False,
    )
    expected = []
    for count, length in [(1, 7), (4, 64)]:
        asked = torch.tensor([ids(length, i) for i in range(count)])
        others = {key: torch.zeros_like(asked) for key in inputs if key not in ("input_ids", "attention_mask")}
        with torch.no_grad():
            logits = model(input_ids=asked, attention_mask=torch.ones_like(asked), **others).logits
        expected.append({"count": count, "length": length, "logits": logits[:, 0].tolist()})
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


def saved(tokenizer):
    # Where every version of transformers.js looks for the template.
    return lambda folder: tokenizer.save_pretrained(folder, save_jinja_files=False)


def real():
    config = AutoConfig.from_pretrained(minilm, num_labels=1, attn_implementation="eager")
    encoder = BertForSequenceClassification(config)
    encoder.bert = AutoModel.from_pretrained(minilm, dtype=torch.float32, attn_implementation="eager")
    seeded(encoder.classifier)
    write("minilm", encoder, saved(AutoTokenizer.from_pretrained(minilm)), ENCODER)

    path = Path(smollm2)
    causal = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    )
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    causal.config.num_labels = 1
    # Above what any input holds, so that the last token is the one that is read.
    causal.config.pad_token_id = causal.config.vocab_size - 1
    causal.config._attn_implementation = "eager"
    causal.config.use_cache = False
    del causal.config.quantization_config
    decoder = LlamaForSequenceClassification(causal.config)
    decoder.model = causal.model
    seeded(decoder.score)
    write("smollm2", decoder, saved(tokenizer), DECODER)


def random(fixtures):
    def copied(name):
        def copy(folder):
            for file in ["tokenizer.json", "tokenizer_config.json"]:
                shutil.copy(Path(fixtures) / name / file, folder / file)

        return copy

    def llama(vocabulary, hidden, layers, heads, keys, inner):
        return LlamaConfig(
            vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
            num_key_value_heads=keys, intermediate_size=inner, max_position_embeddings=8192, rms_norm_eps=1e-5,
            tie_word_embeddings=True, num_labels=1, pad_token_id=vocabulary - 1, bos_token_id=1, eos_token_id=2,
            use_cache=False, attn_implementation="eager",
        )  # fmt: skip

    torch.manual_seed(0)
    config = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, num_labels=1, attn_implementation="eager")  # fmt: skip
    write("minilm", BertForSequenceClassification(config), copied("bert"), ENCODER)
    write("smollm2", LlamaForSequenceClassification(llama(49152, 576, 30, 9, 3, 1536)), copied("llama_plain"), DECODER)
    # Four of Llama-3.2-1B's sixteen layers: what a card that is made for more takes its time over.
    write("llama", LlamaForSequenceClassification(llama(32768, 2048, 4, 32, 8, 8192)), copied("llama_plain"), DECODER)


if smollm2 == "random":
    random(minilm)
else:
    real()
