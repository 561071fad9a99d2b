"""Write one self-contained HTML page about a shard set, a pretraining run and what was fine-tuned from it.

radnet report --shards DIR --run DIR [--evaluation FILE] [--finetune DIR …] [--out report.html]
"""

import argparse
import importlib.metadata
import io
import json
import os
import platform
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from radnet import report, store
from radnet.errors import OK, UsageError
from radnet.launch.cli import existing_folder
from radnet.page import page
from radnet.shards import codec
from radnet.shards.ledger import REMEDY, Code

MAX_TILES = 12
PACKAGES = ("radnet", "torch", "deepspeed", "nvidia-dali-cuda130", "ray", "pydicom", "numpy")
OVERLAY = ("image", "truth", "prediction")


def main(argv: list[str]) -> int:
    """Parse, read, write the page; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="radnet report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", required=True, metavar="DIR", help="a finished shard set")
    parser.add_argument("--run", required=True, metavar="DIR", help="a pretraining run, with metrics.jsonl")
    parser.add_argument("--evaluation", metavar="FILE", help="what radnet evaluate --out wrote")
    parser.add_argument("--finetune", nargs="+", default=[], metavar="DIR", help="fine-tuning runs, shown side by side")
    parser.add_argument("--out", default="report.html", metavar="FILE", help="the page (default: report.html)")
    arguments = parser.parse_args(argv)
    shards, run = existing_folder(arguments.shards, "a shard set"), existing_folder(arguments.run, "a run")
    out = Path(arguments.out)
    if not out.parent.is_dir():
        raise UsageError(f"{arguments.out!r} cannot be written: its folder does not exist")
    index, labels = store.read_index(str(shards)), store.read_labels(str(shards)).to_pylist()
    evaluation = _json(Path(arguments.evaluation), "what radnet evaluate --out wrote") if arguments.evaluation else None
    finetunes = [read_finetune(existing_folder(path, "a fine-tuning run")) for path in arguments.finetune]
    sections = [
        report.labels_section(labels),
        report.montage_section([read_tile(shards, index.codec, row) for row in choose(labels, MAX_TILES)]),
        report.curves_section(read_metrics(run / "metrics.jsonl")),
        report.table1_section(evaluation),
        report.finetune_section(finetunes),
        report.ledger_section(read_ledger(shards / "ledger.parquet")),
    ]
    facts = [("Shard set", _describe(shards, index)), ("Run", run.resolve().name), *_circumstances()]
    store.write_atomic(str(out), page(f"radnet report: {run.resolve().name}", facts, sections).encode())
    print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")
    return OK


def choose(labels: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Up to `count` rows: families in turn, and within a family each view and contrast in turn; the same every time."""
    rows = sorted(labels, key=lambda row: row["key"])
    for columns in (("family", "view", "contrast"), ("family",)):
        rows = _in_turn(rows, columns)
    return sorted(rows[:count], key=lambda row: str(row.get("family")))


