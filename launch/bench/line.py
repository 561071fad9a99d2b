"""Time and peak memory of each station of the demo, the whole line from DICOM to report.

No other project runs this line, so there is no rival. One repeat takes about ten minutes on two cores; the first
station of the first repeat pays for reading the packages from disk, as a user's first run does.
"""

import json
import tempfile
from pathlib import Path

from radnet.errors import OK
from radnet.launch import demo
from radnet.launch.bench import Record, record

# Seconds on two CPU cores: generation 90, shards 90, pretraining 180, the rest together 240; memory 8 GB.
TARGET_S = {"phantom": 90, "shards": 90, "pretrain": 180}
TARGET_REST_S, TARGET_TOTAL_S, TARGET_MB = 240, 600, 8000


def measure(repeats: int) -> list[Record]:
    """Run the demo `repeats` times in a temporary folder; records per station, for the rest and for the whole."""
    runs = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="radnet-bench-") as folder:
            out = Path(folder) / "demo"
            if demo.main([f"--out={out}"]) != OK:
                raise RuntimeError("the demo failed, so there is nothing to measure; run `radnet demo` to see why")
            runs.append(json.loads((out / "line.json").read_text()))
    return records(runs)


def records(lists: list[list[dict]]) -> list[Record]:
    """Records of demos already run. lists: what each wrote to line.json, {name, seconds, peak_mb} of a station."""
    runs = [{one["name"]: one for one in stations} for stations in lists]
    found = []
    for name in runs[0]:
        seconds = [run[name]["seconds"] for run in runs]
        found.append(_seconds(f"line/{name}/time", seconds, TARGET_S.get(name)))
        found.append(record(f"line/{name}/peak_memory", [run[name]["peak_mb"] for run in runs], "MB"))
    rest = [sum(one["seconds"] for name, one in run.items() if name not in TARGET_S) for run in runs]
    total = [sum(one["seconds"] for one in run.values()) for run in runs]
    peak = [max(one["peak_mb"] for one in run.values()) for run in runs]
    found += [_seconds("line/rest/time", rest, TARGET_REST_S), _seconds("line/total/time", total, TARGET_TOTAL_S)]
    small_enough = record(
        "line/total/peak_memory", peak, "MB", target=f"<= {TARGET_MB}", met=lambda value, _: value <= TARGET_MB
    )
    return [*found, small_enough]


def _seconds(metric: str, values: list[float], target_s: float | None) -> Record:
    if target_s is None:
        return record(metric, values, "s")
    return record(metric, values, "s", target=f"<= {target_s}", met=lambda value, _: value <= target_s)
