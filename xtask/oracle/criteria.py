"""Writes what real language models say of a criterion, by transformers: the readers `criterion` and `criterion-digit`.

    python -P criteria.py READERS SMOLLM2_GGUF GEMMA3_GGUF OUT

READERS is the folder of the readers' JSON files. Logits are in float32 with eager attention; transformers dequantises
GGUF files.
"""

import json
import sys
from pathlib import Path

import jinja2
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

# Last, so that Python's own `statistics` is found before the file of that name here: run it with -P.
sys.path.append(str(Path(__file__).parent))
from expected import read, write

ROWS = [
    ("Why is the sky blue?", "Air scatters blue light more than red light.", "Is the response true?"),
    ("Why is the sky blue?", "Because it is painted every morning.", "Is the response true?"),
    ("Who wrote Hamlet?", "Shakespeare did; see the First Folio of 1623.", "Does the response name its source?"),
    ("Who wrote Hamlet?", "Somebody in England.", "Does the response name its source?"),
    ("Zähle bis drei.", "Eins, zwei, drei. 🦀", "Is the response in German?"),
]
# A base model brings no template.
TULU = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)

readers, smollm2, gemma3, out = sys.argv[1:5]
environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)


def combined(combine, logits):
    if combine == "difference":
        return (logits[0] - logits[1]).item()
    return (torch.softmax(logits, 0) * torch.tensor(combine["expected"])).sum().item()


def rows(name, path, template):
    folder, file = str(Path(path).parent), Path(path).name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    for reader in ("criterion", "criterion-digit"):
        spec = read(Path(readers) / f"{reader}.json")
        tokens = [tokenizer(text, add_special_tokens=False).input_ids for text in spec["tokens"]]
        assert all(len(ids) == 1 for ids in tokens), tokens
        tokens = [ids[0] for ids in tokens]
        for prompt, completion, instruction in ROWS:
            told = {"prompt": prompt, "completion": completion, "instruction": instruction}
            of = lambda turn: environment.from_string(turn["content"]).render(**told)
            messages = [{"role": turn["role"], "content": of(turn)} for turn in spec["messages"]]
            text = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, chat_template=template
            )
            ids = tokenizer(text, add_special_tokens=False).input_ids
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids])).logits[0, -1][tokens]
            row = {"model": name, "reader": reader, **told, "input_ids": ids, "logits": logits.tolist()}
            yield row | {"score": combined(spec["combine"], logits)}


versions = {"torch": torch.__version__, "transformers": transformers.__version__}
all_rows = [*rows("smollm2", smollm2, None), *rows("gemma3", gemma3, TULU)]
write(out, {"versions": versions, "compute": "float32, eager attention, CPU", "rows": all_rows}, "rows")