def _in_turn(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """The first row of each combination of columns, then the second of each, and so on."""
    seen: Counter = Counter()
    turns = []
    for row in rows:
        kind = tuple(str(row.get(column)) for column in columns)
        turns.append((seen[kind], kind, row))
        seen[kind] += 1
    return [row for _, _, row in sorted(turns, key=lambda turn: turn[:2])]


def read_tile(shards: Path, codec_name: str, row: dict[str, Any]) -> report.Tile:
    """The middle slice of the sample that a row of labels.parquet names, read through the shard's .idx."""
    stem = shards / row["shard"]
    try:
        # "suffix offset size name" for each member; the first line is the version.
        words = stem.with_suffix(".idx").read_text().splitlines()[1 + row["position"]].split()
        members = zip(words[0::4], words[1::4], words[2::4], strict=True)
        places = {suffix: (int(offset), int(size)) for suffix, offset, size in members}
        with open(stem.with_suffix(".tar"), "rb") as tar:
            content = {suffix: _read_at(tar, *places[suffix]) for suffix in ("geometry.npy", codec.SUFFIX[codec_name])}
        geometry = np.load(io.BytesIO(content["geometry.npy"]), allow_pickle=False)
        depth, height, width = (int(n) for n in geometry[:3])
        stored = codec.decode(content[codec.SUFFIX[codec_name]], (depth, height, width), codec_name)
    except (OSError, EOFError, KeyError, IndexError, ValueError):
        raise UsageError(f"{stem}.tar or its .idx is missing or damaged; run `radnet verify {shards}`") from None
    plane = stored[depth // 2].astype(np.float32) * geometry[18] + geometry[19]
    facts = [row.get("family"), row.get("view"), "contrast" if row.get("contrast") == "yes" else None]
    size = f"{depth}×{height}×{width}, {geometry[3]:.1f} mm slices, {row['key'][:8]}"
    caption = f"{' '.join(str(fact) for fact in facts if fact) or 'unknown'}: {size}"
    return report.Tile(caption, plane, tuple(geometry[4:6].tolist()), tuple(geometry[21:23].tolist()))


def _read_at(file: io.BufferedReader, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def read_metrics(path: Path) -> list[dict[str, Any]] | None:
    """The lines of metrics.jsonl, None where there is none; a last line cut short by a crash is dropped."""
    if not path.is_file():
        return None
    whole = path.read_text().rpartition("\n")[0]
    try:
        return [json.loads(line) for line in whole.splitlines() if line]
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is damaged: {error.msg} in a line of {len(error.doc)} characters") from None


def read_finetune(run: Path) -> report.FinetuneRun:
    """result.json and, where there is one, overlay.npz of a fine-tuning run."""
    result = _json(run / "result.json", "the result of radnet finetune")
    if missing := {"init", "dice_mean", "dice", "curve"} - result.keys():
        raise UsageError(
            f"{run / 'result.json'} has no {', '.join(sorted(missing))}; run `radnet finetune CONFIG` again"
        )
    path, overlay = run / "overlay.npz", None
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as arrays:
                overlay = {name: arrays[name] for name in OVERLAY}
        except (OSError, EOFError, KeyError, ValueError, BadZipFile):
            raise UsageError(f"{path} is damaged or incomplete; run `radnet finetune CONFIG` again") from None
    return report.FinetuneRun(run.resolve().name, result, overlay)


def read_ledger(path: Path) -> list[dict[str, Any]] | None:
    """The rows of ledger.parquet with the remedy of their code, None where there is none."""
    if not path.is_file():
        return None
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except pyarrow.ArrowInvalid:
        raise UsageError(f"{path} is damaged; run `radnet shard CONFIG` again") from None
    return [row | {"remedy": REMEDY[Code(row["code"])]} for row in rows]


def _json(path: Path, what: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except OSError:
        raise UsageError(f"{path} cannot be read; expected {what}") from None
    except ValueError:
        raise UsageError(f"{path} is not JSON; expected {what}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds no object; expected {what}")
    return content


def _describe(shards: Path, index: store.Index) -> str:
    """Names only, never the path above: the page is meant to be passed on."""
    num_shards = sum(len(split) for split in index.splits.values())
    num_bytes = sum(shard.num_bytes for split in index.splits.values() for shard in split)
    prints = "".join(f", {name} {value[:12]}" for name, value in sorted(index.fingerprints.items()))
    return f"{shards.resolve().name}: {num_shards} shards, {num_bytes / 1e6:,.1f} MB, {index.codec}{prints}"


def _circumstances() -> list[tuple[str, str]]:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, {device}"
    versions = ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name)))
    when = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return [
        ("Report written", when),
        ("Written on", machine),
        ("Versions", f"Python {platform.python_version()}, {versions}"),
    ]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    from radnet.launch.cli import run

    run(main)
