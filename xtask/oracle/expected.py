"""The files of expected values: JSON with one line for each case."""

import json
from pathlib import Path


def read(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write(path, value, cases):
    """Writes JSON; `cases` is the key of the list that gets one line for each of its values."""
    rows = value.pop(cases)
    head = json.dumps(value, ensure_ascii=False, indent=1)[:-2]
    lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
    Path(path).write_text(f'{head},\n "{cases}": [\n{lines}\n ]\n}}\n', encoding="utf-8")
