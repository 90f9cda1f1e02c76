"""A million rows of preferences through each reader, beside DuckDB's and polars' reading of the same files.

Arguments: the program of ours, a scratch folder, the file for the results. Every reading is a process of its own, whose
peak memory it tells; each reads all three columns and adds up the bytes of their texts. With a tenth of the
rows once more, so that growth shows.
"""

import gzip
import json
import os
import platform
import random
import subprocess
import sys
import time

import duckdb
import polars as pl

ROWS = 1_000_000
SHARDS = 64
COLUMNS = ["prompt", "chosen", "rejected"]


def rows(count):
    random.seed(7)
    words = ["red", "green", "blue", "ant", "bird", "cat", "seven", "eight", "nine", "über", "naïve", "東京"]
    for i in range(count):
        text = lambda n: " ".join(random.choice(words) for _ in range(n))
        yield {"prompt": f"{i}: {text(8)}?", "chosen": f"Yes, {text(12)}.", "rejected": f'No, "{text(10)}".'}


def make(folder, count):
    os.makedirs(folder, exist_ok=True)
    paths = {name: os.path.join(folder, name) for name in ["rows.csv", "rows.jsonl.gz", "rows.parquet", "shards"]}
    if os.path.exists(os.path.join(folder, "done")):
        return paths
    frame = pl.DataFrame(list(rows(count)))
    frame.write_csv(paths["rows.csv"])
    frame.write_parquet(paths["rows.parquet"], compression="zstd", row_group_size=65536)
    lines = frame.write_ndjson()
    with gzip.open(paths["rows.jsonl.gz"], "wb", compresslevel=6) as out:
        out.write(lines.encode())
    os.makedirs(paths["shards"], exist_ok=True)
    each = -(-count // SHARDS)
    for shard in range(SHARDS):
        part = frame.slice(shard * each, each)
        part.write_ndjson(os.path.join(paths["shards"], f"train-{shard:05d}-of-{SHARDS:05d}.jsonl"))
    open(os.path.join(folder, "done"), "w").close()
    return paths


def total(name, path):
    """What a peer does: read the columns, add up the bytes of their texts."""
    pattern = os.path.join(path, "*.jsonl") if os.path.isdir(path) else path
    if name == "duckdb":
        read = "read_csv" if path.endswith(".csv") else "read_parquet" if path.endswith(".parquet") else "read_json"
        sums = " + ".join(f"sum(strlen({column}))" for column in COLUMNS)
        count, found = duckdb.sql(f"select count(*), {sums} from {read}('{pattern}')").fetchall()[0]
        return count, int(found)
    if path.endswith(".csv"):
        frame = pl.read_csv(path)
    elif path.endswith(".parquet"):
        frame = pl.read_parquet(path)
    elif path.endswith(".gz"):
        frame = pl.read_ndjson(gzip.open(path).read())
    else:
        frame = pl.scan_ndjson(pattern).collect()
    return frame.height, int(sum(frame[column].str.len_bytes().sum() for column in COLUMNS))


def peak_bytes():
    """The most memory that this process had. What its parent is told of it counts the parent's own, from before it
    became this one."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def measured(command):
    """Seconds and peak bytes of a process, and what it printed."""
    started = time.perf_counter()
    printed = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    seconds = time.perf_counter() - started
    found = json.loads(printed.splitlines()[-1])
    return seconds, found["peak_bytes"], found


def main():
    if sys.argv[1] == "--peer":
        count, found = total(sys.argv[2], sys.argv[3])
        print(json.dumps({"rows": count, "text_bytes": found, "peak_bytes": peak_bytes()}))
        return
    program, scratch, out = sys.argv[1:4]
    versions = {"duckdb": duckdb.__version__, "polars": pl.__version__, "python": platform.python_version()}
    results = []
    print(f"{'file':<15} {'reader':<12} {'rows':>9} {'seconds':>8} {'rows/s':>10} {'peak MB':>8}")
    for count in [ROWS // 10, ROWS]:
        for name, path in make(os.path.join(scratch, str(count)), count).items():
            expected = None
            for reader in ["rewardscope", "duckdb", "polars"]:
                own = [program, path]
                command = own if reader == "rewardscope" else [sys.executable, __file__, "--peer", reader, path]
                seconds, peak, found = min((measured(command) for _ in range(3)), key=lambda run: run[0])
                if (found["rows"], found["text_bytes"]) != (expected or (count, found["text_bytes"])):
                    raise SystemExit(f"{reader} read {found} of {path}, not {expected or count}")
                expected = (found["rows"], found["text_bytes"])
                print(f"{name:<15} {reader:<12} {count:>9} {seconds:>8.2f} {count / seconds:>10.0f} {peak / 1e6:>8.0f}", flush=True)
                results.append({"file": name, "reader": reader, "rows": count, "seconds": seconds, "peak_bytes": peak})
    with open("/proc/cpuinfo") as info:
        processor = next((line.split(": ")[1].strip() for line in info if line.startswith("model name")), None)
    machine = {"cores": os.cpu_count(), "processor": processor, "date": time.strftime("%Y-%m-%d"), **versions}
    os.makedirs(os.path.dirname(out), exist_ok=True)
    with open(out, "w") as file:
        json.dump({"machine": machine, "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
