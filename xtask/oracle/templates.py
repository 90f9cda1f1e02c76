"""Renders conversations by transformers with the chat templates of published packages.

    python templates.py MODELS_FOLDER tests/fixtures/templates.json

The conversations in the file are input; the rendered texts are replaced. A case that a template refuses has "error" in
place of "text".
"""

import datetime
import json
import sys
from pathlib import Path

import transformers
from transformers.utils import chat_template_utils

folder, path = Path(sys.argv[1]), Path(sys.argv[2])
fixture = json.loads(path.read_text(encoding="utf-8"))
now = datetime.datetime.fromisoformat(fixture["strftime_now"])


class Pinned(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return now


chat_template_utils.datetime = Pinned
for name, cases in fixture["templates"].items():
    config = json.loads((folder / name / "tokenizer_config.json").read_text(encoding="utf-8"))
    special = {}
    for key in ("bos_token", "eos_token", "pad_token", "unk_token"):
        token = config.get(key)
        if token is not None:
            special[key] = token["content"] if isinstance(token, dict) else token
    for case in cases:
        case.pop("text", None)
        case.pop("error", None)
        told = {"tools": None, "documents": None, "add_generation_prompt": False, **special, **case["kwargs"]}
        compiled = chat_template_utils._compile_jinja_template(config["chat_template"])
        try:
            case["text"] = compiled.render(messages=case["messages"], **told)
        except Exception as error:
            case["error"] = type(error).__name__
fixture["versions"] = {"transformers": transformers.__version__}
rows = []
for name, cases in fixture["templates"].items():
    lines = ",\n".join("   " + json.dumps(case, ensure_ascii=False) for case in cases)
    rows.append(f'  "{name}": [\n{lines}\n  ]')
head = json.dumps({key: fixture[key] for key in ("strftime_now", "versions")}, indent=1)[:-2]
text = head + ',\n "templates": {\n' + ",\n".join(rows) + "\n }\n}\n"
json.loads(text)
path.write_text(text, encoding="utf-8")
